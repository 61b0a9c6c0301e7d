import numpy as np
import pyarrow as pa
import pytest

from dtm.foundations.signals import text
from dtm.foundations.signals.text import Texts, at, blank, first_turns, texts, texts_at
from dtm.foundations.types import Examples

TALKS = (
    [
        ("system", "be kind"),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "bye"),
        ("assistant", "so long"),
    ],
    [("assistant", "alone")],
    [],
    [("user", "what?"), ("assistant", "that")],
)
PLAIN = [("text", "a plain document")]


@pytest.mark.parametrize(("on", "expected"), [
    ("instruction", ["hi\n\nbye", "", "", "what?"]),
    ("response", ["hello\n\nso long", "alone", "", "that"]),
    ("both", ["hi\n\nhello\n\nbye\n\nso long", "alone", "", "what?\n\nthat"]),
])  # fmt: skip
def test_all_turns_of_a_side_are_joined(talk, on, expected):
    assert texts(talk(*TALKS), on) == expected


def test_a_row_of_plain_text_is_all_response(talk):
    rows = talk(PLAIN, [("text", " ")])
    assert texts(rows, "both") == texts(rows, "response") == ["a plain document", " "]
    assert texts(rows, "instruction") == ["", ""]
    assert blank(rows, "both").tolist() == [False, True]


def test_first_turns(talk):
    assert first_turns(talk(*TALKS), "user") == ["hi", "", "", "what?"]
    assert first_turns(talk(*TALKS), "assistant") == ["hello", "alone", "", "that"]


def test_slices_and_chunks_keep_rows_and_texts_together(talk):
    table = talk(*TALKS).table
    chunked = Examples(pa.concat_tables([table.slice(2), table.slice(1, 2), table.slice(0, 1)]))
    assert texts(chunked, "response") == ["", "that", "alone", "", "hello\n\nso long"]


@pytest.mark.parametrize("rows", [[], [0], [1, 3], [0, 1, 2, 3]])
def test_texts_of_some_rows_are_those_of_all(talk, rows):
    table = talk(*TALKS).table
    chunked = Examples(
        pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 2), table.slice(3)])
    )
    for on in ("instruction", "both"):
        assert texts_at(chunked, np.array(rows, int), on) == [texts(chunked, on)[row] for row in rows]


@pytest.fixture
def chunked(talk):
    table = talk(*TALKS).table
    return Examples(
        pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 2), table.slice(3)])
    )


@pytest.mark.parametrize("rows", [None, [0, 2, 3], []])
def test_texts_that_are_decoded_where_they_are_read_are_those_of_all(chunked, rows, monkeypatch):
    monkeypatch.setattr(text, "BATCH", 2)
    chosen = None if rows is None else np.array(rows, int)
    whole = [texts(chunked, "both")[row] for row in (range(4) if rows is None else rows)]
    lazy = Texts(chunked, "both", chosen)
    assert list(lazy) == whole
    assert len(lazy) == len(whole)
    assert lazy[1:3] == whole[1:3]
    assert lazy[::-1] == whole[::-1]
    assert lazy[3:1] == []
    assert [lazy[place] for place in range(-len(whole), len(whole))] == whole * 2
    ascending = np.arange(0, len(whole), 2)
    assert at(lazy, ascending) == at(whole, ascending) == whole[::2]
    with pytest.raises(IndexError):
        lazy[len(whole)]


def test_blank_rows_say_nothing_on_that_side(talk):
    rows = talk([("user", " \n\t\u3000"), ("assistant", "x")], [("user", "a"), ("user", " ")], [])
    for on in ("instruction", "response", "both"):
        assert blank(rows, on).tolist() == [not one.strip() for one in texts(rows, on)]
