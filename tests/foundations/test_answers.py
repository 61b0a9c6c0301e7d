"""Normalising answers and reading numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.foundations.answers import matches, normalise, number_in


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  an   apple, a day ", "apple day"),
        ("U.S.A.", "usa"),
        ("Theodore", "theodore"),
        ("“Ann’s” house", "anns house"),
        ("The", "the"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_normalise(answer, plain):
    assert normalise(answer) == plain


def test_matches():
    assert matches(" the onion.", ("Onion", "Leek"), exact=False)
    assert not matches("onions", ("Onion",), exact=False)
    assert not matches("", ("The",), exact=False)
    assert matches(" A-b \n", ("A-b",), exact=True)
    assert not matches("a-b", ("A-b",), exact=True)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It is 18.", "18"),
        ("$1,200.50 in all", "1200.50"),
        ("1,000,000", "1000000"),
        ("So 16-3", "3"),
        ("16 - 3 = -13", "-13"),
        ("it fell to −4 degrees", "-4"),
        ("3 apples, 4 pears", "4"),
        ("Between 1,2 and 5,67", "67"),
        ("18.00", "18"),
        ("version 2", "2"),
    ],
)
def test_number_in(text, number):
    assert number_in(text) == Decimal(number)


def test_no_number():
    assert number_in("none at all") is None
    assert number_in("") is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12))
def test_every_number_is_read_back(value):
    assert number_in(f"x = {value:,} units") == number_in(f"The answer is {value:f}.") == value


@given(st.text())
def test_any_text_is_read(text):
    normalise(text)
    number = number_in(text)
    assert number is None or number.is_finite()
