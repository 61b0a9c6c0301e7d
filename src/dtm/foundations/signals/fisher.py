"""The diagonal Fisher information of a sub-model on its own data: how much each weight matters to it.

Matena and Raffel, "Merging Models with Fisher-Weighted Averaging", arXiv:2111.09832, with the empirical Fisher
(the given responses instead of sampled ones), as in their released code for labelled data.

    F_i = 1/N sum_n (d log p(response_n | prompt_n) / d theta_i)^2

The gradient is of a row's whole response, so a row is one sample, whatever its length. With `labels: drawn` the
responses' tokens are drawn from the model itself, each behind the given ones: the Fisher information proper, of which
the empirical one is no estimate away from an optimum (Kunstner et al., arXiv:1905.12558).
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.signals.submodel import Job, Progress, draw_rows, open_submodel, save


def fisher(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `statistics.safetensors`: fp32, one tensor in its own shape for each weight that training changed.

    For a job's keys see `submodel`; `labels` is `given` (the default) or `drawn`. Gradients are fp32, their squares
    are summed in fp64 on the CPU, in the order of the rows. Returns {rows, statistic}.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model = open_submodel(job)
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    sums = {name: torch.zeros(weight.shape, dtype=torch.float64) for name, weight in weights.items()}
    count, draw = 0, torch.Generator().manual_seed(job["seed"])
    for ids_1T, said_T in draw_rows(job, progress):
        logits_TV = model(input_ids=ids_1T, use_cache=False).logits[0, :-1]
        told_T = said_T[1:]  # a row's first token is never predicted
        logits_TV, labels_T = logits_TV[told_T].float(), ids_1T[0, 1:][told_T]
        if job.get("labels") == "drawn":
            labels_T = _drawn(logits_TV, draw)
        loss = cross_entropy(logits_TV, labels_T, reduction="sum")
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total.addcmul_(wide := gradient.detach().cpu().double(), wide)
        count += 1
    save(job, {name: (total / count).float().numpy() for name, total in sums.items()})
    return {"rows": count, "statistic": "fisher"}


def _drawn(logits_TV: Any, draw: Any) -> Any:
    """A token for each position, int64 [T], from what the model predicts there; drawn on the CPU."""
    import torch

    if not len(logits_TV):
        return torch.zeros(0, dtype=torch.long, device=logits_TV.device)
    shares_TV = logits_TV.detach().softmax(-1).cpu()
    return torch.multinomial(shares_TV, 1, generator=draw)[:, 0].to(logits_TV.device)
