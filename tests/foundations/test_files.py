import errno
import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.foundations import files
from dtm.foundations.files import (
    canonical,
    link,
    link_tree,
    read_json,
    sha256_each,
    walk,
    write_json,
    write_text,
)
from tests.foundations.forks import fork, kill_at_line, outcome

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_canonical_json_says_the_same_value(value):
    assert json.loads(canonical(value)) == value


def test_canonical_json_has_one_form_and_no_nan():
    assert canonical({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'
    with pytest.raises(ValueError):
        canonical(float("inf"))


def test_a_json_file_is_sorted_and_reads_back(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": "é"})
    assert (tmp_path / "x.json").read_bytes() == '{\n  "a": "é",\n  "b": 1\n}\n'.encode()
    assert read_json(tmp_path / "x.json") == {"a": "é", "b": 1}


def test_a_killed_write_leaves_the_old_or_the_new_text(tmp_path):
    path, seen = tmp_path / "card.json", set()
    for line in range(1, 100):
        write_text(path, "old")
        code = outcome(fork(kill_at_line(line, lambda: write_text(path, "new"))))
        seen.add(path.read_text())
        if code == 0:
            break
    assert path.read_text() == "new"
    assert seen == {"old", "new"}


def test_a_link_is_the_same_file(tmp_path):
    (tmp_path / "weights").write_text("w")
    link(tmp_path / "weights", tmp_path / "deep" / "er" / "model")
    assert os.path.samefile(tmp_path / "weights", tmp_path / "deep" / "er" / "model")
    (tmp_path / "other").write_text("o")
    link(tmp_path / "other", tmp_path / "deep" / "er" / "model")
    assert (tmp_path / "deep" / "er" / "model").read_text() == "o"
    assert (tmp_path / "weights").read_text() == "w"


def test_a_symbolic_link_as_in_the_hubs_cache_is_followed(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "d1g3st").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/d1g3st")
    link(snapshot / "model.safetensors", tmp_path / "store" / "model.safetensors")
    assert (tmp_path / "store" / "model.safetensors").read_text() == "weights"
    assert not (tmp_path / "store" / "model.safetensors").is_symlink()


def test_where_nothing_can_be_linked_it_is_copied(tmp_path, monkeypatch):
    def refuses(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(files.os, "link", refuses)
    (tmp_path / "weights").write_text("w")
    link(tmp_path / "weights", tmp_path / "model")
    assert (tmp_path / "model").read_text() == "w"
    assert not os.path.samefile(tmp_path / "weights", tmp_path / "model")


def test_a_linked_tree_shows_exactly_the_source(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "manifest.json"):
        (source / name).write_text(name)
    (target / "old").mkdir(parents=True)
    (target / "old" / "gone").write_text("gone")
    (target / "a").write_text("stale")
    for _ in range(2):
        link_tree(source, target, skip=frozenset({"manifest.json"}))
        assert {name: path.read_text() for name, path in walk(target)} == {"a": "a", "sub/b": "sub/b"}
    assert os.path.samefile(source / "a", target / "a")


def test_walk_is_sorted_whatever_the_order_on_disk(tmp_path):
    for name in ("z", "a/y", "a/b/x", "m"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in walk(tmp_path)] == ["a/b/x", "a/y", "m", "z"]


def test_a_link_that_is_there_already_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "source").write_text("x")
    for _ in range(2):
        link(tmp_path / "source", tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


@pytest.mark.parametrize("many", [0, 1 << 40])
def test_digests_of_several_files_are_those_of_each(tmp_path, monkeypatch, many):
    monkeypatch.setattr(files, "MANY", many)
    data = {f"{number}": bytes([number]) * (number * 700_000) for number in range(5)}
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    found = sha256_each({name: tmp_path / name for name in data})
    assert list(found) == list(data)
    assert found == {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
