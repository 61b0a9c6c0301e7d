"""Growing a run: what changed trains, what did not has its bytes, what must go is gone, mistakes are told first."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import dtm
from dtm.foundations.files import sha256, walk
from dtm.foundations.types import Examples, canonical_id
from dtm.pipeline.growing import sentences
from dtm.report import validate
from tests.pipeline.conftest import EXEMPT, RUN, moved_copy, write_run

BY_SOURCE = RUN.replace("{method: kmeans, k: 2, dimensions: 8, on: both}", "{method: by_source, k: 2}")
LENGTHS = RUN.replace("{method: kmeans, k: 2, dimensions: 8, on: both}", "{method: by_length, k: 3}")


def assignment(run: Path) -> dict[str, int]:
    with open(run / "portions" / "assignment.csv", newline="") as file:
        return {row["id"]: int(row["portion"]) for row in csv.DictReader(file)}


def weights(run: Path, number: int) -> str:
    return sha256(run / "submodels" / str(number) / "adapter_model.safetensors")


def steps(run: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {one["step"]: one["event"] for one in lines if one["event"] in ("done", "reused")}


def results(run: Path) -> dict:
    found = json.loads((run / "results.json").read_text())
    validate(found)
    return found


def dev_ids(out: Path, run: Path) -> set[str]:
    """Ids of the rows that the run held out, out of the store."""
    key = next(one["key"] for one in results(run)["stages"] if one["name"] == "render")
    return set(Examples.open(out / ".dtm-store" / "objects" / key / "dev.arrow").column("id"))


def content(run: Path) -> dict[str, str]:
    """sha256 of all that must be the same bytes; the merge's card tells the run file's paths."""
    skip = EXEMPT | {"README.md"}
    files = {name: sha256(path) for name, path in walk(run)
             if Path(name).name not in skip and not name.startswith("logs/")}  # fmt: skip
    return {**files, "results": json.dumps(results(run)["results"], sort_keys=True)}


def colours(path: Path, count: int, start: int = 500) -> Path:
    rows = [
        {"question": f"What colour is thing {n}?", "answer": "green"} for n in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def first(inputs, warm, tmp_path_factory) -> Path:
    """The folder that holds `run/`, whose portion 0 is the sums and whose portion 1 the colours."""
    out = tmp_path_factory.mktemp("first")
    dtm.run(write_run(inputs, out, BY_SOURCE), [f"output_dir={out}/run"], **warm)
    return out


@pytest.fixture
def copied(first, tmp_path) -> Path:
    return moved_copy(first, tmp_path / "copy")


def test_only_the_portion_that_new_rows_joined_trains_and_the_whole_is_as_from_scratch(copied, warm):
    """New rows of a known source, and one known row among them; then the same file over an empty store."""
    out, run, new = copied, copied / "run", copied / "run-extended"
    colours(out / "more.jsonl", 12)
    with open(out / "more.jsonl", "a") as file:
        file.write((out / "colours.jsonl").read_text().splitlines()[0] + "\n")
    shutil.move(out / "more.jsonl", (out / "new").mkdir() or out / "new" / "colours.jsonl")
    plan = dtm.extend(run, out / "new" / "colours.jsonl", dry_run=True, **warm)
    assert sentences(plan["growing"])[-1] == "Sub-models reused: 0; trained: 1."
    assert {one["step"]: one["reused"] for one in plan["steps"] if one["kind"] == "train"} == {
        "submodel-0": True, "submodel-1": False,
    }  # fmt: skip

    dtm.extend(run, out / "new" / "colours.jsonl", **warm)
    before, after, told = assignment(run), assignment(new), results(new)["growing"]
    assert {one: after[one] for one in before} == before
    joined = {one: number for one, number in after.items() if one not in before}
    assert set(joined.values()) == {1}
    events = steps(new)
    assert (events["submodel-0"], events["submodel-1"], events["merge"]) == ("reused", "done", "done")
    assert events["prepare base"] == "reused"
    assert weights(new, 0) == weights(run, 0)
    assert weights(new, 1) != weights(run, 1)
    assert (told["kept"], told["joined"], told["left"], told["removed"]) == (len(before), len(joined), 0, 0)
    assert [one["submodel"] for one in told["portions"]] == ["reused", "trained"]
    assert "Sub-models reused: 0; trained: 1." in results(new)["statement"]
    held_before, held = dev_ids(out, run), dev_ids(out, new)
    assert held_before <= held
    assert not held & set(after)
    assert not held_before & set(after)
    assert len(held) + len(after) == len(held_before) + len(before) + 12

    shutil.rmtree(run)  # the new run stands without the old one
    dtm.run(new / "run.yaml", [f"store={out}/empty", f"output_dir={out}/scratch"], **warm)
    assert "done" in steps(out / "scratch")["submodel-0"]
    grown, scratch = content(new), content(out / "scratch")
    grown.pop("kept.csv")
    assert grown == scratch


def test_removed_rows_are_in_no_portion_no_dev_and_no_text_and_the_others_keep_their_sub_model(copied, warm):
    """One row of a portion, one of dev; then a row that was gone cannot come back with new data."""
    out, run, new = copied, copied / "run", copied / "gone"
    before, held = assignment(run), dev_ids(out, run)
    number = {one: n for n, one in enumerate(before.values())}
    assert set(number) == {0, 1}
    trained, dev = next(one for one, portion in before.items() if portion == 1), sorted(held)[0]
    (out / "ids.txt").write_text(
        f'id,source,portion\n{trained},"colours",1\n' + json.dumps({"id": dev}) + "\n"
    )
    dtm.extend(run, remove=out / "ids.txt", output_dir=new, **warm)
    after = assignment(new)
    assert after == {one: portion for one, portion in before.items() if one != trained}
    assert dev_ids(out, new) == held - {dev}
    events = steps(new)
    assert (events["submodel-0"], events["submodel-1"]) == ("reused", "done")
    assert weights(new, 0) == weights(run, 0)
    told = results(new)["growing"]
    assert (told["kept"], told["joined"], told["left"], told["removed"]) == (len(after), 0, 1, 2)
    gone = [row for row in map(json.loads, (new / "dropped.jsonl").read_text().splitlines()) if "id" in row]
    assert {row["id"]: row["row"] for row in gone} == {trained: "", dev: ""}

    rows = [row for row in map(json.loads, (out / "colours.jsonl").read_text().splitlines())
            if canonical_id([{"role": "user", "content": row["question"]},
                             {"role": "assistant", "content": row["answer"]}]) == trained]  # fmt: skip
    assert len(rows) == 1
    colours(out / "back.jsonl", 2)
    with open(out / "back.jsonl", "a") as file:
        file.write(json.dumps(rows[0]) + "\n")
    plan = dtm.extend(new, [{"path": out / "back.jsonl"}], new="portion", dry_run=True, **warm)
    assert trained not in (out / "gone-extended" / "kept.csv").read_text()
    first, last = sentences(plan["growing"])
    assert "2 new rows form portion 2" in first
    assert last == "Sub-models reused: 0, 1; trained: 2."


def test_a_portion_that_is_gone_leaves_the_sub_models_of_the_others_as_they_are(copied, warm):
    """Portion 0 of 2 goes: portion 1 becomes 0 and keeps its seeds, its rows and so its sub-model, also later."""
    out, run, new = copied, copied / "run", copied / "one"
    ids = [one for one, portion in assignment(run).items() if portion == 0]
    (out / "ids.txt").write_text("\n".join(ids))
    dtm.extend(run, remove=out / "ids.txt", output_dir=new, settings=["evaluate.models=[merged]"], **warm)
    assert set(assignment(new).values()) == {0}
    assert weights(new, 0) == weights(run, 1)
    assert steps(new)["submodel-0"] == "reused"
    told = results(new)["growing"]
    assert (told["gone"], told["portions"][0]["was"]) == ([0], 1)
    assert (new / "portions" / "assignment.csv").read_text().startswith("id,source,portion,lineage\n")
    colours(out / "more.jsonl", 5)
    plan = dtm.extend(new, out / "more.jsonl", new="portion", dry_run=True, **warm)
    assert sentences(plan["growing"])[-1] == "Sub-models reused: 0; trained: 1."


def test_the_command_shows_the_plan(first, monkeypatch, capsys):
    from dtm import cli

    colours(first / "more.jsonl", 3)
    monkeypatch.setattr("sys.argv", ["dtm", "extend", str(first / "run"), str(first / "more.jsonl"), "--new",
                                     "portion", "--output-dir", str(first / "apart"), "--dry-run"])  # fmt: skip
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert "3 new rows form portion 2. Sub-models reused: 0, 1; trained: 2." in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "there is no run.yaml, so no run was here"),
    (["{out}"], "there is no origin.json, so no run was here"),
    (["{run}"], "nothing to add and nothing to remove"),
    (["{run}", "--remove", "{out}/no.txt"], "there is no .*no.txt"),
    (["{run}", "--remove", "{out}/unknown.txt"], "1 of these ids is of no row of .*: 0000"),
    (["{run}", "--remove", "{out}/words.txt"], "words.txt:2: 'thing' holds no row id"),
    (["{run}", "--remove", "{out}/all.txt"], "every row of .*run would be removed"),
    (["{run}", "{out}/colours.jsonl"], "all its 40 rows are in the run already"),
    (["{run}", "{out}/missing.jsonl"], "missing.jsonl"),
    (["{run}", "{out}/more.jsonl", "--output-dir", "{run}"], "cannot be extended in its own folder"),
    (["{run}", "{out}/more.jsonl", "--new", "apart"], "'apart' will not do"),
    (["{run}", "--new", "portion", "--remove", "{out}/unknown.txt"], "no new data to form a portion"),
    (["{run}", "{out}/more.jsonl", "-s", "disperse.k=3"], "2 portions are kept, and new rows join them"),
    (["{run}", "{out}/more.jsonl", "--new", "portion", "-s", "merge.weights=[1, 2]"], "2 weights for 3 sub-models"),
])  # fmt: skip
def test_mistakes_are_told_before_any_work(first, arguments, message, monkeypatch, capsys):
    from dtm import cli

    ids = [*assignment(first / "run"), *dev_ids(first, first / "run")]
    (first / "all.txt").write_text("\n".join(ids))
    (first / "unknown.txt").write_text("0" * 64 + "\n" + ids[0])
    (first / "words.txt").write_text(ids[0] + "\nthing\n")
    colours(first / "more.jsonl", 3)
    filled = [one.format(out=first, run=first / "run") for one in arguments]
    monkeypatch.setattr("sys.argv", ["dtm", "extend", *filled])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    import re

    assert re.search(message, told), told
    assert not (first / "run-extended").exists()


def test_a_run_that_never_finished_and_files_that_hold_no_portions_are_told(first, tmp_path):
    from dtm.foundations.errors import ConfigError, MissingInput
    from dtm.pipeline.extending import extend
    from dtm.pipeline.kept import read_kept

    unfinished = tmp_path / "run"
    unfinished.mkdir()
    for name in ("run.yaml", "origin.json"):
        shutil.copy(first / "run" / name, unfinished / name)
    with pytest.raises(MissingInput, match="no run with portions was finished"):
        extend(unfinished, [colours(tmp_path / "more.jsonl", 2)])
    for text, message in (("id,part\na,1\n", "needs the columns"), ("id,portion\na,x\n", "needs the columns"),
                          ("id,portion\n", "no row"), ("id,portion\na,0\na,1\n", "a row twice")):  # fmt: skip
        (tmp_path / "split.csv").write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_kept(tmp_path / "split.csv")
    with pytest.raises(MissingInput, match="there is no"):
        read_kept(tmp_path / "nowhere")


def test_a_split_of_ones_own_is_kept_and_its_numbers_may_have_gaps(inputs, warm, tmp_path):
    """`keep` takes a CSV file; k is what it holds, and rows that it lacks join by the method's rule."""
    path = write_run(inputs, tmp_path, LENGTHS)
    dtm.run(path, [f"output_dir={tmp_path}/run"], until="disperse", **warm)
    by_length = assignment(tmp_path / "run")
    known = [one for number, one in enumerate(by_length) if number % 4]
    (tmp_path / "split.csv").write_text(
        "id,portion\n" + "".join(f"{one},{by_length[one] * 5}\n" for one in known)
    )
    text = LENGTHS.replace("k: 3}", "keep: split.csv}").replace("output_dir: run", "output_dir: kept")
    path = write_run(inputs, tmp_path, text)
    dtm.run(path, [f"output_dir={tmp_path}/kept"], until="disperse", **warm)
    after, told = assignment(tmp_path / "kept"), results(tmp_path / "kept")
    assert {one: after[one] for one in known} == {one: by_length[one] for one in known}
    assert set(after) == set(by_length)
    assert told["run"]["k"] == 3
    assert [one["was"] for one in told["growing"]["portions"]] == [0, 5, 10]
    assert told["growing"]["joined"] == len(after) - len(known)
    assert [one["submodel"] for one in told["growing"]["portions"]] == [None] * 3
