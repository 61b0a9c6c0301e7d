"""What is found out while tensors are written, for the facts of a merge; kept beside the shards until it is done.

So a merge that was killed and goes on behind its last whole file tells what a whole one tells.
"""

from __future__ import annotations

from typing import Any

from dtm.merge.inspection import add, as_json, from_json, low_rank, report
from dtm.merge.jobs import Job, MergedFactors
from dtm.merge.planning import Plan
from dtm.merge.shards import Shard
from dtm.merge.writer import Writer


class Findings:
    """Measures of updates, if `inspect`, and how far approximate factors are from the exact sum; by tensor."""

    def __init__(self, plan: Plan, inspect: bool) -> None:
        self.plan, self.inspect = plan, inspect
        self.measures: dict[str, dict[str, Any]] = {}
        self.missed: dict[str, tuple[float, float]] = {}
        self._any = inspect or any(_approximated(job) for job in plan.jobs)

    def add_measures(self, job: Job, sums: dict[str, Any]) -> None:
        """Add the sums of the tensor's next blocks."""
        if sums:
            add(self.measures.setdefault(job.name, {}), sums)

    def add_missed(self, job: Job) -> None:
        """Note what a tensor's merged factors, which are known by now, miss."""
        if _approximated(job) and (missed := job.sources[0].missed):  # type: ignore[attr-defined]
            self.missed[job.name] = missed

    def keep(self, shard: Shard, writer: Writer) -> None:
        """Note what is known of the shard beside it, before it gets its name."""
        if self._any:
            measures = {name: as_json(self.measures[name]) for name in shard.jobs if name in self.measures}
            missed = {name: self.missed[name] for name in shard.jobs if name in self.missed}
            writer.keep(shard, {"measures": measures if self.inspect else None, "missed": missed})

    def recall(self, shard: str, writer: Writer) -> bool:
        """Whether a finished shard may stay: what was found out about it, if that is asked for, is known."""
        if not self._any:
            return True
        kept = writer.kept(shard)
        if kept is None or (self.inspect and kept["measures"] is None):
            return False
        self.measures |= {name: from_json(sums) for name, sums in (kept["measures"] or {}).items()}
        self.missed |= {name: tuple(pair) for name, pair in kept["missed"].items()}
        return True

    def facts(self, models: list[str]) -> dict[str, Any]:
        """`inspection` and `low_rank`, each where there is one."""
        found: dict[str, Any] = {}
        if self.inspect:
            names = [job.name for job in self.plan.jobs if job.name in self.measures]
            found["inspection"] = report({name: self.measures[name] for name in names}, models)
        if self.missed:
            found["low_rank"] = low_rank(self.missed)
        return found


def _approximated(job: Job) -> bool:
    """Whether a factor method that is not exact merges the tensor."""
    only = job.sources[0] if job.sources else None
    return isinstance(only, MergedFactors) and bool(only.treatment.declares("approximates"))
