"""The inner loops: compiled from C, or in plain numpy with the same bytes.

`DTM_KERNELS=plain` asks for the second; so does an installation without a C compiler. Both are the same
sequence of IEEE operations a value: no fused multiply-add, no reordered sums.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType


@cache
def kernels() -> ModuleType:
    """The module of kernels to use in this process."""
    from dtm.merge.kernels import plain

    if os.environ.get("DTM_KERNELS") == "plain":
        return plain
    try:
        from dtm.merge.kernels import compiled
    except ImportError:
        return plain
    return compiled
