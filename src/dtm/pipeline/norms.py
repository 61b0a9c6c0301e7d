"""How far a model is from its base: the Euclidean norm of the update over all weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum, sqrt
from pathlib import Path

import numpy as np

from dtm.foundations.registry import registry


def update_norm(base: Path, model: Path) -> float:
    """|theta - theta_0| of a model's folder or an adapter's over its base's, summed in fp64 block by block.

    An adapter's update is its factors' product, before any rounding to the base's type. Tensors that are not of
    floats do not count. Raises DtmError for whatever the merge engine would refuse.
    """
    return sqrt(fsum(_squares(base, model)))


def _squares(base: Path, model: Path) -> Iterator[float]:
    """The sum of squares of each block of the update."""
    from dtm.merge.checkpoint import Files
    from dtm.merge.jobs import KEEP
    from dtm.merge.planning import plan_merge
    from dtm.merge.sources import Reader

    plan = plan_merge(
        base=base, models=[model], method=registry("merge").bind("task_arithmetic"), weights=[1.0]
    )
    paths = {path for folder in (base, model) for path in folder.glob("*.safetensors")}
    with Files().open(paths) as files:
        reader = Reader(files)
        for job in plan.jobs:
            if job.opaque or job.treatment is KEEP:
                continue
            job.open(reader)
            for block in job.blocks:
                start, update = np.empty(block.count, np.float32), np.empty(block.count, np.float32)
                reader.rows(job.base, block, None, start)  # type: ignore[arg-type]
                job.sources[0].update(reader, block, start, update)
                exact = update.astype(np.float64)
                yield float(exact @ exact)
            job.close()
