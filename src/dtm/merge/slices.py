"""Models stacked from layers of several: which tensor of which sub-model becomes which tensor of the output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.merge.checkpoint import Checkpoint
from dtm.merge.inputs import Inputs
from dtm.merge.matching import Wanted
from dtm.merge.request import Slice
from dtm.merge.scalars import FIRST, layer_of

NUMBER = re.compile(r"((?:^|\.))(\d+)((?:\.|$))")


def renumbered(name: str, layer: int) -> str:
    """The tensor's name in another layer."""
    return NUMBER.sub(rf"\g<1>{layer}\g<3>", name, count=1)


def sliced_tensors(inputs: Inputs, slices: Sequence[Slice]) -> list[Wanted]:
    """Every tensor of the stacked model. Tensors before the layers come from the first slice's sub-models, those
    behind them from the last's. Raises ConfigError for layers that a model does not have.
    """
    reference = inputs.reference
    wanted, errors, start = [], [], 0
    for number, one in enumerate(slices):
        errors += _missing_layers(inputs, one)
        for step in range(one.layers):
            template = _names_of(_checkpoint(inputs, one.sources[0][0]), one.sources[0][1] + step)
            for name in template:
                base = renumbered(name, one.base[0] + step) if one.base and inputs.base else None
                sources = tuple((k, renumbered(name, first + step)) for k, first, _ in one.sources)
                wanted.append(Wanted(renumbered(name, start + step), base, sources, number))
        start += one.layers
    for name in reference.tensors:
        if layer_of(name) is None:
            number = 0 if FIRST.search(name) else len(slices) - 1
            sources = tuple((k, name) for k, _, _ in slices[number].sources)
            wanted.append(Wanted(name, name if inputs.base else None, sources, number))
    if errors:
        raise several(errors)
    return wanted


def slice_depths(slices: Sequence[Slice], wanted: Sequence[Wanted]) -> dict[str, float]:
    """How far each tensor stands in its own slice: 0 in the first layer, 1 in the last."""
    starts = [sum(one.layers for one in slices[:number]) for number in range(len(slices))]
    found = {}
    for one in wanted:
        layer = layer_of(one.name)
        if layer is None:
            found[one.name] = 0.0 if FIRST.search(one.name) else 1.0
        else:
            last = slices[one.slice].layers - 1
            found[one.name] = (layer - starts[one.slice]) / last if last else 0.0
    return found


def config_changes(config: dict[str, Any], slices: Sequence[Slice]) -> dict[str, Any]:
    """The config's keys that count layers."""
    key = next((key for key in ("num_hidden_layers", "n_layer", "num_layers") if key in config), None)
    changes: dict[str, Any] = {} if key is None else {key: sum(one.layers for one in slices)}
    if isinstance(kinds := config.get("layer_types"), list):
        layers = [
            first + step for one in slices for _, first, _ in one.sources[:1] for step in range(one.layers)
        ]
        changes["layer_types"] = [kinds[layer] for layer in layers if layer < len(kinds)]
    return changes


def _checkpoint(inputs: Inputs, k: int) -> Checkpoint:
    return inputs.models[k].checkpoint or inputs.base  # type: ignore[return-value]


def _names_of(checkpoint: Checkpoint, layer: int) -> list[str]:
    return [name for name in checkpoint.tensors if layer_of(name) == layer]


def _missing_layers(inputs: Inputs, one: Slice) -> list[DtmError]:
    errors: list[DtmError] = []
    for k, _, last in one.sources:
        checkpoint = _checkpoint(inputs, k)
        count = 1 + max((layer_of(name) or 0 for name in checkpoint.tensors), default=0)
        if last > count:
            errors.append(ConfigError(f"`layer_range` ends at {last}, and the model has {count} layers",
                                      where=inputs.models[k].folder))  # fmt: skip
    return errors
