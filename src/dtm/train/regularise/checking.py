"""`train.regularise` before any work: the method with its settings, and what it cannot work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.registry import Bound, registry

# Of LoraConfig: with these an adapter's update is more than s B A, or the base cannot be had by disabling it.
BEYOND = ("use_dora", "modules_to_save", "target_parameters", "trainable_token_indices", "lora_bias")
# Of SFTConfig: with these no logits are made, or the loss is not the mean over tokens.
NO_LOGITS = {"use_liger_kernel": True, "loss_type": "dft", "label_smoothing_factor": None}


def check_regulariser(
    section: Any, args: Mapping[str, Any], lora: Mapping[str, Any] | None, where: Callable[[str], Any]
) -> tuple[Bound | None, list[DtmError]]:
    """The bound method of a section such as `train.regularise`, and all that is wrong with it."""
    if section is None:
        return None, []

    def place(name: str) -> Any:
        return where(f"train.regularise.{name or 'method'}")

    try:
        bound = registry("regularise").bind(section.method, section.own, where=place)
    except DtmError as error:
        return None, [error]
    return bound, list(_wrong(bound, section, args, lora or {}, where))


def _wrong(
    bound: Bound, section: Any, args: Mapping[str, Any], lora: Mapping[str, Any], where: Callable[[str], Any]
) -> Iterator[DtmError]:
    name, needs = bound.method.name, bound.method.needs
    if section.fisher is not None and "fisher" not in needs:
        yield ConfigError(f"{name!r} reads no Fisher information", where=where("train.regularise.fisher"),
                          mend="Leave it out, or use ewc")  # fmt: skip
    for key in BEYOND:
        if lora.get(key):
            yield ConfigError(f"{name!r} knows an adapter's update as s B A, and this adds to it",
                              where=where(f"train.lora.{key}"), mend="Leave it out")  # fmt: skip
    if lora.get("bias", "none") != "none":
        yield ConfigError(f"{name!r} knows an adapter's update as s B A, and biases are none",
                          where=where("train.lora.bias"), mend="Leave it out")  # fmt: skip
    for key, value in NO_LOGITS.items() if "logits" in needs else ():
        given = args.get(key)
        if given and value in (None, given):
            yield ConfigError(f"{name!r} computes the loss from the logits, without {key}: {given}",
                              where=where(f"train.args.{key}"), mend="Leave it out")  # fmt: skip
