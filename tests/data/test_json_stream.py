import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.data.json_stream import Broken, Text, rows
from dtm.data.unpack import Damaged

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def pieces(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@settings(deadline=None)
@given(
    values=st.lists(VALUES),
    size=st.integers(1, 40),
    indent=st.none() | st.integers(0, 3),
    ascii=st.booleans(),
)
def test_an_array_in_pieces_of_any_size_reads_as_json_reads_it(values, size, indent, ascii):
    text = json.dumps(values, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    if b"\xed" not in text:  # half a surrogate pair as bytes is not UTF-8; that has a test of its own
        assert list(rows(Text(pieces(text, size)))) == json.loads(text)


@pytest.mark.parametrize("size", range(1, 12))
def test_a_number_may_be_cut_anywhere(size):
    text = b"[0.0, 12345, -1.5e+300, 1E-7, -0, 10.25]"
    assert list(rows(Text(pieces(text, size)))) == [0.0, 12345, -1.5e300, 1e-7, 0, 10.25]


def test_an_object_holds_one_list_of_rows():
    text = json.dumps({"version": 1, "tags": ["a"], "data": [{"a": 1}, {"a": 2}], "end": None}, indent=1)
    assert list(rows(Text([text.encode()]))) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("row", [
    {"messages": [{"role": "user", "content": "x"}]}, {"conversations": [{"from": "human"}]},
    {"prompt": [{"role": "user"}], "completion": [{"role": "assistant"}]}, {"a": [None, 1]}, {"a": []}, {},
])  # fmt: skip
def test_an_object_without_such_a_list_is_the_row(row):
    assert list(rows(Text([json.dumps(row).encode()]))) == [row]


def test_objects_may_follow_one_another():
    assert list(rows(Text([b'{"a": 1}\n\n{"a": 2}{"a":3}']))) == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(("text", "good", "why"), [
    (b'[1, 2, x, 4]', [1, 2], "Expecting value"),
    (b'[1, 2', [1, 2], "the text ends"),
    (b'[1 2]', [1], "stands where"),
    (b'[1] tail', [1], "stands where"),
    (b'["a", "b', ["a"], "Unterminated"),
    (b'{"a": [{"b": 1}], "c": [{"d": 2}]}', [{"b": 1}], "beside the list 'a'"),
    (b'[' * 100_000, [], "nested too deep"),
    (b'[' + b'9' * 5000 + b']', [], "4300"),
])  # fmt: skip
def test_rows_before_a_mistake_are_read(text, good, why):
    found = []
    with pytest.raises(Broken, match=why):
        found.extend(rows(Text(pieces(text, 7) if len(text) < 99 else [text])))  # keeps what came before
    assert found == good


def test_damage_below_is_the_reason_that_is_given():
    def cut():
        yield b'[{"a": 1}, {"a'
        raise Damaged("the packed data breaks off")

    stream = rows(Text(cut()))
    assert next(stream) == {"a": 1}
    with pytest.raises(Broken, match="breaks off"):
        next(stream)


def test_a_mistake_early_on_does_not_read_the_rest():
    def endless():
        yield b'[{"a": tru e}, '
        for _ in range(50):
            yield b'{"a": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}, '
        raise AssertionError("read on")

    with pytest.raises(Broken):
        list(rows(Text(endless())))


def test_nan_is_null_and_bytes_that_are_not_utf8_stay_told_apart():
    assert list(rows(Text([b'[NaN, -Infinity, "\xff", "\xef\xbb\xbf"]']))) == [None, None, "\udcff", "\ufeff"]
    assert list(rows(Text([b"\xef\xbb\xbf[1]"]))) == [1]
