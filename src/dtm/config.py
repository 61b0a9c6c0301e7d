"""What a run file may say: HF's names for HF's settings, all errors at once, each with its line.

`read` parses and checks names and types. Whether methods, data and models exist is `pipeline.checks`.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator

from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.llm.settings import LLM
from dtm.foundations.urls import cached, check_url, is_url, parent
from dtm.foundations.yaml import Document, assign, load
from dtm.sections import Augment, Curate, Named, Pair, Prefer, Regularise, Sample, Section

Parsed = TypeVar("Parsed", bound=BaseModel)


class Recipe(Named):
    """`recipe: NAME` or `recipe: {name: NAME, setting: value}`."""

    method: str = Field(alias="name")


class Chat(Section):
    """How conversations become text: `auto` is the tokenizer's template, else ChatML."""

    template: str = "auto"
    too_long: Literal["drop", "truncate"] = "drop"


class Dev(Section):
    """Rows kept out of training; choices are made on them, and the held-out loss is measured on them."""

    fraction: float = Field(default=0.02, ge=0, lt=1)
    tasks: list[str | dict[str, Any]] = []


class Gradients(Section):
    """For methods that part by gradients: rows a source is judged by, clusters that stand for sources, numbers kept."""

    rows: int = Field(default=200, ge=1)
    clusters: int = Field(default=64, ge=1)
    sketch: int | None = Field(default=None, ge=1)


class Replay(Section):
    """Rows that every portion trains on: so many `rows` of `sources` (of all, if none is named), or that `fraction` of
    theirs; with neither, all of theirs.
    """

    sources: list[str] = []
    fraction: float | None = Field(default=None, gt=0, le=1)
    rows: int | None = Field(default=None, ge=1)


class Disperse(Named):
    """`embedder`, `on`, `dimensions`: for methods that work on embeddings; `gradients` for those on gradients.

    `k: auto` proposes the number of portions. `overlap`: each portion has rows of others as well, this share of its
    own. `replay`: rows that all portions have. `keep`: a finished run's folder; its rows stay in its portions. `new`:
    rows that it lacks `join` these, or form a `portion` of their own.
    """

    method: str = "random"
    k: Annotated[int, Field(ge=1)] | Literal["auto"] = 4
    overlap: float = Field(default=0.0, ge=0, le=1)
    replay: Replay | None = None
    keep: str | None = None
    new: Literal["join", "portion"] = "join"
    embedder: str | dict[str, Any] = "tfidf"
    on: Literal["instruction", "response", "both"] = "both"
    dimensions: int = Field(default=256, ge=2)
    gradients: Gradients = Gradients()


class Train(Section):
    """`args`: trl's SFTConfig. `lora`: peft's LoraConfig; left out, all weights are trained. `dropout`: the model's own
    rates, by its config's names.
    """

    lora: dict[str, Any] | None = None
    args: dict[str, Any] = {}
    same_adapter_init: bool = True
    regularise: Regularise | None = None
    dropout: dict[str, float] | None = None

    def but(self, **args: Any) -> Train:
        """The same with other settings of SFTConfig."""
        return self.model_copy(update={"args": {**self.args, **args}})


class Search(Section):
    """Weights that are searched for on dev: on `dev.tasks` (those named, or all), else on the held-out loss.

    `budget` is the number of candidates that are merged and scored.
    """

    search: Literal["cma_es", "greedy", "uniform_grid"]
    on: Literal["dev"] = "dev"
    tasks: list[str] = []
    budget: int = Field(default=40, ge=2)


class Statistics(Section):
    """For methods that need Fisher or Gram matrices: how many rows of its own portion each sub-model reads."""

    rows: int = Field(default=64, ge=1)


class Merge(Named):
    """`space: adapter` averages LoRA factors (the paper's release); `export: adapter` writes an adapter."""

    method: str = "linear"
    weights: Literal["uniform", "tokens", "rows"] | list[float] | Search = "uniform"
    statistics: Statistics = Statistics()
    space: Literal["weight", "adapter"] = "weight"
    export: Literal["model", "adapter"] = "model"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    def using(self, method: str, **own: Any) -> Merge:
        """Another method with its settings: uniform weights, and a whole model whatever is merged."""
        return Merge(method=method, dtype=self.dtype, statistics=self.statistics, **own)


class Decontaminate(Section):
    """Rows that share `ngram` words in a row with an item of `tasks` (by default those of evaluate) are dropped."""

    ngram: int = Field(default=13, ge=5)
    tasks: list[str | dict[str, Any]] | None = None


class Backend(Section):
    """A model of lm-eval's registry and its arguments."""

    model: str
    model_args: dict[str, Any] = {}


class Evaluate(Section):
    """Which models meet which tasks; what the recipe made always does.

    `dev` scores them on dev as well. `backend` goes to lm-eval: {model: hf, model_args: {...}}.
    """

    tasks: list[str | dict[str, Any]] = []
    limit: int | None = Field(default=None, ge=1)
    models: list[Literal["base", "merged", "submodels", "baselines", "checkpoints"]] = [
        "base",
        "baselines",
        "merged",
    ]
    format: Literal["raw", "chat", "both"] = "raw"
    batch_size: int = Field(default=8, ge=1)
    heldout: bool = True
    dev: bool = False
    backend: Backend | None = None


class Launch(Section):
    """Where sub-models train. `processes`, `cpus`, `gpus`, `nodes` are one sub-model's; `threads` a process's.

    `workers` is how many sub-models train at a time: 1 here, else by default as many as there are portions.
    `address`: of Ray, `auto`, `local`, `ray://HOST:PORT` or HOST:PORT; of Slurm, `auto` or `local`, its stand-in.
    `slurm`: partition, account, time, ... by submitit's names.
    """

    kind: Literal["local", "ray", "slurm"] = "local"
    workers: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    processes: int | None = Field(default=None, ge=1)
    accelerate_config: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    nodes: int = Field(default=1, ge=1)
    address: str = "auto"
    slurm: dict[str, Any] | None = None


class Config(Section):
    """A whole run file. `remove` names a file of row ids that are taken out of the data.

    `on_failure`: what becomes of a run of which a sub-model fails for good: the others end and it stops, or `drop`s it.
    `output_dir` and `store` are folders, or URLs such as s3://BUCKET/runs/first.
    """

    recipe: Recipe = Recipe(name="disperse_then_merge")
    baselines: list[Recipe] = []
    base: str
    model: dict[str, Any] = {}
    chat: Chat = Chat()
    data: list[dict[str, Any]] = Field(min_length=1)
    decontaminate: Decontaminate | None = None
    remove: str | None = None
    dev: Dev = Dev()
    curate: Curate | None = None
    augment: Augment = Augment()
    disperse: Disperse = Disperse()
    train: Train = Train()
    merge: Merge = Merge()
    sample: Sample = Sample()
    pair: Pair = Pair()
    prefer: Prefer = Prefer()
    evaluate: Evaluate = Evaluate()
    launch: Launch = Launch()
    llm: LLM | None = None
    on_failure: Literal["stop", "drop"] = "stop"
    seed: int = Field(default=0, ge=0)
    output_dir: str
    store: str | None = None

    @field_validator("recipe", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("baselines", mode="before")
    @classmethod
    def _all_named(cls, value: Any) -> Any:
        return (
            [{"name": one} if isinstance(one, str) else one for one in value]
            if isinstance(value, list)
            else value
        )

    @field_validator("data", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str | dict):
            value = [value]
        return (
            [{"path": one} if isinstance(one, str) else one for one in value]
            if isinstance(value, list)
            else value
        )


class RunFile:
    """A parsed run file: its `config`, its text, and where each key stands."""

    def __init__(self, document: Document) -> None:
        self.document, self.config = document, validate(document, Config)
        self.root = document.path.parent.absolute() if document.path else Path.cwd()
        for key, place in (("output_dir", self.config.output_dir), ("store", self.config.store)):
            if is_url(place):
                check_url(str(place), where=document.where(key))

    @property
    def name(self) -> str:
        return self.document.path.stem if self.document.path else self.output_dir.name

    @property
    def where(self) -> Any:
        """`where(key)` is `file:line: key`."""
        return self.document.where

    @property
    def output_url(self) -> str | None:
        """`output_dir:` if it is a URL."""
        return url_of(self.config.output_dir)

    @property
    def output_dir(self) -> Path:
        """Relative to the current folder, as a command's outputs are; of a URL, its place in this machine's cache."""
        return folder_of(self.config.output_dir)

    @property
    def store(self) -> Path | str:
        """The folder or URL that `store:` names, else `.dtm-store` beside the run folders."""
        return store_of(self.config.store, self.config.output_dir)


def url_of(place: str) -> str | None:
    """The place if it is a URL."""
    return check_url(place) if is_url(place) else None


def folder_of(place: str) -> Path:
    """A folder as it is, or where this machine works on a URL."""
    return cached(place) if is_url(place) else Path(place).expanduser().absolute()


def store_of(chosen: str | None, output_dir: str) -> Path | str:
    """The chosen store as a folder or URL, else the one beside a run folder."""
    if chosen:
        return url_of(chosen) or folder_of(chosen)
    url = url_of(output_dir)
    return f"{parent(url)}/.dtm-store" if url else folder_of(output_dir).parent / ".dtm-store"


def read(source: Path | str | Mapping[str, Any], settings: Sequence[str] = ()) -> RunFile:
    """Read a run file (or take a mapping), apply `key=value` settings, and check names and types."""
    document = Document(_plain(source)) if isinstance(source, Mapping) else load(source)
    for setting in settings:
        assign(document.values, setting)
    if settings or not document.text:
        import yaml

        document = replace(document, text=yaml.safe_dump(document.values, sort_keys=False))
    return RunFile(document)


def _plain(source: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that is ours to change, its paths as text."""
    return json.loads(json.dumps(source, default=str))


def validate(document: Document, model: type[Parsed]) -> Parsed:
    """The document's values as that model; every fault at once, each with its line and the nearest known key."""
    if wrong := [
        ConfigError("this is not a finite number", where=document.where(key))
        for key in _not_finite(document.values)
    ]:
        raise several(list(wrong))
    try:
        return model.model_validate(document.values)
    except ValidationError as error:
        raise several(list(_explain(error.errors(), document, model))) from None


def _not_finite(value: Any, key: str = "") -> Iterator[str]:
    """Keys of NaN and infinity: no setting means them, and a store key cannot hold them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key
    places = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, one in places:
        yield from _not_finite(one, f"{key}.{name}" if key else str(name))


def _explain(errors: Sequence[Any], document: Document, model: type[BaseModel]) -> Iterator[DtmError]:
    """Pydantic's errors as ours, one a key: its line, and the nearest key for an unknown one."""
    by_key: dict[str, list[Any]] = {}
    for error in errors:
        key = ".".join(str(part) for part in error["loc"] if not _is_type_name(part))
        by_key.setdefault(key, []).append(error)
    for key, group in by_key.items():
        if any(other.startswith(f"{key}.") for other in by_key):
            continue  # of a union, the member that the user meant says more than the others
        where, error = document.where(key), group[0]
        if error["type"] == "extra_forbidden":
            known = _known_keys(error["loc"][:-1], model)
            near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
            mend = f"Did you mean `{near[0]}`?" if near else f"There is: {', '.join(known)}"
            yield ConfigError("there is no such key", where=where, mend=mend)
        elif error["type"] == "missing":
            yield ConfigError(
                "this key is missing", where=where, mend="`dtm schema` shows what a run file says"
            )
        else:
            wishes = " or ".join(one["msg"].removeprefix("Input should be ") for one in group)
            yield ConfigError(f"{error['input']!r} will not do: it should be {wishes}", where=where)


def _is_type_name(part: Any) -> bool:
    return isinstance(part, str) and (
        part[:1].isupper() or "[" in part or part in ("str", "dict", "list", "constrained-int")
    )


def _known_keys(place: tuple[Any, ...], top: type[BaseModel]) -> list[str]:
    model: Any = top
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            for one in (annotation, *get_args(annotation)):
                if isinstance(one, type) and issubclass(one, BaseModel):
                    model = one
    return sorted(field.alias or name for name, field in model.model_fields.items())
