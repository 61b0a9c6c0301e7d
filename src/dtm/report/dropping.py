"""Sub-models that failed and were dropped, in words: wherever the merge is shown, its gap is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtm.report.wording import listing, plural


def dropped(rows: Sequence[Mapping[str, Any]], k: int | None) -> list[str]:
    """One sentence or two of `results["dropped"]`, or none; `k` is how many sub-models there would have been."""
    if not rows:
        return []
    names = listing([row["submodel"] for row in rows])
    left = f"{k - len(rows)} of {k} sub-models" if k else "the others"
    lost = plural(sum(row["rows"] or 0 for row in rows), "row")
    reasons = [f"{row['submodel']}: {row['reason'].splitlines()[0].rstrip('.')}." for row in rows]
    verb = "was" if len(rows) == 1 else "were"
    return [f"{names} failed and {verb} dropped: the merge is of {left}, without {lost}. {' '.join(reasons)}"]
