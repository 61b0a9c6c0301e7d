"""The page of a study: what it shows, that nothing gets in, and that it opens in a browser."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.report.wording import signed
from dtm.study import figures
from dtm.study.page import page, render
from dtm.study.pareto import front_of, pareto
from tests.study.made import made

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">\'"{{7*7}}&amp;'


@pytest.fixture(scope="module")
def results():
    return made(resamples=50)


def test_the_page_holds_every_arm_and_every_difference(results):
    text = page(results)
    for arm in results["arms"]:
        assert text.count(arm["name"]) > 3
    for row in results["comparisons"]:
        if row["group"] == "mean" and not row["oracle"]:
            assert signed(row["difference"], True) in text
    assert page(results) == text
    assert "<script" not in text


SHAPES = [{"arms": 1}, {"arms": 2, "tasks": 1}, {"arms": 3, "named": False}, {"arms": 2, "curve": False},
          {"arms": 3, "seeds": 1}]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pages_of_all_shapes_are_drawn(shape):
    assert "</html>" in page(made(**shape, items=40, resamples=20))


def test_hostile_texts_are_escaped(results):
    poisoned = copy.deepcopy(results)
    poisoned["study"] += HOSTILE
    poisoned["command"] += HOSTILE
    poisoned["arms"][0]["failures"] = [{"seed": 0, "error": HOSTILE, "diverged": False}]
    poisoned["arms"][0]["overrides"] = {"data": HOSTILE}
    for row in poisoned["flips"]:
        for flip in row["lost_items"]:
            flip |= {"asked": HOSTILE, "wanted": HOSTILE, "arm": HOSTILE}
    text = page(poisoned)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("{{7*7}}") > 5


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12))
def test_the_front_is_what_no_point_beats(points):
    front = front_of(points)

    def beaten(point):
        return any(other[0] >= point[0] and other[1] >= point[1] and other != point for other in points)

    assert {points[index] for index in front} == {point for point in points if not beaten(point)}
    assert [points[index][0] for index in front] == sorted(points[index][0] for index in front)


def test_gains_and_losses_stand_where_the_differences_say(results):
    figure = pareto(results)
    rows = {(row["arm"], row["group"]): row for row in results["comparisons"] if row["against"] == "base"}
    for dot in figure["dots"][1:]:
        assert dot["gain"][0] == rows[dot["name"], "gains"]["difference"]
        assert dot["cost"][1] == rows[dot["name"], "costs"]["low"]
    assert pareto(made(named=False, arms=2, items=40, resamples=20)) is None


def test_the_curve_has_a_band_and_the_arms_beside_it(results):
    figure = figures.tax_curve(results)
    assert [panel["title"] for panel in figure["panels"][:3]] == ["what it may cost", "what tuning teaches",
                                                                  "mean of all benchmarks"]  # fmt: skip
    first = figure["panels"][0]
    assert first["band"].endswith("Z")
    assert [mark["name"] for mark in first["marks"]] == [arm["name"] for arm in results["arms"][1:]]
    shares = [point["share"] for point in results["curve"]["runs"][0]["points"]]
    means = [
        sum(run["points"][place]["scores"]["costs"] for run in results["curve"]["runs"]) / 5
        for place in range(len(shares))
    ]
    assert first["best"]["text"] == f"{100 * max(means):.1f} at {100 * shares[means.index(max(means))]:.0f} %"


def test_other_trainings_are_lines_beside_the_curve_with_losses_of_their_own():
    several = made(arms=4, items=40, resamples=20, curves=("dtm-kmeans-4",))
    assert [found["arm"] for found in several["curves"]] == ["dtm-kmeans-4"]
    figure = figures.tax_curve(several)
    colour = next(arm["colour"] for arm in figures.arms(several) if arm["name"] == "dtm-kmeans-4")
    assert [(line["name"], line["colour"]) for line in figure["panels"][0]["others"]] == [
        ("dtm-kmeans-4", colour)
    ]
    assert figure["panels"][0]["others"][0]["d"].count("L") == figure["points"] + 1
    drawn = figures.losses(several)
    assert [one["arm"] for one in drawn] == ["vanilla", "dtm-kmeans-4"]
    assert len(drawn[1]["rows"]) == len(drawn[0]["rows"]) == figure["points"] + 1
    text = page(several)
    assert text.count('path class="other"') == len(figure["panels"])
    assert "Loss of dtm-kmeans-4" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")
@pytest.mark.parametrize("width", [1280, 500])
def test_it_opens_without_an_error_and_fits(results, tmp_path, width):
    path = render(results, tmp_path)
    measure = "document.title = document.documentElement.scrollWidth - innerWidth"
    probe = f"<script>addEventListener('load', () => {{ {measure} }})</script>"
    text = path.read_text(encoding="utf-8")
    own = subprocess.run(_opening(path, width), capture_output=True, text=True, timeout=120)
    assert [line for line in own.stderr.splitlines() if "CONSOLE" in line] == []
    path.write_text(
        re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', probe, text, count=1), encoding="utf-8"
    )
    done = subprocess.run(_opening(path, width), capture_output=True, text=True, timeout=120)
    assert int(re.search(r"<title>(-?\d+)</title>", done.stdout).group(1)) <= 0


def _opening(path, width):
    return [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--disable-background-networking", "--virtual-time-budget=2000", "--dump-dom", f"--window-size={width},900",
            path.as_uri()]  # fmt: skip
