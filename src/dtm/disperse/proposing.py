"""`k: auto`: how many portions, from data size, balance and stability, with the reasons.

Too few portions do not disperse what is to be averaged away, too many starve the sub-models (Fu et al. 2024,
arXiv:2405.13432, whose K is 4; Choi and Kim 2026, arXiv:2606.01717, gain up to their 3 axes, K = 8). So K is 2 to 8,
the nearest to the paper's that leaves each sub-model enough steps, parts the data evenly and, where rows are clustered,
comes out alike from other rows and seeds (Ben-Hur, Elisseeff, Guyon 2002, "A stability based method for discovering
structure in clustered data").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dtm.disperse.agreement import agreement
from dtm.disperse.portions import assign, needed, units
from dtm.foundations.errors import DataError
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive
from dtm.foundations.types import Examples

LEAST, MOST = 2, 8
USUAL, AXES = 4, 8  # the papers' K: of Disperse-Then-Merge, and of methods that halve along axes
# On our testbed merges of sub-models of 72 steps gained a third of what vanilla did, of 143 half: benchmarks/testbed.
STEPS = 150  # a sub-model that takes fewer is called starved
EVEN = 1.5  # the largest portion over the mean one, above which a split is called uneven
CLOSE = 0.05  # adjusted Rand indices that are nearer to the best are as good
SAMPLE = 4096  # families whose split is repeated
PAIRS, SHARE = 3, 0.8  # of repetitions that are compared, each of a share of the sample
CLUSTERED = ("embedding", "gradient", "loss_profile")  # signals whose rows a method clusters


@dataclass(frozen=True)
class Candidate:
    """A number of portions: rows and optimizer steps of the smallest, the largest over the mean one, and the mean
    adjusted Rand index of repeated splits (None where none was measured)."""

    k: int
    rows: int
    steps: int
    balance: float
    stability: float | None = None


def propose(
    bound: Bound,
    examples: Examples,
    seed: int,
    signals: Mapping[str, Any],
    steps: Callable[[int], int],
    *,
    fixed: bool = False,
) -> dict[str, Any]:
    """`k`, `why` (sentences), `starved`, and the `candidates` looked at, ready for JSON; deterministic.

    `examples` are those to disperse and `signals` theirs; `steps(rows)` are the optimizer steps of a portion that has
    so many of them as its own. `fixed`: steps do not depend on rows, so that no K starves.

    Raises DataError where the data cannot fill two portions.
    """
    tried, refused = _candidates(bound, examples, seed, signals, steps)
    if not tried:
        raise DataError(f"the data cannot fill {LEAST} portions: {refused}", where="disperse.k",
                        mend="Use another method, such as 'random', or add data")  # fmt: skip
    fed = [one for one in tried if fixed or one.steps >= STEPS]
    even = [one for one in fed if one.balance <= EVEN]
    open_to = even or fed or tried[:1]
    best = max((one.stability for one in open_to if one.stability is not None), default=None)
    close = [one for one in open_to if best is None or (one.stability or 0.0) >= best - CLOSE]
    usual = usual_of(bound)
    chosen = min(close, key=lambda one: (abs(one.k - usual), -one.k))
    why = [
        *_size(tried, fed, chosen, refused, fixed),
        *_evenness(fed, even),
        *_steadiness(open_to, close, best),
    ]
    if len(close) > 1:
        why.append(f"Of {_listed(close)} it is the nearest to the usual {usual}.")
    return {"k": chosen.k, "why": why, "starved": not fed, "usual": usual,
            "candidates": [asdict(one) for one in tried]}  # fmt: skip


def usual_of(bound: Bound) -> int:
    """The K of the method's paper, which is taken where nothing speaks against it."""
    return AXES if bound.method.properties.get("portions") == "a power of 2" else USUAL


def _candidates(
    bound: Bound, examples: Examples, seed: int, signals: Mapping[str, Any], steps: Callable[[int], int]
) -> tuple[list[Candidate], str]:
    """The numbers of portions that the method can fill, and why it can fill no more, or an empty text."""
    halving = bound.method.properties.get("portions") == "a power of 2"
    whole_sources = halving or bound.method.properties.get("unit") == "source"
    clustered = [name for name in needed(bound) if name in CLUSTERED]
    tried: list[Candidate] = []
    for k in range(LEAST, MOST + 1):
        if halving and k & (k - 1):
            continue
        try:
            if whole_sources:
                rows_K, stability = np.bincount(assign(bound, examples, k, seed, signals), minlength=k), None
                smallest, balance = int(rows_K.min()), float(rows_K.max() * k / rows_K.sum())
            elif clustered:
                stability, low, balance = repeated(bound, examples, k, seed, signals)
                smallest = int(low * len(examples))
            else:
                _check_families(examples, k)
                stability, balance, smallest = None, 1.0, len(examples) // k
        except DataError as error:
            return tried, error.what
        tried.append(Candidate(k, smallest, steps(smallest), balance, stability))
    return tried, ""


def repeated(
    bound: Bound, examples: Examples, k: int, seed: int, signals: Mapping[str, Any]
) -> tuple[float, float, float]:
    """How alike splits of overlapping samples are, the mean share of rows of their smallest portion, and the mean of
    the largest over the mean one.

    PAIRS times two seeded samples of SHARE of the families (of SAMPLE at most) are dispersed under two seeds; the
    adjusted Rand index is over the families in both.
    """
    first_F, family_N = units(examples)
    generator = np.random.default_rng(derive(seed, "stability"))  # the same samples for every k
    pool = generator.permutation(len(first_F))[:SAMPLE]
    shares, balances, alike = [], [], []
    for pair in range(PAIRS):
        found = []
        for side in range(2):
            chosen = generator.permutation(pool)[: max(k, round(SHARE * len(pool)))]
            within_F = np.zeros(len(first_F), bool)
            within_F[chosen] = True
            rows = np.flatnonzero(within_F[family_N])
            own = {name: signal[rows] for name, signal in signals.items()}
            portion_R = assign(bound, examples.take(rows), k, derive(seed, "stability", pair, side), own)
            rows_K = np.bincount(portion_R, minlength=k)
            shares.append(rows_K.min() / len(rows))
            balances.append(rows_K.max() * k / len(rows))
            portion_F = np.full(len(first_F), -1)
            portion_F[family_N[rows]] = portion_R
            found.append(portion_F)
        both = (found[0] >= 0) & (found[1] >= 0)
        alike.append(agreement(found[0][both], found[1][both])["adjusted_rand"])
    return float(np.mean(alike)), float(np.mean(shares)), float(np.mean(balances))


def _check_families(examples: Examples, k: int) -> None:
    families = len(units(examples)[0])
    if k > families:
        raise DataError(f"{families} families cannot fill {k} portions")


def _size(
    tried: Sequence[Candidate], fed: Sequence[Candidate], chosen: Candidate, refused: str, fixed: bool
) -> list[str]:
    what = f"The smallest portion has about {chosen.rows:,} rows and {_steps(chosen.steps)}"
    if fixed:
        said = f"{what}; max_steps fixes the steps whatever K is."
    elif not fed:
        said = (
            f"{what}, fewer than {STEPS}: the data starves the sub-models of any K, and fewer portions least."
        )
    elif len(fed) < len(tried):
        hungry = next(one for one in tried if one not in fed)
        said = f"{what}; with {hungry.k} it would have {hungry.steps:,}, fewer than {STEPS}."
    else:
        said = f"{what}; {STEPS} or more are left to any K tried, {tried[0].k} to {tried[-1].k}."
    return [said, *([f"More than {tried[-1].k} cannot be: {refused}."] if refused else [])]


def _evenness(fed: Sequence[Candidate], even: Sequence[Candidate]) -> list[str]:
    if len(even) == len(fed):
        return []
    uneven = [one for one in fed if one not in even]
    worst = max(uneven, key=lambda one: one.balance)
    if not even:
        return [
            f"No K parts the data evenly: with {worst.k} the largest portion is {worst.balance:.2f} of the mean."
        ]
    return [f"{_listed(uneven)} would part the data unevenly: with {worst.k} the largest portion is "
            f"{worst.balance:.2f} of the mean one."]  # fmt: skip


def _steadiness(open_to: Sequence[Candidate], close: Sequence[Candidate], best: float | None) -> list[str]:
    if best is None or len(open_to) < 2:
        return []
    top = next(one for one in open_to if one.stability == best)
    said = f"The split comes out most alike from other rows and seeds with {top.k} (adjusted Rand {best:.2f})"
    others = [one for one in close if one is not top]
    near = f", and with {_listed(others)} within {CLOSE:g} of that" if others else ""
    return [f"{said}{near}."]


def _steps(steps: int) -> str:
    return f"{steps:,} optimizer step{'' if steps == 1 else 's'}"


def _listed(candidates: Sequence[Candidate]) -> str:
    words = [str(one.k) for one in candidates]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
