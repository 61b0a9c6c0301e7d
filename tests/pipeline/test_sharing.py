"""Copies, replayed rows and `k: auto` in whole runs: what trains, what is told, what growing keeps, what goes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import dtm
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.launch import LocalLauncher
from dtm.foundations.store import Store
from dtm.foundations.types import Examples
from dtm.pipeline.attribute import _refuse_training
from dtm.pipeline.checks import check
from dtm.pipeline.display import Display
from dtm.pipeline.growing import sentences
from dtm.pipeline.kept import REPLAYED, read_kept
from dtm.pipeline.origin import reopen
from dtm.pipeline.sharing import write_assignment
from dtm.pipeline.steps import Steps
from dtm.pipeline.verbs import Run
from tests.pipeline.conftest import RUN, moved_copy, write_run
from tests.pipeline.test_extending import colours, results, weights

PLAIN = "{method: kmeans, k: 2, dimensions: 8, on: both}"
SHARED = (
    RUN.replace(PLAIN, "{method: random, k: 3, overlap: 0.2, replay: {sources: [colours], rows: 4}}")
    .replace("models: [base, submodels, merged]", "models: [merged]")
    .replace("evaluate:", "merge: {weights: tokens}\nevaluate:")
)


def lines(run: Path) -> dict[str, dict[str, str]]:
    with open(run / "portions" / "assignment.csv", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def holding(rows: dict[str, dict[str, str]], portion: int) -> set[str]:
    """Ids that the portion has, as assignment.csv says."""
    number = str(portion)
    return {one for one, row in rows.items()
            if row["portion"] == number or number in row["also"].split() or row["also"] == "all"}  # fmt: skip


def copies(rows: dict[str, dict[str, str]]) -> set[tuple[str, str]]:
    return {
        (one, portion) for one, row in rows.items() if row["also"] != "all" for portion in row["also"].split()
    }


def trained(plan: dict) -> dict[str, bool]:
    return {one["step"]: not one["reused"] for one in plan["steps"] if one["kind"] == "train"}


@pytest.fixture(scope="module")
def first(inputs, warm, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shared")
    dtm.run(write_run(inputs, out, SHARED), [f"output_dir={out}/run"], **warm)
    return out


@pytest.fixture
def copied(first, tmp_path) -> Path:
    return moved_copy(first, tmp_path / "copy")


def test_portions_hold_their_own_rows_copies_and_all_replayed_ones_and_say_so(first):
    run, told = first / "run", results(first / "run")
    rows = lines(run)
    own = {one: row["portion"] for one, row in rows.items() if row["portion"]}
    replayed = {one for one, row in rows.items() if row["also"] == "all"}
    assert len(replayed) == 4
    assert {rows[one]["source"] for one in replayed} == {"colours"}
    assert not replayed & set(own)
    by_portion = [list(own.values()).count(str(portion)) for portion in range(3)]
    for portion in range(3):
        part = Examples.open(run / "portions" / f"portion-{portion}.arrow")
        assert set(part.column("id")) == holding(rows, portion)
        mine = [pair for pair in copies(rows) if pair[1] == str(portion)]
        assert len(mine) == round(0.2 * by_portion[portion])
        assert all(own[one] != str(portion) for one, _ in mine)
        card = told["portions"][portion]
        assert (card["rows"], card["copied"], card["replayed"]) == (len(part), len(mine), 4)
        assert card["trained_tokens"] == part.token_counts()[1].sum()
    spent = [one["trained_tokens"] for one in told["portions"]]
    assert told["merge"]["weights"] == pytest.approx([one / sum(spent) for one in spent])
    (merged,) = [one for one in told["results"]["models"] if one["role"] == "merged"]
    assert merged["tokens"] == sum(spent) == told["split"]["sharing"]["trained_tokens"]
    assert any(
        one.startswith("Portions share rows: ") and "not compute-matched" in one for one in told["statement"]
    )
    assert "in all" in (run / "report.html").read_text()
    kept = read_kept(run)
    ids = kept.ids.to_pylist()
    assert {ids[one] for one in range(len(ids)) if kept.portion_N[one] == REPLAYED} == replayed
    assert {(ids[one], str(portion)) for one, portion in kept.copies.tolist()} == copies(rows)


def test_growing_keeps_copies_and_replayed_rows_and_trains_what_new_rows_reach(copied, warm):
    """New rows join one portion, which alone takes more copies; then a portion of their own, which replays too."""
    out, run, new = copied, copied / "run", copied / "run-extended"
    before = lines(run)
    colours(out / "more.jsonl", 15)
    plan = dtm.extend(run, out / "more.jsonl", dry_run=True, **warm)
    assert sorted(trained(plan).values()) == [False, False, True]
    dtm.extend(run, out / "more.jsonl", **warm)
    after, told = lines(new), results(new)
    assert {one: after[one]["portion"] for one in before} == {
        one: row["portion"] for one, row in before.items()
    }
    assert copies(before) <= copies(after)
    (grown,) = [one for one in told["growing"]["portions"] if one["joined"]]
    assert {portion for _, portion in copies(after) - copies(before)} == {str(grown["portion"])}
    assert grown["copies_joined"] == len(copies(after) - copies(before)) == 3
    assert {one for one, row in after.items() if row["also"] == "all"} <= set(before)
    assert told["growing"]["replayed"] == {"kept": 4, "joined": 0, "left": 0}
    page = (new / "report.html").read_text()
    assert f"{grown['kept']} kept, {grown['joined']} joined, copies: 3 joined; trained" in page
    for one in told["growing"]["portions"]:
        assert (one["submodel"] == "trained") == (
            weights(run, one["portion"]) != weights(new, one["portion"])
        )

    dtm.run(new / "run.yaml", [f"store={out}/empty", f"output_dir={out}/scratch"], until="disperse", **warm)
    for path in (new / "portions").iterdir():
        assert path.read_bytes() == (out / "scratch" / "portions" / path.name).read_bytes()

    shutil.rmtree(run)
    colours(out / "later.jsonl", 12, start=700)
    plan = dtm.extend(new, out / "later.jsonl", new="portion", dry_run=True, **warm)
    assert trained(plan) == {
        "submodel-0": False,
        "submodel-1": False,
        "submodel-2": False,
        "submodel-3": True,
    }
    checked = check(reopen(new))  # `dtm attribute` after the first run is gone: it finds all that it needs
    launcher, store = LocalLauncher(workers=1, threads=1, log=out / "workers.log"), Store(out / ".dtm-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "map", lambda *_, **__: pytest.fail("nothing is to be worked on"))
        _refuse_training(
            Run(checked, Steps(store, launcher, Display(quiet=True), planning=True, folder=new)), new
        )


def test_a_removed_row_goes_from_every_portion_that_has_it(copied, warm):
    out, run = copied, copied / "run"
    before = lines(run)
    row, portion = sorted(copies(before))[0]
    (out / "ids.txt").write_text(row)
    plan = dtm.extend(run, remove=out / "ids.txt", output_dir=out / "gone", dry_run=True, **warm)
    reached = {before[row]["portion"], *before[row]["also"].split()}
    assert {name[-1] for name, redo in trained(plan).items() if redo} == reached
    told = plan["growing"]["portions"]
    assert told[int(portion)]["copies_left"] == 1
    assert told[int(portion)]["copies_joined"] in (0, 1)  # its own rows may be one fewer, and so its due
    assert f"rows stay and {1} are gone" in sentences(plan["growing"])[0]
    made = (
        out
        / ".dtm-store"
        / "objects"
        / next(one["key"] for one in plan["steps"] if one["step"] == "disperse")
    )
    assert row not in (made / "assignment.csv").read_text()
    assert not any(row in Examples.open(one).column("id") for one in made.glob("*.arrow"))

    replayed = next(one for one, line in before.items() if line["also"] == "all")
    (out / "ids.txt").write_text(replayed)
    plan = dtm.extend(run, remove=out / "ids.txt", output_dir=out / "other", dry_run=True, **warm)
    assert all(trained(plan).values())
    assert plan["growing"]["replayed"] == {"kept": 3, "joined": 0, "left": 1}


def test_a_run_whose_last_replayed_row_went_can_be_extended_again(copied, warm):
    out, run = copied, copied / "run"
    own = [
        row
        for row in (run / "portions" / "assignment.csv").read_text().splitlines()
        if not row.endswith(",all")
    ]
    (run / "portions" / "assignment.csv").unlink()  # a link to the store's
    (run / "portions" / "assignment.csv").write_text("\n".join(own) + "\n")
    colours(out / "more.jsonl", 3)
    plan = dtm.extend(run, out / "more.jsonl", dry_run=True, **warm)
    assert "replayed" not in plan["growing"]
    assert plan["sharing"]["replayed"] == 0


def test_without_either_setting_a_split_has_the_key_that_it_had(inputs, warm, tmp_path):
    """And a K that was proposed the key of the same K given."""
    path = write_run(inputs, tmp_path, RUN)
    dtm.run(path, [f"output_dir={tmp_path}/plain"], until="disperse", **warm)
    keyed = json.loads((tmp_path / "plain" / "steps.json").read_text())["disperse"]
    assert set(keyed["settings"]) == {"k", "method", "version", "settings"}
    assert (tmp_path / "plain" / "portions" / "assignment.csv").read_text().startswith("id,source,portion\n")
    told = dtm.run(path, [f"output_dir={tmp_path}/auto", "disperse.k=auto"], until="disperse", **warm)
    assert told["run"]["k"] == told["split"]["proposal"]["k"] == 2
    assert told["split"]["proposal"]["starved"]
    steps = json.loads((tmp_path / "auto" / "steps.json").read_text())
    assert steps["disperse"] == keyed
    assert steps["number of portions"]["settings"]["pace"]["per_device_train_batch_size"] == 4
    plan = dtm.run(path, [f"output_dir={tmp_path}/auto", "disperse.k=auto"], dry_run=True, **warm)
    assert plan["proposal"]["k"] == 2
    assert "pending" not in plan["proposal"]
    assert "starves the sub-models" in (tmp_path / "auto" / "report.html").read_text()


def test_a_plan_says_that_k_depends_on_a_signal_and_counts_what_is_shared(inputs, warm, tmp_path):
    path = write_run(inputs, tmp_path, RUN)
    settings = [f"output_dir={tmp_path}/run", "disperse={method: loss_profile, k: auto}"]
    plan = dtm.run(path, settings, dry_run=True, **warm)
    assert plan["proposal"]["pending"]
    rows = {one["step"]: one["rows"] for one in plan["steps"]}
    assert sum(rows[f"submodel-{number}"] for number in range(4)) == rows["disperse"]
    shared = "disperse={method: loss_profile, k: 4, overlap: 0.5, replay: {sources: [colours]}}"
    plan = dtm.run(path, [f"output_dir={tmp_path}/run", shared], dry_run=True, **warm)
    assert plan["sharing"] is None
    planned = {one["step"]: one["rows"] for one in plan["steps"]}
    key = next(one["key"] for one in plan["steps"] if one["step"] == "render")
    train = Examples.open(tmp_path / ".dtm-store" / "objects" / key / "train.arrow")
    replayed = train.column("source").count("colours")
    for number in range(4):
        assert planned[f"submodel-{number}"] == pytest.approx(
            replayed + 1.5 * (rows["disperse"] - replayed) / 4, abs=1
        )


@pytest.mark.parametrize(("settings", "message"), [
    (["disperse.overlap=1.5"], "run.yaml:6: disperse.overlap: 1.5 will not do"),
    (["disperse.overlap=0.1", "disperse.k=1"], "there is no other portion"),
    (["disperse.replay={sources: [colors]}"], "sources.0: there is no source 'colors'. Did you mean 'colours'"),
    (["disperse.replay={}"], "does not say which rows"),
    (["disperse.replay={rows: 2, fraction: 0.5}"], "both `fraction` and `rows`"),
    (["disperse.replay={row: 2}"], "there is no such key. Did you mean `rows`"),
    (["disperse={method: by_source, k: 2, replay: {sources: [adds]}}"], "1 sources cannot fill 2 portions"),
    (["disperse.overlpa=0.1"], "there is no such key. Did you mean `overlap`"),
    (["disperse.k=atuo"], "run.yaml:6: disperse.k: 'atuo' will not do: it should be .*'auto'"),
    (["disperse.k=auto", "merge.weights=[1, 2]"], "`k: auto` it is not known yet .* 2 weights.*Set disperse.k to 2"),
    (["disperse.k=auto", "merge.method=slerp"], "'slerp' merges 2 models, and `k: auto` may propose 2 to 8"),
    (["disperse.k=auto", "merge.weights={search: greedy, budget: 4}"], "4 candidates are too few.*at least 9"),
    (["disperse.k=auto", "recipe={name: submodel, index: 5}"], "not known yet whether there is a portion 5"),
])  # fmt: skip
def test_mistakes_are_told_before_any_work(inputs, warm, tmp_path, settings, message):
    with pytest.raises(DtmError, match=message):
        dtm.run(write_run(inputs, tmp_path, RUN), [f"output_dir={tmp_path}/run", *settings], **warm)
    assert not (tmp_path / "run").exists()


def test_kept_portions_that_share_nothing_cannot_begin_to_replay(inputs, warm, tmp_path):
    path = write_run(inputs, tmp_path, RUN)
    (tmp_path / "split.csv").write_text("id,portion\na,0\nb,1\n")
    with pytest.raises(ConfigError, match="the kept portions replay no rows"):
        dtm.run(path, [f"output_dir={tmp_path}/run", "disperse={keep: split.csv, replay: {rows: 2}}"], **warm)
    for text, message in (
        ("id,portion,also\na,0,0\nb,1,\n", "'0' under `also` is no other portion"),
        ("id,portion,also\na,0,7\nb,1,\n", "'7' under `also` is no other portion"),
        ("id,portion,also\na,0,all\nb,1,\n", "without id or portion"),
        ("id,portion,also\na,,\nb,1,\n", "without id or portion"),
        ("id,portion,also\na,,all\n", "has no row"),
    ):
        (tmp_path / "split.csv").write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_kept(tmp_path / "split.csv")


def test_the_side_that_topic_reads_is_set_from_the_run_file(inputs, warm, tmp_path):
    path = write_run(inputs, tmp_path, RUN)
    for said, side in (("", "both"), (", on: response", "response")):
        run = tmp_path / side
        dtm.run(
            path, [f"output_dir={run}", f"disperse={{method: topic, k: 2{said}}}"], until="disperse", **warm
        )
        keyed = json.loads((run / "steps.json").read_text())["disperse"]["settings"]
        assert keyed["settings"]["on"] == side


def test_agreement_of_splits_is_over_the_rows_that_they_share(first, tmp_path, monkeypatch, capsys):
    """Against scikit-learn; replayed rows, and rows of one split alone, do not count."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    from dtm import cli

    own = {one: int(row["portion"]) for one, row in lines(first / "run").items() if row["portion"]}
    other = {one: number % 2 for number, one in enumerate(sorted(own)) if number % 3}
    split = tmp_path / "halves.csv"
    split.write_text("id,portion\nelse,0\n" + "".join(f"{one},{part}\n" for one, part in other.items()))
    found = dtm.agreement([first / "run", split])
    (pair,) = found["pairs"]
    both = ([own[one] for one in other], list(other.values()))
    assert (pair["a"], pair["b"], pair["rows"]) == ("run", "halves.csv", len(other))
    assert pair["adjusted_rand"] == pytest.approx(adjusted_rand_score(*both), abs=1e-12)
    assert pair["mutual_information"] == pytest.approx(normalized_mutual_info_score(*both), abs=1e-9)
    assert [one["rows"] for one in found["splits"]] == [len(own), len(other) + 1]

    def said(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["dtm", "agreement", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    code, out, _ = said(first / "run", split, "--json")
    assert (code, json.loads(out)) == (0, found)
    code, out, _ = said(first / "run", split, first / "run")
    assert code == 0
    assert "1.000 (1.000)" in out
    assert "adjusted Rand index" in out
    (tmp_path / "strange.csv").write_text("id,portion\nnobody,0\nno one,1\n")
    (tmp_path / "empty.csv").write_text("")
    for arguments, message in (([split], "one split agrees with itself"), ([split, tmp_path / "no"], "there is no"),
                               ([split, tmp_path / "strange.csv"], "no row in common"),
                               ([split, tmp_path / "empty.csv"], "holds no portions")):  # fmt: skip
        code, _, told = said(*arguments)
        assert (code, "Traceback" in told) == (2, False)
        assert message in told


def test_a_source_with_a_comma_a_quote_or_a_line_break_stays_one_cell(tmp_path):
    import numpy as np
    import pyarrow as pa

    sources = ['a "quoted", one', "plain", "two\nlines"]
    examples = SimpleNamespace(table=pa.table({"id": [f"{n:064x}" for n in range(3)], "source": sources}))
    split = SimpleNamespace(k=2, own_N=np.array([0, 1, 0]), copies=np.zeros((0, 2), int), shared=False)
    path = tmp_path / "assignment.csv"
    write_assignment(path, examples, split, [0, 1])
    with open(path, newline="") as file:
        assert [row["source"] for row in csv.DictReader(file)] == sources
    assert read_kept(path).portion_N.tolist() == [0, 1, 0]
