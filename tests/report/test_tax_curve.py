"""The curve of the tax in a run's report: where the points stand, and that checkpoints disturb nothing else."""

from __future__ import annotations

import pytest

from dtm.report import page, validate
from dtm.report.board import board
from dtm.report.schema import complete
from dtm.report.sections import colours
from dtm.report.tax_curve import of_run, panel

SHARES = (0.25, 0.5, 0.75, 1.0)


@pytest.fixture
def with_checkpoints(results):
    """The made-up results with four checkpoints of vanilla_sft, the third of them the best on every task."""
    block = results["results"]
    own = next(model for model in block["models"] if model["name"] == "vanilla_sft")
    names = [f"vanilla_sft@{round(own['steps'] * share)}" for share in SHARES]
    block["models"] += [{**own, "name": name, "role": "checkpoint", "share": share}
                        for name, share in zip(names, SHARES, strict=True)]  # fmt: skip
    for row in [row for row in block["scores"] if row["model"] == "vanilla_sft"]:
        for place, name in enumerate(names):
            block["scores"].append({**row, "model": name, "value": 0.9 if place == 2 else 0.2 + place / 100})
    for row in [row for row in block["heldout"] if row["model"] == "vanilla_sft"]:
        block["heldout"] += [{**row, "model": name} for name in names]
    return results


def test_a_run_with_checkpoints_has_a_panel_a_task_and_one_for_the_mean(with_checkpoints):
    validate(with_checkpoints)
    figure = of_run(scores := board(complete(with_checkpoints)), colours(scores))
    tasks = [task["name"] for task in with_checkpoints["results"]["tasks"]]
    assert figure["training"] == "vanilla_sft"
    assert [one["title"] for one in figure["panels"]] == [f"mean of {len(tasks)} tasks", *tasks][:8]
    for one in figure["panels"]:
        assert [dot["x"] for dot in one["dots"]] == [0.0, 25.0, 50.0, 75.0, 100.0]
        assert one["best"]["text"] == "90.0 at 75 %"
    base = {row["task"]: row["value"] for row in with_checkpoints["results"]["scores"]
            if row["model"] == "base" and row["primary"]}  # fmt: skip
    assert figure["panels"][1]["dots"][0]["text"] == f"{100 * base[tasks[0]]:.1f} at 0 %"


def test_finished_models_stand_beside_the_curve_and_the_training_itself_does_not(with_checkpoints):
    figure = of_run(scores := board(complete(with_checkpoints)), colours(scores))
    finished = [model["name"] for model in with_checkpoints["results"]["models"]
                if model["role"] in ("baseline", "merged") and model["name"] != "vanilla_sft"]  # fmt: skip
    assert finished
    assert [mark["name"] for mark in figure["beside"]] == finished
    wanted = {
        (row["task"], row["model"]): row["value"]
        for row in with_checkpoints["results"]["scores"]
        if row["primary"]
    }
    tasks = [task["name"] for task in with_checkpoints["results"]["tasks"]]
    for task, one in zip(tasks, figure["panels"][1:], strict=False):
        assert [mark["value"] for mark in one["marks"]] == [wanted[task, name] for name in finished]
    mean = sum(wanted[task, finished[-1]] for task in tasks) / len(tasks)
    assert figure["panels"][0]["marks"][-1]["value"] == pytest.approx(mean)


def test_a_run_without_checkpoints_has_no_curve(results):
    assert of_run(board(complete(results)), {}) is None
    assert 'id="tax"' not in page(results)


def test_the_page_shows_the_curve_first_and_leaves_checkpoints_out_of_the_rest(results, with_checkpoints):
    text = page(with_checkpoints)
    assert text.index('id="tax"') < text.index('id="scores"')
    heldout = text[text.index('<section id="heldout"') : text.index('<section id="data"')]
    assert "vanilla_sft@" not in heldout
    assert "vanilla_sft" in heldout


def test_a_panel_stands_between_its_runs():
    runs = [[(0.0, 0.5), (0.5, 0.6), (1.0, 0.4)], [(0.0, 0.5), (0.5, 0.8), (1.0, 0.2)]]
    drawn = panel("x", runs, marks=[{"name": "a", "value": 0.7, "low": 0.6, "high": None}])
    assert [dot["text"] for dot in drawn["dots"]] == ["50.0 at 0 %", "70.0 at 50 %", "30.0 at 100 %"]
    assert drawn["best"]["text"] == "70.0 at 50 %"
    assert drawn["marks"][0]["y"] == drawn["dots"][1]["y"]
    assert drawn["marks"][0]["height"] is None
    corners = set(drawn["band"].removesuffix("Z").replace("M", "L").strip("L").split("L"))
    assert len(corners) == 5  # both begin alike
    assert {corner.split()[0] for corner in corners} == {"0", "500", "1000"}
    assert panel("x", runs[:1])["band"] == ""
    bounded = panel("x", runs[:1], bounds=[(0.0, 0.4, 0.6), (1.0, 0.3, 0.5)])
    assert len(set(bounded["band"].removesuffix("Z").replace("M", "L").strip("L").split("L"))) == 4
    assert panel("x", [])["best"] is None


def test_runs_with_fewer_points_end_earlier():
    drawn = panel("x", [[(0.0, 0.2), (1.0, 0.4)], [(0.0, 0.4)]])
    assert [dot["text"] for dot in drawn["dots"]] == ["30.0 at 0 %", "40.0 at 100 %"]


def test_an_item_or_two_do_not_look_like_a_fall_and_no_axis_leaves_the_shares():
    for low, high in ((0.9, 0.917), (0.99, 1.0), (0.0, 0.02), (0.5, 0.5)):
        drawn = panel("x", [[(0.0, low), (1.0, high)]])
        first, last = (dot["y"] for dot in drawn["dots"])
        assert last - first <= 100 * (high - low) / 0.1 + 0.01
        ticks = [float(text) for _, text in drawn["y_ticks"]]
        assert min(ticks) >= 0
        assert max(ticks) <= 100
        assert max(ticks) - min(ticks) >= 5
