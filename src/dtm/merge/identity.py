"""Which sub-model is which, by what it holds: so that a random mask follows its model, wherever that stands.

A name or a place would not do: a folder can be renamed, and the order of a list means nothing to a merge. The whole
content is more than is needed; a few bytes of every tensor tell trained models apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from dtm.foundations.files import canonical
from dtm.merge.checkpoint import Files, Stored
from dtm.merge.jobs import KEEP, Job

PIECES, PIECE = 4, 64  # evenly spaced pieces of that many bytes are read of each tensor


def identities(jobs: Sequence[Job], files: Files) -> dict[int, str]:
    """A short text for each sub-model's number, which depends on its content alone.

    Models that are the same in all that is read count up, `...0` and `...1`, so that their masks differ; only then,
    and if they are not the same in what is not read, does their order matter.
    """
    digests: dict[int, hashlib._Hash] = {}
    for job in sorted(jobs, key=lambda job: job.name):
        if job.treatment is KEEP or job.opaque:
            continue
        for number, source in zip(job.models, job.sources, strict=True):
            digest = digests.setdefault(number, hashlib.sha256())
            scale = source.factors.scale if source.factors else None
            for stored in source.inputs:
                head = [job.name, stored.dtype, list(stored.shape), scale]
                digest.update(canonical(head).encode() + _pieces(files, stored))
    seen: Counter[str] = Counter()
    found = {}
    for number, digest in sorted(digests.items()):
        text = digest.hexdigest()[:24]
        found[number] = f"{text}.{seen[text]}"
        seen[text] += 1
    return found


def _pieces(files: Files, stored: Stored) -> bytes:
    """The first, the last, and evenly spaced bytes between them."""
    raw = files.view(stored).view("uint8")
    last = max(len(raw) - PIECE, 0)
    starts = sorted({last * piece // (PIECES - 1) for piece in range(PIECES)})
    return b"".join(raw[start : start + PIECE].tobytes() for start in starts)
