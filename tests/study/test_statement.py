"""Sentences follow from the numbers: a difference is only ever called one where it is shown."""

from __future__ import annotations

import copy

import pytest

from dtm.study.statement import statement
from tests.study.made import made


@pytest.fixture(scope="module")
def results():
    return made()


def edited(results, **changes):
    return {**copy.deepcopy(results), **changes}


def with_verdict(results, verdict):
    changed = copy.deepcopy(results)
    for row in changed["comparisons"]:
        if row["p_holm"] is not None:
            row["verdict"] = verdict
    return changed


def test_the_first_sentence_names_what_was_run_and_what_is_shown(results):
    first = statement(results)[0]
    assert first.startswith("9 arms, 5 seeds, 6 benchmarks. Against vanilla, in the mean of 6 benchmarks:")
    rows = [row for row in results["comparisons"] if (row["against"], row["group"]) == ("vanilla", "mean")]
    for row in rows:
        named = row["arm"] in first
        assert named == (row["verdict"] != "screened")
    shown = [row for row in rows if row["verdict"] == "better"]
    assert shown
    assert f"{shown[0]['arm']} (+{100 * shown[0]['difference']:.1f} points [" in first


def test_without_a_verdict_no_sentence_says_better_or_worse(results):
    lines = statement(with_verdict(results, "open"))
    assert not any("shown to be" in line for line in lines)
    assert any("no difference is shown" in line for line in lines)
    assert any(line.startswith("No difference shown is not no difference") for line in lines)


def test_what_is_shown_is_said_with_its_direction(results):
    assert "are shown to be worse" in statement(with_verdict(results, "worse"))[0]
    assert "are shown to be better" in statement(with_verdict(results, "better"))[0]


def test_both_meanings_of_the_tax_are_told(results):
    lines = [line for line in statement(results) if line.startswith("Tax of vanilla")]
    assert [("base" in line, "best point" in line) for line in lines] == [(True, False), (False, True)]


def test_other_budgets_are_said_to_be_so(results):
    assert any("uniform-soup 3 times" in line and "budget" in line for line in statement(results))
    even = edited(results, arms=[{**arm, "tokens": 1000.0} for arm in results["arms"]])
    assert any("spent the trained tokens of vanilla within 5 %" in line for line in statement(even))
    assert any("but ensemble 4 models'" in line for line in statement(results))


def test_what_was_screened_failed_or_tuned_badly_is_told(results):
    lines = " ".join(statement(results))
    assert "dtm-random-8 was run under fewer seeds than the study has: screened, no claim." in lines
    assert "No arm was tuned" in lines
    point = {"values": {}, "score": 1.0, "by_seed": {}, "failures": []}
    lost = {**point, "score": None, "failures": [{"seed": 0, "error": "nan", "diverged": True}]}
    grid = {"tuned_as": "vanilla", "on": "x", "points": [point, lost], "chosen": 0,
            "at_the_edge": ["train.args.learning_rate"]}  # fmt: skip
    arms = [{**arm, "grid": grid if arm["name"] == "vanilla" else None} for arm in results["arms"]]
    lines = " ".join(statement(edited(results, arms=arms, grid={"over": {}})))
    assert (
        "Best at an end of what was tried, so that a wider grid may serve better: vanilla (learning_rate)."
        in lines
    )
    assert "1 point of the grid diverged for vanilla." in lines
    assert "Not tuned, unlike the others: early-stopped" in lines


def test_one_seed_makes_no_claim():
    lines = statement(made(seeds=1, arms=3, curve=False, resamples=20))
    assert "no arm carries a claim, so nothing is shown" in lines[0]
    assert any(line.startswith("One seed:") for line in lines)


def test_a_study_without_results_says_so(results):
    nothing = edited(
        results, base={"scores": []}, comparisons=[], arms=[{**results["arms"][0], "scores": [], "seeds": []}]
    )
    assert statement(nothing)[0] == "No run was finished with a benchmark, so nothing is shown."
