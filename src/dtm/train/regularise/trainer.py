"""The trainer of a regularised training, in a worker: TRL's SFTTrainer with one term more in its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from trl import SFTTrainer

from dtm.foundations.models import load_model
from dtm.foundations.registry import Bound, registry
from dtm.train.regularise.widening import wide

IGNORED = -100
PEFT = "base_model.model."


class Regularised(SFTTrainer):
    """SFTTrainer whose loss has `job["regularise"]` added, and whose log tells it as `penalty`.

    It keeps no state of its own: a resumed training has the base and the Fisher information from their files.
    """

    def __init__(self, job: dict[str, Any], **options: Any) -> None:
        said = job["regularise"]
        self.bound: Bound = registry("regularise").bind(said["method"], said["settings"])
        on_logits = "logits" in self.bound.method.needs
        model = options["model"]
        self.base = Base(model, job) if on_logits else None
        if on_logits:
            options["compute_loss_func"] = self._with_logits
        else:
            self.updates = updates_of(model)
            self.given = _given(self.bound, said.get("statistic"), model)
        self.batch: Any = None
        super().__init__(**options)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss; where the penalty is of the weights it is shared out over accumulated batches."""
        self.batch = inputs
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.base is not None:
            return loss
        penalty = self.bound(updates=self.updates(), **self.given)
        self._told(penalty)
        steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
        return loss + penalty.to(loss.device) / steps

    def _with_logits(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        """Mean negative log likelihood of the tokens that carry loss, and the mean penalty on them."""
        from torch.nn.functional import cross_entropy

        targets_NT = labels[:, 1:]
        told_NT = targets_NT != IGNORED
        logits_TV = outputs.logits[:, :-1][told_NT]
        base_TV = self.base(self.batch, self.accelerator.autocast)[:, :-1][told_NT]  # type: ignore[misc]
        penalty = self.bound(logits=logits_TV, base_logits=base_TV)
        whole = num_items_in_batch is not None  # tokens of all batches and processes of a step
        count = max(1, int(num_items_in_batch if whole else told_NT.sum()))
        processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        parts = self.current_gradient_accumulation_steps * processes if whole else 1
        self._told(penalty * parts / count)
        loss = cross_entropy(wide(logits_TV), targets_NT[told_NT], reduction="sum")
        return (loss + penalty) / count

    def _told(self, penalty: Any) -> None:
        mean = self.accelerator.gather(penalty.detach().reshape(1)).mean()  # over the processes
        self._metrics["train"]["penalty"].append(mean.item())


class Base:
    """The base's logits for a batch: of the model without its adapter, or of a frozen copy."""

    def __init__(self, model: Any, job: dict[str, Any]) -> None:
        self.model, self.copy = model, None
        if job["lora"] is None:
            self.copy = load_model(Path(job["base"]), job["model"], device=job["device"])
            self.copy.eval().requires_grad_(False)

    def __call__(self, batch: Mapping[str, Any], autocast: Callable[[], Any] = nullcontext) -> Any:
        """Logits [N, T, V]; a copy runs under `autocast`, as the trained model does, or equal weights would differ."""
        import torch

        inputs = {
            name: value for name, value in batch.items() if name not in ("labels", "output_router_logits")
        }
        with torch.no_grad():
            if self.copy is not None:
                with autocast():
                    return self.copy(**inputs).logits
            with _evaluating(self.model), self.model.disable_adapter():
                return self.model(**inputs).logits


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """No dropout and no noise, in any module; each is in training again afterwards, if it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def updates_of(model: Any) -> Callable[[], Iterator[tuple[str, Any]]]:
    """A function that gives each changed weight's name and its distance from now: of an adapter s B A."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        start = {
            name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad
        }
        return lambda: (
            (name, weight - start[name]) for name, weight in model.named_parameters() if name in start
        )
    layers = [(name, layer) for name, layer in model.named_modules() if hasattr(layer, "get_delta_weight")]

    def of_adapter() -> Iterator[tuple[str, Any]]:
        for name, layer in layers:
            for adapter in layer.active_adapters:
                yield f"{name.removeprefix(PEFT)}.weight", layer.get_delta_weight(adapter)

    return of_adapter


def _given(bound: Bound, statistic: str | None, model: Any) -> dict[str, Any]:
    """What the method needs beside updates: the Fisher information, fp32, where the weights are.

    Without a file, in a probe, all ones: as costly.
    """
    import torch
    from safetensors.torch import load_file

    if "fisher" not in bound.method.needs:
        return {}
    device = next(model.parameters()).device
    with torch.no_grad():
        names = {name: torch.ones_like(update) for name, update in updates_of(model)()}
    found = load_file(Path(statistic) / "statistics.safetensors") if statistic else names
    return {"fisher": {name: found[name].to(device) for name in names}}
