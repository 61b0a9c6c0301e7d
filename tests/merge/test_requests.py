"""Whatever stands in a merge file, ours or mergekit's: a request, or one error for the user."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import DtmError
from dtm.merge.request import Request, parse_request
from tests.merge.models import write_model

WORDS = [
    "ties",
    "linear",
    "lines",
    "slerp",
    "base",
    "a",
    "b",
    "uniform",
    "union",
    "adapter",
    "float16",
    "auto",
]
OURS = ["base", "method", "models", "weights", "dtype", "space", "export", "statistics", "seed", "tokenizer"]
THEIRS = [
    "merge_method",
    "base_model",
    "models",
    "slices",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
]
INSIDE = ["name", "path", "model", "weight", "density", "of", "filter", "value", "parameters", "sources", "layer_range",
          "t", "scale", "normalize", "int8_mask"]  # fmt: skip

LEAF = st.none() | st.booleans() | st.integers(-3, 40) | st.floats(allow_nan=True) | st.sampled_from(WORDS)
INNER = st.sampled_from(INSIDE)
TREE = st.recursive(
    LEAF, lambda one: st.lists(one, max_size=3) | st.dictionaries(INNER, one, max_size=4), max_leaves=8
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    place = tmp_path_factory.mktemp("requests")
    for name in ("base", "a", "b"):
        write_model(place / name, {"layers.0.w": torch.zeros(3)})
    return place


def either(content, folder):
    """A request or a DtmError; all else is a traceback for a user."""
    with contextlib.suppress(DtmError):
        assert isinstance(parse_request(content, folder=folder), Request)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.sampled_from(OURS), TREE, max_size=7))
def test_ours(content, folder):
    either({"method": "linear", "models": ["a", "b"], **content}, folder)
    either(content, folder)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.sampled_from(THEIRS), TREE, max_size=7))
def test_mergekit_s(content, folder):
    either({"merge_method": "ties", "base_model": "base", "models": [{"model": "a"}], **content}, folder)
    either({"merge_method": "linear", **content}, folder)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=st.dictionaries(st.sampled_from(INSIDE), TREE, max_size=3), own=TREE, span=TREE)
def test_mergekit_s_entries(parameters, own, span, folder):
    head = {"merge_method": "ties", "base_model": "base", "parameters": parameters}
    either({**head, "models": [{"model": "a", "parameters": own}, {"model": "b"}]}, folder)
    sources = [{"model": "a", "layer_range": span}, {"model": "b", "layer_range": [0, 1], "parameters": own}]
    slices = [{"sources": sources, "parameters": parameters}]
    either({"merge_method": "slerp", "base_model": "a", "slices": slices}, folder)


def test_the_seeds_of_fuzzing_are_requests(folder):
    """So that the tests above also reach what stands behind the first check."""
    sources = [{"model": "a", "layer_range": [0, 1]}, {"model": "b", "layer_range": [0, 1]}]
    for content in (
        {"method": "linear", "models": ["a", "b"]},
        {"merge_method": "ties", "base_model": "base", "models": [{"model": "a"}]},
        {
            "merge_method": "slerp",
            "base_model": "a",
            "parameters": {"t": 0.5},
            "slices": [{"sources": sources}],
        },
    ):
        assert isinstance(parse_request(content, folder=folder), Request)
