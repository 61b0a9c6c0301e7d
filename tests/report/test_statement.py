"""The statement counts what is there, names its limits, and claims nothing that was not tested."""

from __future__ import annotations

import pytest

from dtm.report import statement


def outcome(p_holm, difference=0.1):
    return {
        "difference": difference,
        "low": difference - 0.08,
        "high": difference + 0.08,
        "p": 0.001,
        "p_holm": p_holm,
    }


def run(pairs, *, baseline_tokens=100_000, tokens=100_000, **more):
    """Results with one task a pair: (outcome against base, outcome against vanilla_sft or None)."""
    models = [
        {"name": "base", "role": "base", "tokens": 0},
        {"name": "vanilla_sft", "role": "baseline", "tokens": baseline_tokens},
        {"name": "merged", "role": "merged", "tokens": tokens},
    ]
    tasks, scores, comparisons = [], [], []
    for index, pair in enumerate(pairs):
        row = {"task": f"task{index}", "format": "raw", "metric": "acc"}
        tasks.append({"name": row["task"], "format": "raw", "metric": "acc", "n": 100})
        scores += [row | {"model": model["name"], "value": 0.5, "low": 0.4, "high": 0.6} for model in models]
        comparisons += [row | {"a": "merged", "b": name, "n": 100} | found
                        for name, found in zip(("base", "vanilla_sft"), pair, strict=True) if found]  # fmt: skip
    block = {"models": models, "tasks": tasks, "scores": scores, "comparisons": comparisons}
    facts = {"recipe": "disperse_then_merge", "base": "lab/model", "k": 4, "seed": 7}
    return {"format": 1, "run": facts, "data": {"kept": 2000}, "results": block, **more}


BETTER, WORSE, OPEN, UNTESTED = outcome(0.01), outcome(0.01, -0.1), outcome(0.4), outcome(None)


def test_the_first_sentence_says_what_was_run_and_what_came_out():
    first = statement(run([(BETTER, OPEN), (WORSE, OPEN), (OPEN, OPEN)]))[0]
    assert first == (
        "model was instruction-tuned by disperse_then_merge in 4 portions on 2,000 rows (100,000 trained tokens): "
        "the merged model is better than its base on 1 and worse on 1 of 3 tasks; it is not shown to differ from "
        "vanilla_sft on any of 3 tasks."
    )


def test_directions_are_counted_after_correction_and_named():
    lines = statement(run([(BETTER, WORSE), (BETTER, OPEN), (OPEN, OPEN)]))
    assert (
        "merged against base, 3 tasks, 300 paired answers: better on 2 (task0 and task1) and no difference shown "
        "on 1. Paired tests, p < 0.05 after Holm's correction over all comparisons of the run."
    ) in lines
    assert any(
        line.startswith("merged against vanilla_sft, 3 tasks, 300 paired answers: worse on 1 (task0) and no")
        for line in lines
    )


def test_nothing_significant_is_not_called_equal_and_the_resolution_is_said():
    text = " ".join(statement(run([(OPEN, OPEN), (OPEN, OPEN)])))
    assert "not shown to differ from its base on any of 2 tasks" in text
    assert "the 95% intervals typically reach 8.0 points to either side" in text
    assert "better" not in text.replace("a better fit to this data, not a better model", "")


def test_untested_differences_are_not_claims():
    lines = statement(run([(UNTESTED, UNTESTED)]))
    assert "merged against base: 1 task without a test, so that nothing is claimed there." in lines
    assert "better than" not in " ".join(lines)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (100_000, "had the same compute within 5%"),
        (104_000, "had the same compute within 5%"),
        (106_000, "is not matched (100,000 and 106,000 trained tokens): vanilla_sft had 1.1 times as much"),
        (25_000, "is not matched (100,000 and 25,000 trained tokens): merged had 4 times as much"),
        (None, "is not known to be the same"),
    ],
)
def test_compute_is_compared_with_every_baseline(tokens, said):
    text = " ".join(statement(run([(BETTER, OPEN)], baseline_tokens=tokens)))
    assert said in text


def test_one_seed_is_no_claim_about_the_method():
    assert "One seed (7): what is shown holds for these weights; no claim about the method." in statement(
        run([(BETTER, BETTER)])
    )


def test_without_a_baseline_merging_is_not_credited():
    results = run([(BETTER, None)])
    del results["results"]["models"][1]
    assert any(line.startswith("No baseline was trained on the same data") for line in statement(results))


def test_two_prompt_formats_are_not_counted_as_two_tasks():
    results = run([(BETTER, OPEN)])
    for name in ("tasks", "scores", "comparisons"):
        results["results"][name] += [row | {"format": "chat"} for row in results["results"][name]]
    text = " ".join(statement(results))
    assert "2 pairs of task and prompt format" in text
    assert "2 (task0 (raw) and task0 (chat))" in text


def test_a_run_without_evaluation_or_without_a_model_says_so():
    results = run([])
    assert statement(results)[0].endswith("no task was evaluated, so nothing is shown about its quality.")
    assert statement({"format": 1}) == ["This run has no finished model, so nothing is shown about quality."]


def test_dropped_rows_are_mentioned():
    results = run([(OPEN, OPEN)])
    results["data"]["sources"] = [{"source": "a", "dropped": 3}, {"source": "b", "dropped": None}]
    assert "3 rows were left out." in statement(results)
    results["data"]["sources"][0]["duplicates"] = 2
    assert "3 rows were left out, 2 of them duplicates." in statement(results)


def test_an_interval_without_width_is_not_called_precise():
    flat = {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "p_holm": 1.0}
    text = " ".join(statement(run([(flat, flat)])))
    # the rule of three: no event in 100 trials bounds its share by 3 in 100
    assert "typically reach 3.0 points to either side" in text
    assert "not shown to differ from its base on the one task" in text


def test_rows_held_out_are_not_counted_as_trained_on():
    results = run([])
    results["data"] |= {"train": 1960, "dev": 40}
    assert " on 1,960 rows" in statement(results)[0]


def test_heldout_loss_comes_with_its_intervals():
    results = run([])
    results["results"]["heldout"] = [
        {"model": name, "source": "all", "loss": loss, "low": loss - 0.1, "high": loss + 0.1}
        for name, loss in (("base", 2.0), ("merged", 1.5))
    ]
    assert any(
        "1.500 [1.400, 1.600] for merged, 2.000 [1.900, 2.100] for base;" in line
        for line in statement(results)
    )
