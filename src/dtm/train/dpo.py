"""The preference job, in a worker: one model, one set of pairs, one model folder. TRL's DPOTrainer.

    L = -E log sigmoid(beta [log pi(y_w | x) / pi_ref(y_w | x) - log pi(y_l | x) / pi_ref(y_l | x)])

Rafailov et al., "Direct preference optimization: your language model is secretly a reward model", arXiv:2305.18290. The
reference is the model that the step starts from: with LoRA the model without the new adapter, else a copy, of which
nothing is kept but what it says of the pairs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dtm.foundations.adapters import lora_config
from dtm.foundations.errors import TrainingError
from dtm.foundations.files import write_json, write_text
from dtm.foundations.launch import leaving
from dtm.foundations.models import load_model
from dtm.train.checkpoints import discard_broken, latest, stamp
from dtm.train.preference_card import card
from dtm.train.reporting import reporting
from dtm.train.saving import save
from dtm.train.sft import arguments

SIDES = ("chosen", "rejected")
LOGGED = {
    "rewards/chosen": "chosen_reward", "rewards/rejected": "rejected_reward", "rewards/margins": "margin",
    "rewards/accuracies": "accuracy", "logps/chosen": "chosen_logp", "logps/rejected": "rejected_logp",
}  # fmt: skip


def prefer(job: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train on pairs and write a model folder (an adapter's folder with LoRA), with a card.

    `job` holds what `sft.train` takes, but pairs (Arrow file with prompt_ids, chosen_ids, rejected_ids) in place of
    examples; `swapped`, the places of pairs whose labels are exchanged, for a control; and `yield`, what is known of
    the pairs, for the card. Returns steps, tokens (of the answers), input_tokens, and `preference`: what became of the
    log probabilities of the answers, in nats, means over pairs. Resumes from the last whole checkpoint in scratch.
    """
    import torch

    torch.set_num_threads(job["threads"])
    progress({"stage": "loading"})
    with reporting(job):
        trainer = _trainer(job, _dataset(job), progress)
        before_N2 = torch.tensor([trainer.train_dataset[f"ref_{side}_logps"][:] for side in SIDES]).T.double()
        checkpoint = latest(Path(job["scratch"]))
        if checkpoint is not None:
            progress({"stage": "resuming", "step": int(checkpoint.name.rpartition("-")[2])})
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    leaving.check()
    progress({"stage": "looking at the pairs again"})
    found = measured(before_N2, torch.cat(list(_log_probabilities(trainer))), job["name"])
    state, output = trainer.state, Path(job["output"])
    share = state.epoch or 0.0
    said, whole = _tokens(trainer.train_dataset)
    save(trainer.model, trainer.processing_class, job, output)
    _write_curve(output, state, said)
    write_json(output / "preference.json", found)
    facts = {"steps": state.global_step, "tokens": round(said * share), "input_tokens": round(whole * share),
             "preference": found}  # fmt: skip
    write_text(output / "README.md", card(job, facts))
    del trainer
    gc.collect()
    return facts


def check(job: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Build the config objects, so that a bad value is found before the first model trains."""
    arguments(_filled(job), total_steps=1, owner="DPOConfig", section="prefer")
    return {}


def measured(before_N2: Any, after_N2: Any, name: str) -> dict[str, Any]:
    """What the training did to the pairs: log probabilities of the chosen and the rejected answers before and after.

    `accuracy` is the share of pairs whose chosen answer gained more than the rejected one (no gain at all is none);
    `fell` is the alarm: the chosen answers are less likely than they were. Raises TrainingError where it is not finite.
    """
    gains_N2 = after_N2 - before_N2
    if not bool(gains_N2.isfinite().all()):
        raise TrainingError(f"{name} gives pairs no finite log probability", where="prefer",
                            mend="Try a lower prefer.args.learning_rate")  # fmt: skip
    found: dict[str, Any] = {"pairs": len(gains_N2)}
    for column, side in enumerate(SIDES):
        found[f"{side}_before"] = float(before_N2[:, column].mean())
        found[f"{side}_after"] = float(after_N2[:, column].mean())
    found["accuracy"] = float((gains_N2[:, 0] > gains_N2[:, 1]).double().mean())
    return {**found, "fell": found["chosen_after"] < found["chosen_before"]}


def _filled(job: dict[str, Any]) -> dict[str, Any]:
    """With what is ours to set."""
    return {**job, "args": {**job["args"], "precompute_ref_log_probs": True}}


def _trainer(job: dict[str, Any], data: Any, progress: Callable[[dict[str, Any]], None]) -> Any:
    from transformers import AutoTokenizer

    from dtm.train.callbacks import Watch

    config = arguments(_filled(job), total_steps=job["total_steps"], owner="DPOConfig", section="prefer")
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    model = load_model(Path(job["base"]), job["model"], device=job["device"])
    if job["lora"] is not None and job["model"].get("quantization"):
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model)
    discard_broken(Path(job["scratch"]))
    watch = Watch(job["name"], progress, stamp, tokens=_tokens(data)[1], stop_after=job.get("probe", 0))
    watch.keep, config.save_total_limit = config.save_total_limit, None
    watch.trainer = _rendered_trainer()(
        model=model, args=config, train_dataset=data, processing_class=tokenizer,
        peft_config=None if job["lora"] is None else lora_config(job["lora"]), callbacks=[watch],
    )  # fmt: skip
    return watch.trainer


@cache
def _rendered_trainer() -> type:
    """DPOTrainer for pairs that are tokens already."""
    from trl import DPOTrainer

    class RenderedTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """Ours is written in the end."""

    return RenderedTrainer


def _dataset(job: dict[str, Any]) -> Any:
    """Columns prompt_ids, chosen_ids and rejected_ids; the labels of `swapped` pairs are exchanged."""
    import pyarrow as pa
    from datasets import Dataset

    table = pa.ipc.open_file(pa.memory_map(job["pairs"])).read_all()
    rows = table.select(["prompt_ids", *(f"{side}_ids" for side in SIDES)]).to_pylist()
    for place in job.get("swapped") or ():
        row = rows[place]
        row["chosen_ids"], row["rejected_ids"] = row["rejected_ids"], row["chosen_ids"]
    return Dataset.from_list(rows)


def _log_probabilities(trainer: Any) -> Iterator[Any]:
    """Sums of log probabilities of the answers under the model as it is, fp64 [n, 2] a batch, in the pairs' order."""
    import torch
    from torch.nn.functional import cross_entropy

    data, model = trainer.train_dataset, trainer.model.eval()
    size = trainer.args.per_device_train_batch_size
    names = ("prompt_ids", *(f"{side}_ids" for side in SIDES))
    for start in range(0, len(data), size):
        rows = [
            {name: data[place][name] for name in names}
            for place in range(start, min(start + size, len(data)))
        ]
        batch = {name: one.to(model.device) for name, one in trainer.data_collator(rows).items()}
        with torch.inference_mode(), trainer.accelerator.autocast():
            logits_NTV = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
            ).logits
        targets_NT, said_NT = batch["input_ids"][:, 1:], batch["completion_mask"][:, 1:].bool()
        losses_NT = cross_entropy(logits_NTV[:, :-1].float().transpose(1, 2), targets_NT, reduction="none")
        sums_N = -losses_NT.double().where(said_NT, 0).sum(1).cpu()
        yield torch.stack(sums_N.chunk(2), dim=1)


def _tokens(data: Any) -> tuple[int, int]:
    """Tokens of the answers over all pairs, and of all that is read, the prompt twice."""
    prompts = sum(map(len, data["prompt_ids"]))
    said = sum(sum(map(len, data[f"{side}_ids"])) for side in SIDES)
    return said, 2 * prompts + said


def _write_curve(output: Path, state: Any, said: int) -> None:
    """training.json as `sft` writes it, with the rewards and log probabilities that TRL logs."""
    names = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    curve = [
        {**{name: entry[name] for name in names if name in entry},
         **{ours: entry[name] for name, ours in LOGGED.items() if name in entry},
         "tokens": round(said * entry["epoch"])}
        for entry in state.log_history if "loss" in entry
    ]  # fmt: skip
    write_json(
        output / "training.json", {"steps": state.global_step, "epochs": state.epoch or 0.0, "curve": curve}
    )
