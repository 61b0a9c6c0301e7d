"""What watches a training run: progress, checkpoints that are stamped, a stop in time, a loss that must stay finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from dtm.foundations.launch import leaving
from dtm.foundations.speed import Speed
from dtm.train import logged
from dtm.train.checkpoints import keep_newest, keep_point, plan_points, points_of
from dtm.train.saving import Saver
from dtm.train.sft import check_finite


class Watch(TrainerCallback):
    """Reports every step, stamps every checkpoint, and stops on a loss that is not finite.

    `tokens` are those that one epoch reads.
    Asked to leave, it has a checkpoint written behind the step in hand. `trainer` is set once there is one; `keep` is
    how many checkpoints stay: the trainer itself would tell old from new by a clock that may have been set back.
    """

    def __init__(
        self,
        name: str,
        progress: Callable[[dict[str, Any]], None],
        stamp: Callable[[Path], None],
        *,
        tokens: int,
        stop_after: int = 0,
    ) -> None:
        self.name, self.progress, self.stamp, self.stop_after = name, progress, stamp, stop_after
        self.loss: float | None = None
        self.rate: float | None = None
        self.told: dict[str, Any] = {}
        self.tokens, self._token_speed, self._step_speed = tokens, Speed(), Speed()
        self.trainer: Any = None
        self.keep: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        logged.restore(self.trainer, Path(args.output_dir) / f"checkpoint-{state.global_step}")
        leaving.able()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        tokens, a_second = round(self.tokens * (state.epoch or 0.0)), self._step_speed.seen(state.global_step)
        self.told = {
            "stage": "training",
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": self.loss,
            "learning_rate": self.rate,
            "tokens": tokens,
            "tokens_per_second": self._token_speed.seen(tokens),
            "seconds_left": (state.max_steps - state.global_step) / a_second if a_second else None,
        }
        self.progress(self.told)
        if self.stop_after and state.global_step >= self.stop_after:
            control.should_training_stop = True
            control.should_save = False
        elif state.global_step < state.max_steps and _all_asked(args.device):
            control.should_training_stop = control.should_save = True
            leaving.leave(state.global_step)
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        last = {"loss": self.loss, "learning_rate": self.rate}  # a step is logged behind its end
        self.progress({**self.told, "stage": "saving", **last})

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        for key in ("loss", "grad_norm", "train_loss"):  # the last is told even where logging is off
            if logs and key in logs:
                check_finite(float(logs[key]), self.name, state.global_step)
        if logs and "loss" in logs:
            self.loss, self.rate = float(logs["loss"]), logs.get("learning_rate")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        from accelerate import PartialState

        scratch = Path(args.output_dir)
        checkpoint = scratch / f"checkpoint-{state.global_step}"
        logged.save(self.trainer, checkpoint)
        PartialState().wait_for_everyone()  # each process writes files of its own
        if state.is_world_process_zero:
            self.stamp(checkpoint)
            keep_newest(scratch, self.keep)


def _all_asked(device: Any) -> bool:
    """Whether to stop behind this step; in a gang all processes come to one answer."""
    import torch

    asked = leaving.asked()
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return asked
    flag = torch.tensor([float(asked)], device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag.item() > 0)


class KeepPoints(TrainerCallback):
    """Keeps the model at shares of the run; it stands in scratch before the trainer's own checkpoint does.

    So a training that goes on from that checkpoint finds all points of the steps that it does not repeat.
    """

    def __init__(self, job: dict[str, Any], saver: Saver) -> None:
        self.scratch, self.saver = Path(job["scratch"]), saver
        self.shares = [] if job.get("probe") else job.get("checkpoints") or []
        self.steps: list[int] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.shares:
            self.steps = sorted(set(points_of(self.shares, state.max_steps).values()))
            if state.is_world_process_zero:
                plan_points(self.scratch, self.steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.steps:
            weights = self.saver.gathered()
            if state.is_world_process_zero:
                keep_point(self.scratch, state.global_step, lambda folder: self.saver.write(folder, weights))
