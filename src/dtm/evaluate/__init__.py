"""Scoring models on benchmarks and on held-out rows, item by item.

`resolve` checks the entries of a run file before any work; `evaluate` and `response_loss` are jobs for a
worker, plain JSON in and out; `score_table` and `comparisons` put intervals on what they wrote.
"""

from dtm.evaluate.harness import evaluate
from dtm.evaluate.heldout import response_loss
from dtm.evaluate.kinds import Item
from dtm.evaluate.summary import comparisons, read_items, score_table, with_holm
from dtm.evaluate.tasks import Task, build, resolve

__all__ = [
    "Item",
    "Task",
    "build",
    "comparisons",
    "evaluate",
    "read_items",
    "resolve",
    "response_loss",
    "score_table",
    "with_holm",
]
