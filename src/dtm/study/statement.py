"""What a study shows and what it does not, in plain sentences that follow from its numbers by rules.

`shown` means a corrected p below 0.05 and an interval without 0; nothing else is called a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtm.report.wording import interval, listing, plural, score, signed
from dtm.study.comparing import COSTS, MEAN
from dtm.study.items import BASE
from dtm.study.references import PEAK

MATCHED = 0.05  # trained tokens within 5 % count as the same budget
NAMED = 4  # arms that a sentence names


def statement(results: Mapping[str, Any]) -> list[str]:
    """The first sentence says what came out against the chosen arm, the others the rest and its limits."""
    group = summary(results)
    if group is None:
        return ["No run was finished with a benchmark, so nothing is shown.", *_failures(results)]
    lines = [_headline(results, group)]
    lines += [
        _outcome(results, reference, group) for reference in (PEAK, BASE) if _rows(results, reference, group)
    ]
    lines += _taxes(results)
    lines += _benchmarks(results)
    lines += _resolution(results, group)
    lines += _budgets(results)
    lines += _standing(results)
    lines += _tuning(results)
    lines += _failures(results)
    return lines


def summary(results: Mapping[str, Any]) -> str | None:
    """What arms are judged by as a whole: the mean over benchmarks, or the only one."""
    places = [row["group"] for row in _all_scores(results)]
    return MEAN if MEAN in places else places[0] if places else None


def _all_scores(results: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    rows = [results["base"]["scores"], *(arm["scores"] for arm in results["arms"])]
    return next((found for found in rows if found), [])


def _headline(results: Mapping[str, Any], group: str) -> str:
    arms = [arm for arm in results["arms"] if arm["seeds"]]
    tasks = plural(len(results["benchmarks"]), "benchmark")
    what = f"{plural(len(arms), 'arm')}, {plural(len(results['seeds']), 'seed')}, {tasks}"
    if not _rows(results, results["against"], group):
        return f"{what}: no arm could be compared with {results['against']}, so no difference is shown."
    return f"{what}. {_outcome(results, results['against'], group)}"


def _outcome(results: Mapping[str, Any], reference: str, group: str) -> str:
    """Which arms are shown to be better or worse than a reference, and for how many nothing is shown."""
    rows = [row for row in _rows(results, reference, group) if row["verdict"] != "screened"]
    place = f"Against {_called(reference, results)}, {_over(group, results)}"
    if not rows:
        return f"{place}, no arm carries a claim, so nothing is shown."
    parts = []
    for verdict in ("better", "worse"):
        found = [row for row in rows if row["verdict"] == verdict]
        if found:
            named = [f"{row['arm']} ({_points(row)})" for row in _largest(found)]
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            parts.append(f"{listing(named)}{more} {'is' if len(found) == 1 else 'are'} shown to be {verdict}")
    if unclear := [row for row in rows if row["verdict"] == "open"]:
        which = (
            plural(len(unclear), "arm") if len(unclear) > NAMED else listing([row["arm"] for row in unclear])
        )
        parts.append(f"for {which} no difference is shown")
    return f"{place}: {'; '.join(parts)}."


def _taxes(results: Mapping[str, Any]) -> list[str]:
    """What tuning cost the reference arm, in both meanings of the word."""
    own = [row for row in results["tax"] if row["arm"] == results["against"] and not row["oracle"]]
    lines = []
    for row in own:
        where = "against the base" if row["against"] == BASE else "against the best point of its own training"
        on = "on the tasks that it may cost" if row["group"] == COSTS else _over(row["group"], results)
        amount = f"{score(row['tax'], True)} points {interval(row['low'], row['high'], True, sign=True)}"
        shown = {"worse": "is shown", "better": "is shown to be a gain",
                 "screened": "was screened, no claim"}.get(row["verdict"], "is not shown")  # fmt: skip
        lines.append(f"Tax of {row['arm']} {where}, {on}: {amount}; it {shown}.")
    return lines


def _benchmarks(results: Mapping[str, Any]) -> list[str]:
    """How many single benchmarks differ from the reference arm, over all arms that claim."""
    singles = {row["group"] for row in results["benchmarks"]}
    rows = [row for row in results["comparisons"] if row["against"] == results["against"]
            and row["group"] in singles and row["p_holm"] is not None]  # fmt: skip
    if len(singles) < 2 or not rows:
        return []
    parts = []
    for verdict in ("better", "worse"):
        pairs = [f"{row['arm']} on {row['group']}" for row in rows if row["verdict"] == verdict]
        if pairs:
            named = f" ({listing(pairs)})" if len(pairs) <= NAMED else ""
            parts.append(f"{len(pairs)} {verdict}{named}")
    parts.append(f"{sum(row['verdict'] == 'open' for row in rows)} without a difference shown")
    return [f"Of {len(rows)} pairs of arm and benchmark against {results['against']}: {listing(parts)}."]


def _resolution(results: Mapping[str, Any], group: str) -> list[str]:
    """No difference shown is not no difference: how large a one would have been seen."""
    rows = [row for row in _rows(results, results["against"], group) if row["verdict"] == "open"]
    sizes = sorted(row["detectable"] for row in rows if row["detectable"])
    if not sizes:
        return []
    widths = sorted((row["high"] - row["low"]) / 2 for row in rows)
    size = signed(sizes[len(sizes) // 2], True).removeprefix("+")
    return [
        f"No difference shown is not no difference: intervals typically reach "
        f"{score(widths[len(widths) // 2], True)} points to either side, and with this many comparisons a true "
        f"difference of {size} points would be found four times of five."
    ]


def _budgets(results: Mapping[str, Any]) -> list[str]:
    """Arms that spent more or less training than the reference, and those that cost more to use."""
    reference = next((arm["tokens"] for arm in results["arms"] if arm["name"] == results["against"]), None)
    lines = []
    if reference:
        ratios = {arm["name"]: arm["tokens"] / reference for arm in results["arms"] if arm["tokens"]}
        others = [f"{name} {ratio:.2g} times" for name, ratio in ratios.items() if abs(ratio - 1) > MATCHED]
        spent = f"the trained tokens of {results['against']}"
        lines.append(f"Not matched in budget: of {spent}, {listing(others)}; a difference there may be one of budget."
                     if others else f"All arms spent {spent} within {100 * MATCHED:g} %.")  # fmt: skip
    if dear := [f"{arm['name']} {arm['inference']:g}" for arm in results["arms"] if arm["inference"]]:
        lines.append(f"To use, a model costs one model's answers, but {listing(dear)} models'.")
    return lines


def _standing(results: Mapping[str, Any]) -> list[str]:
    """Which arms were only screened, and what a peak that was chosen on the test items is worth."""
    lines = []
    screened = [arm["name"] for arm in results["arms"] if arm["screening"] and arm["seeds"]]
    if len(results["seeds"]) < 2:
        lines.append(
            "One seed: intervals are over items alone, and hold for these weights; no claim about any method."
        )
    elif screened:
        verb = "was" if len(screened) == 1 else "were"
        lines.append(
            f"{listing(screened)} {verb} run under fewer seeds than the study has: screened, no claim."
        )
    if results["curve"] is None:
        lines.append(f"No checkpoint of {results['against']} was evaluated, so that nothing is said about the best "
                     "point of its training.")  # fmt: skip
    return lines


def _tuning(results: Mapping[str, Any]) -> list[str]:
    """What the grid leaves open: bests at its ends, points that diverged, arms that took no part."""
    if results["grid"] is None:
        return ["No arm was tuned: a setting may suit one better than another."]
    lines = []
    tuned = {arm["name"]: arm["grid"] for arm in results["arms"] if arm["grid"]}
    edges = [f"{name} ({listing([key.rpartition('.')[2] for key in grid['at_the_edge']])})"
             for name, grid in tuned.items() if grid["at_the_edge"] and grid["tuned_as"] == name]  # fmt: skip
    if edges:
        lines.append(
            f"Best at an end of what was tried, so that a wider grid may serve better: {listing(edges)}."
        )
    for name, grid in tuned.items():
        lost = [point for point in grid["points"] if any(one["diverged"] for one in point["failures"])]
        if lost and grid["tuned_as"] == name:
            lines.append(f"{plural(len(lost), 'point')} of the grid diverged for {name}.")
    untuned = [arm["name"] for arm in results["arms"] if arm["grid"] is None and arm["seeds"]]
    if untuned and tuned:
        lines.append(f"Not tuned, unlike the others: {listing(untuned)}.")
    return lines


def _failures(results: Mapping[str, Any]) -> list[str]:
    found = [(len(arm["failures"]), arm["name"]) for arm in results["arms"] if arm["failures"]]
    runs = [f"{plural(number, 'run')} of {name}" for number, name in found]
    return [f"Failed: {listing(runs)}."] if runs else []


def _rows(results: Mapping[str, Any], reference: str, group: str) -> list[Mapping[str, Any]]:
    return [row for row in results["comparisons"] if row["against"] == reference and row["group"] == group]


def _largest(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: -abs(row["difference"]))[:NAMED]


def _points(row: Mapping[str, Any]) -> str:
    bounds = interval(row["low"], row["high"], True, sign=True)
    return f"{signed(row['difference'], True)} points {bounds}"


def _called(reference: str, results: Mapping[str, Any]) -> str:
    if reference == PEAK:
        return f"the best point of {results['against']}'s training, chosen on dev"
    return "the base" if reference == BASE else reference


def _over(group: str, results: Mapping[str, Any]) -> str:
    if group == MEAN:
        return f"in the mean of {sum(row['in_mean'] for row in results['benchmarks'])} benchmarks"
    return f"on {group}"
