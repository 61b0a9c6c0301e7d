"""The Gram matrix of every linear layer's inputs: in which directions a sub-model's own data reaches it.

Jin et al., "Dataless Knowledge Fusion by Merging Weights of Language Models", arXiv:2212.09849.

    G = sum over rows and tokens of x x'        x [in]: what stands before the layer, prompt and response alike
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.signals.submodel import Job, Progress, draw_rows, open_submodel, save


def gram(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `statistics.safetensors`: fp32 [in, in], under the weight's name, for each linear layer that changed.

    Only layers that compute x W' with W [out, in] and that some row reached: others, such as GPT-2's transposed
    ones, have no matrix, so that methods average them. Products are summed in fp64 on the CPU; layers that read one
    and the same tensor (query, key, value) share the sum. For a job's keys see `submodel`. Returns {rows, statistic}.
    """
    import torch

    model = open_submodel(job)
    weights = {name for name, weight in model.named_parameters() if weight.requires_grad}
    layers = {
        name: module for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in weights
    }  # fmt: skip
    sums = _Sums()
    hooks = [module.register_forward_pre_hook(sums.hook(name)) for name, module in layers.items()]
    count = 0
    try:
        with torch.inference_mode():
            for ids_1T, _ in draw_rows(job, progress):
                model(input_ids=ids_1T, use_cache=False)
                sums.end_row()
                count += 1
    finally:
        for hook in hooks:
            hook.remove()
    save(job, {f"{name}.weight": sums.of(name) for name in layers if name in sums.leader})
    return {"rows": count, "statistic": "gram"}


class _Sums:
    """A running sum for each distinct input; `leader` says whose sum a layer's is, as the first row showed."""

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.leader: dict[str, str] = {}
        self._seen: list[
            tuple[Any, str]
        ] = []  # inputs of the first row's pass, held: a freed one's identity would return
        self._first = True

    def hook(self, name: str) -> Any:
        def before(module: Any, inputs: tuple[Any, ...]) -> None:
            x = inputs[0]
            if name not in self.leader:
                self.leader[name] = next((other for seen, other in self._seen if seen is x), name)
                if self._first:
                    self._seen.append((x, name))
            if self.leader[name] != name:
                return
            x_TD = x.reshape(-1, x.shape[-1]).double()
            product = (x_TD.T @ x_TD).cpu()
            self.sums[name] = self.sums[name] + product if name in self.sums else product

        return before

    def end_row(self) -> None:
        self._first, self._seen = False, []

    def of(self, name: str) -> Any:
        """fp32 [in, in], an array of its own."""
        return self.sums[self.leader[name]].float().numpy().copy()
