"""The training job, in a worker: one base, one set of rendered examples, one model folder."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtm.foundations.adapters import lora_config
from dtm.foundations.errors import ConfigError, TrainingError
from dtm.foundations.files import link, walk, write_json
from dtm.foundations.launch import leaving
from dtm.foundations.models import load_model
from dtm.foundations.types import Examples
from dtm.train.checkpoints import POINTS, STAMP, discard_broken, latest, points_of, stamp
from dtm.train.dropout import check_dropout, check_effect, given_rates
from dtm.train.reporting import named, reporting
from dtm.train.saving import Saver, is_sharded

CURVE_POINTS = 200
CHECKPOINTS = 10


def train(job: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Fine-tune and write a model folder (an adapter's folder with LoRA).

    `job` holds: name, base (folder), base_name, examples (Arrow file with TOKENS), output, scratch,
    args (SFTConfig's), lora (LoraConfig's or null), model (from_pretrained's), seed, adapter_seed,
    threads, device, processes, `regularise`, null or {method, settings, statistic (a folder, or null)}, `dropout`,
    null or rates, `reporting` (name, group, folder and id, for trackers, or null), `probe`, a number of steps after
    which to stop (0: none), and `checkpoints`: shares of the optimizer steps (`3/10`) at which the model is kept as
    well, in `checkpoints/STEP/`. Returns steps,
    tokens (that carried loss), input_tokens, and checkpoints: {share: {step, share, steps, tokens}}.
    Resumes from the last whole checkpoint in scratch; asked to stop, it raises Left, with a checkpoint behind the step
    in hand. In a gang all processes call it, and the first one writes.
    """
    import torch

    torch.set_num_threads(job["threads"])
    progress({"stage": "loading"})
    data, total, trained = _dataset(job)
    with reporting(job):
        trainer, saver = _trainer(job, data, total, progress)
        checkpoint = latest(Path(job["scratch"]))
        if checkpoint is not None:
            progress({"stage": "resuming", "step": int(checkpoint.name.rpartition("-")[2])})
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    leaving.check()
    state = trainer.state
    output = Path(job["output"])
    weights = saver.gathered()
    if not trainer.is_world_process_zero():
        return {}
    saver.write(output, weights)
    share = state.epoch if state.epoch is not None else 0.0
    curve = [_point(entry, trained) for entry in state.log_history if "loss" in entry]
    write_json(output / "training.json", {"steps": state.global_step, "epochs": share, "curve": curve})
    result = {
        "steps": state.global_step,
        "tokens": round(trained * share),
        "input_tokens": round(total * share),
    }
    if job.get("checkpoints") and not job.get("probe"):
        result["checkpoints"] = _kept_points(job, state.global_step, trained * share)
    del trainer, saver, weights
    gc.collect()
    return result


def check(job: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Build the config objects, so that a bad value is found before the first sub-model trains."""
    arguments(job, total_steps=1)
    if job["lora"] is not None:
        lora_config(job["lora"])
    if job.get("dropout"):
        check_dropout(Path(job["base"]), job["dropout"])
    return {}


def warm(job: dict[str, Any], *, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Import what a training needs, which takes seconds: a job for a worker that has nothing else to do yet."""
    import datasets  # noqa: F401
    import torch  # noqa: F401
    from trl import SFTConfig, SFTTrainer  # noqa: F401

    return {}


def arguments(
    job: dict[str, Any], *, total_steps: int, owner: str = "SFTConfig", section: str = "train"
) -> Any:
    """trl's SFTConfig or DPOConfig from the job: ours where reproducibility needs it, the user's everywhere else."""
    import trl

    own: dict[str, Any] = {
        "output_dir": job["scratch"], "report_to": "none", "disable_tqdm": True,
        "seed": job["seed"], "data_seed": job["seed"], "use_cpu": job["device"] == "cpu",
        "bf16": job["device"] == "cuda" and not job["args"].get("fp16"),
        "logging_nan_inf_filter": False, "logging_steps": max(1, total_steps // CURVE_POINTS),
        "save_strategy": "steps", "save_steps": max(1, total_steps // CHECKPOINTS), "save_total_limit": 2,
        "dataloader_pin_memory": job["device"] != "cpu",
    }  # fmt: skip
    try:
        config = getattr(trl, owner)(**{**own, **job["args"], **named(job)})
    except (TypeError, ValueError) as error:
        what = f"trl's {owner} refused the settings: {error}"
        raise ConfigError(what, where=f"{section}.args") from error
    if config.save_strategy == "steps" and config.save_steps >= 1 and config.logging_steps >= 1:
        # A checkpoint between two logs would split the mean that the next log shows: round up to a log.
        logging = int(config.logging_steps)
        config.save_steps = -(-int(config.save_steps) // logging) * logging
    return config


def _trainer(
    job: dict[str, Any], data: Any, tokens: int, progress: Callable[[dict[str, Any]], None]
) -> tuple[Any, Saver]:
    from accelerate import PartialState
    from transformers import AutoTokenizer, set_seed
    from trl import SFTTrainer

    from dtm.train.callbacks import KeepPoints, Watch

    config = arguments(job, total_steps=job["total_steps"])  # it also joins the gang
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    dropout = job.get("dropout") or {}
    job["given_dropout"] = given_rates(Path(job["base"]), dropout) if dropout else {}
    model = load_model(
        Path(job["base"]), {**job["model"], **dropout}, device="cpu" if is_sharded() else job["device"]
    )
    check_effect(model, dropout)
    if job["lora"] is not None:
        from peft import get_peft_model, prepare_model_for_kbit_training

        if job["model"].get("quantization"):
            model = prepare_model_for_kbit_training(model)
        set_seed(job["adapter_seed"])
        model = get_peft_model(model, lora_config(job["lora"]))
    set_seed(job["seed"])
    if PartialState().is_main_process:
        discard_broken(Path(job["scratch"]))
    PartialState().wait_for_everyone()
    saver = Saver(job, tokenizer, model)
    watch = Watch(job["name"], progress, stamp, tokens=tokens, stop_after=job.get("probe", 0))
    watch.keep, config.save_total_limit = config.save_total_limit, None
    options = {"model": model, "args": config, "train_dataset": data, "processing_class": tokenizer,
               "callbacks": [KeepPoints(job, saver), watch]}  # fmt: skip
    if job.get("regularise"):
        from dtm.train.regularise.trainer import Regularised

        saver.trainer = Regularised(job, **options)
    else:
        saver.trainer = SFTTrainer(**options)
    watch.trainer = saver.trainer
    return saver.trainer, saver


def _dataset(job: dict[str, Any]) -> tuple[Any, int, int]:
    """Columns input_ids and labels (-100 where nothing is learnt), all tokens, tokens that carry loss."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset

    examples = Examples.open(Path(job["examples"]))
    ids = examples.table.column("input_ids").combine_chunks()
    mask = examples.table.column("assistant_mask").combine_chunks()
    flat = np.asarray(pc.list_flatten(ids)).astype(np.int64)
    said = np.asarray(pc.list_flatten(mask))
    offsets = np.concatenate([[0], np.cumsum(np.asarray(pc.list_value_length(ids)))]).astype(np.int32)
    labels = np.where(said, flat, -100)
    table = pa.table({
        "input_ids": pa.ListArray.from_arrays(offsets, flat),
        "labels": pa.ListArray.from_arrays(offsets, labels),
    })  # fmt: skip
    return Dataset(table), int(flat.size), int(said.sum())


def _kept_points(job: dict[str, Any], steps: int, tokens: float) -> dict[str, dict[str, Any]]:
    """Move the points from scratch into the output, and say what each is: by share as it was asked for."""
    kept = points_of(job["checkpoints"], steps)
    points, output = Path(job["scratch"]) / POINTS, Path(job["output"]) / "checkpoints"
    for step in sorted(set(kept.values())):
        for name, path in walk(points / str(step)):
            if name != STAMP:
                link(path, output / str(step) / name)
    return {
        asked: {"step": step, "steps": step, "share": step / steps, "tokens": round(tokens * step / steps)}
        for asked, step in kept.items()
    }


def _point(entry: dict[str, Any], trained: int) -> dict[str, Any]:
    """One point of the loss curve; tokens that carried loss so far (trl's own count restarts on resume)."""
    names = ("step", "epoch", "loss", "penalty", "learning_rate", "grad_norm")
    return {
        **{name: entry[name] for name in names if name in entry},
        "tokens": round(trained * entry["epoch"]),
    }


def check_finite(value: float, name: str, step: int) -> None:
    """Raise TrainingError where a loss or gradient norm is not finite."""
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss of {name} is {value} at step {step}, so training was stopped",
            mend="Try a lower train.args.learning_rate, a longer warm-up, or max_grad_norm: 0.3; float16 "
            "overflows where bfloat16 and float32 do not",
        )
