"""What a merge file asks for, whoever's dialect it is in: ours here, mergekit's in `mergekit`.

base: org/name                   # a folder or a hub id
method: ties                     # or {name: ties, density: 0.3}
models:
  - path/to/adapter              # a folder, a hub id, or MODEL+ADAPTER
  - {path: path/to/model, weight: 0.5, density: 0.2}
weights: [1, 2]                  # instead of a `weight` a model; `uniform` is the default
dtype: bfloat16                  # of the output; the base's types by default
space: weight                    # adapter: average factors (with linear)
export: model                    # adapter: write an adapter (with linear, lora_cat, lora_svd, ...)
statistics: [a.safetensors, ...] # one a model, for fisher and regmean
seed: 0                          # of random masks
tokenizer: base                  # or union, or one of the models
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, MissingInput, several
from dtm.foundations.registry import Bound, registry, unknown
from dtm.foundations.settings import accepts, faults
from dtm.foundations.yaml import Document, load
from dtm.merge.inputs import Where
from dtm.merge.notation import Scalar, named
from dtm.merge.precision import parse_dtype

KEYS = ("base", "method", "models", "weights", "dtype", "space", "export", "statistics", "seed", "tokenizer")

OWN = re.compile(r"(?P<setting>\w+)\.models\.(?P<model>\d+)(?P<rest>.*)")
Place = Callable[[str], object]  # from a key to `file:line: key`


@dataclass(frozen=True)
class Slice:
    """Consecutive layers of the output: which layers of which sub-models make them."""

    sources: tuple[tuple[int, int, int], ...]  # (number of the sub-model, first layer, last layer + 1)
    base: tuple[int, int] | None  # the base's layers
    weights: list[Any]
    method: Bound

    @property
    def layers(self) -> int:
        return self.sources[0][2] - self.sources[0][1]


@dataclass(frozen=True)
class Request:
    """A merge file, read."""

    base: Path | None
    models: list[Where]
    method: Bound
    weights: list[Any]
    dtype: str | None = None
    space: Any = "weight"
    export: Any = "model"
    statistics: list[Path] | None = None
    seed: int = 0
    tokenizer: str | int | None = None  # "base", "union", or the number of a model; None: they must be alike
    slices: list[Slice] | None = None
    notes: list[str] = field(default_factory=list)  # what of the file does not matter here, and why


def read_request(path: Path) -> tuple[Request, str]:
    """A merge file and its text. Raises ConfigError with everything that is wrong in it."""
    document = load(path)
    return parse_request(document, folder=Path(path).parent), document.text


def parse_request(content: Document | Mapping[str, Any], *, folder: Path = Path()) -> Request:
    """A request from a parsed file, or from what would stand in one; paths in it are relative to `folder`."""
    document = content if isinstance(content, Document) else Document(dict(content))
    said, where = document.values, document.where
    if "merge_method" in said:
        from dtm.merge.mergekit import parse_mergekit

        return parse_mergekit(document, folder=folder)
    errors: list[DtmError] = [
        unknown("key of a merge file", key, KEYS, where=where(key)) for key in said if key not in KEYS
    ]
    errors += [
        ConfigError("this key is missing", where=where(key))
        for key in ("method", "models")
        if not said.get(key)
    ]
    if not isinstance(said.get("models", []), list):
        errors.append(ConfigError("this is not a list of models", where=where("models")))
    for key, allowed in (("space", ("weight", "adapter")), ("export", ("model", "adapter"))):
        if said.get(key, allowed[0]) not in allowed:
            errors.append(ConfigError(f"{said[key]!r} is not one of {', '.join(allowed)}", where=where(key)))
    if not accepts(int, said.get("seed", 0)):
        errors.append(ConfigError(f"{said['seed']!r} is not a whole number", where=where("seed")))
    if not accepts(list[str] | None, said.get("statistics")):
        errors.append(
            ConfigError(f"{said['statistics']!r} is not a list of files", where=where("statistics"))
        )
    if errors:
        raise several(errors)
    parsed = [_entry(entry, number, where) for number, entry in enumerate(said["models"])]
    paths, own = [path for path, _ in parsed], [settings for _, settings in parsed]
    method = _method(said["method"], own, where)
    parse_dtype(said.get("dtype"), where=where("dtype"))
    return Request(
        base=locate_base(said.get("base"), folder, where("base")),
        models=[locate(path, folder, where(f"models.{number}")) for number, path in enumerate(paths)],
        method=method, weights=_weights(said.get("weights"), own, where),
        dtype=said.get("dtype"), space=said.get("space", "weight"), export=said.get("export", "model"),
        statistics=[folder / file for file in said["statistics"]] if said.get("statistics") else None,
        seed=said.get("seed", 0),
        tokenizer=tokenizer_choice(said.get("tokenizer"), paths, where("tokenizer")),
    )  # fmt: skip


def _entry(entry: Any, number: int, where: Place) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and isinstance(entry.get("path"), str):
        return entry["path"], {key: value for key, value in entry.items() if key != "path"}
    raise ConfigError(
        f"{entry!r} is neither a path nor {{path: ..., weight: ...}}", where=where(f"models.{number}")
    )


def _method(value: Any, own: list[dict[str, Any]], where: Place) -> Bound:
    """The bound method, its settings from `method` and from each model's entry."""
    if not isinstance(value, str) and not (isinstance(value, Mapping) and isinstance(value.get("name"), str)):
        raise ConfigError(
            f"{value!r} is neither NAME nor {{name: NAME, setting: value}}", where=where("method")
        )
    name, settings = named(value)
    for key in sorted({key for one in own for key in one} - {"weight"}):
        common = settings.get(key)
        values = [one.get(key, common) for one in own]
        if any(one is None for one in values):
            raise ConfigError(f"`{key}` is given for some models and not for all", where=where("models"),
                              mend=f"Set it in `method` for the others: {{name: {name}, {key}: ...}}")  # fmt: skip
        settings[key] = {"models": values}

    def stands(key: str) -> object:
        """Where a setting stands: in `method`, or with the model whose own it is."""
        if of := OWN.fullmatch(key):
            entry = own[int(of["model"])]
            if of["setting"] in entry:
                return where(f"models.{of['model']}.{of['setting']}{of['rest']}")
            key = of["setting"] + of["rest"]
        return where(f"method.{key}" if key else "method")

    return registry("merge").bind(name, settings, where=stands)


def _weights(value: Any, own: list[dict[str, Any]], where: Place) -> list[Any]:
    """One weight a model; raises what is wrong with the way they are written."""
    given = [number for number, one in enumerate(own) if "weight" in one]
    if value not in (None, "uniform") and given:
        raise ConfigError("weights are given twice, in `weights` and with the models", where=where("weights"))
    if value not in (None, "uniform") and not isinstance(value, list):
        raise ConfigError(f"{value!r} is neither `uniform` nor a list of weights", where=where("weights"))
    places = [
        f"models.{k}.weight" if k in given else f"weights.{k}" for k in range(max(len(own), len(value or [])))
    ]
    weights = value if isinstance(value, list) else [one.get("weight", 1.0) for one in own]
    errors: list[DtmError] = [
        ConfigError(what, where=where(f"{place}.{key}" if key else place), mend=mend)
        for place, weight in zip(places, weights, strict=False)
        for key, what, mend in faults(Scalar, weight)
    ]
    if errors:
        raise several(errors)
    return weights


def tokenizer_choice(value: Any, models: list[str], where: object) -> str | int | None:
    """ "base", "union", or which of the models."""
    if value in (None, "base", "union"):
        return value
    name = str(value).removeprefix("model:")
    if name in models:
        return models.index(name)
    raise ConfigError(
        f"the tokenizer cannot come from {value!r}", where=where, mend="Say base, union, or one of the models"
    )


def locate(name: str, folder: Path, where: object) -> Where:
    """A folder, or what a hub id's snapshot is; MODEL+ADAPTER gives both."""
    if not isinstance(name, str):
        raise ConfigError(f"{name!r} is not a path or a hub id", where=where)
    if "+" in name and not (folder / name).exists():
        dense, adapter = name.split("+", 1)
        return _place(dense, folder, where), _place(adapter, folder, where)
    return _place(name, folder, where)


def locate_base(name: Any, folder: Path, where: object) -> Path | None:
    """The base's folder; a base is one whole model."""
    found = None if name is None else locate(name, folder, where)
    if isinstance(found, tuple):
        raise ConfigError(f"{name!r} names two models, and a base is one", where=where)
    return found


def _place(name: str, folder: Path, where: object) -> Path:
    path = Path(name).expanduser()
    path = path if path.is_absolute() else folder / path
    if path.exists():
        return path
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        return _snapshot(name, where)
    raise MissingInput(f"there is no such model folder, {name}", where=where)


def _snapshot(name: str, where: object) -> Path:
    """The local copy of a hub model, fetched if need be; `name@revision` picks one. Pickles are not fetched."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    wanted = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except Exception as error:
        raise MissingInput(f"{name} is no folder, and could not be fetched from the hub ({type(error).__name__})",
                           where=where, mend="Give a folder, or fetch it beforehand") from error  # fmt: skip
