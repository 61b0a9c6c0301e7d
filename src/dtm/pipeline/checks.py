"""Before any work: bind every method, open every input. A typo in `merge` must not surface after training."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import dtm.augment
import dtm.data as data
import dtm.evaluate.tasks as tasks
import dtm.merge.methods
import dtm.recipes  # noqa: F401
from dtm.config import Config, RunFile
from dtm.foundations.chat import Template, choose_template
from dtm.foundations.errors import ConfigError, DtmError, MissingInput, several
from dtm.foundations.models import Located, locate
from dtm.foundations.registry import Bound, registry, unknown
from dtm.pipeline import check_disperse
from dtm.pipeline.check_llm import check_llm
from dtm.pipeline.check_preference import Preference, check_preferring
from dtm.pipeline.check_recipe import check_recipes, check_sources
from dtm.pipeline.check_search import check_search
from dtm.pipeline.check_storage import check_storage
from dtm.pipeline.contamination import compared_tasks
from dtm.pipeline.ids import removed_of
from dtm.pipeline.kept import Kept, kept_of, settled
from dtm.pipeline.launching import Placement, check_launch
from dtm.pipeline.proposal import check_auto
from dtm.train import Settings, check_settings

ENTRY = re.compile(r"data\[(\d+)\](.*)")
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Checked:
    """A run file whose every name was found and whose every input opens."""

    file: RunFile
    recipe: Bound
    baselines: tuple[Bound, ...]
    base: Located
    sources: tuple[Any, ...]
    template: Callable[[str | None], Template]
    disperse: Bound
    train: Settings
    merge: Bound
    tasks: tuple[Any, ...]
    dev_tasks: tuple[Any, ...]
    launch: Placement
    compared: tuple[Any, ...] = ()  # tasks that the data is compared with
    kept: Kept | None = None
    removed: frozenset[str] = frozenset()
    preference: Preference | None = None
    augment: Bound | None = None

    @property
    def config(self) -> Config:
        return self.file.config

    @property
    def threads(self) -> int:
        return self.launch.share.threads

    @property
    def device(self) -> str:
        return self.launch.device

    @property
    def numerics(self) -> dict[str, Any]:
        """What arithmetic in one process depends on besides its inputs; part of every heavy step's key."""
        return {"threads": self.threads, "device": self.device, "processes": 1}


def check(file: RunFile) -> Checked:
    """Bind and open all that the run file names; every mistake is raised at once."""
    errors: list[DtmError] = []

    def attempt(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except DtmError as error:
            errors.append(error)
            return None

    attempt(lambda: check_storage(file))
    kept, removed = attempt(lambda: kept_of(file)), attempt(lambda: removed_of(file))
    file = settled(file, kept)
    config = file.config
    recipes = attempt(lambda: check_recipes(file))
    base = attempt(lambda: locate(config.base, file.root, where=file.where("base")))
    sources = attempt(lambda: _sources(file))
    attempt(lambda: choose_template(_template(file), None, where=file.where("chat.template")))
    disperse = attempt(lambda: check_disperse.bind(config.disperse, _within(file, "disperse")))
    errors += check_disperse.check_disperse(file, disperse, [one.source for one in sources or ()], kept)
    errors += check_llm(file)
    errors += check_sources(file, recipes, [one.source for one in sources or ()])
    merge = attempt(lambda: _bind("merge", config.merge, file))
    errors += check_auto(file, merge)
    attempt(lambda: _check_merge(file, merge))
    attempt(lambda: _check_model(file))
    chosen = attempt(
        lambda: tasks.resolve(config.evaluate.tasks, file.root, limit=config.evaluate.limit, where=file.where)
    )
    dev = attempt(lambda: tasks.resolve(config.dev.tasks, file.root, where=_dev_where(file)))
    attempt(lambda: check_search(file, dev or [], chosen or []))
    compared = attempt(lambda: compared_tasks(file, chosen))
    train, wrong = check_settings(
        config.train.args, config.train.lora, config.train.same_adapter_init, file.where
    )
    errors += wrong
    launch = attempt(lambda: check_launch(file, train))
    augment = attempt(lambda: _bind("augment", config.augment, file))
    attempt(lambda: _check_augment(file, augment, sources))
    preference = attempt(lambda: check_preferring(file, sources))
    attempt(lambda: _check_folder(file))
    if errors:
        raise several(errors)
    return Checked(
        file, recipes[0], tuple(recipes[1]), base, tuple(sources),
        lambda own: choose_template(_template(file), own), disperse, train, merge, tuple(chosen), tuple(dev),
        launch, tuple(compared), kept, removed, preference, augment,
    )  # fmt: skip


def _bind(kind: str, section: Any, file: RunFile) -> Bound:
    return registry(kind).bind(section.method, section.own, where=_within(file, kind))


def _within(file: RunFile, section: str) -> Callable[[str], str]:
    """Where a setting of that section stands; without a name, its method."""
    return lambda name: file.where(f"{section}.{name or 'method'}")


def _sources(file: RunFile) -> list[Any]:
    """The data entries, opened; what is wrong with `data[2].path` is told with file and line."""
    try:
        return data.resolve(file.config.data, file.root)
    except DtmError as error:
        for part in getattr(error, "parts", [error]):
            if found := ENTRY.match(part.where or ""):
                part.where = file.where(f"data.{found[1]}{found[2]}")
        raise several([error]) from None


def _check_model(file: RunFile) -> None:
    """What would fail when the first worker loads the model, and what may run code of others."""
    options, where = file.config.model, file.where
    if options.get("trust_remote_code"):
        raise ConfigError("a model's own code is never run", where=where("model.trust_remote_code"),
                          mend="Use a model whose architecture transformers has")  # fmt: skip
    dtype = options.get("dtype", "auto")
    if dtype not in DTYPES:
        raise unknown("dtype", str(dtype), DTYPES, where=where("model.dtype"))
    if options.get("quantization"):
        if file.config.train.lora is None:
            raise ConfigError("a quantised base trains adapters only, and there is no train.lora",
                              where=where("model.quantization"), mend="Add train.lora")  # fmt: skip
        if find_spec("bitsandbytes") is None:
            raise MissingInput("quantisation needs the package bitsandbytes", where=where("model.quantization"),
                               mend="Run `pip install bitsandbytes`, or leave it out")  # fmt: skip


def _check_augment(file: RunFile, augment: Bound | None, sources: list[Any] | None) -> None:
    """Who is to ask a language model names one, and sources that are named are there."""
    if augment is None:
        return
    names = {one.source for one in sources or []}
    for number, source in enumerate(augment.settings.get("sources") or []):
        if names and source not in names:
            raise unknown("source", source, names, where=file.where(f"augment.sources.{number}"))
    if augment.settings.get("by") == "llm" and file.config.llm is None:
        raise ConfigError("this asks a language model, and there is none", where=file.where("augment.by"),
                          mend="Add `llm: {model: ..., base_url: ...}`, or set augment.by: rules")  # fmt: skip


def _dev_where(file: RunFile) -> Callable[[str], object]:
    """Where a key of `dev.tasks` stands; `resolve` calls its entries `evaluate.tasks`."""
    return lambda key: file.where(key.replace("evaluate.tasks", "dev.tasks", 1))


def _check_merge(file: RunFile, bound: Bound | None) -> None:
    config, where = file.config, file.where
    merge = config.merge
    if bound is not None:
        _check_method(file, bound)
    if isinstance(merge.weights, list):
        if config.disperse.k not in ("auto", len(merge.weights)):
            raise ConfigError(
                f"{len(merge.weights)} weights for {config.disperse.k} sub-models",
                where=where("merge.weights"),
                mend="Give one weight a portion, or uniform, tokens or rows",
            )
        if sum(merge.weights) == 0:
            raise ConfigError("the weights sum to 0", where=where("merge.weights"))
    if config.train.lora is None and (merge.space == "adapter" or merge.export == "adapter"):
        key = "space" if merge.space == "adapter" else "export"
        raise ConfigError(
            f"`{key}: adapter` needs LoRA sub-models, and there is no train.lora",
            where=where(f"merge.{key}"),
            mend=f"Add train.lora, or leave {key} out",
        )


def _check_method(file: RunFile, bound: Bound) -> None:
    """What the engine would refuse once it has sub-models: their number, and adapters where it needs them."""
    config, where, name = file.config, file.where, bound.method.name
    least, most = bound.method.properties.get("models", (1, None))
    k = config.disperse.k
    if k != "auto" and (k < least or (most is not None and k > most)):
        takes = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise ConfigError(
            f"{name!r} merges {takes} models, and disperse.k is {k}", where=where("merge.method")
        )
    factors = bound.method.properties.get("form") == "factors"
    if factors and config.train.lora is None:
        raise ConfigError(f"{name!r} merges adapters, and there is no train.lora", where=where("merge.method"),
                          mend="Add train.lora, or use `linear`")  # fmt: skip
    for key, value in (("space", config.merge.space), ("export", config.merge.export)):
        if value == "adapter" and name != "linear" and not factors:
            raise ConfigError(
                f"{name!r} does not merge to an adapter", where=where(f"merge.{key}"),
                mend="Use `linear`, or a method of adapters such as lora_svd",
            )  # fmt: skip


def _template(file: RunFile) -> str:
    """The template as said; a .jinja file is looked for beside the run file first, as data is."""
    name = file.config.chat.template
    beside = file.root / name
    return str(beside) if name.endswith((".jinja", ".j2")) and beside.exists() else name


def _check_folder(file: RunFile) -> None:
    folder = file.output_dir
    if folder.exists() and not folder.is_dir():
        raise ConfigError("there is a file of that name", where=file.where("output_dir"))
    strangers = folder.is_dir() and any(folder.iterdir()) and not (folder / "run.yaml").exists()
    if strangers:
        raise ConfigError(
            f"{folder} holds files that no run made", where=file.where("output_dir"),
            mend="Choose another output_dir, or move them away",
        )  # fmt: skip
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK):
        raise ConfigError(f"{parent} cannot be written to", where=file.where("output_dir"))
