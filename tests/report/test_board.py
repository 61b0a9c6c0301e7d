"""Scores and differences: directions, corrections and the interval of a mean, against closed forms."""

from __future__ import annotations

import math
import random

import pytest

from dtm.report.board import Score, board, mean_of
from dtm.report.schema import complete


def two_models(metric="acc", difference=0.1, p_holm=0.01, a="merged", b="base", **more):
    block = {
        "models": [{"name": "base", "role": "base"}, {"name": "merged", "role": "merged"}],
        "tasks": [{"name": "quiz", "metric": metric, "format": "raw", "n": 100}],
        "scores": [
            {"model": name, "task": "quiz", "format": "raw", "metric": metric, "value": value, "low": 0, "high": 1}
            for name, value in (("base", 0.5), ("merged", 0.6))
        ],
        "comparisons": [
            {"task": "quiz", "format": "raw", "metric": metric, "a": a, "b": b, "difference": difference,
             "low": difference - 0.05, "high": difference + 0.07, "p": 0.004, "p_holm": p_holm, "n": 100}
        ],
    }  # fmt: skip
    return complete({"format": 1, "results": block | more})


@pytest.mark.parametrize(
    ("metric", "difference", "p_holm", "verdict"),
    [
        ("acc", 0.1, 0.049, "better"),
        ("acc", -0.1, 0.049, "worse"),
        ("acc", 0.1, 0.05, "open"),
        ("acc", 0.1, None, "untested"),
        ("acc", 0.0, 0.0, "open"),
        ("perplexity", 2.0, 0.001, "worse"),
        ("byte_perplexity", -2.0, 0.001, "better"),
        ("loglikelihood", 2.0, 0.001, "better"),
    ],
)
def test_a_verdict_needs_the_corrected_p_and_knows_the_metrics_direction(metric, difference, p_holm, verdict):
    (row,) = board(two_models(metric, difference, p_holm)).rows
    assert row.differences["base"].verdict == verdict


def test_a_comparison_stored_the_other_way_round_is_turned():
    (row,) = board(two_models(difference=-0.1, a="base", b="merged")).rows
    pair = row.differences["base"]
    assert (pair.value, pair.verdict) == (0.1, "better")
    assert (pair.low, pair.high) == pytest.approx((0.03, 0.15))


def test_a_comparison_of_another_metric_or_model_is_not_shown():
    results = two_models()
    results["results"]["comparisons"][0]["metric"] = "acc_norm"
    assert board(results).rows[0].differences == {}
    assert board(two_models(b="submodel-0")).rows[0].differences == {}


def test_without_a_merged_model_the_last_baseline_is_judged():
    results = two_models(a="merged")
    results["results"]["models"][1]["role"] = "baseline"
    scores = board(results)
    assert (scores.subject, scores.against) == ("merged", ["base"])


def test_scores_of_an_unlisted_task_get_a_row():
    results = two_models()
    results["results"]["tasks"] = []
    assert [row.task for row in board(results).rows] == ["quiz"]


def test_the_mean_of_symmetric_intervals_is_the_normal_closed_form():
    scores = [Score(0.2, 0.2 - 1.96 * s, 0.2 + 1.96 * s) for s in (0.01, 0.02, 0.05)]
    mean = mean_of(scores)
    half = 1.96 * math.sqrt(0.01**2 + 0.02**2 + 0.05**2) / 3
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says():
    random_, shares, n, hits, trials = random.Random(5), (0.1, 0.35, 0.8), 60, 0, 1500
    for _ in range(trials):
        counts = [sum(random_.random() < share for _ in range(n)) for share in shares]
        mean = mean_of([_wilson(right, n) for right in counts])
        hits += mean.low <= sum(shares) / 3 <= mean.high
    assert hits / trials == pytest.approx(0.95, abs=0.02)


def test_no_interval_without_all_of_them_and_no_mean_without_all_values():
    assert mean_of([Score(0.2, 0.1, 0.3), Score(0.4, None, None)]) == Score(pytest.approx(0.3), None, None)
    assert mean_of([Score(0.2, 0.1, 0.3), Score(None, None, None)]).value is None
    assert mean_of([]).value is None


def test_means_are_by_prompt_format_and_only_of_shares(make_results):
    results = make_results(tasks=4)
    block = results["results"]
    for name in ("tasks", "scores", "comparisons"):
        block[name] += [row | {"format": "chat"} for row in block[name]]
    block["scores"] += [
        {
            "model": name,
            "task": "wiki",
            "format": "raw",
            "metric": "perplexity",
            "value": 12.5,
            "primary": True,
        }
        for name in ("base", "vanilla_sft", "merged")
    ]
    scores = board(complete(results))
    assert [(mean.format, mean.tasks) for mean in scores.means] == [("raw", 4), ("chat", 4)]
    assert scores.several_formats
    assert len(scores.rows) == 9


def _wilson(right, n, z=1.959964):
    share = right / n
    centre, width = (share + z * z / (2 * n)), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Score(share, (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n))
