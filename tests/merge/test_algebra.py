"""Decompositions by LAPACK and by torch: the same results, and the right one of both.

No GPU is needed: torch's path runs on its CPU device here, and what only a GPU shows is not tested.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import registry
from dtm.merge import merge_models
from dtm.merge.algebra import Lapack, Torch, algebra
from dtm.merge.planning import treatment_of
from tests.merge.models import read_model, write_model
from tests.merge.test_conformance import TABLE, family, statistics_for

MERGE = registry("merge")
DECOMPOSE = {"tsv", "iso_c", "iso_cts", "knots", "regmean"}


def test_the_methods_that_decompose():
    found = {name for name in MERGE if treatment_of(MERGE.bind(name)).decomposes}
    assert found == DECOMPOSE


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (40, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_decompose_alike(shape, dtype):
    rng = np.random.default_rng(0)
    matrix = np.asfortranarray(rng.normal(size=shape).astype(dtype))
    for one in (Lapack(), Torch("cpu")):
        U, S, V = one.svd(matrix)
        assert (U.dtype, S.dtype, V.dtype) == (dtype, dtype, dtype)
        assert (U.shape, V.shape) == ((shape[0], min(shape)), (min(shape), shape[1]))
        np.testing.assert_allclose((U * S) @ V, matrix, atol=1e-5)
        np.testing.assert_allclose(S, np.linalg.svd(matrix.astype(np.float64))[1], rtol=1e-5)
    left, right = rng.normal(size=(9, 9)), rng.normal(size=(9, 4))
    np.testing.assert_allclose(left @ Torch("cpu").solve(left, right), right, atol=1e-10)


@pytest.mark.parametrize("name", sorted(DECOMPOSE))
def test_a_merge_by_torch_is_the_merge_by_lapack(tmp_path, monkeypatch, name):
    row = TABLE[name]
    shapes = {"layers.0.wide.weight": (20, 48), "layers.1.tall.weight": (41, 9)}
    base, models = family(row.models, shapes=shapes)
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    files, _ = statistics_for(row, shapes, tmp_path)
    common = {"base": folders[0], "models": folders[1:], "method": MERGE.bind(name, row.settings[0]),
              "weights": [1.0] * row.models, "statistics": files, "threads": 2}  # fmt: skip
    first = merge_models(output=tmp_path / "lapack", **common)
    used = Torch("cpu")
    monkeypatch.setattr("dtm.merge.engine.algebra", lambda device, needed: used)
    monkeypatch.setattr(np.linalg, "svd", None)
    monkeypatch.setattr(np.linalg, "solve", None)
    merge_models(output=tmp_path / "torch", **common)
    assert first["device"] == "cpu"
    one, other = read_model(tmp_path / "lapack"), read_model(tmp_path / "torch")
    for tensor in shapes:
        torch.testing.assert_close(one[tensor], other[tensor], rtol=1e-4, atol=1e-5)


def test_a_device_that_is_not_there_is_said(tmp_path, tensors, monkeypatch):
    folder = write_model(tmp_path / "m", tensors(0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no CUDA device"):
        merge_models(base=folder, models=[folder, folder], output=tmp_path / "out", method=MERGE.bind("tsv"),
                     weights=[1, 1], device="cuda")  # fmt: skip
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="not one of auto, cpu, cuda"):
        algebra("gpu")
    with pytest.raises(ConfigError, match="not one of auto, cpu, cuda"):
        merge_models(base=folder, models=[folder], output=tmp_path / "out", method=MERGE.bind("ties"), weights=[1],
                     device="gpu")  # fmt: skip
    assert isinstance(algebra("auto"), Lapack)


def test_methods_that_go_value_by_value_ask_for_no_device(tmp_path, tensors, monkeypatch):
    folder = write_model(tmp_path / "m", tensors(0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    facts = merge_models(base=folder, models=[folder], output=tmp_path / "out", method=MERGE.bind("ties"), weights=[1],
                         device="cuda")  # fmt: skip
    assert facts["device"] == "cpu"
