"""The part of results.json that is about preference pairs: their yield, and what a preference step made of them."""

from __future__ import annotations

from dtm.report.fields import count, flag, items, number, record, required, row, text

REASONS = items(
    "why others could not be used", row({"reason": required("the reason"), "count": count("how many")})
)
NATS = "mean log probability of an answer, nats"

PREFERENCE = record("preference pairs and what was trained on them; empty where there were none", {
    "yields": items("one row a set of pairs", row({
        "for": text("name of the recipe"),
        "pairs": required("what they are called"),
        "rule": text("how they were made"),
        "questions": count("questions that were asked, or instructions that had variants"),
        "sampled": count("answers that were sampled"),
        "right": count("those whose final answer is the gold one"),
        "with_right": count("questions with a right sampled answer"),
        "with_wrong": count("questions with a wrong one"),
        "unfinished": count("answers that did not stop by themselves; they count as wrong"),
        "near_duplicates": count("answers dropped since another one says nearly the same"),
        "paired": count("questions with a pair"),
        "made": count("pairs"),
        "reasons": REASONS,
    })),
    "steps": items("one row a preference step", row({
        "for": text("name of the recipe"),
        "model": required("name of the model that it made"),
        "labels": text("whether pairs kept their labels", enum=["as judged", "shuffled", None]),
        "pairs": count("pairs trained on"),
        "chosen_before": number(f"{NATS}: of the chosen, under the model that the step started from"),
        "chosen_after": number("the same under the model that it made"),
        "rejected_before": number(f"{NATS}: of the rejected, before"),
        "rejected_after": number("the same after"),
        "accuracy": number("share of pairs whose chosen answer gained on the rejected one", minimum=0, maximum=1),
        "fell": flag("the alarm: chosen answers became less likely"),
    })),
})  # fmt: skip
AUGMENTED = items("rows that were made of rows, one row a method", row({
    "for": text("name of the recipe"),
    "method": required("how they were made"),
    "seeds": count("rows of which one was made"),
    "made": count("new rows"),
    "invalid": count("new rows that could not be used; `augmented/METHOD/invalid.jsonl` lists them"),
    "kinds": record("new rows by what was changed"),
    "reasons": REASONS,
}))  # fmt: skip
