"""mergekit's YAML, as it is: which of its words is which of ours, and which of them we refuse.

Written from its documentation and its behaviour. What changes no number here is noted, not dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import Bound, registry, unknown
from dtm.merge.precision import parse_dtype
from dtm.merge.request import Request, Slice, locate, locate_base, tokenizer_choice

KEYS = ("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "tokenizer_source",
        "name", "chat_template", "tokenizer", "modules")  # fmt: skip
UNSUPPORTED = ("chat_template", "tokenizer", "modules")
# Its parameter -> our setting; per method where the word means something else.
WORDS = {
    "density": "density", "lambda": "scale", "normalize": "normalize", "rescale": "rescale", "epsilon": "epsilon",
    "gamma": "gamma", "t": "t", "scale": "scale", "select_topk": "density", "max_iter": "steps", "tol": "tolerance",
}  # fmt: skip
HARMLESS = {"int8_mask": "masks never exist as tensors here"}
ONLY = {"filter_wise": False, "nuslerp_row_wise": False, "nuslerp_flatten": True, "normalize_weights": True}
SPARSE = {"density": 1.0}
DEFAULTS = {
    "ties": SPARSE, "dare_linear": SPARSE, "dare_ties": {**SPARSE, "normalize": False}, "breadcrumbs": SPARSE,
    "breadcrumbs_ties": {**SPARSE, "normalize": False}, "della": SPARSE,
    "della_linear": SPARSE, "sce": SPARSE,
}  # fmt: skip
UNWEIGHTED = ("slerp", "sce", "model_stock", "karcher", "passthrough")  # methods that take no `weight` there
AROUND_BASE = ("nuslerp", "multislerp")
ABOUT_BASE = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs",
              "breadcrumbs_ties", "sce", "model_stock", *AROUND_BASE)  # fmt: skip


def parse_mergekit(content: Mapping[str, Any], *, folder: Path, where: object) -> Request:
    """The request in a mergekit file; raises ConfigError for what we do not support, by name, all at once."""
    errors: list[DtmError] = [
        unknown("key of a mergekit file", key, KEYS, where=where) for key in content if key not in KEYS
    ]
    errors += [
        ConfigError(f"mergekit's `{key}` is not supported", where=where)
        for key in UNSUPPORTED
        if content.get(key)
    ]
    if bool(content.get("models")) == bool(content.get("slices")):
        errors.append(ConfigError("a mergekit file has either `models` or `slices`", where=where))
    if errors:
        raise several(errors)
    name = content["merge_method"]
    if name not in registry("merge"):
        raise unknown("merge method", name, registry("merge"), where=f"{where}: merge_method")
    reading = _Reading(name, content, where)
    base = content.get("base_model")
    if content.get("models"):
        models = _without_base(reading.entries(content["models"]), base, name)
        paths = [path for path, _ in models]
        method, weights, slices = *reading.bind([own for _, own in models], {}), None
    else:
        paths, slices = reading.slices(base)
        method, weights = slices[0].method, [1.0] * len(paths)
    dtype = content.get("out_dtype") or content.get("dtype")
    parse_dtype(dtype, where=f"{where}: dtype")
    return Request(
        base=locate_base(base, folder, where), models=[locate(path, folder, where) for path in paths],
        method=method, weights=weights, dtype=dtype, slices=slices, notes=reading.notes,
        tokenizer=tokenizer_choice(content.get("tokenizer_source"), paths, where)
        if content.get("tokenizer_source") != base else "base",
    )  # fmt: skip


def _without_base(models: list[tuple[str, dict]], base: str | None, name: str) -> list[tuple[str, dict]]:
    """mergekit lists the base among the models: slerp's first end, and no sub-model for methods of updates."""
    if name == "slerp":
        others = [one for one in models if one[0] != base]
        return [(str(base), {}), *others] if base else models
    return [one for one in models if one[0] != base] if name in ABOUT_BASE else models


class _Reading:
    """One file being read: its method, its parameters, its notes."""

    def __init__(self, name: str, content: Mapping[str, Any], where: object) -> None:
        self.name, self.content, self.where = name, content, where
        self.notes: list[str] = []

    def entries(self, entries: Any) -> list[tuple[str, dict[str, Any]]]:
        """(model, its parameters) of a list of models or sources."""
        if not isinstance(entries, list) or not all(
            isinstance(one, Mapping) and one.get("model") for one in entries
        ):
            raise ConfigError("each model is {model: ..., parameters: ...}", where=self.where)
        for one in entries:
            if odd := one.keys() - {"model", "parameters", "layer_range"}:
                raise ConfigError(f"{sorted(odd)[0]!r} is not supported with a model", where=self.where)
        return [(str(one["model"]), dict(one.get("parameters") or {})) for one in entries]

    def bind(self, own: list[dict[str, Any]], middle: Mapping[str, Any]) -> tuple[Bound, list[Any]]:
        """The method with settings from the file, a slice's `middle` and each model's `own` parameters; the weights."""
        common = {**(self.content.get("parameters") or {}), **middle}
        weights = [one.get("weight", common.get("weight", 1.0)) for one in own]
        if self.name in UNWEIGHTED and any(weight != 1.0 for weight in weights):
            self.notes.append(f"`weight` changes nothing: mergekit's {self.name} weighs all alike")
            weights = [1.0] * len(own)
        settings: dict[str, Any] = dict(DEFAULTS.get(self.name, {}))
        if self.name in AROUND_BASE:
            settings["from_base"] = bool(self.content.get("base_model"))
        for word in sorted({*common, *(word for one in own for word in one)} - {"weight"}):
            values = [one.get(word, common.get(word)) for one in own]
            if word in HARMLESS:
                self.notes.append(f"`{word}` changes nothing: {HARMLESS[word]}")
            elif word in ONLY:
                if any(value not in (None, ONLY[word]) for value in values):
                    raise ConfigError(f"mergekit's `{word}: {values[0]}` is not supported", where=self.where)
            elif word not in WORDS or WORDS[word] not in registry("merge")[self.name].settings:
                raise ConfigError(
                    f"mergekit's parameter {word!r} is not supported with {self.name!r}", where=self.where
                )
            else:
                settings[WORDS[word]] = self._value(word, values, any(word in one for one in own))
        return registry("merge").bind(self.name, settings, where=f"{self.where}: parameters"), weights

    def _value(self, word: str, values: list[Any], each: bool) -> Any:
        """A setting from one value a model: the common one where they agree."""
        if all(value == values[0] for value in values):
            return values[0]
        default = DEFAULTS.get(self.name, {}).get(WORDS[word])
        if each and word in ("density", "gamma"):
            filled = [default if value is None else value for value in values]
            return {"models": filled}
        given = [value for value in values if value is not None]
        if len(given) == 1:  # slerp's `t` stands with one of the two
            return given[0]
        raise ConfigError(f"`{word}` cannot differ between models with {self.name!r}", where=self.where)

    def slices(self, base: str | None) -> tuple[list[str], list[Slice]]:
        """All models of a sliced file, and its slices."""
        paths: list[str] = []
        found = []
        for number, one in enumerate(self.content["slices"]):
            if not isinstance(one, Mapping) or not one.get("sources"):
                raise ConfigError(f"slice {number} has no `sources`", where=self.where)
            ranges = [self._layers(source, number) for source in one["sources"]]
            entries = self.entries(one["sources"])
            own_base = next(
                (span for (path, _), span in zip(entries, ranges, strict=True) if path == base), None
            )
            kept = [(path, own, span) for (path, own), span in zip(entries, ranges, strict=True)
                    if path != base or self.name not in ABOUT_BASE]  # fmt: skip
            if self.name == "slerp":
                kept.sort(key=lambda entry: entry[0] != base)
            if len({last - first for _, _, (first, last) in kept}) != 1:
                raise ConfigError(
                    f"the sources of slice {number} have different numbers of layers", where=self.where
                )
            for path, _, _ in kept:
                if path not in paths:
                    paths.append(path)
            method, weights = self.bind([own for _, own, _ in kept], one.get("parameters") or {})
            sources = tuple((paths.index(path), *span) for path, _, span in kept)
            found.append(Slice(sources, own_base or (kept[0][2] if base else None), weights, method))
        return paths, found

    def _layers(self, source: Mapping[str, Any], number: int) -> tuple[int, int]:
        span = source.get("layer_range")
        if not (
            isinstance(span, list)
            and len(span) == 2
            and all(type(one) is int for one in span)
            and 0 <= span[0] < span[1]
        ):
            raise ConfigError(
                f"slice {number} has a `layer_range` {span!r} that is not [first, last + 1]", where=self.where
            )
        return span[0], span[1]
