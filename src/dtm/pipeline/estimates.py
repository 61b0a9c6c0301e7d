"""What a step will need - steps, disk, memory - from headers and settings alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dtm.foundations.files import read_json
from dtm.foundations.models import count_parameters, shards
from dtm.foundations.types import Model
from dtm.train import Settings, steps_of


def train_needs(
    base: Model, settings: Settings, rows: int, tokens: int, processes: int = 1
) -> dict[str, Any]:
    """Rows, tokens, optimizer steps, and bytes of disk and (roughly) memory that it takes to train.

    Memory is counted as DDP takes it, the whole in every process; FSDP and ZeRO take less.

    `disk` is what stays, `scratch` the two checkpoints that stand beside it while this sub-model trains.
    """
    parameters = count_parameters(base.folder)
    trained = parameters if settings.lora is None else adapter_parameters(base.folder, settings.lora)
    checkpoint = 12 * trained  # fp32 weights and Adam's two moments
    epochs = float(settings.args["num_train_epochs"])
    held = held_copies(settings) * 4 * parameters
    memory = processes * (4 * parameters + held + 12 * trained + activations(base.folder, settings))
    return {
        "rows": rows, "tokens": round(tokens * epochs), "steps": steps_of(settings, rows, processes),
        "disk": 4 * trained, "scratch": 2 * checkpoint, "memory": memory,
        "parameters": trained,
    }  # fmt: skip


def held_copies(settings: Settings) -> int:
    """Of the model's weights, in fp32, that its regulariser holds beside them: the base, an update, the Fisher."""
    needs = settings.regularise.method.needs if settings.regularise else ()
    base = 0 if settings.lora else 1
    return base * bool(needs) + ("updates" in needs) + ("fisher" in needs)


@cache
def parameters(folder: Path) -> int:
    """Values in a checkpoint's folder, read off its headers once."""
    return count_parameters(folder)


def activations(folder: Path, settings: Settings) -> int:
    """Bytes, fp32, of a full batch's activations: a rough count, 15 % below what SmolLM2-135M was seen to take.

    Four copies of the logits, and in each layer ten rows of the hidden and five of the intermediate size a
    token, of which gradient checkpointing leaves one. 0 where the config does not name its sizes.
    """
    config = read_json(folder / "config.json")
    sizes = [
        config.get(name) for name in ("vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size")
    ]
    if not all(isinstance(size, int) for size in sizes):
        return 0
    vocabulary, layers, hidden, intermediate = sizes
    a_layer = hidden if settings.args.get("gradient_checkpointing") else 10 * hidden + 5 * intermediate
    positions = settings.args["per_device_train_batch_size"] * (settings.args["max_length"] or 1024)
    return 4 * positions * (4 * vocabulary + layers * a_layer)


def peak_disk(needs: Iterable[Mapping[str, Any]], workers: int) -> int:
    """Bytes of disk at most: all that stays, and the scratch of as many steps as work at a time."""
    needs = list(needs)
    scratch = sorted((int(need.get("scratch") or 0) for need in needs), reverse=True)
    return sum(int(need.get("disk") or 0) for need in needs) + sum(scratch[:workers])


def merge_needs(base: Model, export: str) -> dict[str, Any]:
    """Bytes of disk for the merged model: as many as the base's weights."""
    if not base.folder.exists() or export == "adapter":
        return {}
    return {"disk": sum(path.stat().st_size for path in shards(base.folder)), "memory": 100_000_000}


def adapter_parameters(folder: Path, lora: Any) -> int:
    """Values in a LoRA adapter: r x (rows + columns) a target; `all-linear` skips the output head."""
    import re

    from safetensors import safe_open

    rank, targets = int(lora["r"]), lora["target_modules"]
    total = 0
    for shard in shards(folder):
        with safe_open(shard, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                shape = file.get_slice(name).get_shape()
                module = name.removesuffix(".weight")
                if len(shape) != 2 or module.endswith(("embed_tokens", "wte", "wpe")):
                    continue
                if targets == "all-linear":
                    hit = not module.endswith("lm_head")
                elif isinstance(targets, str):
                    hit = re.fullmatch(targets, module) is not None
                else:
                    hit = any(module == one or module.endswith(f".{one}") for one in targets or ())
                total += rank * sum(shape) if hit else 0
    return total
