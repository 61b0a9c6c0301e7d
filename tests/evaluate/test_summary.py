"""Tables: the right statistic for each metric, and no comparison of unlike things."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dtm.evaluate import comparisons, read_items, score_table, with_holm
from dtm.foundations.errors import DataError, MissingInput

METRICS = {"choice": ("acc", "acc_norm"), "words": ("acc", "loglikelihood")}


def items(**columns):
    """Items with one metric a column."""
    rows = zip(*columns.values(), strict=True)
    return [
        {"doc_id": n, "prompt": str(n), "metrics": dict(zip(columns, row, strict=True))}
        for n, row in enumerate(rows)
    ]


def binary(seed, share, n=200):
    return (np.random.default_rng(seed).random(n) < share).astype(int).tolist()


@pytest.fixture
def results():
    logs = np.random.default_rng(9).normal(-2, 0.5, 200)
    return {
        "base": {"choice": items(acc=binary(1, 0.4), acc_norm=binary(2, 0.6)),
                 "words": items(acc=binary(3, 0.5), loglikelihood=logs.tolist())},
        "merged": {"choice": items(acc=binary(4, 0.6), acc_norm=binary(5, 0.6)),
                   "words": items(acc=binary(6, 0.5), loglikelihood=(logs + 0.1).tolist())},
    }  # fmt: skip


def test_scores_carry_wilsons_interval_or_a_bootstrap(results):
    table = {(row["model"], row["task"], row["metric"]): row for row in score_table(results, METRICS)}
    assert len(table) == 10
    right = sum(binary(1, 0.4))
    interval = stats.binomtest(right, 200).proportion_ci(method="wilson")
    row = table["base", "choice", "acc"]
    assert (row["value"], row["n"], row["primary"]) == (right / 200, 200, True)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert not table["base", "choice", "acc_norm"]["primary"]

    logs = [item["metrics"]["loglikelihood"] for item in results["base"]["words"]]
    row = table["base", "words", "loglikelihood"]
    error = np.std(logs) / math.sqrt(200)
    assert row["value"] == pytest.approx(np.mean(logs))
    assert (row["low"], row["high"]) == pytest.approx((np.mean(logs) - 1.96 * error, np.mean(logs) + 1.96 * error),
                                                      abs=0.2 * error)  # fmt: skip
    perplexity = table["base", "words", "perplexity"]
    assert perplexity["value"] == pytest.approx(math.exp(-row["value"]))
    assert (perplexity["low"], perplexity["high"]) == pytest.approx(
        (math.exp(-row["high"]), math.exp(-row["low"]))
    )


def test_comparisons_pair_the_items(results):
    (choice, words) = comparisons(results, METRICS, [("merged", "base")])
    a, b = np.array(binary(4, 0.6)), np.array(binary(1, 0.4))
    assert (choice["task"], choice["metric"], choice["a"], choice["b"]) == ("choice", "acc", "merged", "base")
    assert choice["difference"] == pytest.approx(a.mean() - b.mean())
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    assert (choice["only_a"], choice["only_b"], choice["n"]) == (only_a, only_b, 200)
    assert choice["p"] == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    assert choice["low"] < choice["difference"] < choice["high"]
    low, high = sorted((choice["p"], words["p"]))
    corrected = sorted((choice["p_holm"], words["p_holm"]))
    assert corrected == pytest.approx([min(1, 2 * low), min(1, max(2 * low, high))])


def test_a_metric_that_is_no_share_is_tested_by_sign_flips(results):
    (_, words) = comparisons(results, {"words": ("loglikelihood",)}, [("base", "merged")])
    assert words["difference"] == pytest.approx(-0.1)
    assert words["p"] == pytest.approx(1 / 10_001)  # no flip of 200 equal differences reaches their sum
    assert words["only_a"] is words["only_b"] is None


def test_tables_from_several_calls_are_corrected_together(results):
    rows = comparisons(results, METRICS, [("merged", "base")]) + comparisons(
        results, METRICS, [("base", "merged")]
    )
    together = with_holm(rows)
    assert together[0]["p_holm"] == pytest.approx(min(1, 4 * min(row["p"] for row in rows)))
    assert with_holm([]) == []


def test_the_same_results_give_the_same_tables(results):
    assert score_table(results, METRICS) == score_table(results, METRICS)
    assert comparisons(results, METRICS, [("merged", "base")], seed=1) == comparisons(
        results, METRICS, [("merged", "base")], seed=1
    )


def test_a_task_of_unknown_metrics_is_judged_by_accuracy(results):
    primary = {row["metric"] for row in score_table(results) if row["primary"]}
    assert primary == {"acc"}
    others = {"m": {"t": [{"doc_id": 0, "metrics": {"f1": [1, 1], "rouge": 0.5, "bleu": 0.2}}]}}
    assert [(row["metric"], row["primary"]) for row in score_table(others)] == [
        ("bleu", True),
        ("rouge", False),
    ]


def test_unlike_things_are_not_compared(results):
    other = {**results, "merged": {"choice": results["merged"]["choice"][1:]}}
    with pytest.raises(DataError, match="choice: 'merged' and 'base' did not answer the same items"):
        comparisons(other, METRICS, [("merged", "base")])
    asked = [{**item, "prompt": "other"} for item in results["merged"]["choice"]]
    with pytest.raises(DataError, match="not asked in the same words"):
        comparisons({**results, "merged": {"choice": asked}}, METRICS, [("merged", "base")])
    with pytest.raises(DataError, match="without items"):
        score_table({"base": {"choice": []}})


def test_only_tasks_and_models_that_are_there_are_compared(results):
    fewer = {"base": results["base"], "merged": {"choice": results["merged"]["choice"]}}
    assert [
        row["task"] for row in comparisons(fewer, METRICS, [("merged", "base"), ("merged", "absent")])
    ] == ["choice"]


def test_items_are_read_from_a_folder(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"doc_id":0}\n{"doc_id":1}\n')
    assert read_items(tmp_path) == [{"doc_id": 0}, {"doc_id": 1}]
    with pytest.raises(MissingInput, match="no per-item results"):
        read_items(tmp_path / "absent")
