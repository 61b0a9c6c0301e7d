"""The parts of results.json that are about a split as a whole: its quality, its map, and overlap with the tasks."""

from __future__ import annotations

from dtm.report.fields import count, flag, items, number, record, required, row, text

SHARE = {"minimum": 0, "maximum": 1}
COORDINATES = {"type": ["number", "null"]}
WORDS = {"type": ["string", "null"]}

SPLIT = record("how the portions relate to one another and to the sources", {
    "balance": record("the largest portion over the mean one: 1 is even", {
        "rows": number("in rows", minimum=0),
        "tokens": number("in tokens", minimum=0),
        "trained_tokens": number("in tokens that carry loss", minimum=0),
    }),
    "similarity": record("mean cosines between different rows", {
        "of": text("what rows are compared in: the method's `embedding`, or `tf-idf` of a sample where it needs none"),
        "rows": count("rows compared: those that embed to something"),
        "within": number("over all pairs of rows of one portion"),
        "across": number("over all pairs of rows of different portions"),
        "portions": items("the same for each pair of up to 64 portions, on the diagonal inside each; null: no pair",
                          items("a row a portion", {"type": ["number", "null"]})),
    }),
    "agreement": record("agreement of portions with sources, whatever their names; empty where there is one source", {
        "adjusted_rand": number("adjusted Rand index: 1 the same parts, 0 what chance gives", maximum=1),
        "mutual_information": number("normalised mutual information", **SHARE),
    }),
    "sharing": record("rows that several portions have (`overlap`, `replay`); empty where there are none", {
        "copied": count("rows of one portion that others have as well"),
        "copies": count("how often others have them"),
        "replayed": count("rows that every portion has, and none of its own"),
        "rows": count("rows of all portions together"),
        "tokens": count("their tokens"),
        "trained_tokens": count("those that carry loss"),
        "times_rows": number("rows over the rows of the data", minimum=0),
        "times_tokens": number("the same in tokens", minimum=0),
        "times_trained_tokens": number("the same in trained tokens: what training costs more than without", minimum=0),
    }),
    "proposal": record("what `k: auto` took, and why; empty where K was given", {
        "k": count("number of portions"),
        "why": items("the reasons, in sentences", {"type": "string"}),
        "starved": flag("whether sub-models of any K take fewer than `least_steps`"),
        "usual": count("K of the method's paper, taken where nothing speaks against it"),
        "least": count("least K that was looked at"),
        "most": count("most"),
        "least_steps": count("optimiser steps that a sub-model is to have"),
        "candidates": items("one row for each K that the data can fill", row({
            "k": count("number of portions"),
            "rows": count("rows of the smallest, its copies and replayed rows not among them"),
            "steps": count("optimiser steps of its sub-model, with them"),
            "balance": number("the largest portion over the mean one, in rows", minimum=0),
            "stability": number("mean adjusted Rand index of splits of other samples under other seeds", maximum=1),
        })),
    }),
    "near_duplicates": record("rows that say nearly the same; of each family its first row", {
        "threshold": number("least Jaccard similarity of two near-duplicates", **SHARE),
        "words": count("words in a row that it compares"),
        "groups": count("groups that pairs of near-duplicates connect"),
        "rows": count("rows in them"),
        "crossing_groups": count("groups with rows in several portions; `near_duplicates.csv` lists them"),
        "crossing_rows": count("rows in these"),
    }),
    "map": record("a sample of the rows on the two directions in which they differ most, in random order", {
        "of": text("as of the similarity"),
        "rows": count("rows that the sample is of"),
        "explained": number("share of the variance along the two directions", **SHARE),
        "x": items("first coordinate of each row", COORDINATES),
        "y": items("second coordinate of each row", COORDINATES),
        "portion": items("its portion", {"type": "integer", "minimum": 0}),
        "source": items("its source", WORDS),
        "text": items("its first message, cut", WORDS),
    }),
})  # fmt: skip
CONTAMINATION = record("overlap of the rows with the items of the tasks; empty where no task is a local file", {
    "ngram": count("words in a row that a row and an item share; of shorter items all"),
    "read": count("rows compared: all that were read and can be used, repeats as well"),
    "rows": count("rows that overlap with an item; `contaminated.jsonl` lists them"),
    "dropped": flag("whether they were dropped (`decontaminate`)"),
    "not_compared": items("names of tasks whose items lm-eval fetches later", {"type": "string"}),
    "tasks": items("one row a task", row({
        "task": required("name of the task"),
        "items": count("items"),
        "compared": count("items with words enough to be compared"),
        "found": count("items that a row overlaps with"),
        "rows": count("rows that overlap with one of them"),
    })),
})  # fmt: skip

CURATION = record("what `curate` chose to train on; empty where the run file has no such section", {
    "method": text("name of the method"),
    "read": count("rows that there were, those of sources that were left alone among them"),
    "rows": count("rows that are trained on"),
    "reasons": record("rows that are not, by reason; `curation/set_aside.jsonl` holds them"),
    "sources": record("of each source how many rows were `read`, and how many are left (`rows`)"),
    "least": number("the lowest score of a row that was chosen; null where the method has none"),
    "most": number("the highest"),
})  # fmt: skip
