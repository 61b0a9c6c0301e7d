"""A merge parted into ranges of its shards, for several workers or machines that see one folder.

Each worker plans the whole merge from headers, which is cheap, and writes its range. `merging.execute` over the same
folder then finds those shards whole, as it would those of a killed run, and writes what stands beside them: so the
bytes, the card and the facts are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtm.merge.method import merger
from dtm.merge.planning import Plan, plan_merge

MOST = (
    16  # ranges; their number hangs on the plan alone, so that a killed range and its successor are the same
)


def ranges(plan: Plan) -> list[list[str]]:
    """Names of shards in consecutive ranges of about equal bytes; one range of a merge that is not to be parted.

    That is a merge into one file, and one whose method gathers over the whole model first: each range would read
    the whole model for it.
    """
    if plan.spans_model or plan.export == "adapter":
        return [[shard.name for shard in plan.shards]]
    count = min(MOST, len(plan.shards))
    total, before = plan.bytes_out, 0
    found: list[list[str]] = [[] for _ in range(count)]
    for shard in plan.shards:
        middle = before + shard.size / 2
        found[min(count - 1, int(middle * count / total))].append(shard.name)
        before += shard.size
    return [names for names in found if names]


def plan_of(job: dict[str, Any]) -> Plan:
    """The plan of a merge that is told as plain JSON.

    `job` has base, models, statistics (paths), method, settings, weights, space, export, dtype.
    """
    return plan_merge(
        base=Path(job["base"]), models=[Path(folder) for folder in job["models"]],
        method=merger.bind(job["method"], job["settings"]), weights=job["weights"], space=job["space"],
        export=job["export"], dtype=job["dtype"], statistics=[Path(file) for file in job["statistics"]] or None,
    )  # fmt: skip


def merge_range(job: dict[str, Any], *, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A worker's job: those of the merge's `shards` that are not there yet, into the folder `output`.

    Besides what `plan_of` reads, `job` has shards, output, seed, threads, inspect, device. Raises ModelError and
    ResourceError as `merging.execute` does.
    """
    from dtm.merge.merging import write_shards
    from dtm.merge.writer import Writer

    plan = plan_of(job)
    shards = [shard for shard in plan.shards if shard.name in set(job["shards"])]
    writer = Writer(Path(job["output"]), plan, job["seed"], shards)

    def told(done: int, total: int) -> None:
        progress({"stage": "merging", "done": done, "total": total})

    try:
        write_shards(plan, writer, threads=job["threads"], seed=job["seed"], inspect=job["inspect"],
                     device=job["device"], progress=told)  # fmt: skip
    except Exception:
        writer.discard()
        raise
    return {"shards": len(shards), "bytes": sum(shard.size for shard in shards)}


def unwritten(plan: Plan, output: Path, seed: int) -> list[list[str]]:
    """The ranges of which something is missing in `output`, which is made ready for them."""
    from dtm.merge.writer import Writer

    whole = Writer(output, plan, seed).finished()
    return [names for names in ranges(plan) if not whole.issuperset(names)]
