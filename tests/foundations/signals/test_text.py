import pyarrow as pa
import pytest

from dtm.foundations.signals.text import first_turns, texts
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
