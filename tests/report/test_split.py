"""The map, the figures of a split and the overlap with tasks, on the page and in a terminal."""

from __future__ import annotations

import io
import json
import re

import pytest

from dtm.report import page, portions_table, render, validate
from dtm.report.split import HIGH, RIM, WIDE, lines, points, proposal, sentence, sharing
from tests.report import splits
from tests.report.test_browser import CHROMIUM, opened
from tests.report.test_page import Reader

PROBE = """<script>
const errors = [];
window.onerror = (message) => errors.push(message);
window.addEventListener("load", () => {
  const figure = document.querySelector(".map"), tip = figure.querySelector(".tip"), told = [];
  const dots = [...figure.querySelectorAll("circle")].filter((_, i) => i % 40 === 0);
  const point = (dot) => { const box = dot.getBoundingClientRect(); figure.querySelector(".area").dispatchEvent(
    new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2})); };
  for (const dot of dots) { point(dot); told.push(tip.hidden ? null : tip.textContent); }
  const button = figure.querySelector("button"), group = figure.querySelector("g");
  button.click();
  const hidden = getComputedStyle(group).display;
  button.click();
  document.title = JSON.stringify({errors, told, hidden, shown: getComputedStyle(group).display,
    inside: tip.children.length, wide: document.documentElement.scrollWidth - window.innerWidth,
    pwned: window.pwned ?? null});
});
</script>"""


def words(table, width=100):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_every_row_of_the_map_is_a_dot_with_a_title(results):
    reader = Reader(page(results))
    circles = [attrs for tag, attrs in reader.elements if tag == "circle"]
    found = results["split"]["map"]
    assert len(circles) == len(found["x"])
    assert all(0 <= int(one["cx"]) <= WIDE and 0 <= int(one["cy"]) <= HIGH for one in circles)
    for portion, source, text in zip(found["portion"], found["source"], found["text"], strict=True):
        assert f"portion {portion} · {source} · {text}" in reader.text


def test_both_directions_have_one_unit_and_up_is_up():
    found = {"x": [0.0, 3.0, 0.0], "y": [0.0, 0.0, 1.0], "portion": [0, 1, 0], "source": [None] * 3, "text": ["t"] * 3,
             "of": "embedding", "rows": 3, "explained": 1.0}  # fmt: skip
    one, other = points(found, 2)["groups"]
    origin, up = one["dots"]
    assert (
        other["dots"][0]["x"] - origin["x"]
        == 3 * (origin["y"] - up["y"])
        == WIDE - 2 * RIM - (WIDE - 2 * RIM) % 3
    )
    assert origin["title"] == "portion 0 · t"


def test_far_rows_lie_on_the_rim_and_leave_room_for_the_others():
    made = splits.split(2, points=1000)["map"]
    made["x"][5] = 1e6
    drawn = [dot for group in points(made, 2)["groups"] for dot in group["dots"]]
    places = [dot["x"] for dot in drawn]
    assert max(places) <= WIDE - RIM
    assert len(set(places)) > 100


@pytest.mark.parametrize("name", ["x", "portion", "text"])
def test_a_map_without_rows_is_none(results, name):
    results["split"]["map"][name] = []
    assert "circle" not in {tag for tag, _ in Reader(page(results)).elements}


def test_a_single_row_stands_in_the_middle(results):
    for name in ("x", "y", "portion", "source", "text"):
        results["split"]["map"][name] = results["split"]["map"][name][:1]
    circle = next(attrs for tag, attrs in Reader(page(results)).elements if tag == "circle")
    assert (int(circle["cx"]), int(circle["cy"])) == (WIDE // 2, HIGH // 2)


def test_the_figures_of_the_split_and_of_the_overlap_are_on_the_page(results):
    text = Reader(page(results)).text
    for said in ("1.02 in rows, 1.31 in tokens and 1.40 in trained tokens", "0.31 within a portion, −0.02 across",
                 "adjusted Rand index 0.41", "55 rows of 17 groups lie in several portions",
                 "400 391 12 3.1 % 31", "contaminated.jsonl", "their items come later: arc_easy"):  # fmt: skip
        assert re.sub(r"\s+", "", said) in re.sub(r"\s+", "", text), said
    results["data"]["contamination"]["dropped"] = True
    assert "The rows were dropped" in Reader(page(results)).text


def test_a_split_of_which_little_is_known_says_little(results):
    for section in ("split", "data"):
        results[section] = {} if section == "split" else results[section] | {"contamination": {}}
    assert "How good the split is" not in Reader(page(results)).text
    results["split"] = {"near_duplicates": {"groups": 0}, "similarity": {"within": 0.5, "across": None}}
    validate(results)
    text = Reader(page(results)).text
    assert "Near-duplicates: none." in text
    assert "mean cosine of two rows 0.50 within a portion." in text


def test_the_terminal_has_a_row_a_portion_and_the_figures(results):
    text = words(portions_table(results, 100))
    for portion in results["portions"]:
        assert f"{portion['rows']:,}" in text
        assert portion["terms"][0] in text
    assert "facts_choice 12 of 391 items in 31 rows" in text
    assert "adjusted Rand index 0.41" in text


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_the_terminal_fits_and_of_many_portions_shows_some(make_results, width):
    results = make_results(k=64)
    text = words(portions_table(results, width), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "48 more" in text
    sizes = sorted(portion["rows"] for portion in results["portions"])
    assert all(f"{size:,}" in text for size in (*sizes[:8], *sizes[-8:]))


def test_markup_and_control_characters_stay_text_in_a_terminal(results, poisoned):
    text = words(portions_table(poisoned(results, "[red]\x1b[31m"), 200), 200)
    assert "[red]" in text
    assert "\x1b" not in text


def test_portions_of_which_nothing_is_known_have_a_table(results):
    empty = {"format": 1, "portions": [{}, {"sources": {"a": None}}]}
    assert "–" in words(portions_table(empty, 80))
    assert lines(results | {"split": json.loads(json.dumps(results["split"]))})
    assert sentence(None) == sentence({}) == ""


def test_nothing_is_said_of_an_overlap_with_no_tasks(results):
    found = results["data"]["contamination"]
    assert "facts_choice" in sentence(found)
    assert sentence(found | {"ngram": None, "tasks": []}) == ""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")
def test_the_map_reads_the_row_under_the_pointer_and_hides_portions(results, poisoned, tmp_path):
    results = poisoned(results, " <img src=x onerror=window.pwned=1>")
    path = render(results, tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(
        re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, text, count=1), encoding="utf-8"
    )
    dom, console = opened(path, "--window-size=1280,900")
    import html

    told = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom).group(1)))
    assert (console, told["errors"], told["pwned"], told["inside"]) == ([], [], None, 0)
    assert all(re.match(r"portion \d · .*<img src=x .*Question \d+", one) for one in told["told"])
    assert len(set(told["told"])) > 3
    assert (told["hidden"], told["shown"]) == ("none", "inline")
    assert told["wide"] <= 0


def test_what_portions_share_and_what_became_of_kept_ones_stands_at_their_bars(results):
    found = {**results, "growing": {"kept": 7, "portions": [
        {"portion": 0, "was": 0, "kept": 980, "joined": 0, "left": 3, "copies_left": 2, "submodel": "trained"},
        {"portion": 1, "was": 2, "kept": 1000, "joined": 0, "left": 0, "submodel": "reused"},
        {"portion": 2, "was": None, "kept": 0, "joined": 55, "left": 0, "copies_joined": 5, "submodel": "trained"},
    ]}}  # fmt: skip
    found["portions"] = [{**one, "copied": 0 if number else 1204, "replayed": 40}
                         for number, one in enumerate(results["portions"])]  # fmt: skip
    found["split"] = {
        **results["split"],
        "sharing": {"rows": 900, "copied": 12, "copies": 14, "replayed": 40},
    }
    validate(found)
    text = Reader(page(found)).text
    for said in ("980 kept, 3 left, copies: 2 left; trained", "1,000 kept; reused",
                 "55 joined, copies: 5 joined; trained", "1,204 copied, 40 in all",
                 "Kept, joined and left are rows of the run", "those in all are replayed"):  # fmt: skip
        assert said in text
    plain = Reader(page(results)).text
    assert " kept" not in plain.split("Portions", 1)[1].split("How good the split is")[0]
    assert "in all" not in plain


def test_sharing_is_told_with_what_it_costs():
    told = {
        "rows": 1320,
        "copied": 1,
        "copies": 2,
        "replayed": 40,
        "times_rows": 1.3,
        "times_trained_tokens": 1.284,
    }
    (said,) = sharing(told)
    assert "1 row of a portion is in others as well (2 copies)" in said
    assert "1.28 times the trained tokens" in said
    (said,) = sharing({**told, "replayed": 0, "times_trained_tokens": None})
    assert "1.3 times the rows" in said
    assert "every one" not in said
    assert sharing(None) == sharing({}) == sharing({**dict.fromkeys(told), "rows": None}) == []


def test_a_proposed_number_of_portions_has_its_reasons_on_the_page_and_in_the_terminal(results):
    why = [
        "The smallest portion has about 900 rows and 212 optimizer steps.",
        "Of 3 and 4 it is the nearest.",
    ]
    found = {**results, "split": {**results["split"], "proposal": {"k": 4, "why": why, "starved": False}}}
    validate(found)
    said = "k: auto took 4. " + " ".join(why)
    assert said in Reader(page(found)).text
    assert said.replace(" ", "") in re.sub(r"\s", "", words(portions_table(found, 100)))
    assert "depends on what the base makes" in proposal({"k": 4, "why": [], "pending": True})[0]
    assert proposal(None) == proposal({"k": None}) == []
