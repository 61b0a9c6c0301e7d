"""mergekit's YAML, as it is: which of its words is which of ours, and which of them we refuse.

Written from its documentation and its behaviour. What changes no number here is noted, not dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import Bound, registry, unknown
from dtm.foundations.settings import accepts, faults
from dtm.foundations.yaml import Document
from dtm.merge.notation import Scalar
from dtm.merge.precision import parse_dtype
from dtm.merge.request import OWN, Place, Request, Slice, locate, locate_base, tokenizer_choice

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


def parse_mergekit(document: Document, *, folder: Path) -> Request:
    """The request in a mergekit file; raises ConfigError for what we do not support, by name, all at once."""
    content, where = document.values, document.where
    errors: list[DtmError] = [
        unknown("key of a mergekit file", key, KEYS, where=where(key)) for key in content if key not in KEYS
    ]
    errors += [
        ConfigError(f"mergekit's `{key}` is not supported", where=where(key))
        for key in UNSUPPORTED
        if content.get(key)
    ]
    if bool(content.get("models")) == bool(content.get("slices")):
        errors.append(ConfigError("a mergekit file has either `models` or `slices`", where=where("models")))
    if errors:
        raise several(errors)
    name = content["merge_method"]
    if not isinstance(name, str) or name not in registry("merge"):
        raise unknown("merge method", name, registry("merge"), where=where("merge_method"))
    reading = _Reading(name, content, where)
    base = content.get("base_model")
    if content.get("models"):
        models = _without_base(reading.entries(content["models"], "models"), base, name)
        method, weights = reading.bind(models, "", {})
        slices = None
    else:
        models, slices = reading.slices(base)
        method, weights = slices[0].method, [1.0] * len(models)
    paths = [one.path for one in models]
    dtype, tokenizer = content.get("out_dtype") or content.get("dtype"), content.get("tokenizer_source")
    parse_dtype(dtype, where=where("out_dtype" if content.get("out_dtype") else "dtype"))
    return Request(
        base=locate_base(base, folder, where("base_model")),
        models=[locate(one.path, folder, where(one.key)) for one in models],
        method=method, weights=weights, dtype=dtype, slices=slices, notes=reading.notes,
        tokenizer="base" if tokenizer == base else tokenizer_choice(tokenizer, paths, where("tokenizer_source")),
    )  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """A model of the file, its parameters, and the key under which it stands."""

    path: str
    own: Mapping[str, Any]
    key: str


def _without_base(models: list[_Entry], base: str | None, name: str) -> list[_Entry]:
    """mergekit lists the base among the models: slerp's first end, and no sub-model for methods of updates."""
    if name == "slerp":
        others = [one for one in models if one.path != base]
        return [_Entry(str(base), {}, "base_model"), *others] if base else models
    return [one for one in models if one.path != base] if name in ABOUT_BASE else models


class _Reading:
    """One file being read: its method, its parameters, its notes."""

    def __init__(self, name: str, content: Mapping[str, Any], where: Place) -> None:
        self.name, self.content, self.where = name, content, where
        self.notes: list[str] = []

    def entries(self, entries: Any, key: str) -> list[_Entry]:
        """The models of a list of models or sources, which stands under `key`."""
        if not isinstance(entries, list):
            raise ConfigError("this is not a list of models", where=self.where(key))
        found = []
        for number, one in enumerate(entries):
            place = f"{key}.{number}"
            if not isinstance(one, Mapping) or not isinstance(one.get("model"), str):
                raise ConfigError("each model is {model: PATH, parameters: ...}", where=self.where(place))
            if odd := one.keys() - {"model", "parameters", "layer_range"}:
                raise ConfigError(
                    f"{sorted(odd)[0]!r} is not supported with a model", where=self.where(place)
                )
            found.append(_Entry(one["model"], self._parameters(one, place), place))
        return found

    def _parameters(self, section: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        found = section.get("parameters") or {}
        if not isinstance(found, Mapping):
            place = f"{key}.parameters" if key else "parameters"
            raise ConfigError("parameters are names with values", where=self.where(place))
        return found

    def bind(self, models: list[_Entry], key: str, section: Mapping[str, Any]) -> tuple[Bound, list[Any]]:
        """The method with settings from the file, a slice `section` under `key` and each model; the weights."""
        levels = [(self._parameters(section, key), f"{key}."), (self._parameters(self.content, ""), "")]
        common = {**levels[1][0], **levels[0][0]}

        def stands(word: str, rest: str = "", model: int | None = None) -> object:
            """Where a parameter stands: with the model, or else with any, the slice or the file."""
            ours = models if model is None else [models[model]]
            above = [f"{prefix}" for parameters, prefix in levels if word in parameters]
            places = [f"{one.key}." for one in ours if word in one.own] + above
            return self.where(f"{places[0] if places else ''}parameters.{word}{rest}")

        weights = [one.own.get("weight", common.get("weight", 1.0)) for one in models]
        if self.name in UNWEIGHTED and any(weight != 1.0 for weight in weights):
            self.notes.append(f"`weight` changes nothing: mergekit's {self.name} weighs all alike")
            weights = [1.0] * len(models)
        settings: dict[str, Any] = dict(DEFAULTS.get(self.name, {}))
        if self.name in AROUND_BASE:
            settings["from_base"] = bool(self.content.get("base_model"))
        errors: list[DtmError] = [
            ConfigError(what, where=stands("weight", f".{inside}" if inside else "", number), mend=mend)
            for number, weight in enumerate(weights)
            for inside, what, mend in faults(Scalar, weight)
        ]
        words = sorted({*common, *(word for one in models for word in one.own)} - {"weight"})
        for word in words:
            values = [one.own.get(word, common.get(word)) for one in models]
            if word in HARMLESS:
                self.notes.append(f"`{word}` changes nothing: {HARMLESS[word]}")
            elif word in ONLY:
                if any(value not in (None, ONLY[word]) for value in values):
                    what = f"mergekit's `{word}: {values[0]}` is not supported"
                    errors.append(ConfigError(what, where=stands(word)))
            elif word not in WORDS or WORDS[word] not in registry("merge")[self.name].settings:
                what = f"mergekit's parameter {word!r} is not supported with {self.name!r}"
                errors.append(ConfigError(what, where=stands(word)))
            else:
                each = any(word in one.own for one in models)
                settings[WORDS[word]] = self._value(word, values, each, stands(word))
        if errors:
            raise several(errors)

        def setting(name: str) -> object:
            """Where one of our settings stands in mergekit's words."""
            found = OWN.fullmatch(name)
            ours, _, rest = name.partition(".")
            word = next((word for word in words if WORDS.get(word) == ours), ours)
            return (
                stands(word, found["rest"], int(found["model"]))
                if found
                else stands(word, rest and f".{rest}")
            )

        return registry("merge").bind(self.name, settings, where=setting), weights

    def _value(self, word: str, values: list[Any], each: bool, where: object) -> Any:
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
        raise ConfigError(f"`{word}` cannot differ between models with {self.name!r}", where=where)

    def slices(self, base: str | None) -> tuple[list[_Entry], list[Slice]]:
        """All models of a sliced file, each once, and its slices."""
        if not isinstance(self.content["slices"], list):
            raise ConfigError("this is not a list of slices", where=self.where("slices"))
        models: dict[str, _Entry] = {}
        found = []
        for number, one in enumerate(self.content["slices"]):
            key = f"slices.{number}"
            if not isinstance(one, Mapping) or not one.get("sources"):
                raise ConfigError(f"slice {number} has no `sources`", where=self.where(key))
            entries = self.entries(one["sources"], f"{key}.sources")
            ranges = [
                self._layers(source, f"{key}.sources.{place}") for place, source in enumerate(one["sources"])
            ]
            pairs = list(zip(entries, ranges, strict=True))
            own_base = next((span for entry, span in pairs if entry.path == base), None)
            kept = [
                (entry, span) for entry, span in pairs if entry.path != base or self.name not in ABOUT_BASE
            ]
            if self.name == "slerp":
                kept.sort(key=lambda pair: pair[0].path != base)
            if len({last - first for _, (first, last) in kept}) != 1:
                raise ConfigError(
                    f"the sources of slice {number} have different numbers of layers", where=self.where(key)
                )
            for entry, _ in kept:
                models.setdefault(entry.path, entry)
            method, weights = self.bind([entry for entry, _ in kept], key, one)
            places = list(models)
            sources = tuple((places.index(entry.path), *span) for entry, span in kept)
            found.append(Slice(sources, own_base or (kept[0][1] if base else None), weights, method))
        return list(models.values()), found

    def _layers(self, source: Mapping[str, Any], key: str) -> tuple[int, int]:
        span = source.get("layer_range") if isinstance(source, Mapping) else None
        if (
            not isinstance(span, list)
            or not accepts(list[int], span)
            or len(span) != 2
            or not 0 <= span[0] < span[1]
        ):
            what = f"its `layer_range` {span!r} is not [first, last + 1]"
            raise ConfigError(what, where=self.where(f"{key}.layer_range"))
        return span[0], span[1]
