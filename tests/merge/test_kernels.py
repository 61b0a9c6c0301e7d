"""The compiled kernels and their numpy twins: the same bytes on any input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.merge.kernels import plain

compiled = pytest.importorskip("dtm.merge.kernels.compiled", reason="no C compiler when dtm was installed")

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
    same("trim", rows[0], 0, -1, out=out)
    for own in (True, False):
        assert plain.products(rows, own).tobytes() == compiled.products(rows, own).tobytes()
    bucket = int((rows[0].view(np.uint32)[size // 2] & 0x7FFFFFFF) >> 16)
    assert plain.in_bucket(rows[0], bucket).tobytes() == compiled.in_bucket(rows[0], bucket).tobytes()


HALVES = np.arange(1 << 16, dtype=np.uint16)
KINDS = {"BF16": torch.bfloat16, "F16": torch.float16}


@pytest.mark.parametrize("dtype", KINDS)
def test_every_half_is_read_as_torch_reads_it(dtype):
    expected = torch.from_numpy(HALVES.view(np.int16)).view(KINDS[dtype]).float().numpy()
    raw = HALVES if dtype == "BF16" else HALVES.view(np.float16)
    for module in (plain, compiled):
        out = np.empty(raw.size, np.float32)
        assert module.decode(raw, dtype, out) is False
        numbers_there = ~np.isnan(expected)
        np.testing.assert_array_equal(
            out.view(np.uint32)[numbers_there], expected.view(np.uint32)[numbers_there]
        )
        assert np.isnan(out[~numbers_there]).all()
        assert module.decode(raw[:100], dtype, out[:100]) is True


@pytest.mark.parametrize("dtype", KINDS)
def test_a_half_written_again_is_itself(dtype):
    """Also every value halfway between two of them, which goes to the even one, and its neighbours."""
    kind = np.uint16 if dtype == "BF16" else np.float16
    exact = torch.from_numpy(HALVES.view(np.int16)).view(KINDS[dtype]).float().numpy()
    ladder = np.sort(np.abs(exact[np.isfinite(exact)]))
    middle = ((ladder[1:].astype(np.float64) + ladder[:-1]) / 2).astype(np.float32)
    values = np.concatenate(
        [exact, middle, np.nextafter(middle, np.float32(9e9)), -np.nextafter(middle, np.float32(-1))]
    )
    expected = torch.from_numpy(values).to(KINDS[dtype])
    for module in (plain, compiled):
        out = np.empty(values.size, kind)
        assert module.encode(values, dtype, out) is False  # there are infinities among them
        got = torch.from_numpy(out.view(np.int16)).view(KINDS[dtype])
        there = ~torch.isnan(expected)
        assert torch.equal(got.view(torch.int16)[there], expected.view(torch.int16)[there])
        assert torch.isnan(got[~there]).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50), st.sampled_from(["BF16", "F16", "F32"]))
def test_any_number_is_written_as_torch_writes_it(bits, dtype):
    values = np.array(bits, np.uint32).view(np.float32)
    expected = torch.from_numpy(values.copy()).to(KINDS.get(dtype, torch.float32)).float().numpy()
    finite = bool(np.isfinite(expected).all())
    kind = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}[dtype]
    for module in (plain, compiled):
        out, back = np.empty(values.size, kind), np.empty(values.size, np.float32)
        assert module.encode(values, dtype, out) == finite
        assert module.decode(out, dtype, back) == finite
        np.testing.assert_array_equal(back, expected)


def test_products_are_exact_inner_products():
    rows = numbers(3, 4099, 3)
    expected = rows.astype(np.float64) @ rows.astype(np.float64).T
    found = compiled.products(rows, False).sum(axis=1)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))[np.tril_indices(3)]
    assert (np.abs(found - expected[np.tril_indices(3)]) <= 1e-13 * scale).all()
    np.testing.assert_array_equal(compiled.products(rows, True).sum(axis=1), found[[0, 2, 5]])


def test_uniform_is_splitmix64_and_uniform():
    from dtm.merge.random import Random
    from tests.merge.references import splitmix

    drawn = Random(7, "a.weight", 0, ("one", "two"), 300).uniform_K()
    for k, model in enumerate(("one", "two")):
        np.testing.assert_array_equal(drawn[k], splitmix(7, model, "a.weight", 300).astype(np.float32))
    later = Random(7, "a.weight", 100, ("one", "two"), 50).uniform_K()
    np.testing.assert_array_equal(later, drawn[:, 100:150])
    many = Random(0, "b", 0, ("one",), 200_000).uniform_K()[0]
    counts = np.histogram(many, bins=20, range=(0, 1))[0]
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.01


@pytest.mark.parametrize(
    "method", ["linear", "task_arithmetic", "ties", "dare_ties", "sce", "model_stock", "pcb"]
)
@pytest.mark.parametrize(
    "kinds", [("bfloat16",) * 4, ("float16",) * 4, ("float32", "bfloat16", "float16", "float32")]
)
def test_a_merge_without_compiled_kernels_has_the_same_bytes(tmp_path, method, kinds, monkeypatch):
    from dtm.foundations.registry import registry
    from dtm.merge import kernels, merge_models
    from tests.merge.models import bytes_of, write_model

    folders = []
    for k, kind in enumerate(kinds):
        torch.manual_seed(k)
        tensors = {"layers.0.w": torch.randn(70, 1001), "layers.0.v": torch.randn(3)}
        folders.append(
            write_model(
                tmp_path / f"m{k}", {name: one.to(getattr(torch, kind)) for name, one in tensors.items()}
            )
        )
    seen = []
    for name in ("compiled", "plain"):
        monkeypatch.setenv("DTM_KERNELS", name)
        kernels.kernels.cache_clear()
        merge_models(base=folders[0], models=folders[1:], output=tmp_path / name, method=registry("merge").bind(method),
                     weights=[0.3, 1.0, 2.0])  # fmt: skip
        seen.append(bytes_of(tmp_path / name))
    kernels.kernels.cache_clear()
    assert seen[0] == seen[1]


def test_a_tensor_that_is_not_aligned_is_read_all_the_same(tmp_path):
    """The format does not align tensors: here three bytes push one of bf16 to an odd place."""
    from dtm.foundations.registry import registry
    from dtm.merge import merge_models
    from tests.merge.models import read_model, write_model

    values, merged = [torch.randn(40, 33).bfloat16() for _ in range(2)], {}
    for lead in (3, 4):
        folders = [write_model(tmp_path / f"{lead}-{k}", {"b": one}) for k, one in enumerate(values)]
        for folder, one in zip(folders, values, strict=True):
            slots = {"a": {"dtype": "U8", "shape": [lead], "data_offsets": [0, lead]},
                     "b": {"dtype": "BF16", "shape": [40, 33], "data_offsets": [lead, lead + 2640]}}  # fmt: skip
            header = json.dumps(slots).encode()
            header += b" " * (-len(header) % 8)
            data = (
                len(header).to_bytes(8, "little")
                + header
                + bytes(lead)
                + one.view(torch.int16).numpy().tobytes()
            )
            (folder / "model.safetensors").write_bytes(data)
        merge_models(base=None, models=folders, output=tmp_path / f"merged-{lead}", weights=[1.0, 1.0],
                     method=registry("merge").bind("linear"))  # fmt: skip
        merged[lead] = read_model(tmp_path / f"merged-{lead}")["b"]
    assert torch.equal(merged[3], merged[4])
    assert torch.equal(merged[4], ((values[0].double() + values[1].double()) / 2).float().bfloat16())
