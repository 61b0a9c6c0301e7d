"""The parts of results.json that are about merging: its inspection, the search for weights, attribution."""

from __future__ import annotations

from dtm.report.fields import HIGH, LOW, PROMPT, count, items, number, record, required, row, text

MEASURES = {
    "norms": items("length of each sub-model's update", {"type": ["number", "null"]}),
    "merged_norm": number("length of the merged update"),
    "cosines": items("cosines between the updates", items("a row a sub-model", {"type": ["number", "null"]})),
    "sign_conflict": number("share of the values that two updates would move in opposite directions",
                             minimum=0, maximum=1),
    "shares": items("share of each sub-model in the merged update; null where that is 0", {"type": ["number", "null"]}),
    "values": count("values measured"),
}  # fmt: skip
WORTH = {
    "portion": count("number of the portion, from 0"),
    "all": number("score of the merge of all portions"),
    "without": number("score of the merge without this one"),
    "difference": number("all - without, of a loss without - all: above 0 the portion helps"),
    "low": LOW,
    "high": HIGH,
    "n": count("items or rows"),
    "verdict": text("by the interval alone", enum=["helps", "costs", "not told apart", None]),
}  # fmt: skip
INSPECTION = record("how the updates lie to one another and to the result", {
    "models": items("names of the sub-models, in order", {"type": "string"}),
    "overall": record("over all tensors that were merged", MEASURES),
    "layers": record("the same for each layer by its number, and for what stands `outside` of them"),
})  # fmt: skip
LOW_RANK = record("how far merged factors are from the adapters' exact weighted sum, where they are", {
    "relative_error": number("Frobenius norm of the difference over that of the sum, over all modules", minimum=0),
    "worst": record("the module with the largest error", {
        "tensor": text("its weight's name"),
        "relative_error": number("its error", minimum=0),
    }),
})  # fmt: skip
SEARCH = record("how the weights were searched for", {
    "search": text("the strategy", enum=["cma_es", "greedy", "uniform_grid", None]),
    "budget": count("candidates that might be tried"),
    "candidates": count("candidates that were tried"),
    "on": items("what they were scored on: names of dev tasks, or `held-out loss`", {"type": "string"}),
    "weights": items("the weights taken", {"type": "number"}),
    "score": number("their score: mean primary metric, or minus the held-out loss; more is better"),
    "uniform": number("the score of uniform weights, null if their merge was not finite"),
    "path": items("every candidate, in the order of asking", row({
        "weights": items("its weights", {"type": "number"}),
        "score": number("its score, null if its merge was not finite"),
        "loss": number("held-out loss, nats a token, where that was the score"),
        "tasks": record("score of each dev task and format, where these were the score"),
        "why": text("why it has no score"),
    })),
})  # fmt: skip
ATTRIBUTION = record("what each portion is worth, as `dtm attribute RUN` found it", {
    "merged": text("digest of the merged model that it is about"),
    "note": text("how to read it"),
    "weights": items("weight of each sub-model", {"type": ["number", "null"]}),
    "portions": items("the portions", row({
        "portion": count("number of the portion, from 0"),
        "rows": count("rows"),
        "trained_tokens": count("tokens that carry loss"),
    })),
    "tasks": items("one row a portion, task and format", row({
        "task": required("name of the task"), "format": PROMPT, "metric": text("its primary metric"),
        **WORTH,
        "p": number("two-sided p of the paired test", minimum=0, maximum=1),
        "p_holm": number("p after Holm's correction over all tasks and portions", minimum=0, maximum=1),
    })),
    "heldout": items("one row a portion and source, in nats a token", row({
        "source": required("source of the rows, or `all`"), **WORTH,
    })),
})  # fmt: skip
