"""What a study says of made-up runs: recomputed from its own items' means, and never more than is shown."""

from __future__ import annotations

import pytest

from dtm.foundations.statistics import holm
from dtm.study.results import edges_of
from dtm.study.running import Outcome, choose
from tests.study import made as making
from tests.study.made import made


@pytest.fixture(scope="module")
def results():
    return made()


def by_seed(scores, group):
    return next(row["by_seed"] for row in scores if row["group"] == group)


def test_differences_are_those_of_the_scores_seed_by_seed(results):
    arms = {arm["name"]: arm["scores"] for arm in results["arms"]}
    references = arms | {one["name"]: one["scores"] for one in results["references"]}
    base = {row["group"]: row["value"] for row in results["base"]["scores"]}
    assert {row["against"] for row in results["comparisons"]} == {"vanilla", "base", "peak", "oracle"}
    for row in results["comparisons"]:
        own = by_seed(arms[row["arm"]], row["group"])
        other = dict.fromkeys(own, base[row["group"]])
        if row["against"] != "base":
            other = by_seed(references[row["against"]], row["group"])
        expected = {str(seed): own[str(seed)] - other[str(seed)] for seed in row["seeds"]}
        assert row["by_seed"] == pytest.approx(expected, abs=1e-9)
        assert row["difference"] == pytest.approx(sum(expected.values()) / len(expected), abs=1e-9)
        assert row["low"] <= row["difference"] <= row["high"]


def test_means_are_over_benchmarks_with_equal_weight(results):
    for arm in results["arms"]:
        values = {row["group"]: row["value"] for row in arm["scores"]}
        for group, tasks in (
            ("mean", making.TASKS),
            ("gains", results["gains"]),
            ("costs", results["costs"]),
        ):
            assert values[group] == pytest.approx(sum(values[task] for task in tasks) / len(tasks))


def test_a_family_is_one_question_to_all_arms_that_claim(results):
    for reference in ("vanilla", "base", "peak"):
        for single in (True, False):
            family = [row for row in results["comparisons"] if row["against"] == reference
                      and (row["task"] is not None) == single and row["arm"] not in making.SCREENED]  # fmt: skip
            claiming = 8 if reference in ("base", "peak") else 7
            assert len(family) == claiming * (len(making.TASKS) if single else 3)
            assert [row["p_holm"] for row in family] == pytest.approx(holm([row["p"] for row in family]))


def test_nothing_is_shown_without_a_small_p_and_an_interval_without_zero(results):
    verdicts = set()
    for row in results["comparisons"]:
        verdicts.add(row["verdict"])
        assert row["p"] >= (row["p_mcnemar"] or 0)
        shown = row["p_holm"] is not None and row["p_holm"] < 0.05 and not row["low"] <= 0 <= row["high"]
        assert (row["verdict"] in ("better", "worse")) == shown
        if shown:
            assert (row["verdict"] == "better") == (row["difference"] > 0)
        assert (row["verdict"] == "oracle") == (row["against"] == "oracle")
    assert verdicts == {"better", "worse", "open", "screened", "oracle"}


def test_arms_that_were_screened_or_failed_carry_no_claim(results):
    assert {arm["name"]: arm["claim"] for arm in results["arms"] if not arm["claim"]} == {
        "dtm-random-8": False
    }

    def spoil(outcomes):
        index = next(
            i for i, one in enumerate(outcomes) if (one.trial.arm.name, one.trial.seed) == ("wise-ft", 3)
        )
        outcomes[index] = Outcome(outcomes[index].trial, outcomes[index].folder, error="the loss is nan")

    spoilt = made(edit=spoil, arms=6, resamples=20)
    arms = {arm["name"]: arm for arm in spoilt["arms"]}
    assert arms["wise-ft"]["failures"] == [{"seed": 3, "error": "the loss is nan", "diverged": False}]
    assert (arms["wise-ft"]["claim"], arms["wise-ft"]["seeds"]) == (False, [0, 1, 2, 4])
    assert {row["verdict"] for row in spoilt["comparisons"] if row["arm"] == "wise-ft"} == {
        "screened",
        "oracle",
    }
    assert any("1 run of wise-ft" in line for line in spoilt["statement"])
    assert made(seeds=1, arms=3, resamples=20)["arms"][0]["claim"] is False


def test_nothing_is_claimed_against_a_reference_that_lacks_seeds():
    def spoil(outcomes):
        for index, one in enumerate(outcomes):
            if one.trial.arm.name == "vanilla" and one.trial.seed:
                outcomes[index] = Outcome(one.trial, one.folder, error="the loss is nan")

    spoilt = made(edit=spoil, arms=4, items=60, resamples=20)
    verdicts = {(row["against"], row["verdict"]) for row in spoilt["comparisons"]}
    assert {verdict for against, verdict in verdicts if against in ("vanilla", "peak")} == {"screened"}
    assert {verdict for against, verdict in verdicts if against == "base"} & {"better", "worse"}
    assert "no arm carries a claim" in " ".join(spoilt["statement"])
    assert any("was screened, no claim" in line for line in spoilt["statement"] if line.startswith("Tax of"))


def test_arms_that_are_the_same_are_rarely_told_apart(monkeypatch):
    """Thirty studies of three arms like vanilla: a false finding in one of twenty is what the correction allows."""
    vanilla = making.ARMS["vanilla"]
    monkeypatch.setattr(making, "ARMS", dict.fromkeys(("vanilla", "a", "b", "c"), vanilla))
    found = 0
    for seed in range(30):
        rows = made(seed, items=60, arms=4, curve=False, named=False, tasks=3, resamples=10)["comparisons"]
        found += any(row["verdict"] in ("better", "worse") for row in rows if row["against"] == "vanilla")
    assert found <= 5  # two families of 5 %: more than 5 of 30 has a chance below one in fifty


def test_the_tax_is_what_the_costs_lost_in_both_meanings(results):
    rows = {(row["arm"], row["against"]): row for row in results["tax"]}
    vanilla = {row["group"]: row["value"] for row in results["arms"][0]["scores"]}
    base = {row["group"]: row["value"] for row in results["base"]["scores"]}
    assert rows["vanilla", "base"]["tax"] == pytest.approx(base["costs"] - vanilla["costs"])
    assert rows["vanilla", "base"]["verdict"] == "worse"
    oracle = next(one for one in results["references"] if one["oracle"])
    best = next(row["value"] for row in oracle["scores"] if row["group"] == "costs")
    assert rows["vanilla", "oracle"]["tax"] == pytest.approx(best - vanilla["costs"])
    assert made(named=False, arms=2, resamples=20)["tax"][0]["group"] == "mean"


def test_the_oracle_is_the_best_point_on_test_and_the_peak_the_best_on_dev(results):
    peak, oracle = results["references"]
    assert (peak["name"], oracle["name"]) == ("peak", "oracle")
    for run in results["curve"]["runs"]:
        later = run["points"][1:]  # the base is no point of the training
        best_on_test = max(later, key=lambda point: point["scores"]["mean"])
        best_on_dev = max(later, key=lambda point: point["dev"])
        assert oracle["shares"][str(run["seed"])] == best_on_test["share"]
        assert peak["shares"][str(run["seed"])] == best_on_dev["share"]
        assert best_on_dev["dev"] == -best_on_dev["heldout_loss"]


def test_without_checkpoints_there_is_neither_curve_nor_peak():
    plain = made(curve=False, arms=3, resamples=20)
    assert plain["curve"] is None
    assert plain["references"] == []
    assert any("No checkpoint of vanilla" in line for line in plain["statement"])


def test_the_grid_takes_the_best_mean_and_no_point_that_failed():
    arm, points = object(), [{"lr": 1}, {"lr": 2}, {"lr": 3}]

    def outcome(point, seed, score):
        trial = making.SimpleNamespace(point=point, seed=seed)
        block = {"models": [{"name": "merged", "role": "merged"}],
                 "dev": [{"model": "merged", "metric": "mean of x", "score": score}]}  # fmt: skip
        return (
            Outcome(trial, None, {"results": block})
            if score is not None
            else Outcome(trial, None, error="nan")
        )

    scores = ((0.5, 0.5), (0.9, None), (0.4, 0.7))
    runs = [
        outcome(point, seed, score)
        for point, two in zip(points, scores, strict=True)
        for seed, score in enumerate(two)
    ]
    tuned = choose(arm, points, runs)
    assert tuned.scores == [0.5, None, pytest.approx(0.55)]
    assert (tuned.best, tuned.on) == (2, "mean of x")
    assert choose(arm, points[:1], [outcome(points[0], 0, None)]).scores == [None]
    assert choose(arm, points[:2], [outcome(points[0], 0, 0.5), outcome(points[1], 0, 0.5)]).best == 0


def test_a_best_value_at_an_end_of_its_range_is_told():
    over = {"lr": [1e-3, 3e-3, 1e-2], "method": ["a", "b"], "one": [5]}
    assert edges_of({"lr": 1e-2, "method": "b", "one": 5}, over) == ["lr"]
    assert edges_of({"lr": 3e-3, "method": "a", "one": 5}, over) == []
