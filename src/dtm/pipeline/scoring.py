"""A merged model in memory: the engine's values written into a loaded model, to be scored and overwritten.

The engine does the merge as it would to disk, block by block and with its one rounding, so a candidate has the very
weights that the merged folder would have. Inputs stay mapped, for a search changes the weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtm.evaluate.harness import evaluate
from dtm.evaluate.heldout import response_loss
from dtm.evaluate.loading import lent
from dtm.evaluate.summary import primary_metric, read_items
from dtm.evaluate.tasks import build
from dtm.foundations.errors import ModelError
from dtm.foundations.registry import registry
from dtm.merge.checkpoint import Files
from dtm.merge.engine import Engine
from dtm.merge.jobs import KEEP
from dtm.merge.planning import Plan, plan_merge
from dtm.merge.shards import Shard, shards_like

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class InMemory:
    """A loaded base into which merges of the same sub-models are written, one after the other."""

    def __init__(self, job: dict[str, Any], model: Any, files: Files) -> None:
        """`job` holds `merge`: see `merge_job`. Raises DtmError for whatever the engine would refuse."""
        self.job, self.files = job, files
        self.method = registry("merge").bind(job["method"], job["settings"])
        plan = self._plan([1.0] * len(job["models"]))
        if plan.untie:
            head = model.get_output_embeddings()
            head.weight = type(head.weight)(head.weight.detach().clone(), requires_grad=False)
        self.targets = model.state_dict(keep_vars=True)
        if strange := sorted({one.name for one in plan.jobs} - self.targets.keys()):
            raise ModelError(f"the loaded model has no weight {strange[0]!r}, and its files have", where=job["base"],
                             mend="Give the weights as a list instead of searching for them")  # fmt: skip

    def write(self, weights_K: Sequence[float]) -> None:
        """Let the model be the merge with these weights, one a sub-model."""
        from threadpoolctl import threadpool_limits

        plan = self._plan(weights_K)
        engine = Engine(plan, self.files, self.job["threads"], seed=self.job["seed"], allow_nonfinite=False,
                        progress=None, device=self.job.get("device", "cpu"))  # fmt: skip
        with threadpool_limits(1):
            engine.write(_Weights(self.targets, plan.shards))  # type: ignore[arg-type]

    def _plan(self, weights_K: Sequence[float]) -> Plan:
        """The plan of those tensors that some sub-model changes."""
        job = self.job
        plan = plan_merge(
            base=Path(job["base"]), models=[Path(folder) for folder in job["models"]], method=self.method,
            weights=list(weights_K), space=job["space"], export="model", dtype=job["dtype"],
            statistics=[Path(file) for file in job["statistics"]] or None,
        )  # fmt: skip
        changed = [one for one in plan.jobs if one.treatment is not KEEP]
        return replace(plan, jobs=changed, shards=shards_like(plan.inputs.reference, changed))


@contextmanager
def in_memory(job: dict[str, Any], loading: dict[str, Any]) -> Iterator[InMemory]:
    """Load the base as evaluation loads it, and open the merge's inputs; both are forgotten in the end."""
    folders = [Path(job["base"]), *(Path(folder) for folder in job["models"])]
    paths = {path for folder in folders for path in folder.glob("*.safetensors")}
    with lent(loading) as model, Files().open(paths | {Path(file) for file in job["statistics"]}) as files:
        yield InMemory(job, model, files)


def measure(scoring: dict[str, Any], output: Path) -> dict[str, Any]:
    """Score the model in memory; items go below `output`: TASK.FORMAT/ and heldout/.

    Returns {score, tasks: {"TASK.FORMAT": value}} and `loss` where held-out rows are given. The score is the mean
    of the tasks' primary metrics, or without tasks minus the held-out loss (nats a token): more is better.
    """
    loading, tasks = scoring["loading"], {}
    for spec in scoring["tasks"]:
        task = build(spec)
        for form in scoring["formats"]:
            place = f"{task.name}.{form}"
            job = {**loading, "task": spec, "chat": form == "chat", "output": str(output / place),
                   "batch_size": scoring["batch_size"], "seed": scoring["seed"]}  # fmt: skip
            found = evaluate(job)
            metric = primary_metric(read_items(output / place), task.metrics)
            tasks[place] = found["scores"][metric]["value"]
    result: dict[str, Any] = {"tasks": tasks}
    if scoring["examples"]:
        job = {**loading, "examples": scoring["examples"], "output": str(output / "heldout")}
        result["loss"] = response_loss(job)["sources"]["all"]["loss"]
    result["score"] = sum(tasks.values()) / len(tasks) if tasks else -result["loss"]
    return result


class _Weights:
    """Stands where the engine's Writer does, and puts each shard's tensors into a model."""

    folder = Path("memory")

    def __init__(self, targets: dict[str, Any], shards: Sequence[Shard]) -> None:
        self.targets, self.shards = targets, shards

    def finished(self) -> set[str]:
        return set()

    def begin(self, shard: Shard) -> None:
        self._buffer = bytearray(shard.size)

    def write(self, offset: int, data: Any) -> None:
        view = memoryview(data).cast("B")
        self._buffer[offset : offset + len(view)] = view

    def keep(self, shard: Shard, notes: Any) -> None:
        """Nothing goes on behind this shard after a kill."""

    def end(self, shard: Shard) -> None:
        import torch

        for name, slot in shard.slots.items():
            kind = getattr(torch, DTYPES[slot.dtype])
            values = torch.frombuffer(self._buffer, dtype=kind, count=slot.count, offset=slot.start)
            with torch.no_grad():
                self.targets[name].copy_(values.reshape(slot.shape))
