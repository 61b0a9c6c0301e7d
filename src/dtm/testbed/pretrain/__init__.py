"""Pre-training of the testbed's base: its text, its tokenizer, its training, and what it holds.

    python -m dtm.testbed.pretrain FOLDER

makes again the base that the package carries. Bytes may differ between machines and versions of torch, since sums of
floating point numbers depend on their order; what the base knows should not, by more than a percent or two.
"""

from dtm.testbed.pretrain.training import Settings, pretrain
from dtm.testbed.pretrain.wording import Wordings

__all__ = ["Settings", "Wordings", "pretrain"]
