"""Numbers on disk and in the arithmetic: every float comes in as fp32 and leaves with one rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.errors import ConfigError
from dtm.merge.kernels import kernels

MERGED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}  # BF16 as its bits
NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
CONFIG_NAMES = {short: long for long, short in NAMES.items()}


def parse_dtype(name: Any, *, where: object = None) -> str | None:
    """`bfloat16` -> `BF16`; None stays None (every tensor keeps the base's type)."""
    if name is not None and not (isinstance(name, str) and name in NAMES):
        raise ConfigError(f"{name!r} is not a dtype to merge in", where=where,
                          mend=f"There is: {', '.join(NAMES)}")  # fmt: skip
    return None if name is None else NAMES[name]


def decode(raw: NDArray[Any], dtype: str, out: NDArray[np.float32]) -> bool:
    """Stored values [n] of that dtype to fp32 [n], exactly; returns whether all are finite."""
    return kernels().decode(raw, dtype, out)


def encode(
    values: NDArray[np.float32], dtype: str, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], bool]:
    """fp32 [n] rounded to nearest even, in `out` [n] if that is given, and whether all results are finite."""
    out = np.empty(values.size, MERGED[dtype]) if out is None else out
    return out, kernels().encode(values, dtype, out)
