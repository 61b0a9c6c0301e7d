"""The schema against its own documentation, against the fixture, and against a peer's validator."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import DataError
from dtm.report.schema import RESULTS_SCHEMA, complete, documentation, faults, validate

DOCS = Path(__file__).parents[2] / "docs" / "results_json.md"


def test_the_fixture_and_the_least_results_are_valid(results):
    validate(results)
    validate({"format": 1})
    validate(complete({"format": 1}))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "format: 2 is not 1"),
        (("results", "scores", 3, "value"), "high", "results.scores[3].value: 'high' is not a number"),
        (("results", "models", 0, "role"), "king", "results.models[0].role: 'king' is not one of 'base'"),
        (("results", "comparisons", 0, "p"), 1.5, "results.comparisons[0].p: 1.5 is out of range"),
        (("portions", 1, "rows"), -1, "portions[1].rows: -1 is out of range"),
        (("portions", 1, "rows"), 1.5, "portions[1].rows: 1.5 is not a whole number"),
        (("stages", 0, "reused"), 1, "stages[0].reused: 1 is not true or false"),
        (("curves",), {}, "curves: {} is not a list"),
    ],
)
def test_a_fault_is_named_by_its_place(results, path, value, said):
    place = results
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(DataError) as error:
        validate(results)
    assert said in error.value.message


def test_a_missing_required_field_is_named(results):
    del results["results"]["scores"][2]["task"]
    with pytest.raises(DataError, match=r"results\.scores\[2\]: `task` is missing"):
        validate(results)


def test_many_faults_are_counted_and_cut(results):
    for row in results["results"]["scores"]:
        row["value"] = "x"
    with pytest.raises(DataError, match="the first 20 of"):
        validate(results)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from(["raw", "base", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["task", "role", "rows"]), inner)
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_it_agrees_with_jsonschema_on_damaged_results(data, small):
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    damaged = copy.deepcopy(small)
    for _ in range(data.draw(st.integers(1, 3))):
        _damage(damaged, data)
    assert (not faults(damaged, RESULTS_SCHEMA)) == validator(RESULTS_SCHEMA).is_valid(damaged)


def test_the_schema_is_itself_valid():
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(RESULTS_SCHEMA)
    json.dumps(RESULTS_SCHEMA, allow_nan=False)


def test_every_field_is_documented_and_the_page_is_up_to_date():
    assert DOCS.read_text(encoding="utf-8") == documentation()
    assert all("description" in field for field in _fields(RESULTS_SCHEMA))


def test_complete_fills_what_is_missing_and_drops_what_is_not_finite():
    whole = complete(
        {"format": 1, "merge": {"norm": float("inf")}, "results": {"scores": [{"value": float("nan")}]}}
    )
    assert whole["portions"] == []
    assert whole["run"]["versions"] == {}
    assert whole["run"]["name"] is None
    assert whole["results"]["scores"][0]["value"] is None
    assert whole["merge"]["norm"] is None
    assert complete(whole) == whole


@pytest.fixture(scope="module")
def small():
    from runpy import run_path

    return run_path(str(Path(__file__).with_name("conftest.py")))["make"](k=1, tasks=1, sources=1, points=1)


def _damage(value, data):
    """Replace or remove something at a random depth."""
    while True:
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = data.draw(st.sampled_from(list(keys)))
        if isinstance(value[key], dict | list) and value[key] and data.draw(st.booleans()):
            value = value[key]
            continue
        if isinstance(value, dict) and data.draw(st.booleans()):
            del value[key]
        else:
            value[key] = data.draw(JSON)
        return


def _fields(schema):
    for field in schema.get("properties", {}).values():
        yield field
        yield from _fields(field.get("items", field))
