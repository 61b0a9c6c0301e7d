"""The kernels of native.c: loops over one block, without the interpreter's lock.

The library is built with the package where there is a C compiler; importing this module fails where it was not. It
also holds what has no twin, because it reads stored tensors at their addresses: `decode_rows` and `merge_sum`.
"""

from __future__ import annotations

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.merge.kernels.plain import LANES, Doubles, Floats

Addresses = NDArray[np.uint64]
CODES = {"F32": 0, "F16": 1, "BF16": 2}


def _library() -> ctypes.CDLL:
    folder = Path(__file__).parent
    found = [path for suffix in EXTENSION_SUFFIXES if (path := folder / f"_native{suffix}").exists()]
    if not found:
        raise ImportError("the compiled kernels were not built")
    try:
        return ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise ImportError(f"the compiled kernels do not load: {error}") from None


_c = _library()
_P, _N, _I, _D, _F, _U64, _U32 = (
    ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double, ctypes.c_float, ctypes.c_uint64, ctypes.c_uint32,
)  # fmt: skip
for _name, _result, _arguments in (
    ("decode", _I, (_P, _I, _N, _P)),
    ("encode", _I, (_P, _I, _N, _P)),
    ("decode_rows", _N, (_N, _P, _P, _P, _I, _P, _I, _N, _P)),
    ("merge_sum", _N, (_N, _P, _P, _P, _P, _I, _I, _N, _P, _I)),
    ("weighted_sum", None, (_N, _N, _P, _P, _P)),
    ("uniform", None, (_U64, _U64, _N, _P)),
    ("histogram", None, (_N, _P, _P)),
    ("in_bucket", _N, (_N, _P, _U32, _P)),
    ("trim", None, (_N, _P, _U32, _N, _P)),
    ("elect", None, (_N, _N, _P, _P, _I, _P)),
    ("thin", None, (_N, _P, _P, _F, _F, _P)),
    ("variance", None, (_N, _N, _P, _P)),
    ("majority_mean", None, (_N, _N, _P, _P, _P)),
    ("products", None, (_N, _N, _P, _I, _P)),
):
    getattr(_c, _name).restype, getattr(_c, _name).argtypes = _result, _arguments


def _at(array: Any, dtype: Any = np.float32) -> int:
    """The address of a contiguous array of that dtype: what C is told must be so."""
    if array.dtype.type is not dtype or not array.flags.c_contiguous:
        raise TypeError(f"a kernel takes contiguous {np.dtype(dtype).name}, not {array.dtype.name}")
    return array.ctypes.data


def decode(raw: NDArray[Any], dtype: str, out: Floats) -> bool:
    return bool(_c.decode(raw.ctypes.data, CODES[dtype], out.size, _at(out)))


def encode(values: Floats, dtype: str, out: NDArray[Any]) -> bool:
    return bool(_c.encode(_at(values), CODES[dtype], values.size, out.ctypes.data))


def decode_rows(
    sources_K: Addresses, dtypes_K: NDArray[np.int32], base: int, base_dtype: str, base_row: Floats | None,
    less: bool, rows_K: Floats,
) -> int:  # fmt: skip
    """Stored values at K addresses to rows [K, n], less the base's row if `less`; the base's to `base_row`.

    Returns -1, or the number of an input that is not finite: K is the base.
    """
    row = 0 if base_row is None else _at(base_row)
    return _c.decode_rows(len(rows_K), sources_K.ctypes.data, dtypes_K.ctypes.data, base if row else 0,
                          CODES[base_dtype], row, less, rows_K.shape[1], _at(rows_K))  # fmt: skip


def merge_sum(
    sources_K: Addresses, dtypes_K: NDArray[np.int32], weights_K: Doubles, base: int, base_dtype: str, less: bool,
    out: NDArray[Any], out_dtype: str,
) -> int:  # fmt: skip
    """From stored tensors to a stored tensor [n]: `weighted_sum`, with `less` of the updates, added to the base.

    Returns -1, or the number of an input that is not finite (K: the base), or K + 1 if the result is not.
    """
    return _c.merge_sum(len(sources_K), sources_K.ctypes.data, dtypes_K.ctypes.data, _at(weights_K, np.float64), base,
                        CODES[base_dtype], less, out.size, out.ctypes.data, CODES[out_dtype])  # fmt: skip


def weighted_sum(rows_K: Floats, weights_K: Doubles, out: Floats) -> None:
    _c.weighted_sum(len(rows_K), out.size, _at(rows_K), _at(weights_K, np.float64), _at(out))


def uniform(key: Any, start: Any, out: Floats) -> None:
    _c.uniform(int(key), int(start), out.size, _at(out))


def histogram(values: Floats, out: NDArray[np.int64]) -> None:
    _c.histogram(values.size, _at(values), _at(out, np.int64))


def in_bucket(values: Floats, bucket: int) -> NDArray[np.uint16]:
    found = np.empty(values.size + 1, np.uint16)  # one more: the loop writes before it counts
    return found[: _c.in_bucket(values.size, _at(values), bucket, found.ctypes.data)].copy()


def trim(values: Floats, threshold: int, quota: int, out: Floats) -> None:
    _c.trim(values.size, _at(values), threshold, quota, _at(out))


def elect(rows_K: Floats, weights_K: Doubles, normalize: bool, out: Floats) -> None:
    _c.elect(len(rows_K), out.size, _at(rows_K), _at(weights_K, np.float64), normalize, _at(out))


def thin(values: Floats, uniform: Floats, density: float, scale: float, out: Floats) -> None:
    _c.thin(values.size, _at(values), _at(uniform), density, scale, _at(out))


def variance(rows_K: Floats, out: Floats) -> None:
    _c.variance(len(rows_K), out.size, _at(rows_K), _at(out))


def majority_mean(rows_K: Floats, weights_K: Doubles, out: Floats) -> None:
    _c.majority_mean(len(rows_K), out.size, _at(rows_K), _at(weights_K, np.float64), _at(out))


def products(rows_K: Floats, own: bool) -> Doubles:
    count = len(rows_K)
    out = np.zeros((count if own else count * (count + 1) // 2, LANES))
    _c.products(count, rows_K.shape[1], _at(rows_K), own, out.ctypes.data)
    return out
