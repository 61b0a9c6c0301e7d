"""What a dispersing method needs of the base: signals, each a step of the store that a worker does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dtm.disperse
from dtm.disperse.gradient import check_number
from dtm.disperse.proposing import LEAST
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive, derive32
from dtm.foundations.signals import check_embedder
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline import building
from dtm.pipeline.embedding import compared, embedding
from dtm.pipeline.rows import Rows
from dtm.pipeline.sharing import Sharing
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

PLACE = "dtm.foundations.signals"
LOSSES, HIDDEN = f"{PLACE}.losses:losses", f"{PLACE}.hidden:hidden"
BY_ROW, BY_GROUP = f"{PLACE}.gradients:row_gradients", f"{PLACE}.gradients:group_gradients"
JOBS = {  # by signal: the step's name, and its worker's function
    "loss": ("losses", LOSSES), "loss_profile": ("losses", LOSSES), "hidden": ("hidden", HIDDEN),
    "gradient": ("row_gradients", BY_ROW), "source_gradient": ("group_gradients", BY_GROUP),
    "cluster_gradient": ("group_gradients", BY_GROUP),
}  # fmt: skip
SKETCH = {
    "row_gradients": 512,
    "group_gradients": 8192,
}  # numbers that a gradient is projected to, if not said


@dataclass(frozen=True)
class Signals:
    """What was computed, by name; `compared` is a sample in which a split that embeds nothing is measured."""

    made: Mapping[str, Artifact] = field(default_factory=dict)
    compared: Artifact | None = None

    @property
    def pending(self) -> bool:
        """Whether some of it is only planned."""
        return any(one.pending for one in self.made.values())

    @property
    def inputs(self) -> dict[str, str]:
        """The part of a step's key that says what was computed."""
        sample = {"sample": self.compared.digest} if self.compared else {}
        return {**{f"signal {name}": one.digest for name, one in self.made.items()}, **sample}

    def load(self) -> dict[str, Any]:
        """The arrays by name, memory-mapped."""
        import numpy as np

        from dtm.foundations.signals.grouped import Grouped

        found: dict[str, Any] = {}
        for name, one in self.made.items():
            if one.manifest["step"] == "group_gradients":
                files = [np.load(one.folder / f"{part}.npy") for part in ("groups", "gradients")]
                found[name] = Grouped(*files)
            else:
                found[name] = np.load(one.folder / f"{name}.npy", mmap_mode="r")
        return found

    def sampled(self) -> tuple[Any, Any] | None:
        """The sample's rows and their points."""
        import numpy as np

        if self.compared is None:
            return None
        return np.load(self.compared.folder / "rows.npy"), np.load(self.compared.folder / "embedding.npy")


def gather(run: Run, section: Any, bound: Bound, examples: Rows, base: Model) -> Signals:
    """All that the method needs beside counts, with these settings: computed, or found in the store."""
    needs, asked = dtm.disperse.needed(bound), _Asked(run, section, examples, base)
    if "source_gradient" in needs:
        least = LEAST if section.k == "auto" else section.k
        check_number(len(examples.open().table.column("source").unique()), least, "given")
    made = asked.make([name for name in needs if name in JOBS and name != "cluster_gradient"])
    if "embedding" in needs:
        made["embedding"] = asked.embedding()
    if "cluster_gradient" in needs:
        made |= asked.make(["cluster_gradient"], asked.clusters(asked.embedding()))
    return Signals(made, None if "embedding" in made else compared(run, examples))


def embedded(run: Run, section: Any, examples: Rows) -> Artifact:
    """The rows' embedding by a section's `embedder`, `on` and `dimensions`; the base is the run's."""
    return _Asked(run, section, examples, run.base()).embedding()


def estimated(rows: Rows, k: int, sharing: Sharing, seed: int) -> dict[str, Any]:
    """In planning, what dispersing would state: portions of equal size, with as many tokens a row."""
    counts = {"rows": rows.count, "tokens": rows.tokens, "trained_tokens": rows.trained_tokens}
    every = float(sharing.replayed(rows.open(), seed).mean()) if sharing.replay else 0.0

    def of(count: int, part: int) -> int:
        if not sharing.settings:
            return count * (part + 1) // k - count * part // k
        return round(count * (every + (1 - every) * (1 + min(sharing.overlap, k - 1)) / k))

    each = [{name: of(count, part) for name, count in counts.items()} for part in range(k)]
    return {"rows": rows.count, "each": each}


@dataclass(frozen=True)
class _Asked:
    """What is asked of the rows, and of the model that training will start from."""

    run: Run
    section: Any
    examples: Rows
    base: Model

    def make(self, names: Iterable[str], clusters: Artifact | None = None) -> dict[str, Artifact]:
        """The artifact of each signal; two that one step computes share it."""
        works = {name: self._work(name, clusters) for name in names}
        distinct = {work.step.key: work for work in works.values()}
        made = dict(zip(distinct, self.run.steps.make_all(list(distinct.values())), strict=True))
        return {name: made[work.step.key] for name, work in works.items()}

    def embedding(self) -> Artifact:
        """The rows' embedding, after what its embedder needs of the base."""
        needs = check_embedder(self.section.embedder).method.needs
        return embedding(self.run, self.section, self.examples, self.make(needs))

    def clusters(self, embedded: Artifact) -> Artifact:
        """Fine clusters of the embedding, which stand for sources where the data names none."""
        count, seed = self.section.gradients.clusters, derive(self.run.seed, "clusters")
        examples, signals = self.examples, Signals({"embedding": embedded})
        inputs = {"examples": examples.digest, **signals.inputs}
        return self.run.steps.make(
            "clusters", f"{count} stand for sources", Step("clusters", {"clusters": count}, inputs, seed),
            lambda claim: building.cluster(examples.open(), count, seed, signals.load()["embedding"], claim),
            heavy=signals.pending, needs={"rows": examples.count},
        )  # fmt: skip

    def _work(self, name: str, clusters: Artifact | None) -> Work:
        checked, base, examples = self.run.checked, self.base, self.examples
        step_name, function = JOBS[name]
        options = {
            key: value for key, value in checked.config.model.items() if key not in ("dtype", "quantization")
        }
        own, rows = self._settings(step_name)
        inputs = {"base": base.digest, "examples": examples.digest}
        if clusters is not None:
            inputs["groups"] = clusters.digest
        seed = derive(self.run.seed, "signals", step_name) if step_name in SKETCH else None
        step = Step(step_name, {**own, "model": options}, inputs, seed, checked.numerics)

        def arguments(claim: Claim) -> dict[str, Any]:
            groups = None if clusters is None else str(clusters.folder / "groups.npy")
            return {
                **own, "model": str(base.folder), "examples": str(examples.file), "options": options, "seed": seed,
                "groups": groups, "output": str(claim.output), "scratch": str(claim.scratch),
                "device": checked.device, "threads": checked.threads,
            }  # fmt: skip

        label = {"losses": "base loss", "hidden": "base hidden states"}.get(step_name, "gradients")
        needs = {"rows": rows}
        if step_name == "row_gradients":
            needs["disk"] = 4 * rows * own["dimensions"]
        return Work(label, f"{rows:,} rows", step, function, arguments, needs)

    def _settings(self, step_name: str) -> tuple[dict[str, Any], int]:
        """What a signal's job reads of the run file, and about how many rows it will see."""
        run, section, examples = self.run, self.section, self.examples
        if step_name == "hidden":
            return {"on": section.on}, examples.count
        if step_name not in SKETCH:
            return {}, examples.count
        train, gradients = run.checked.train, section.gradients
        own = {
            "lora": train.lora and dict(train.lora), "dimensions": gradients.sketch or SKETCH[step_name],
            "adapter_seed": derive32(run.seed, "adapter") if train.lora else None,
        }  # fmt: skip
        if step_name == "row_gradients":
            return own, examples.count
        sources = (
            gradients.clusters if section.own.get("sources") == "discovered" else len(run.checked.sources)
        )
        return {**own, "rows": gradients.rows}, min(examples.count, gradients.rows * sources)
