"""A made-up split of any size: what `dtm.disperse.quality` and the contamination step give."""

from __future__ import annotations

import random
from typing import Any


def split(k: int = 4, sources: list[str] | None = None, points: int = 200, seed: int = 0) -> dict[str, Any]:
    rng, sources = random.Random(seed), sources or ["facts", "dolly"]
    portion = [rng.randrange(k) for _ in range(points)]
    at = [(rng.gauss(number % 4, 0.4), rng.gauss(number // 4, 0.4)) for number in portion]
    return {
        "balance": {"rows": 1.02, "tokens": 1.31, "trained_tokens": 1.4},
        "similarity": {"of": "embedding", "rows": 5000, "within": 0.31, "across": -0.02,
                       "portions": [[0.3 if i == j else None if k > 2 and {i, j} == {0, 2} else -0.02 * ((i + j) % 5)
                                     for j in range(k)] for i in range(k)]},
        "agreement": {"adjusted_rand": 0.413, "mutual_information": 0.377},
        "near_duplicates": {"threshold": 0.7, "words": 3, "groups": 31, "rows": 1204, "crossing_groups": 17,
                            "crossing_rows": 55},
        "map": {"of": "embedding", "rows": 5000, "explained": 0.271, "x": [x for x, _ in at], "y": [y for _, y in at],
                "portion": portion, "source": [rng.choice(sources) for _ in at],
                "text": [f"Question {number} about {rng.choice(['rivers', 'sums'])}?" for number in range(points)]},
    }  # fmt: skip


def contamination() -> dict[str, Any]:
    tasks = [{"task": "facts_choice", "items": 400, "compared": 391, "found": 12, "rows": 31},
             {"task": "arithmetic", "items": 200, "compared": 0, "found": 0, "rows": 0}]  # fmt: skip
    return {
        "ngram": 13,
        "read": 5100,
        "rows": 31,
        "dropped": False,
        "not_compared": ["arc_easy"],
        "tasks": tasks,
    }
