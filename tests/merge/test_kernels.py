"""The compiled kernels and their numpy twins: the same bytes on any input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.merge.kernels import compiled, plain

SIZES = [1, 7, 64, 1023, 1024, 1025, 5000]


def numbers(seed, size, count=None):
    """fp32 of all magnitudes, with zeros of both signs, denormals and equal values."""
    rng = np.random.default_rng(seed)
    shape = (count, size) if count else (size,)
    values = rng.normal(size=shape).astype(np.float32) * np.float32(2.0) ** rng.integers(-40, 20, shape)
    special = np.array([0.0, -0.0, 1e-42, -1e-42, 1.0, -1.0, 1.0], np.float32)
    return np.where(
        rng.random(shape) < 0.2, special[rng.integers(0, len(special), shape)], values.astype(np.float32)
    )


def same(kernel, *arguments, out):
    """Both twins' results and outputs are equal to the bit."""
    first, second = out.copy(), out.copy()
    results = [
        getattr(module, kernel)(*arguments, one) for module, one in ((plain, first), (compiled, second))
    ]
    assert first.tobytes() == second.tobytes()
    assert results[0] == results[1]
    return second


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_twins_agree(size, count):
    rows, weights = numbers(size, size, count), np.random.default_rng(1).normal(size=count)
    out = np.empty(size, np.float32)
    same("weighted_sum", rows, weights, out=out)
    same("variance", rows, out=out)
    same("majority_mean", rows, np.abs(weights), out=out)
    for normalize in (True, False):
        same("elect", rows, weights, normalize, out=out)
    same("histogram", rows[0], out=np.zeros(1 << 15, np.int64))
    same("uniform", np.uint64(12345678901234567890), np.uint64(2**40 + 3), out=out)
    same("thin", rows[0], np.random.default_rng(2).random(size).astype(np.float32), 0.3, 1 / 0.3, out=out)
    for quota in (-1, 0, 1, 3):
        threshold = int(rows[0].view(np.uint32)[size // 2] & 0x7FFFFFFF)
        same("trim", rows[0], threshold, quota, out=out)
    raw = (rows[0].view(np.uint32) >> 16).astype(np.uint16)
    same("decode_bf16_less", raw, numbers(size + 1, size), out=out)
    bucket = int((rows[0].view(np.uint32)[size // 2] & 0x7FFFFFFF) >> 16)
    assert plain.in_bucket(rows[0], bucket).tobytes() == compiled.in_bucket(rows[0], bucket).tobytes()


def test_every_bfloat16_is_read_as_torch_reads_it():
    raw = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(raw.view(np.int16)).view(torch.bfloat16).float().numpy()
    for module in (plain, compiled):
        out = np.empty(raw.size, np.float32)
        assert module.decode_bf16(raw, out) is False
        assert out.view(np.uint32).tobytes() == expected.view(np.uint32).tobytes()
        assert module.decode_bf16(raw[:100], out[:100]) is True


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_bfloat16_is_written_as_torch_writes_it(bits):
    values = np.array(bits, np.uint32).view(np.float32)
    expected = torch.from_numpy(values.copy()).bfloat16()
    finite = bool(torch.isfinite(expected).all())
    for module in (plain, compiled):
        out = np.empty(values.size, np.uint16)
        assert module.encode_bf16(values, out) == finite
        got = torch.from_numpy(out.view(np.int16)).view(torch.bfloat16)
        assert torch.equal(torch.isnan(got), torch.isnan(expected))
        numbers_there = ~torch.isnan(expected)
        assert torch.equal(got[numbers_there], expected[numbers_there])


def test_uniform_is_splitmix64_and_uniform():
    from dtm.merge.random import Random
    from tests.merge.references import splitmix

    drawn = Random(7, "a.weight", 0, 2, 300).uniform_K()
    for k in range(2):
        np.testing.assert_array_equal(drawn[k], splitmix(7, k, "a.weight", 300).astype(np.float32))
    later = Random(7, "a.weight", 100, 2, 50).uniform_K()
    np.testing.assert_array_equal(later, drawn[:, 100:150])
    many = Random(0, "b", 0, 1, 200_000).uniform_K()[0]
    counts = np.histogram(many, bins=20, range=(0, 1))[0]
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.01


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "sce", "pcb"])
def test_a_merge_without_numba_has_the_same_bytes(tmp_path, method, monkeypatch):
    from dtm.foundations.registry import registry
    from dtm.merge import kernels, merge_models
    from tests.merge.models import bytes_of, write_model

    folders = []
    for k in range(4):
        torch.manual_seed(k)
        folders.append(write_model(tmp_path / f"m{k}", {"layers.0.w": torch.randn(70, 1000).bfloat16()}))
    seen = []
    for name in ("compiled", "plain"):
        monkeypatch.setenv("DTM_KERNELS", name)
        kernels.kernels.cache_clear()
        merge_models(base=folders[0], models=folders[1:], output=tmp_path / name, method=registry("merge").bind(method),
                     weights=[0.3, 1.0, 2.0])  # fmt: skip
        seen.append(bytes_of(tmp_path / name))
    kernels.kernels.cache_clear()
    assert seen[0] == seen[1]
