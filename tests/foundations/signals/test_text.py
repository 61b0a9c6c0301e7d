import numpy as np
import pyarrow as pa
import pytest

from dtm.foundations.signals.text import first_turns, texts, texts_at
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


@pytest.mark.parametrize(("on", "expected"), [
    ("instruction", ["hi\n\nbye", "", "", "what?"]),
    ("response", ["hello\n\nso long", "alone", "", "that"]),
    ("both", ["hi\n\nhello\n\nbye\n\nso long", "alone", "", "what?\n\nthat"]),
])  # fmt: skip
def test_all_turns_of_a_side_are_joined(talk, on, expected):
    assert texts(talk(*TALKS), on) == expected


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
