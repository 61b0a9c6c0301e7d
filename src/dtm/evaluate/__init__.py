"""Scoring models on benchmarks and on held-out rows, item by item.

`resolve` checks the entries of a run file before any work; `evaluate` and `response_loss` are jobs for a
worker, plain JSON in and out; `score_table` and `comparisons` put intervals on what they wrote.
"""

from dtm.evaluate.harness import evaluate
from dtm.evaluate.kinds import Item
from dtm.evaluate.tasks import Task, build, resolve

__all__ = ["Item", "Task", "build", "evaluate", "resolve"]
