import gzip
import json
import re

import pytest

from dtm.data import resolve
from dtm.foundations.errors import ConfigError, DataError, DtmError, MissingInput
from dtm.foundations.store import Digests

ROW = {"instruction": "q", "output": "a"}


def prints(tmp_path, *entries):
    digests = Digests(tmp_path / "digests.sqlite")
    return [source.fingerprint(digests) for source in resolve(list(entries), tmp_path)]


@pytest.mark.parametrize(("entry", "words"), [
    ({"path": "a.jsonl", "licence": "mit"}, "Did you mean 'license'"),
    ({"path": "a.jsonl", "fracton": 0.5}, "Did you mean 'fraction'"),
    ({}, "no `path`"), ({"path": ""}, "not a path"), ({"path": 5}, "not a path"),
    ({"path": "a.jsonl", "fraction": 0}, "above 0 and at most 1"),
    ({"path": "a.jsonl", "fraction": 1.5}, "above 0 and at most 1"),
    ({"path": "a.jsonl", "fraction": "half"}, "number"),
    ({"path": "a.jsonl", "fraction": True}, "number"), ({"path": "a.jsonl", "fraction": float("nan")}, "number"),
    ({"path": "a.jsonl", "limit": 0}, "at least 1"), ({"path": "a.jsonl", "limit": 1.5}, "whole number"),
    ({"path": "a.jsonl", "weight": 0.5}, "say `fraction`"), ({"path": "a.jsonl", "weight": float("inf")}, "at least 1"),
    ({"path": "a.jsonl", "source": ""}, "not a name"), ({"path": "a.jsonl", "license": 4}, "not text"),
    ({"path": "a.jsonl", "format": "alpacca"}, "Did you mean 'alpaca'"),
    ({"path": "a.jsonl", "format": ["alpaca"]}, "not a format's name"),
    ({"path": "a.jsonl", "format": "dolly"}, "not of the format 'dolly'"),
    ({"path": "a.jsonl", "format": {"instruction": "ask", "response": "output"}}, "not of the format 'columns'"),
    ({"path": "a.jsonl", "split": "train"}, "data of the hub"), ({"path": "b.jsonl"}, "no file or folder 'b.jsonl'"),
    ({"path": "folder/b.jsonl"}, "no file or folder"), ("a.jsonl", re.escape("{path: a.jsonl}")),
])  # fmt: skip
def test_mistakes_are_told_with_their_place(tmp_path, write, entry, words):
    write("a.jsonl", [ROW])
    with pytest.raises(DtmError, match=words) as caught:
        resolve([entry], tmp_path)
    assert caught.value.where.startswith(("data[0]", "a.jsonl"))


@pytest.mark.parametrize(("name", "data", "words"), [
    ("a.jsonl", b"", "is empty"), ("a.jsonl", b"\n \n", "is empty"), ("a.json", b"[]", "holds no row"),
    ("a.jsonl.gz", gzip.compress(b"", mtime=0), "holds no row"), ("a.csv", b"instruction,output\n", "holds no row"),
    ("a.jsonl", b"hello\nworld\n", "none of its first 2 rows"), ("a.bin", b"\x00\x01\x02", "no data file"),
    ("a.txt", b"Just words.", "no data file"), ("a.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
    ("a.jsonl", b'{"a": 1}\n', "no known format has the columns of its rows: a"),
    ("a.jsonl", b'{"prompt": "q", "chosen": "a", "rejected": "b"}\n', "DPO"),
    ("a.parquet", b"PAR1 and no more", "can be read"),
    ("a.jsonl.gz", gzip.compress(b"{}\n" * 99, mtime=0)[:12], "can be read"),
])  # fmt: skip
def test_files_that_cannot_be_used(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DtmError, match=words) as caught:
        resolve([{"path": name}], tmp_path)
    assert caught.value.where.startswith(name)


def test_all_mistakes_at_once(tmp_path, write):
    write("a.jsonl", [ROW])
    write("empty.jsonl", [])
    entries = [{"path": "a.jsonl", "limit": 0, "fraction": 2}, {"path": "gone.jsonl"}, {"path": "a.jsonl"}, 7,
               {"path": "empty.jsonl"}]  # fmt: skip
    with pytest.raises(ConfigError, match="5 things are wrong") as caught:
        resolve(entries, tmp_path)
    for words in ("data[0].limit", "data[0].fraction", "data[1].path", "data[3]", "empty.jsonl"):
        assert words in caught.value.message


@pytest.mark.parametrize("entries", [[], None, "a.jsonl", {"path": "a.jsonl"}])
def test_no_entries(tmp_path, entries):
    with pytest.raises(ConfigError, match="no data"):
        resolve(entries, tmp_path)


def test_a_path_is_below_the_root_or_else_below_the_current_folder(tmp_path, write, monkeypatch):
    write("root/a.jsonl", [ROW])
    write("here/a.jsonl", [ROW])
    write("here/b.jsonl", [ROW])
    monkeypatch.chdir(tmp_path / "here")
    a, b = resolve([{"path": "a.jsonl"}, {"path": "b.jsonl"}], tmp_path / "root")
    assert a.inputs[0][0].path.samefile(tmp_path / "root" / "a.jsonl")
    assert b.inputs[0][0].path.samefile(tmp_path / "here" / "b.jsonl")


def test_a_folder_gives_its_data_files_in_order(tmp_path, write):
    write("set/b.jsonl", [ROW])
    write("set/part/a.jsonl", [{"text": "t"}])
    write("set/a.json", [json.dumps([ROW])])
    write("set/README.md", ["words"])
    write("set/dataset_info.json", ["{}"])
    write("set/.cache/c.jsonl", [ROW])
    [source] = resolve([{"path": "set/"}], tmp_path)
    assert [(file.name, form.name) for file, form in source.inputs] == [
        ("set/a.json", "alpaca"), ("set/b.jsonl", "alpaca"), ("set/part/a.jsonl", "text")]  # fmt: skip
    assert source.source == "set"
    assert source.ignored == ("README.md", "dataset_info.json")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no data files"):
        resolve([{"path": "bare"}], tmp_path)


def test_names_of_sources(tmp_path, write):
    write("x.v1/train.jsonl", [ROW])
    write("y/train.jsonl", [ROW])
    (tmp_path / "y" / "more.v2.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode()))
    names = [source.source for source in resolve(
        [{"path": "x.v1"}, {"path": "x.v1/train.jsonl"}, {"path": "y/more.v2.jsonl.gz"}], tmp_path)]  # fmt: skip
    assert names == ["x.v1", "train", "more.v2"]
    with pytest.raises(ConfigError, match="called 'train'"):
        resolve([{"path": "x.v1/train.jsonl"}, {"path": "y/train.jsonl"}], tmp_path)
    both = [{"path": "x.v1/train.jsonl", "source": "t"}, {"path": "y/train.jsonl", "source": "t"}]
    assert [source.source for source in resolve(both, tmp_path)] == ["t", "t"]


def test_a_fingerprint_is_of_content_not_of_paths(tmp_path, write):
    write("one/a.jsonl", [ROW])
    write("two/deep/b.jsonl", [ROW])
    one, two = prints(
        tmp_path, {"path": "one/a.jsonl", "source": "s"}, {"path": "two/deep/b.jsonl", "source": "s"}
    )
    assert one == two
    assert "jsonl" not in json.dumps(one).replace('"kind": "jsonl"', "")


@pytest.mark.parametrize("change", [
    {"source": "t"}, {"license": "mit"}, {"fraction": 0.5}, {"limit": 3}, {"weight": 2},
    {"format": {"instruction": "instruction", "response": "output"}},
])  # fmt: skip
def test_a_fingerprint_changes_with_what_matters(tmp_path, write, change):
    write("a.jsonl", [ROW])
    plain = {"path": "a.jsonl", "source": "s"}
    assert prints(tmp_path, plain) != prints(tmp_path, {**plain, **change})


def test_a_fingerprint_does_not_change_with_how_a_default_is_said(tmp_path, write):
    write("a.jsonl", [ROW])
    said = {"path": "a.jsonl", "source": "a", "fraction": 1, "weight": 1, "limit": None, "format": "alpaca"}
    assert prints(tmp_path, {"path": "a.jsonl"}) == prints(tmp_path, said)


def test_a_fingerprint_changes_with_content_and_order(tmp_path, write):
    write("a.jsonl", [ROW])
    before = prints(tmp_path, {"path": "a.jsonl"})
    write("a.jsonl", [{**ROW, "output": "b"}])
    assert prints(tmp_path, {"path": "a.jsonl"}) != before
    write("set/a.jsonl", [ROW])
    write("set/b.jsonl", [{**ROW, "output": "b"}])
    before = prints(tmp_path, {"path": "set"})
    (tmp_path / "set" / "a.jsonl").rename(tmp_path / "set" / "c.jsonl")
    assert prints(tmp_path, {"path": "set"}) != before


def test_a_missing_path_that_reads_like_a_hub_id_waits_for_load(tmp_path):
    [source] = resolve(
        [{"path": "owner/name", "revision": "v1", "split": "test", "format": "alpaca"}], tmp_path
    )
    assert (source.source, source.hub.revision, source.hub.split) == ("owner/name", "v1", "test")
    with pytest.raises(MissingInput, match="no file or folder"):
        resolve([{"path": "owner/name.jsonl.gz"}], tmp_path)
