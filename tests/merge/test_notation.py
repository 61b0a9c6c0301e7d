"""Settings out of range are one error with their place, before any work, however they are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import DtmError
from dtm.foundations.registry import registry
from dtm.foundations.settings import Within, plain, taken_apart
from dtm.merge import plan_merge
from dtm.merge.command import run
from dtm.merge.notation import FORMS, Numbers, Scalar, ScalarK
from tests.merge.models import write_model

MERGE = registry("merge")
FREE = {"scale", "alpha", "beta"}  # any finite number: beyond 1 they extrapolate, below 0 they subtract


def ranges():
    """(method, setting, its range, whether per tensor, whether per model) of every numeric setting there is."""
    for name, method in MERGE.items():
        for setting, parameter in method.settings.items():
            base, marks = taken_apart(parameter.annotation)
            for mark in marks:
                if isinstance(mark, Numbers):
                    yield name, setting, mark.within, True, mark.each
                elif isinstance(mark, Within):
                    yield name, setting, mark, False, False
            if not marks and base in (int, float):
                yield name, setting, Within(), False, False


def beyond(within):
    """Values just outside of a range."""
    below = [] if within.least is None else [within.least - 1e-6]
    above = [] if within.most is None else [within.most + 6]
    return below + above + ([] if within.above is None else [within.above])


RANGES = [one for one in ranges() if beyond(one[2])]


def test_only_settings_that_may_be_any_number_have_no_range():
    assert {setting for _, setting, within, *_ in ranges() if not beyond(within)} == FREE
    assert len(RANGES) > 20


@pytest.mark.parametrize(
    ("method", "setting", "within", "spread", "each"), RANGES, ids=lambda value: str(value)[:20]
)
def test_every_range_is_checked_in_every_form(method, setting, within, spread, each):
    good = next(value for value in (0.5, 1) if value in within and not (value == 0.5 and within.least == 1))
    for bad in beyond(within):
        forms = {"": bad}
        if spread:
            forms |= {".1": [good, bad], ".0.value": [{"filter": "mlp", "value": bad}, {"value": good}],
                      ".1.value.2": [{"filter": "mlp", "value": good}, {"value": [good, good, bad]}]}  # fmt: skip
        if each:
            forms |= {".models.1": {"models": [good, bad]}, ".models.0.1": {"models": [[good, bad], good]}}
        for place, value in forms.items():
            with pytest.raises(DtmError) as caught:
                MERGE.bind(method, {setting: value}, where="merge")
            assert f"merge.{setting}{place}: {bad!r} is not a" in caught.value.message
    MERGE.bind(method, {setting: good})


NONSENSE = ["x", True, None, [], {}, [0.5, "x"], [[0.5]], {"models": []}, {"models": 0.5}, {"models": ["x"]},
            {"model": [1]}, [{"filter": "a"}], [{"value": 1, "fliter": "a"}], [{"value": [{"value": 1}]}],
            [0.5, {"value": 1}], float("nan"), [float("inf")]]  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE, ids=str)
def test_what_is_no_number_in_any_form_is_refused(value):
    with pytest.raises(DtmError, match=r"merge\.density.*is not"):
        MERGE.bind("ties", {"density": value}, where="merge")


def test_one_value_a_model_is_only_for_settings_that_take_it():
    with pytest.raises(DtmError, match=re.escape(f"is not a number{FORMS}")):
        MERGE.bind("ties", {"scale": {"models": [1, 2]}})


NUMBER = st.integers(-5, 5) | st.floats(-5, 5)
DEPTH = NUMBER | st.lists(NUMBER, min_size=1, max_size=3)
RULES = st.lists(
    st.fixed_dictionaries({"value": DEPTH}, optional={"filter": st.text(max_size=3)}), min_size=1, max_size=3
)
WRITTEN = DEPTH | RULES


@settings(max_examples=200, deadline=None)
@given(WRITTEN | st.fixed_dictionaries({"models": st.lists(WRITTEN, min_size=1, max_size=3)}))
def test_all_that_the_grammar_allows_is_taken_and_has_one_form(value):
    bound = MERGE.bind("dare_ties", {"density": 0.5, "scale": 1})
    assert bound.settings["scale"] == 1.0
    assert type(bound.settings["scale"]) is float
    from dtm.foundations.settings import faults

    assert list(faults(ScalarK, value)) == []
    once = plain(ScalarK, value)
    assert plain(ScalarK, once) == once
    assert list(faults(Scalar, value)) == [] or isinstance(value, dict)


def test_a_wrapped_method_is_checked_with_what_wraps_it():
    for of, message in [({"name": "ties", "density": 7}, r"merge\.of\.density: 7 is not a number from 0 to 1"),
                        ({"name": "tise"}, r"Did you mean 'ties'"), ("lora_cat", "cannot be wrapped"),
                        ("lines", "cannot be wrapped"), (3, "is not a merge method"),
                        ({"density": 1}, "is not a merge")]:  # fmt: skip
        with pytest.raises(DtmError, match=message):
            MERGE.bind("lines", {"of": of}, where="merge")


FILES = {
    "in the method": """
base: base
method:
  name: ties
  density: 7  # method.density: 7 is not a number from 0 to 1
models: [a, b]
""",
    "with a model": """
base: base
method: ties
models:
  - {path: a, density: 0.2}
  - path: b
    density: -1  # models.1.density: -1 is not a number from 0 to 1
""",
    "a weight": """
method: linear
models:
  - a
  - path: b
    weight: much  # models.1.weight: 'much' is not a number
""",
    "listed weights": """
method: linear
models: [a, b]
weights:
  - 1
  - [1, x]  # weights.1: [1, 'x'] is not a number
""",
    "a wrapped method": """
base: base
method:
  name: lines
  of:
    name: ties
    density: 2  # method.of.density: 2 is not a number from 0 to 1
models: [a]
""",
    "mergekit's file": """
merge_method: ties
base_model: base
models: [{model: a}]
parameters:
  density: 7  # parameters.density: 7 is not a number from 0 to 1
""",
    "mergekit's model": """
merge_method: ties
base_model: base
models:
  - model: a
    parameters:
      density: [0.2, 7]  # models.0.parameters.density.1: 7 is not a number from 0 to 1
  - model: b
""",
    "mergekit's slice": """
merge_method: slerp
base_model: a
slices:
  - sources:
    - {model: a, layer_range: [0, 2]}
    - {model: b, layer_range: [0, 2]}
    parameters:
      t:
        - filter: mlp
          value: 3  # slices.0.parameters.t.0.value: 3 is not a number from 0 to 1
        - value: 0.5
""",
    "mergekit's other name": """
merge_method: sce
base_model: base
models: [{model: a}, {model: b}]
parameters:
  select_topk: 10  # parameters.select_topk: 10 is not a number from 0 to 1
""",
    "mergekit's weight": """
merge_method: linear
models:
  - model: a
    parameters:
      weight: true  # models.0.parameters.weight: True is not a number
""",
}


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_mistake_is_told_with_file_and_line(tmp_path, tensors, kind):
    for number, name in enumerate(["base", "a", "b"]):
        write_model(tmp_path / name, tensors(number), num_hidden_layers=2)
    lines = FILES[kind].splitlines()
    line, comment = next((n, text.split("# ")[1]) for n, text in enumerate(lines, 1) if "#" in text)
    (tmp_path / "merge.yaml").write_text(FILES[kind])
    with pytest.raises(DtmError) as caught:
        run(tmp_path / "merge.yaml", tmp_path / "out", dry_run=True)
    assert f"merge.yaml:{line}: {comment}" in caught.value.message


def test_weights_of_the_library_are_checked_as_well(tmp_path, tensors):
    folder = write_model(tmp_path / "m", tensors(0))
    for weight in ("x", float("nan"), [{"filter": "mlp"}], []):
        with pytest.raises(DtmError, match="is not"):
            plan_merge(base=None, models=[folder], method=MERGE.bind("linear"), weights=[weight])
