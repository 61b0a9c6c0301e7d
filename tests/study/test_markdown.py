"""Tables in Markdown: every cell is a number of the results, and every arm and reference has its row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dtm.study import markdown
from dtm.study.heldout import heldout
from dtm.study.running import Outcome
from tests.study.made import made


@pytest.fixture(scope="module")
def results():
    return made(arms=4, items=60, resamples=20, curves=("dtm-kmeans-4",))


def cells(text):
    """{first cell: the others by their head} of a table."""
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_scores_are_those_of_the_results(results):
    found = cells(markdown.scores(results))
    assert list(found) == ["base", *(arm["name"] for arm in results["arms"])]
    for arm in results["arms"]:
        row = found[arm["name"]]
        assert int(row["steps"].replace(",", "")) == round(arm["steps"])
        for one in arm["scores"]:
            assert float(row[one["group"]]) == pytest.approx(100 * one["value"], abs=0.051)


@pytest.mark.parametrize("against", ["vanilla", "base", "peak"])
def test_differences_are_marked_where_they_are_shown(results, against):
    found = cells(markdown.differences(results, against))
    assert list(found) == [arm["name"] for arm in results["arms"] if arm["name"] != against]
    shown = [row for row in results["comparisons"] if row["against"] == against]
    assert {row["verdict"] for row in shown} > {"better"} or against == "peak"
    for row in shown:
        middle, rest = found[row["arm"]][row["group"]].split(" ", 1)
        assert float(middle) == pytest.approx(100 * row["difference"], abs=0.051)
        assert rest.startswith(f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]")
        assert ("▲" in rest, "▼" in rest) == (row["verdict"] == "better", row["verdict"] == "worse")


def test_a_curve_is_the_mean_over_seeds(results):
    found = cells(markdown.curve(results["curves"][0]))
    runs = results["curves"][0]["runs"]
    assert next(iter(found)) == "0 %"
    assert len(found) == len(runs[0]["points"])
    last = [run["points"][-1] for run in runs]
    for name, scale in (("costs", 100), ("mean", 100)):
        expected = scale * sum(one["scores"][name] for one in last) / len(last)
        assert float(found["100 %"][name]) == pytest.approx(expected, abs=0.051)
    assert float(found["100 %"]["held-out loss"]) == pytest.approx(
        sum(one["heldout_loss"] for one in last) / len(last), abs=0.0051
    )


def test_losses_on_kept_rows_stand_beside_the_bases(results):
    found = cells(markdown.losses(results))
    assert list(found) == [arm["name"] for arm in results["arms"]]
    for row in results["heldout"]:
        assert row["loss"] == pytest.approx(sum(row["by_seed"].values()) / 5)
        own, change = found[row["arm"]][row["source"]].rstrip(")").split(" (")
        assert float(own) == pytest.approx(row["loss"], abs=0.0051)
        assert float(change) == pytest.approx(row["loss"] - row["base"], abs=0.0051)


def test_metrics_that_are_no_shares_stay_as_they_are(results):
    group = results["benchmarks"][0]["group"]
    other = {
        **results,
        "benchmarks": [{**results["benchmarks"][0], "in_mean": False}, *results["benchmarks"][1:]],
    }
    value = next(row["value"] for row in results["base"]["scores"] if row["group"] == group)
    assert float(cells(markdown.scores(other))["base"][group]) == pytest.approx(value, rel=1e-3)
    assert float(cells(markdown.scores(results))["base"][group]) == pytest.approx(100 * value, abs=0.051)


def test_a_bar_in_a_name_stays_in_its_cell():
    assert markdown.table(["a|b"], [["c"]]).splitlines()[0] == r"| a\|b |"


def test_losses_come_source_by_source_from_the_seeds_that_have_it():
    outcomes = [_outcome("a", 0, all=(2.0, 3.0), chat=(1.0, 1.5)), _outcome("a", 1, all=(4.0, 5.0)),
                _outcome("b", 0, all=(1.0, 3.0)), Outcome(SimpleNamespace(), None, error="nan")]  # fmt: skip
    assert heldout(outcomes) == [
        {"arm": "a", "source": "all", "loss": 3.0, "base": 4.0, "by_seed": {"0": 2.0, "1": 4.0}},
        {"arm": "a", "source": "chat", "loss": 1.0, "base": 1.5, "by_seed": {"0": 1.0}},
        {"arm": "b", "source": "all", "loss": 1.0, "base": 3.0, "by_seed": {"0": 1.0}},
    ]


def _outcome(arm, seed, **losses):
    """A run that left these losses, (its own, the base's) by source."""
    rows = [{"model": model, "source": source, "loss": pair[place]} for source, pair in losses.items()
            for place, model in enumerate(("merged", "base"))]  # fmt: skip
    results = {"results": {"models": [{"name": "merged", "role": "merged"}], "heldout": rows}}
    return Outcome(SimpleNamespace(arm=SimpleNamespace(name=arm), seed=seed), None, results)


def test_the_file_has_all_of_them(results):
    text = markdown.tables(results)
    parts = [markdown.scores(results), markdown.curve(results["curve"]), markdown.losses(results)]
    for part in (*parts, *(markdown.differences(results, one) for one in ("vanilla", "base", "peak"))):
        assert part.rstrip() in text
    assert all(line in text for line in results["statement"])
    assert "Tuned on dev" not in text
