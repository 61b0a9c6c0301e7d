"""What the statistics of a sub-model share: the model in fp32, a sample of its own rows, and one file a statistic.

A job holds: model (the base's folder), adapter (folder or None), examples (a rendered Arrow file: the
sub-model's own portion), rows (how many to draw), seed, output (folder), device, threads, and `options`, what
else from_pretrained takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.errors import DataError, ModelError
from dtm.foundations.types import Examples

Job = dict[str, Any]
Progress = Callable[[dict[str, Any]], None]
PREFIX = "base_model.model."


def open_submodel(job: Job) -> Any:
    """The sub-model in fp32 and eval mode, its adapter merged; only weights that training changed need a gradient.

    With an adapter these are the tensors that it touches: all others are the base's in every sub-model, and no
    statistic changes how equals are merged.
    """
    import torch

    from dtm.foundations.models import load_model

    torch.set_num_threads(job["threads"])
    options = {**(job.get("options") or {}), "dtype": "float32"}
    model = load_model(Path(job["model"]), options, device=job["device"])
    changed = None
    if job["adapter"]:
        from peft import PeftModel

        changed = touched(Path(job["adapter"]))
        model = PeftModel.from_pretrained(model, job["adapter"]).merge_and_unload()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(changed is None or name in changed)
    return model.eval()


def touched(adapter: Path) -> set[str]:
    """The names of the base's tensors that a LoRA adapter changes, from its header alone."""
    from safetensors import safe_open

    names = set()
    with safe_open(adapter / "adapter_model.safetensors", framework="np") as file:
        for key in file.keys():  # noqa: SIM118 - not a mapping
            module, lora, rest = key.removeprefix(PREFIX).partition(".lora_")
            leaf = "bias" if rest.endswith(".bias") else "weight"
            names.add(f"{module}.{leaf}" if lora else module.replace(".modules_to_save.", "."))
    return names


def draw_rows(job: Job, progress: Progress) -> Iterator[tuple[Any, Any]]:
    """(input_ids [1, T] int64, said [T] bool) on the device, of `rows` rows drawn without replacement."""
    import numpy as np
    import torch

    examples = Examples.open(Path(job["examples"]))
    if not examples.rendered or not len(examples):
        raise DataError("there is no rendered row to gather a statistic on", where=job["examples"])
    count = min(job["rows"], len(examples))
    chosen = np.sort(np.random.default_rng(job["seed"]).choice(len(examples), count, replace=False))
    for done, row in enumerate(examples.take(chosen).rows(), 1):
        ids_T = torch.tensor(row["input_ids"], dtype=torch.long, device=job["device"])
        said_T = torch.tensor(row["assistant_mask"], dtype=torch.bool, device=job["device"])
        yield ids_T[None], said_T
        progress({"done": done, "total": count})


def save(job: Job, tensors: Mapping[str, Any]) -> None:
    """Write `statistics.safetensors`: fp32 arrays under the names that the base's files give the weights.

    Raises ModelError where a statistic is not finite, or the base's files do not know a name.
    """
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from dtm.foundations.models import shards

    known: set[str] = set()
    for shard in shards(Path(job["model"])):
        with safe_open(shard, framework="np") as file:
            known.update(file.keys())
    if strange := sorted(tensors.keys() - known):
        raise ModelError(
            f"the model calls a weight {strange[0]!r}, and its files do not", where=job["model"],
            mend="Choose a merge method that needs no statistics",
        )  # fmt: skip
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise ModelError(f"the statistic of {name!r} is not finite", where=job["adapter"] or job["model"])
    save_file(dict(tensors), Path(job["output"]) / "statistics.safetensors", {"format": "pt"})
