import hashlib
import os

import pytest

from dtm.foundations import digests as module
from dtm.foundations.digests import Digests
from dtm.foundations.errors import StoreError
from tests.foundations.forks import fork, outcome


@pytest.fixture
def digests(tmp_path):
    return Digests(tmp_path / "digests.sqlite")


@pytest.fixture
def readings(monkeypatch):
    """How often a file was really read."""
    read = []

    def counted(path):
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "sha256", counted)
    return read


def test_a_file_is_read_once(digests, tmp_path, readings):
    file = tmp_path / "model"
    file.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4's example
    assert digests.of(file) == Digests(digests.path).of(file) == known
    assert readings == ["model"]


def test_same_size_but_another_mtime_is_read_again(digests, tmp_path, readings):
    file = tmp_path / "model"
    file.write_bytes(b"abc")
    first = digests.of(file)
    file.write_bytes(b"abd")
    os.utime(file, ns=(0, 12345))
    assert digests.of(file) == hashlib.sha256(b"abd").hexdigest() != first
    assert len(readings) == 2


def test_a_file_put_in_anothers_place_is_read_again(digests, tmp_path):
    """rsync and `cp -p` keep size and mtime; the inode tells."""
    for name, content in (("model", b"abc"), ("new", b"abd")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, ns=(0, 12345))
    digests.of(tmp_path / "model")
    os.replace(tmp_path / "new", tmp_path / "model")
    assert digests.of(tmp_path / "model") == hashlib.sha256(b"abd").hexdigest()


def test_what_changes_while_it_is_read_is_read_again(digests, tmp_path, monkeypatch):
    file = tmp_path / "model"
    file.write_bytes(b"abc")

    def changed_meanwhile(path):
        value = hashlib.sha256(path.read_bytes()).hexdigest()
        path.write_bytes(b"abcd")
        return value

    monkeypatch.setattr(module, "sha256", changed_meanwhile)
    digests.of(file)
    monkeypatch.undo()
    assert digests.of(file) == hashlib.sha256(b"abcd").hexdigest()


def test_of_folder_is_of_names_and_contents(digests, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "notes.md").write_text(name)
    only = {"only": lambda name: name.endswith(".json")}
    assert digests.of_folder(tmp_path / "a", **only) == digests.of_folder(tmp_path / "b", **only)
    assert digests.of_folder(tmp_path / "a") != digests.of_folder(tmp_path / "b")
    before = digests.of_folder(tmp_path / "a", **only)
    os.rename(tmp_path / "a" / "config.json", tmp_path / "a" / "other.json")
    assert digests.of_folder(tmp_path / "a", **only) != before


def test_four_processes_at_once(digests, tmp_path):
    files = [tmp_path / str(number) for number in range(40)]
    for file in files:
        file.write_text(file.name)

    def reads():
        for turn in range(3):
            for file in files:
                mine = Digests(digests.path)
                assert mine.of(file) == hashlib.sha256(file.name.encode()).hexdigest()
                if turn == 1:
                    mine.remember({file: hashlib.sha256(file.name.encode()).hexdigest()})

    assert [outcome(child) for child in [fork(reads) for _ in range(4)]] == [0] * 4


def test_a_spoilt_cache_says_that_it_can_go(tmp_path):
    (tmp_path / "digests.sqlite").write_text("this is no database, and longer than its header " * 10)
    with pytest.raises(StoreError, match="Delete that file"):
        Digests(tmp_path / "digests.sqlite")


def test_a_cache_that_is_spoilt_later_says_so_too(digests, tmp_path):
    digests.path.write_text("this is no database, and longer than its header " * 10)
    with pytest.raises(StoreError, match="Delete that file"):
        digests.of(tmp_path / "digests.sqlite")
