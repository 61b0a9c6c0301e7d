"""A study's tables in Markdown: `tables.md`, to paste where they are needed, and the pieces to make others from.

Scores and differences of shares are in percent and points, others as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtm.study.comparing import COSTS, GAINS, MEAN

Results = Mapping[str, Any]  # the content of study.json
MEANS = (GAINS, COSTS, MEAN)
MARKS = {"better": " ▲", "worse": " ▼", "screened": " ·"}
LEGEND = (
    "Percent, means over seeds; differences in points with 95 % intervals over seeds and items together. "
    "▲ and ▼: shown, p < 0.05 after Holm's correction, interval without 0; · screened under fewer seeds, no claim."
)


def tables(results: Results) -> str:
    """The content of `tables.md`: what is shown in words, scores, differences, the grid, curves, losses."""
    parts = [
        f"# {results['study']}",
        "\n".join(f"- {line}" for line in results["statement"]),
        LEGEND,
        scores(results),
    ]
    references = list(dict.fromkeys(row["against"] for row in results["comparisons"] if not row["oracle"]))
    for against in references:
        parts += [f"## Minus {against}", differences(results, against)]
    if tuned(results):
        parts += ["## Tuned on dev", grids(results)]
    for one in (results["curve"], *results["curves"]):
        if one is not None:
            parts += [f"## Along the training of {one['arm']}", curve(one)]
    if results["heldout"]:
        parts += ["## Loss on rows kept from training", losses(results)]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def scores(results: Results) -> str:
    """One row an arm: what tuning set, steps and tokens of all its trainings, and its scores."""
    groups = groups_of(results)
    keys = list(results["grid"]["over"]) if tuned(results) else []
    head = ["arm", "seeds", *(key.rpartition(".")[2] for key in keys), "steps", "tokens", *groups]
    rows = [
        ["base", "", *[""] * len(keys), "0", "0", *score_cells(results, results["base"]["scores"], groups)]
    ]
    for arm in results["arms"]:
        point = arm["point"] or {}
        spent = ["" if arm[name] is None else f"{arm[name]:,.0f}" for name in ("steps", "tokens")]
        rows.append([arm["name"], str(len(arm["seeds"])), *(_plain(point.get(key)) for key in keys), *spent,
                     *score_cells(results, arm["scores"], groups)])  # fmt: skip
    return table(head, rows)


def differences(results: Results, against: str) -> str:
    """One row an arm: its scores minus those of `against`, an arm or another reference."""
    groups = groups_of(results)
    rows = [
        [arm["name"], *(difference(results, arm["name"], against, one) for one in groups)]
        for arm in results["arms"]
        if arm["name"] != against
    ]
    return table([f"arm - {against}", *groups], rows)


def grids(results: Results) -> str:
    """The dev score of every arm that was tuned at every point, in percent for tasks; the chosen one is bold."""
    own = tuned(results)
    keys = list(results["grid"]["over"])
    head = [", ".join(_plain(point["values"][key]) for key in keys) for point in own[0]["grid"]["points"]]
    rows = []
    for arm in own:
        scale, digits = _dev_scale([point["score"] for point in arm["grid"]["points"]])
        cells = []
        for place, point in enumerate(arm["grid"]["points"]):
            text = "failed" if point["score"] is None else f"{scale * point['score']:.{digits}f}"
            cells.append(f"**{text}**" if place == arm["grid"]["chosen"] else text)
        rows.append([arm["name"], *cells])
    return table([f"dev, by {', '.join(key.rpartition('.')[2] for key in keys)}", *head], rows)


def curve(found: Mapping[str, Any]) -> str:
    """Scores against share of a training, and how training and held-out loss part: means over seeds."""
    groups = list(found["runs"][0]["points"][0]["scores"])
    shown = [group for group in MEANS if group in groups] or groups
    rows = []
    for points in zip(*(run["points"] for run in found["runs"]), strict=False):
        row = [f"{100 * points[0]['share']:.0f} %"]
        row += [_mean([one["scores"].get(group) for one in points], 100, 1) for group in shown]
        dev = [one["dev"] for one in points]
        row.append(_mean(dev, *_dev_scale(dev)))
        row += [
            _mean([one[name] for one in points], 1, 2)
            for name in ("training_loss", "heldout_loss", "drop_ratio")
        ]
        rows.append(row)
    return table(["share", *shown, "dev", "training loss", "held-out loss", "drop ratio"], rows)


def losses(results: Results) -> str:
    """One row an arm, a column a source: nats a token on rows kept from training (minus the base's)."""
    sources = list(dict.fromkeys(row["source"] for row in results["heldout"]))
    found = {(row["arm"], row["source"]): f"{row['loss']:.3f} ({row['loss'] - row['base']:+.3f})"
             for row in results["heldout"]}  # fmt: skip
    rows = [
        [arm["name"], *(found.get((arm["name"], source), "") for source in sources)]
        for arm in results["arms"]
    ]
    return table(["nats a token", *sources], rows)


def tuned(results: Results) -> list[dict[str, Any]]:
    """The arms that have a grid of their own."""
    return [arm for arm in results["arms"] if arm["grid"] and arm["grid"]["tuned_as"] == arm["name"]]


def groups_of(results: Results) -> list[str]:
    """Benchmarks in their order, then the means that there are."""
    scored = [row["group"] for row in results["base"]["scores"]]
    single = [row["group"] for row in results["benchmarks"] if row["group"] not in MEANS]
    return [*single, *(group for group in MEANS if group in scored)]


def score_cells(results: Results, rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> list[str]:
    """The scores of an arm or the base in those groups; empty where there is none."""
    found = {row["group"]: row["value"] for row in rows}
    return [_number(found.get(group), _is_share(results, group), "") for group in groups]


def difference(results: Results, arm: str, against: str, group: str) -> str:
    """`+4.6 [+1.2, +8.0] ▲`; empty where the two were not compared."""
    share = _is_share(results, group)
    for row in results["comparisons"]:
        if (row["arm"], row["against"], row["group"]) == (arm, against, group):
            middle, low, high = (_number(row[name], share, "+") for name in ("difference", "low", "high"))
            return f"{middle} [{low}, {high}]{MARKS.get(row['verdict'], '')}"
    return ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, a line a row."""
    lines = [[cell.replace("|", "\\|") for cell in cells] for cells in (head, *rows)]
    told = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([told[0], f"|{'---|' * len(head)}", *told[1:]]) + "\n"


def _is_share(results: Results, group: str) -> bool:
    return all(row["in_mean"] for row in results["benchmarks"] if row["group"] == group)


def _number(value: float | None, share: bool, sign: str) -> str:
    if value is None:
        return ""
    return f"{100 * value:{sign}.1f}" if share else f"{value:{sign}.4g}"


def _dev_scale(scores: Sequence[float | None]) -> tuple[float, int]:
    """Factor and digits of dev scores: means of tasks are shown in percent, losses, which are negated, as they are."""
    return (100, 1) if all(score is None or score >= 0 for score in scores) else (1, 3)


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _mean(values: Sequence[float | None], scale: float, digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{scale * (sum(known) / len(known)):.{digits}f}" if known else ""
