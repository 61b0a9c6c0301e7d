"""Before any work: bind every method, open every input. A typo in `merge` must not surface after training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dtm.data as data
import dtm.disperse
import dtm.evaluate.tasks as tasks
import dtm.merge.methods
import dtm.recipes  # noqa: F401
from dtm.config import Config, Recipe, RunFile
from dtm.foundations.chat import Template, choose_template
from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.models import Located, locate
from dtm.foundations.registry import Bound, registry
from dtm.foundations.signals import check_embedder
from dtm.train import Settings, check_settings


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
    threads: int
    device: str

    @property
    def config(self) -> Config:
        return self.file.config

    @property
    def numerics(self) -> dict[str, Any]:
        """What arithmetic depends on besides its inputs; part of every heavy step's key."""
        return {"threads": self.threads, "device": self.device, "processes": 1}


def check(file: RunFile) -> Checked:
    """Bind and open all that the run file names; every mistake is raised at once."""
    config, errors = file.config, []

    def attempt(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except DtmError as error:
            errors.append(error)
            return None

    recipe = attempt(lambda: _recipe(config.recipe, file.where("recipe")))
    baselines = [attempt(partial(_recipe, one, file.where("baselines"))) for one in config.baselines]
    base = attempt(lambda: locate(config.base, file.root, where=file.where("base")))
    sources = attempt(lambda: data.resolve(config.data, file.root))
    attempt(lambda: choose_template(config.chat.template, None, where=file.where("chat.template")))
    disperse = attempt(lambda: _bind("disperse", config.disperse, file))
    if disperse is not None and "embedding" in disperse.method.needs:
        where = file.where("disperse.embedder")
        attempt(lambda: check_embedder(config.disperse.embedder, where=where))
    merge = attempt(lambda: _bind("merge", config.merge, file))
    attempt(lambda: _check_merge(file))
    chosen = attempt(
        lambda: tasks.resolve(config.evaluate.tasks, file.root, limit=config.evaluate.limit, where=file.where)
    )
    train, wrong = check_settings(
        config.train.args, config.train.lora, config.train.same_adapter_init, file.where
    )
    errors += wrong
    threads = attempt(lambda: _threads(file))
    attempt(lambda: _check_folder(file))
    if errors:
        raise several(errors)
    return Checked(
        file, recipe, tuple(baselines), base, tuple(sources),
        lambda own: choose_template(config.chat.template, own), disperse, train, merge, tuple(chosen),
        threads, _device(config.launch.device),
    )  # fmt: skip


def _recipe(recipe: Recipe, where: str) -> Bound:
    return registry("recipe").bind(recipe.method, recipe.own, where=where)


def _bind(kind: str, section: Any, file: RunFile) -> Bound:
    return registry(kind).bind(section.method, section.own, where=file.where(kind))


def _check_merge(file: RunFile) -> None:
    config, where = file.config, file.where
    merge = config.merge
    if isinstance(merge.weights, list):
        if len(merge.weights) != config.disperse.k:
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


def _threads(file: RunFile) -> int:
    launch, cores = file.config.launch, os.cpu_count() or 1
    threads = launch.threads or max(1, cores // launch.workers)
    if launch.workers * threads > max(cores, launch.workers):
        raise ConfigError(
            f"{launch.workers} workers x {threads} threads are more than this machine's {cores} cores, which "
            "makes training many times slower",
            where=file.where("launch"),
            mend=f"Set launch.threads to {max(1, cores // launch.workers)}",
        )
    return threads


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


def _device(wanted: str) -> str:
    """`auto` asks torch only where the machine shows a GPU: importing it takes seconds."""
    if wanted == "cpu" or (wanted == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("torch sees no CUDA device", where="launch.device", mend="Set launch.device: cpu")
    return "cpu"
