"""A PEFT LoRA adapter read as what it does to each tensor of its base.

    W' = W + s B A                        s = alpha / r, or alpha / sqrt(r) with rsLoRA   (arXiv:2106.09685, 2312.03732)
    W' = m (W + s B A) / |W + s B A|      DoRA: the norm of every output row              (arXiv:2402.09353)
    b' = b + s b_B                        lora_bias
    W' = the stored tensor                modules_to_save, trained biases

What we cannot reproduce exactly is refused by its name in the adapter's config.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod, sqrt
from pathlib import Path
from typing import Any

from dtm.foundations.errors import DtmError, MissingInput, ModelError, several
from dtm.merge.checkpoint import CONVERT, Stored, open_file, read_object

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
REFUSED = (
    "target_parameters", "trainable_token_indices", "layer_replication", "megatron_config", "arrow_config",
    "use_qalora", "use_bdlora", "kasa_config", "velora_config", "monteclora_config", "alora_invocation_tokens",
)  # fmt: skip
PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?:\.(?!weight$|bias$)[^.]+)?(?:\.(?P<leaf>weight|bias))?"
)


@dataclass(frozen=True)
class Factors:
    """A LoRA pair: `A` [r, in...] and `B` [out, r]; an embedding's update is their product transposed."""

    A: Stored
    B: Stored
    scale: float
    embedding: bool = False
    magnitude: Stored | None = None  # [out], DoRA only

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    def fits(self, shape: tuple[int, ...]) -> bool:
        return self.transposed(shape) is not None

    def transposed(self, shape: tuple[int, ...]) -> bool | None:
        """Whether B A must be turned to become that tensor's update; None where neither way fits."""
        out, within = self.B.shape[0], prod(self.A.shape[1:])
        straight = len(shape) >= 2 and shape[0] == out and prod(shape[1:]) == within
        turned = shape == (within, out)
        if straight and turned:
            return self.embedding or self.fan_in
        return False if straight else True if turned else None

    fan_in: bool = False  # the base stores [in, out], as GPT-2's Conv1D; decides for square tensors only


@dataclass(frozen=True)
class Adapter:
    """An adapter folder: per module its factors, per bias its addition, per saved tensor its value."""

    folder: Path
    config: dict[str, Any]
    factors: dict[str, Factors] = field(default_factory=dict)  # by the name of the weight, without prefix
    biases: dict[str, tuple[Stored, float]] = field(default_factory=dict)
    saved: dict[str, Stored] = field(default_factory=dict)

    @property
    def base_name(self) -> str | None:
        return self.config.get("base_model_name_or_path")

    @property
    def names(self) -> set[str]:
        """Every tensor of the base that it touches."""
        return {*self.factors, *self.biases, *self.saved}


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).exists()


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter's config and header.

    Raises MissingInput and ModelError on files that are missing or damaged, pickles, and kinds of
    adapter that cannot be merged exactly.
    """
    config = read_object(folder / CONFIG)
    if errors := _unsupported(config, folder):
        raise several(errors)
    if not (folder / WEIGHTS).exists():
        if (folder / "adapter_model.bin").exists():
            raise ModelError("holds its weights as a pickle, adapter_model.bin", where=folder, mend=CONVERT)
        raise MissingInput(f"has no {WEIGHTS}", where=folder)
    tensors = {_bare(name): tensor for name, tensor in open_file(folder / WEIGHTS).items()}
    modules: dict[str, dict[str, Stored]] = {}
    saved = {}
    for name, tensor in tensors.items():
        if match := PART.fullmatch(name):
            part = match["part"] + (".bias" if match["leaf"] == "bias" else "")
            modules.setdefault(match["module"], {})[part] = tensor
        elif "lora_" in name or "token_adapter" in name:
            raise ModelError(f"tensor {tensor.name!r} is of a kind that we cannot merge", where=folder)
        else:
            saved[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = tensor
    factors, biases = {}, {}
    for module, parts in sorted(modules.items()):
        pair = factors[f"{module}.weight"] = _factors(module, parts, config, folder)
        if bias := parts.get("lora_B.bias"):
            biases[f"{module}.bias"] = (bias, pair.scale)
    return Adapter(folder, config, factors, biases, saved)


def _unsupported(config: dict[str, Any], folder: Path) -> list[DtmError]:
    kind = config.get("peft_type")
    if kind != "LORA":
        return [
            ModelError(f"is an adapter of type {kind!r}; only LORA merges exactly", where=folder / CONFIG)
        ]
    return [
        ModelError(f"uses `{name}`, which we cannot merge exactly", where=folder / CONFIG,
                   mend="Merge it into its base with peft's merge_and_unload and give the folder")
        for name in REFUSED if config.get(name)
    ]  # fmt: skip


def _bare(name: str) -> str:
    return name.removeprefix("base_model.model.")


def _factors(module: str, parts: dict[str, Stored], config: dict[str, Any], folder: Path) -> Factors:
    embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    kind = "lora_embedding_" if embedding else "lora_"
    if missing := [part for part in (kind + "A", kind + "B") if part not in parts]:
        raise ModelError(f"module {module!r} lacks {missing[0]}", where=folder / WEIGHTS)
    A, B = parts[kind + "A"], parts[kind + "B"]
    rank = _setting(config, "rank_pattern", "r", module)
    if A.shape[0] != rank or prod(B.shape) != B.shape[0] * rank:
        raise ModelError(
            f"module {module!r} has factors {list(A.shape)} and {list(B.shape)}, and its config says rank {rank}",
            where=folder / WEIGHTS,
        )
    alpha = _setting(config, "alpha_pattern", "lora_alpha", module)
    scale = alpha / (sqrt(rank) if config.get("use_rslora") else rank)
    magnitude = parts.get("lora_magnitude_vector")
    if bool(config.get("use_dora")) != (magnitude is not None):
        raise ModelError(f"module {module!r} and `use_dora` do not agree", where=folder / CONFIG)
    return Factors(A, B, scale, embedding, magnitude, bool(config.get("fan_in_fan_out")))


def _setting(config: dict[str, Any], patterns: str, default: str, module: str) -> Any:
    """peft's rule: the first pattern that matches the end of the module's name, else the default."""
    value = config.get(default)
    for pattern, own in (config.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            value = own
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ModelError(f"`{default}` is {value!r} for module {module!r}", where=CONFIG)
    return value
