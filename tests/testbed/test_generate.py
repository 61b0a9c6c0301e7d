import hashlib
import json

import pytest

from dtm.foundations.errors import ConfigError
from dtm.testbed import generate


def contents(folder):
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert files
    return files


@pytest.fixture
def small(tmp_path):
    """A small testbed at a path: `small("a", seed=1)`."""
    return lambda name="a", **options: generate(
        tmp_path / name, **{"rows": 40, "dev_items": 8, "test_items": 8, **options}
    )


def test_the_folder_and_its_manifest_agree(small):
    summary = small()
    files = contents(summary.folder)
    manifest = json.loads(files.pop("testbed.json"))
    assert manifest["files"] == {path: hashlib.sha256(text).hexdigest() for path, text in files.items()}
    assert summary.rows == 40
    assert manifest["counts"]["sources"] == summary.sources
    for name, count in summary.sources.items():
        assert len(files[f"mixture/{name}.jsonl"].splitlines()) == count
    for part, tasks in summary.tasks.items():
        for name, count in tasks.items():
            assert len(files[f"benchmarks/{part}/{name}.jsonl"].splitlines()) == count
    assert manifest["settings"]["sources"]["terse"]["wrong_currency"] == 0.8


def test_facts_are_written_with_their_part(small, world):
    summary = small()
    rows = [json.loads(line) for line in (summary.folder / "facts.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [fact.id for fact in world.facts]
    for part, count in summary.facts.items():
        assert sum(row["part"] == part for row in rows) == count


def test_no_written_row_asks_about_what_a_benchmark_asks(small):
    folder = small(rows=800, dev_items=100, test_items=100).folder

    def asked(pattern):
        lines = [line for path in folder.glob(pattern) for line in path.read_text().splitlines()]
        return {fact for line in lines for fact in json.loads(line)["facts"]}

    taught = asked("mixture/*.jsonl")
    held_out = [asked(f"benchmarks/*/{task}.jsonl") for task in ("world_choice", "world_exact", "format")]
    assert len(taught) > 500
    assert all(len(facts) > 80 for facts in held_out)
    assert not taught & set().union(*held_out)
    assert taught & asked("benchmarks/*/world_choice_taught.jsonl")
    assert taught & asked("benchmarks/*/world_exact_taught.jsonl")


def test_the_same_arguments_give_the_same_bytes(small):
    first, second = small("a", seed=3, bias=0.5), small("b", seed=3, bias=0.5)
    assert contents(first.folder) == contents(second.folder)
    assert contents(first.folder) != contents(small("c", seed=4, bias=0.5).folder)


def test_bytes_do_not_depend_on_how_numbers_are_written(small):
    first = small("a", bias=1, settings={"terse": {"lower_case": 1}})
    second = small("b", bias=1.0, settings={"terse": {"lower_case": 1.0}})
    assert contents(first.folder) == contents(second.folder)


def test_an_identical_folder_is_left_alone(small):
    first = small()
    before = (first.folder / "facts.jsonl").stat()
    assert first.written
    assert not small().written
    after = (first.folder / "facts.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_another_testbed_and_a_damaged_one_are_replaced(small, tmp_path):
    fresh = contents(small(seed=1).folder)
    assert small(seed=2).written
    assert small(seed=1).written
    (tmp_path / "a" / "facts.jsonl").write_text("damaged")
    assert small(seed=1).written
    assert contents(tmp_path / "a") == fresh
    assert [path.name for path in tmp_path.iterdir()] == ["a"]  # nothing is left beside it


def test_an_old_source_does_not_stay(small):
    small()
    small(shares={"quiz": 1})
    assert [path.name for path in (small(shares={"quiz": 1}).folder / "mixture").iterdir()] == ["quiz.jsonl"]


@pytest.mark.parametrize("manifest", [None, "{}", "not json", '{"files": 3}'])
def test_a_folder_of_other_things_is_refused(small, tmp_path, manifest):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("years of work")
    if manifest is not None:
        (tmp_path / "a" / "testbed.json").write_text(manifest)
    with pytest.raises(ConfigError, match=r"no testbed wrote, such as"):
        small()
    assert (tmp_path / "a" / "thesis.txt").read_text() == "years of work"


def test_a_testbed_with_other_things_in_it_is_refused(small, tmp_path):
    small()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        small(seed=9)
    assert (tmp_path / "a" / "notes.txt").exists()


def test_a_file_in_the_way_is_refused(small, tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(ConfigError, match="there is a file"):
        small()


def test_an_empty_folder_and_missing_parents_will_do(small, tmp_path):
    (tmp_path / "a").mkdir()
    assert small().written
    assert small("deep/er/still").written


def test_a_failure_leaves_the_old_folder(small, tmp_path, monkeypatch):
    before = contents(small().folder)

    def fail(path, text):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        small(seed=5)
    monkeypatch.undo()
    assert contents(tmp_path / "a") == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_mistake_writes_nothing(small, tmp_path):
    with pytest.raises(ConfigError, match="too few"):
        small(rows=3)
    assert list(tmp_path.iterdir()) == []
