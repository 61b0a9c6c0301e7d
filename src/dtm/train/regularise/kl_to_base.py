"""KL to the base: at each token that carries loss, what the model predicts stays near what the base predicts.

As in learning without forgetting (Li and Hoiem, arXiv:1606.09282), without a temperature, on the rows' own tokens. The
direction is forward, KL(base || model): what the base holds likely must stay likely.
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Positive
from dtm.train.regularise.widening import wide


@registry("regularise").register("kl_to_base", paper="arXiv:1606.09282", needs=("logits", "base_logits"))
def kl_to_base(*, logits: Any, base_logits: Any, weight: Positive) -> Any:
    """weight times the sum over tokens of sum_v p_base(v) (log p_base(v) - log p(v)), in nats; logits are [T, V]."""
    from torch.nn.functional import kl_div, log_softmax

    model_TV, base_TV = (log_softmax(wide(one), -1) for one in (logits, base_logits))
    return weight * kl_div(model_TV, base_TV, reduction="sum", log_target=True)
