"""What goes into a merge: the base and the sub-models, opened and checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, MissingInput, ModelError, several
from dtm.merge.adapter import Adapter, is_adapter, open_adapter
from dtm.merge.checkpoint import Checkpoint, open_checkpoint

Where = Path | tuple[Path, Path]  # a folder, or a dense model and an adapter upon it


@dataclass(frozen=True)
class Submodel:
    """A dense model, an adapter upon the merge's base, or a dense model with an adapter of its own."""

    name: str
    checkpoint: Checkpoint | None = None
    adapter: Adapter | None = None

    @property
    def folder(self) -> Path:
        return (self.adapter or self.checkpoint).folder  # type: ignore[union-attr]


@dataclass(frozen=True)
class Inputs:
    base: Checkpoint | None
    models: list[Submodel]

    @property
    def reference(self) -> Checkpoint:
        """The checkpoint whose names, shapes, types and files the output has: the base, or the first model."""
        return self.base or next(model.checkpoint for model in self.models if model.checkpoint)

    @property
    def all_adapters(self) -> bool:
        return all(model.adapter is not None and model.checkpoint is None for model in self.models)


def open_inputs(base: Path | None, models: Sequence[Where]) -> Inputs:
    """Open everything; raises all that is wrong with any of them at once."""
    errors: list[DtmError] = []

    def attempt(open_one: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return open_one(*arguments)
        except DtmError as error:
            errors.append(error)
        except OSError as error:
            errors.append(MissingInput(f"cannot be read ({error.strerror})", where=arguments[0]))

    if not models:
        raise ConfigError("there is no model to merge")
    opened = Inputs(
        attempt(_open_base, base) if base else None, [attempt(_open_model, one) for one in models]
    )
    if errors:
        raise several(errors)
    if base is None and any(model.adapter and not model.checkpoint for model in opened.models):
        raise ConfigError("an adapter is merged into a base, and no base is given", mend="Give `base:`")
    _one_base([model.adapter for model in opened.models if model.adapter and not model.checkpoint])
    return opened


def _open_base(folder: Path) -> Checkpoint:
    if is_adapter(folder):
        raise ModelError("is an adapter, and a base has to be a whole model", where=folder)
    return open_checkpoint(folder)


def _open_model(where: Where) -> Submodel:
    if isinstance(where, tuple):
        dense, adapter = where
        return Submodel(adapter.name, _open_base(dense), open_adapter(adapter))
    if not where.is_dir():
        raise MissingInput("there is no such model folder", where=where)
    if is_adapter(where):
        return Submodel(where.name, adapter=open_adapter(where))
    return Submodel(where.name, checkpoint=open_checkpoint(where))


def _one_base(adapters: list[Adapter]) -> None:
    """Adapters trained on different bases are refused; one base by two paths shows in its last part only."""
    named = {Path(adapter.base_name).name: adapter for adapter in adapters if adapter.base_name}
    if len(named) > 1:
        (first, one), (second, other), *_ = sorted(named.items())
        raise ModelError(
            f"the adapters were trained on different bases: {one.folder.name} on {first!r}, "
            f"{other.folder.name} on {second!r}",
            mend="Merge adapters of one base, or give each as `model: BASE+ADAPTER`",
        )
