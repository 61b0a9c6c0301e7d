"""How long planned steps will take: as long as such steps took that the store holds, else by a stated guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from dtm.foundations.files import canonical, read_json
from dtm.foundations.store import Store
from dtm.pipeline.steps import Record

# Floating-point operations a second: of one CPU thread on a small model, and of a GPU with batches as they are here.
CPU, GPU = 1e10, 1e13
DISK = 3e8  # bytes a second that a merge writes
SIGNALS = (
    "losses",
    "alone",
    "base_fisher",
    "hidden",
    "features",
    "row_gradients",
    "group_gradients",
)  # steps of workers before dispersing
Manifest = Mapping[str, Any]
_read: dict[Path, Manifest] = {}  # manifests never change: a study plans hundreds of runs over one store


class Rates:
    """Seconds of planned steps, of one worker. `training` is in tokens a second, if it was measured."""

    def __init__(self, store: Store, threads: int, device: str, training: float | None = None) -> None:
        self.store, self.probed = store, training
        self.speed = GPU if device == "cuda" else CPU * threads

    def seconds(self, record: Record) -> tuple[float | None, bool]:
        """What a planned step will take, and whether that is a guess; None where nothing is known."""
        estimates = {
            "train": self._train, "evaluate": self._evaluate, "heldout": self._heldout, "merge": self._merge,
            "prefer": self._prefer, "sample": self._sample, "mean_score": _nothing, "update_norm": _nothing,
            **dict.fromkeys(SIGNALS, self._signal),
        }  # fmt: skip
        estimate = estimates.get(record.step.name)
        return estimate(record) if estimate else (None, False)

    def training_rate(self, record: Record) -> float | None:
        """Tokens a second, of training on the same base, else of any, under the same numerics and of the same kind."""
        if self.probed is not None:
            return self.probed
        kind = _kind(record.step.settings)
        alike = [one for one in self._of("train", record) if _kind(one["settings"]) == kind]
        same = [one for one in alike if one["inputs"]["base"] == record.step.inputs["base"]]
        return _median(one["facts"]["input_tokens"] / max(one["seconds"], 1e-9) for one in same or alike)

    def _train(self, record: Record) -> tuple[float | None, bool]:
        rate, tokens = self.training_rate(record), record.facts.get("tokens")
        return (tokens / rate if rate and tokens else None), False

    def _prefer(self, record: Record) -> tuple[float | None, bool]:
        """By tokens that such steps read."""
        rate = _median(
            one["seconds"] / max(one["facts"]["input_tokens"], 1) for one in self._of("prefer", record)
        )
        return (rate * record.facts["tokens"] if rate else None), False

    def _sample(self, record: Record) -> tuple[float | None, bool]:
        """By answers that such steps drew; else two operations a parameter and token."""
        rate = _median(one["seconds"] / max(one["facts"]["rows"], 1) for one in self._of("sample", record))
        return (rate * record.facts["rows"], False) if rate else (self._computing(record), True)

    def _evaluate(self, record: Record) -> tuple[float | None, bool]:
        """By models of that size on that very task; else two operations a parameter and token."""
        wanted = {name: record.step.settings[name] for name in ("task", "format", "batch_size")}
        known = [one["seconds"] for one in self._sized("evaluate", record)
                 if all(one["settings"][name] == value for name, value in wanted.items())]  # fmt: skip
        return (median(known), False) if known else (self._computing(record), True)

    def _heldout(self, record: Record) -> tuple[float | None, bool]:
        rate = _median(
            one["seconds"] / max(one["facts"]["sources"]["all"]["rows"], 1)
            for one in self._sized("heldout", record)
        )
        return (rate * record.facts["rows"], False) if rate else (self._computing(record), True)

    def _merge(self, record: Record) -> tuple[float | None, bool]:
        size = record.facts.get("disk", 0)
        rate = _median(
            one["seconds"] / max(one["facts"]["bytes_out"], 1) for one in self._of("merge", record)
        )
        return (rate * size, False) if rate else (size / DISK, True)

    def _signal(self, record: Record) -> tuple[float | None, bool]:
        """As long a row as with the same model before; without that nothing is known."""
        models = [(name, record.step.inputs.get(name)) for name in ("base", "model")]
        rate = _median(
            one["seconds"] / max(one["facts"]["rows"], 1)
            for one in self._of(record.step.name, record)
            if all(one["inputs"].get(name) == model for name, model in models)
        )
        return (rate * record.facts["rows"] if rate else None), False

    def _computing(self, record: Record) -> float:
        return 2 * record.facts.get("parameters", 0) * record.facts.get("asked", 0) / self.speed

    def _sized(self, name: str, record: Record) -> list[Manifest]:
        """Of models with as many parameters."""
        size = record.facts.get("parameters")
        return [one for one in self._of(name, record) if one["facts"].get("parameters") == size]

    def _of(self, name: str, record: Record) -> list[Manifest]:
        """Manifests of that step under the same numerics."""
        return self._known.get((name, canonical(record.step.numerics)), [])

    @cached_property
    def _known(self) -> dict[tuple[str, str], list[Manifest]]:
        found: dict[tuple[str, str], list[Manifest]] = {}
        for folder in (self.store.root / "objects").iterdir():
            if folder not in _read:
                try:
                    _read[folder] = read_json(folder / "manifest.json")
                except (OSError, ValueError):  # damaged, or on its way out: not to be learnt from
                    continue
            one = _read[folder]
            found.setdefault((one["step"], canonical(one["numerics"])), []).append(one)
        return found


def _kind(settings: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Of a training: whether an adapter's, and what regularises it."""
    return settings["lora"] is not None, (settings.get("regularise") or {}).get("method")


def _nothing(record: Record) -> tuple[float | None, bool]:
    """Of steps that take no time worth telling."""
    return 0.0, False


def _median(values: Iterable[float]) -> float | None:
    several = list(values)
    return median(several) if several else None
