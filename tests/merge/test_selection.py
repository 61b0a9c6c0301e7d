"""Exactly k of a stream, equals by index, over tensors, models, blocks and threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.registry import registry
from dtm.merge import merge_models
from dtm.merge.jobs import BLOCK
from dtm.merge.method import Place
from dtm.merge.selection import selection, trimmed
from tests.merge.models import read_model, write_model
from tests.merge.references import largest

TIES = registry("merge").bind


def select(scores, wanted, block):
    """Run the two passes over blocks of that size as the engine does, and return the trimmed scores."""
    first, second = selection(lambda scores: scores, lambda count: np.array([wanted]))
    starts = range(0, scores.shape[1], block)
    parts = [(Place("t", start), np.ascontiguousarray(scores[:, start : start + block])) for start in starts]
    state = ()
    for one in (first, second):
        total = {}
        for place, part in parts:
            given_here = {"scores": part, "state": state, "place": place, "total": total}
            for key, value in (one.scan(given_here, {}) or {}).items():
                total[key] = total[key] + value if key in total else value
        given_now = {"count": scores.shape[1], "state": state, "total": total}
        settled = one.settle(total, given_now, {}) if one is first else one.settle(total, state)
        state = (*state, settled)
    return np.concatenate([trimmed(part, state[-1], place) for place, part in parts], axis=1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, 0.5, 3e-39, 2e10, -2e10, 7.25]),
        min_size=1,
        max_size=80,
    ),
    st.integers(1, 30),
    st.data(),
)
def test_any_cut_of_any_stream_is_a_stable_sort_s(values, block, data):
    scores = np.array([values, values[::-1]], np.float32)
    wanted = [data.draw(st.integers(0, len(values))) for _ in range(2)]
    got = select(scores, wanted, block)
    for row, count, kept in zip(scores, wanted, got, strict=True):
        expected = np.where(largest(row, count), row, 0)
        np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("density", [0.2, 0.5, 1 / 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_equal_magnitudes_keep_exactly_k_by_index(tmp_path, density, threads):
    size = 2 * BLOCK + 77
    base = write_model(tmp_path / "base", {"a": torch.zeros(size)})
    signs = torch.where(torch.arange(size) % 3 == 0, 0.25, -0.25)
    model = write_model(tmp_path / "m", {"a": signs})
    merge_models(base=base, models=[model], output=tmp_path / "out", method=TIES("ties", {"density": density}),
                 weights=[1.0], threads=threads)  # fmt: skip
    got = read_model(tmp_path / "out")["a"]
    kept = int(size * density)
    assert torch.equal(got[:kept], signs[:kept])
    assert not got[kept:].any()


def test_model_scope_trims_over_the_flattened_model(tmp_path):
    """The original's TIES: one threshold a model over all of its tensors, in the order of their names."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (30, 50), "b.weight": (BLOCK + 100,), "c.weight": (7,)}
    scales = {"a.weight": 1.0, "b.weight": 0.1, "c.weight": 5.0}
    base = {name: torch.zeros(shape) for name, shape in shapes.items()}
    models = [{name: torch.randn(shape, generator=generator) * scales[name] for name, shape in shapes.items()}
              for _ in range(2)]  # fmt: skip
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    got = {}
    for scope in ("model", "tensor"):
        merge_models(base=folders[0], models=folders[1:], output=tmp_path / scope, weights=[1.0, 1.0], threads=2,
                     method=TIES("ties", {"density": 0.02, "scope": scope}))  # fmt: skip
        got[scope] = read_model(tmp_path / scope)
    flat = np.stack(
        [np.concatenate([model[name].numpy().ravel() for name in sorted(shapes)]) for model in models]
    )
    kept = np.stack([np.where(largest(row, int(row.size * 0.02)), row, 0) for row in flat]).astype(float)
    sign = np.where(kept.sum(0) >= 0, 1, -1)
    agree = np.sign(kept) == sign
    expected = np.where(agree, kept, 0).sum(0) / np.maximum(agree.sum(0), 1)
    flat_got = np.concatenate([got["model"][name].numpy().ravel() for name in sorted(shapes)])
    np.testing.assert_allclose(flat_got, expected, rtol=1e-6)
    assert not torch.equal(got["model"]["b.weight"], got["tensor"]["b.weight"])
