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

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, MissingInput, several
from dtm.foundations.registry import Bound, registry, unknown
from dtm.merge.inputs import Where
from dtm.merge.precision import parse_dtype

KEYS = ("base", "method", "models", "weights", "dtype", "space", "export", "statistics", "seed", "tokenizer")


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
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise MissingInput("there is no such merge file", where=path) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot be read as YAML ({error})", where=path) from None
    return parse_request(content, folder=Path(path).parent, where=path), text


def parse_request(content: Any, *, folder: Path = Path(), where: object = None) -> Request:
    """A request from a parsed file; paths in it are relative to `folder`."""
    if not isinstance(content, Mapping):
        raise ConfigError("a merge file is a mapping of keys to values", where=where)
    if "merge_method" in content:
        from dtm.merge.mergekit import parse_mergekit

        return parse_mergekit(content, folder=folder, where=where)
    errors: list[DtmError] = [
        unknown("key of a merge file", key, KEYS, where=where) for key in content if key not in KEYS
    ]
    errors += [
        ConfigError(f"`{key}` is missing", where=where)
        for key in ("method", "models")
        if not content.get(key)
    ]
    entries = content.get("models")
    if entries is not None and not isinstance(entries, list):
        errors.append(ConfigError("`models` is a list", where=where))
    for key, allowed in (("space", ("weight", "adapter")), ("export", ("model", "adapter"))):
        if content.get(key, allowed[0]) not in allowed:
            errors.append(
                ConfigError(f"{content[key]!r} is not one of {', '.join(allowed)}", where=f"{where}: {key}")
            )
    if not isinstance(content.get("seed", 0), int):
        errors.append(ConfigError(f"{content['seed']!r} is not a whole number", where=f"{where}: seed"))
    if errors:
        raise several(errors)
    parsed = [_entry(entry, folder, where) for entry in content["models"]]
    paths = [path for path, _ in parsed]
    method = _method(content["method"], [own for _, own in parsed], where)
    parse_dtype(content.get("dtype"), where=f"{where}: dtype")
    return Request(
        base=locate_base(content.get("base"), folder, where),
        models=[locate(path, folder, where) for path in paths],
        method=method, weights=_weights(content.get("weights"), [own for _, own in parsed], where),
        dtype=content.get("dtype"), space=content.get("space", "weight"), export=content.get("export", "model"),
        statistics=[folder / str(file) for file in content["statistics"]] if content.get("statistics") else None,
        seed=content.get("seed", 0), tokenizer=tokenizer_choice(content.get("tokenizer"), paths, where),
    )  # fmt: skip


def _entry(entry: Any, folder: Path, where: object) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and isinstance(entry.get("path"), str):
        return entry["path"], {key: value for key, value in entry.items() if key != "path"}
    raise ConfigError(f"{entry!r} is neither a path nor {{path: ..., weight: ...}}", where=f"{where}: models")


def _method(value: Any, own: list[dict[str, Any]], where: object) -> Bound:
    """The bound method, its settings from `method` and from each model's entry."""
    name, settings = (value, {}) if isinstance(value, str) else (value.get("name"), dict(value))
    settings.pop("name", None)
    for key in sorted({key for one in own for key in one} - {"weight"}):
        common = settings.get(key)
        values = [one.get(key, common) for one in own]
        if any(one is None for one in values):
            raise ConfigError(f"`{key}` is given for some models and not for all", where=f"{where}: models",
                              mend=f"Set it in `method` for the others: {{name: {name}, {key}: ...}}")  # fmt: skip
        settings[key] = {"models": values}
    return registry("merge").bind(str(name), settings, where=f"{where}: method")


def _weights(value: Any, own: list[dict[str, Any]], where: object) -> list[Any]:
    given = [one for one in own if "weight" in one]
    if value not in (None, "uniform") and given:
        raise ConfigError("weights are given twice, in `weights` and with the models", where=where)
    if value in (None, "uniform"):
        return [one.get("weight", 1.0) for one in own]
    if not isinstance(value, list):
        raise ConfigError(f"{value!r} is neither `uniform` nor a list of weights", where=f"{where}: weights")
    return value


def tokenizer_choice(value: Any, models: list[str], where: object) -> str | int | None:
    """ "base", "union", or which of the models."""
    if value in (None, "base", "union"):
        return value
    name = str(value).removeprefix("model:")
    if name in models:
        return models.index(name)
    raise ConfigError(f"the tokenizer cannot come from {value!r}", where=f"{where}: tokenizer",
                      mend="Say base, union, or one of the models")  # fmt: skip


def locate(name: str, folder: Path, where: object) -> Where:
    """A folder, or what a hub id's snapshot is; MODEL+ADAPTER gives both."""
    if not isinstance(name, str):
        raise ConfigError(f"{name!r} is not a path or a hub id", where=where)
    if "+" in name and not (folder / name).exists():
        dense, adapter = name.split("+", 1)
        return _place(dense, folder), _place(adapter, folder)
    return _place(name, folder)


def locate_base(name: Any, folder: Path, where: object) -> Path | None:
    """The base's folder; a base is one whole model."""
    found = None if name is None else locate(name, folder, where)
    if isinstance(found, tuple):
        raise ConfigError(f"{name!r} names two models, and a base is one", where=f"{where}: base")
    return found


def _place(name: str, folder: Path) -> Path:
    path = Path(name).expanduser()
    path = path if path.is_absolute() else folder / path
    if path.exists():
        return path
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        return _snapshot(name)
    raise MissingInput("there is no such model folder", where=name)


def _snapshot(name: str) -> Path:
    """The local copy of a hub model, fetched if need be; `name@revision` picks one. Pickles are not fetched."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    wanted = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except Exception as error:
        raise MissingInput(f"is no folder, and could not be fetched from the hub ({type(error).__name__})", where=name,
                           mend="Give a folder, or fetch it beforehand") from error  # fmt: skip
