"""Regularisers: what holds a training near the model that it started from. One file a method.

    regulariser(*, weight, **what it needs) -> scalar, added to the training loss

What a method `needs` is handed in: `updates`, pairs of a weight's name and how far it is from the base's (of an
adapter the merged update s B A); `fisher`, the base's diagonal Fisher information by weight; `logits` and
`base_logits` [T, V] of the tokens that carry loss. "The base" is the model that a training starts from.

NEFTune, weight decay and dropout of adapters are settings of trl and peft, and no methods.
"""

from dtm.train.regularise import ewc, kl_to_base, l2_to_base  # noqa: F401 - registers the methods
from dtm.train.regularise.checking import check_regulariser

__all__ = ["check_regulariser"]
