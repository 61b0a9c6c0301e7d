from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from dtm.foundations.errors import DtmError
from dtm.foundations.registry import Registry
from dtm.foundations.settings import Count, Fraction, Positive, Within, accepts, describe, faults, plain

FITS = [
    (int, [0, -3], [1.0, True, "1", None]),
    (float, [0, 1.5], [True, "1", None, float("inf"), float("nan")]),
    (bool, [True], [1, "true", None]),
    (str, [""], [1, None]),
    (int | None, [1, None], ["1", 1.5]),
    (Literal["a", 1], ["a", 1], ["b", True, 1.0]),
    (list[int], [[], [1, 2], (1,)], [[1.5], 1, "12"]),
    (Sequence[float], [[1, 2.5]], ["12", [None]]),
    (tuple[float, ...], [[0.5]], [["x"]]),
    (float | list[float], [1, [1, 2]], [["a"], "a"]),
    (dict[str, int], [{}, {"a": 1}], [[], 1]),
    (Mapping[str, Any], [{"a": 1}], [[("a", 1)]]),
    (dict, [{}], [[]]),
    (list, [[1, "a"]], [{}]),
    (Any, [1, None, object()], []),
]


@pytest.mark.parametrize(("annotation", "fits", "others"), FITS)
def test_what_an_annotation_accepts(annotation, fits, others):
    assert [value for value in fits if not accepts(annotation, value)] == []
    assert [value for value in others if accepts(annotation, value)] == []


def test_annotations_in_words():
    assert describe(Literal["a", "b"]) == "one of 'a', 'b'"
    assert describe(float | None) == "a finite number or null"
    assert describe(int | str | bool) == "a whole number or text or true or false"


RANGES = [
    (Fraction, [0, 1, 0.5], [-1e-9, 1.0000001, 7, "x", True, None]),
    (Positive, [1e-300, 5], [0, 0.0, -1]),
    (Count, [1, 10**9], [0, -1, 1.5]),
    (Annotated[int | None, Within(1, 3)], [None, 1, 3], [0, 4, "1"]),
    (Annotated[float, Within(most=2)], [-(10**9), 2], [2.5]),
]


@pytest.mark.parametrize(("annotation", "fits", "others"), RANGES)
def test_a_range_holds_its_ends_and_nothing_beyond(annotation, fits, others):
    assert [value for value in fits if list(faults(annotation, value))] == []
    assert [value for value in others if not list(faults(annotation, value))] == []


def test_ranges_in_words_and_in_one_form():
    assert describe(Fraction) == "a finite number from 0 to 1"
    assert describe(Count) == "a whole number of at least 1"
    assert describe(Positive) == "a finite number above 0"
    assert type(plain(Fraction, 1)) is float
    assert type(plain(Count, 1)) is int


def test_a_registry_tells_where_a_setting_stands():
    registry = Registry("merge")

    @registry.register("one")
    def one(*, share: Fraction = 0.5, count: Count = 1): ...

    with pytest.raises(DtmError) as caught:
        registry.bind("one", {"share": 2, "count": 0, "more": 1}, where=lambda key: f"a.yaml:3: merge.{key}")
    text = caught.value.message
    assert "a.yaml:3: merge.share: 2 is not a number from 0 to 1." in text
    assert "a.yaml:3: merge.count: 0 is not a number of at least 1." in text
    assert "a.yaml:3: merge.more: there is no setting" in text
