"""Our balanced assignment against the optimum, given the same centres: scipy's and ortools' exact solvers.

    python benchmarks/disperse/optimum.py EMBEDDING.npy

Writes `optimum.json`: the total cosine of each, seconds, and the gap.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from run import commit

from dtm.disperse.kmeans import kmeans
from dtm.disperse.sphere import centres_of, similarities
from dtm.disperse.transport import assign_balanced

HERE = Path(__file__).parent
K, SEED, UNITS = 8, 0, 2**32  # cosines are compared as whole multiples of 1 / UNITS


def hungarian(value_NK: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    seats = np.repeat(value_NK, len(value_NK) // K, axis=1)
    rows, chosen = linear_sum_assignment(seats, maximize=True)
    return chosen[np.argsort(rows)] // (len(value_NK) // K)


def min_cost_flow(value_NK: np.ndarray) -> np.ndarray:
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

    count = len(value_NK)
    solver = SimpleMinCostFlow()
    rows, portions = np.repeat(np.arange(count), K), np.tile(np.arange(count, count + K), count)
    arcs = solver.add_arcs_with_capacity_and_unit_cost(rows, portions, np.ones(count * K), -value_NK.ravel())
    supplies = np.r_[np.ones(count), np.full(K, -(count // K))].astype(np.int64)
    solver.set_nodes_supplies(np.arange(count + K), supplies)
    if solver.solve() != solver.OPTIMAL:
        raise SystemExit("the flow was not solved")
    return solver.flows(arcs).reshape(count, K).argmax(axis=1)


def compared(points_ND: np.ndarray, solvers: dict[str, Any]) -> dict[str, Any]:
    """Centres of an unbalanced split, which are the hardest to fill evenly; what each makes of them."""
    centres_KD = centres_of(points_ND, kmeans(None, K, SEED, embedding=points_ND, balanced=False), K)
    similarity_NK = similarities(points_ND, centres_KD)
    value_NK = np.rint(similarity_NK * np.float64(UNITS)).astype(np.int64)
    found: dict[str, Any] = {}
    for name, solve in {"ours": lambda values: assign_balanced(similarity_NK)[0], **solvers}.items():
        start = time.perf_counter()
        portions_N = solve(value_NK)
        seconds = time.perf_counter() - start
        total = int(np.take_along_axis(value_NK, portions_N[:, None], axis=1).sum())
        found[name] = {
            "seconds": round(seconds, 3),
            "total": total,
            "cosine": round(total / UNITS / len(points_ND), 9),
        }
        print(len(points_ND), name, found[name], flush=True)
    nearest = float(value_NK.max(axis=1).sum())
    return {
        "rows": len(points_ND),
        "unbalanced_cosine": round(nearest / UNITS / len(points_ND), 9),
        "solvers": found,
    }


if __name__ == "__main__":
    points_ND = np.load(sys.argv[1], mmap_mode="r")
    runs = [
        compared(
            points_ND[:4000],
            {"scipy linear_sum_assignment": hungarian, "ortools min-cost flow": min_cost_flow},
        ),
        compared(points_ND[:100_000], {"ortools min-cost flow": min_cost_flow}),
    ]
    text = json.dumps({"k": K, "commit": commit(), "runs": runs}, indent=2, sort_keys=True) + "\n"
    (HERE / "optimum.json").write_text(text, encoding="utf-8")
