import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.data.formats import FORMATS, columns, detect, fitting, named
from dtm.data.turns import Unusable
from dtm.foundations.errors import DtmError

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SYSTEM = {"role": "system", "content": "s"}
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]

# row -> format, messages, meta
TABLE = [
    ({"messages": CHAT}, "messages", CHAT, {}),
    ({"messages": [SYSTEM, *CHAT], "id": 7}, "messages", [SYSTEM, *CHAT], {"id": 7}),
    ({"messages": [*CHAT, CHAT[0]]}, "messages", CHAT, {"dtm": {"cut_turns": [CHAT[0]]}}),
    ({"messages": [{**CHAT[0], "name": "Ann"}, CHAT[1]], "dataset": "x"}, "messages", CHAT,
     {"dataset": "x", "dtm": {"turn_fields": [{"name": "Ann"}, {}]}}),
    ({"conversations": SHAREGPT, "score": 0.5}, "sharegpt", CHAT, {"score": 0.5}),
    ({"conversations": SHAREGPT, "system": "s"}, "sharegpt", [SYSTEM, *CHAT], {}),
    ({"messages": [SYSTEM, *CHAT], "system": "other"}, "messages", [SYSTEM, *CHAT], {"system": "other"}),
    ({"conversation": CHAT}, "sharegpt", CHAT, {}),
    ({"id": "0", "data": ["q", "a", "q", "a"]}, "ultrachat", CHAT * 2, {"id": "0"}),
    ({"instruction": "q", "context": "", "response": "a", "category": "qa"}, "dolly", CHAT, {"category": "qa"}),
    ({"instruction": "q", "context": "c\n", "response": "a"}, "dolly",
     [{"role": "user", "content": "q\n\nc\n"}, CHAT[1]], {}),
    ({"instruction": "q", "input": "", "output": "a"}, "alpaca", CHAT, {}),
    ({"instruction": "q", "input": None, "output": "a", "text": "Below."}, "alpaca", CHAT, {"text": "Below."}),
    ({"instruction": "q", "input": "i", "response": "a", "system": "s"}, "alpaca",
     [SYSTEM, {"role": "user", "content": "q\n\ni"}, CHAT[1]], {}),
    ({"instruction": "", "input": "q", "output": "a"}, "alpaca", CHAT, {}),
    ({"instruction": "q", "output": "a", "system": "s", "history": [["q", "a"]]}, "alpaca", [SYSTEM, *CHAT, *CHAT], {}),
    ({"prompt": "q", "completion": "a", "source": "x"}, "prompt_completion", CHAT, {"source": "x"}),
    ({"prompt": "q", "response": "a"}, "prompt_completion", CHAT, {}),
    ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "prompt_completion", CHAT, {}),
    ({"prompt": [SYSTEM, CHAT[0]], "completion": "a"}, "prompt_completion", [SYSTEM, *CHAT], {}),
    ({"question": "q", "answer": "a"}, "question_answer", CHAT, {}),
    ({"query": "q", "response": "a", "type": "x"}, "question_answer", CHAT, {"type": "x"}),
    ({"system_prompt": "s", "question": "q", "response": "a"}, "question_answer", [SYSTEM, *CHAT], {}),
    ({"text": "t", "url": "u"}, "text", [{"role": "text", "content": "t"}], {"url": "u"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "name", "messages", "meta"), TABLE)
def test_detected_and_read(row, name, messages, meta):
    form = detect([row])
    assert form.name == name
    assert form.convert(row) == (messages, meta)


def test_every_format_has_a_row_here():
    assert {name for _, name, _, _ in TABLE} | {"preference"} == set(FORMATS)


@pytest.mark.parametrize(("name", "row", "reason"), [
    ("alpaca", {"instruction": "q"}, "no answer"), ("alpaca", {"instruction": "q", "output": None}, "no answer"),
    ("alpaca", {"instruction": "q", "output": ""}, "empty answer"), ("alpaca", {"output": "a"}, "no prompt"),
    ("alpaca", {"instruction": " ", "input": "", "output": "a"}, "empty prompt"),
    ("alpaca", {"instruction": "q", "output": 5}, "wrong type"),
    ("alpaca", {"instruction": "q", "input": ["i"], "output": "a"}, "wrong type"),
    ("alpaca", {"instruction": "q", "output": "a", "history": [["q"]]}, "wrong type"),
    ("alpaca", {"instruction": "q", "chosen": "a", "rejected": "b"}, "preference data"),
    ("messages", {"messages": []}, "no answer"), ("messages", {}, "no turns"),
    ("messages", {"messages": CHAT[::-1]}, "roles do not alternate"), ("messages", {"messages": CHAT[:1]}, "no answer"),
    ("messages", {"chosen": [], "rejected": []}, "preference data"),
    ("ultrachat", {"data": "x"}, "wrong type"), ("ultrachat", {"data": ["q", 1]}, "wrong type"),
    ("prompt_completion", {"prompt": CHAT[:1]}, "empty answer"), ("text", {"text": ""}, "empty text"),
    ("text", {}, "no text"), ("question_answer", {"answer": "a"}, "no prompt"),
    ("preference", {"chosen": "a", "rejected": "b"}, "preference data"), ("text", [1], "not an object"),
])  # fmt: skip
def test_reasons(name, row, reason):
    with pytest.raises(Unusable) as caught:
        FORMATS[name].convert(row)
    assert caught.value.reason == reason


def test_the_reason_for_preference_data_names_dpo():
    with pytest.raises(Unusable, match="DPO"):
        FORMATS["preference"].convert({"chosen": "a", "rejected": "b"})
    with pytest.raises(DtmError, match="DPO"):
        fitting([{"prompt": "q", "chosen": "a", "rejected": "b"}], None, where="f")


@pytest.mark.parametrize(("mapping", "row", "messages", "meta"), [
    ({"instruction": "ask", "response": "say"}, {"ask": "q", "say": "a", "n": 1}, CHAT, {"n": 1}),
    ({"instruction": "ask", "response": "say", "input": "in", "system": "sys"},
     {"ask": "q", "say": "a", "in": "i", "sys": "s"}, [SYSTEM, {"role": "user", "content": "q\n\ni"}, CHAT[1]], {}),
    ({"instruction": "d.0", "response": "a.text.0"}, {"d": ["q"], "a": {"text": ["a"]}}, CHAT,
     {"d": ["q"], "a": {"text": ["a"]}}),
    ({"instruction": "a.b", "response": "c"}, {"a.b": "q", "c": "a"}, CHAT, {}),
    ({"messages": "dialog"}, {"dialog": SHAREGPT}, CHAT, {}),
    ({"text": "body"}, {"body": "t"}, [{"role": "text", "content": "t"}], {}),
    ({"instruction": "prompt", "response": "chosen"}, {"prompt": "q", "chosen": "a", "rejected": "b"}, CHAT,
     {"rejected": "b"}),
])  # fmt: skip
def test_columns(mapping, row, messages, meta):
    form = columns(mapping, where="data[0].format")
    assert form.detect(row)
    assert form.convert(row) == (messages, meta)


@pytest.mark.parametrize(("asked", "words"), [
    ("alpacca", "Did you mean 'alpaca'"), ({"instrution": "x", "response": "y"}, "Did you mean 'instruction'"),
    ({"instruction": "x"}, "which columns make a row"), ({"messages": "x", "text": "y"}, "which columns make a row"),
    ({"instruction": 5, "response": "y"}, "is not the name of a column"), ({}, "which columns make a row"),
])  # fmt: skip
def test_formats_that_cannot_be(asked, words):
    with pytest.raises(DtmError, match=words) as caught:
        named(asked, where="data[0].format")
    assert "data[0].format" in caught.value.message


@pytest.mark.parametrize(("rows", "asked", "words"), [
    ([{"a": 1, "b": 2}], None, "a, b"), ([3, "x"], None, "no objects"), ([{"a": 1}], "alpaca", "'alpaca'"),
    ([{"ask": "q"}], {"instruction": "ask", "response": "say"}, "their columns: ask"),
])  # fmt: skip
def test_rows_that_do_not_fit(rows, asked, words):
    with pytest.raises(DtmError, match=words):
        fitting(rows, named(asked, where="f") if asked else None, where="f")


def test_most_rows_decide():
    assert detect([{"text": "t"}, {"prompt": "q", "completion": "a"}, 5, {"prompt": "q", "answer": "a"}]).name == (
        "prompt_completion")  # fmt: skip


NAMES = st.sampled_from(
    [
        "messages",
        "conversations",
        "conversation",
        "data",
        "instruction",
        "input",
        "output",
        "context",
        "response",
        "prompt",
        "completion",
        "question",
        "answer",
        "text",
        "system",
        "history",
        "role",
        "from",
        "content",
        "value",
        "chosen",
        "rejected",
        "dtm",
        "category",
    ]
)
WORDS = st.sampled_from(
    ["", " ", "q", "user", "assistant", "human", "gpt", "tool", "\ud800", "\0", "[]", "é"]
)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
                      lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
                      max_leaves=15)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(sorted(FORMATS)), row=VALUES | st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_value_is_read_or_refused_with_a_reason(name, row):
    detect([row])
    try:
        messages, meta = FORMATS[name].convert(row)
    except Unusable as why:
        if why.reason:
            return
        raise
    assert [set(message) for message in messages] == [{"role", "content"}] * len(messages)
    assert messages[-1]["role"] == ("text" if name == "text" else "assistant")
    assert all(isinstance(message["content"], str) and message["content"].encode() for message in messages
               if message["role"] != "tool")  # fmt: skip
    assert isinstance(meta, dict)
