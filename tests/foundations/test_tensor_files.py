"""Headers of safetensors files: what is true is read as the reference reads it, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from dtm.foundations.errors import DtmError, ModelError
from dtm.foundations.tensor_files import ITEM_BYTES, build_header, read_header
from tests.foundations.headers import LIES, with_header


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_header_that_lies_is_one_error(tmp_path, kind):
    (tmp_path / "bad.safetensors").write_bytes(LIES[kind])
    with pytest.raises(
        ModelError, match=r"base: .*bad\.safetensors: this checkpoint is corrupt or cut short"
    ):
        read_header(tmp_path / "bad.safetensors", where="base")


def test_a_file_that_is_not_there_is_one_error(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        read_header(tmp_path / "gone.safetensors")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_are_a_header_or_a_dtm_error(tmp_path_factory, data):
    """Random bytes, random JSON, random tables, and whole files with some bytes changed."""
    header, _ = build_header([("a", "F32", (2, 3)), ("b", "BF16", (5,))], {"format": "pt"})
    whole = bytearray(header + bytes(34))
    kind = data.draw(st.sampled_from(["bytes", "json", "entries", "changed"]))
    if kind == "bytes":
        content = data.draw(st.binary(max_size=200))
    elif kind == "json":
        leaf = (
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["F32", "U8"])
        )
        keys = st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"])
        tree = st.recursive(
            leaf, lambda one: st.lists(one, max_size=3) | st.dictionaries(keys, one, max_size=4)
        )
        content = with_header(data.draw(tree), data.draw(st.binary(max_size=16)))
    elif kind == "entries":
        small = st.integers(-1, 9)
        entry = st.fixed_dictionaries({
            "dtype": st.sampled_from(["U8", "F32", "F16", "I9"]), "shape": st.lists(small, max_size=2),
            "data_offsets": st.lists(small, min_size=2, max_size=2),
        })  # fmt: skip
        entries = data.draw(st.dictionaries(st.sampled_from("abc"), entry, max_size=2))
        content = with_header(entries, bytes(data.draw(st.integers(0, 9))))
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        content = bytes(whole)
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(content)
    try:
        slots = read_header(path)
    except DtmError as error:
        if str(path) not in str(error):
            raise
        return
    with safe_open(path, "np") as file:  # what we take, the reference takes for the same
        assert {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} == {  # noqa: SIM118
            name: slot.shape for name, slot in slots.items()
        }
    for slot in slots.values():
        assert slot.start >= 8
        assert slot.start + slot.nbytes <= len(content)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(ITEM_BYTES)), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    )
)
def test_headers_that_we_write_are_read_back_by_the_reference_too(tmp_path_factory, entries):
    header, slots = build_header(
        [(name, dtype, tuple(shape)) for name, (dtype, shape) in entries.items()], {"format": "pt"}
    )
    path = tmp_path_factory.getbasetemp() / "written.safetensors"
    path.write_bytes(header + bytes(sum(slot.nbytes for slot in slots.values())))
    assert read_header(path) == slots
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(entries)
