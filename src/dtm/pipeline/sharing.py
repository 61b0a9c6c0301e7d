"""What portions share, as the run file says: copies (`disperse.overlap`) and replayed rows (`disperse.replay`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.config import Disperse, Replay
from dtm.foundations.registry import Bound
from dtm.foundations.types import Examples

if TYPE_CHECKING:
    from dtm.disperse.overlapping import Split

BATCH = 1000
ALL = "all"  # in the column `also` of assignment.csv: the row is replayed, in every portion


@dataclass(frozen=True)
class Sharing:
    """How much of other portions' rows each portion has as well, and which rows stand in all of them."""

    overlap: float = 0.0
    replay: Replay | None = None

    @classmethod
    def of(cls, section: Disperse) -> Sharing:
        return cls(float(section.overlap), section.replay)

    @property
    def settings(self) -> dict[str, Any]:
        """The part of a step's key that says so; nothing where nothing is shared."""
        overlap = {"overlap": self.overlap} if self.overlap else {}
        return overlap | ({"replay": self._replay} if self.replay else {})

    @property
    def _replay(self) -> dict[str, Any]:
        assert self.replay is not None
        return {**self.replay.model_dump(), "sources": sorted(set(self.replay.sources))}

    def replayed(self, examples: Examples, seed: int) -> Any:
        """Which rows every portion has, bool [N]."""
        import numpy as np

        from dtm.disperse.overlapping import replayed

        if self.replay is None:
            return np.zeros(len(examples), bool)
        return replayed(
            examples, self._replay["sources"], seed, fraction=self.replay.fraction, rows=self.replay.rows
        )

    def split(self, bound: Bound, examples: Examples, k: int, seed: int, signals: Mapping[str, Any]) -> Split:
        """The method's portions of the rows that are not replayed, with copies of one another's rows."""
        import numpy as np

        import dtm.disperse
        from dtm.disperse.overlapping import NOWHERE, Split

        aside_N = self.replayed(examples, seed)
        own_N = np.full(len(examples), NOWHERE)
        own_N[~aside_N] = dtm.disperse.assign(bound, *without(aside_N, examples, k, seed, signals))
        return Split(own_N, k, self.copies(examples, own_N, k, seed, signals))

    def copies(
        self, examples: Examples, own_N: Any, k: int, seed: int, signals: Mapping[str, Any], **grown: Any
    ) -> Any:
        """Pairs of a row and another portion, int64 [E, 2]; `grown` is what `copied` takes of kept portions."""
        from dtm.disperse.overlapping import copied, no_copies

        if not self.overlap and grown.get("kept") is None:
            return no_copies()
        return copied(examples, own_N, k, self.overlap, seed, embedding=signals.get("embedding"), **grown)


def without(
    aside_N: Any, examples: Examples, k: int, seed: int, signals: Mapping[str, Any]
) -> tuple[Examples, int, int, dict[str, Any]]:
    """What `assign` takes, without the rows that are aside."""
    import numpy as np

    if not aside_N.any():
        return examples, k, seed, dict(signals)
    rest = np.flatnonzero(~aside_N)
    return examples.take(rest), k, seed, {name: signal[rest] for name, signal in signals.items()}


def write_assignment(path: Path, examples: Examples, split: Split, lineage: Sequence[int]) -> None:
    """A line a row: its own portion, and under `also` the others that have it, or `all` for a replayed row.

    The columns `lineage`, of portions whose numbers are not those that they first had, and `also` are there only where
    they tell something.
    """
    told = list(lineage) != list(range(split.k))
    also: dict[int, str] = {}
    for row, portion in split.copies.tolist():
        also[row] = f"{also[row]} {portion}" if row in also else str(portion)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"id,source,portion{',lineage' if told else ''}{',also' if split.shared else ''}\n")
        start = 0
        for batch in examples.table.select(["id", "source"]).to_batches(max_chunksize=BATCH):
            rows = zip(batch["id"].to_pylist(), batch["source"].to_pylist(), strict=True)
            portions = split.own_N[start : start + len(batch)].tolist()
            for number, ((row, source), portion) in enumerate(zip(rows, portions, strict=True), start):
                aside = portion < 0
                quoted = source.replace('"', '""')
                line = f'{row},"{quoted}",{"" if aside else portion}'
                line += f",{'' if aside else lineage[portion]}" if told else ""
                line += f",{ALL if aside else also.get(number, '')}" if split.shared else ""
                file.write(line + "\n")
            start += len(batch)
