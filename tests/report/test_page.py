"""The page as a file: it parses, holds the numbers, lets nothing in and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from dtm.foundations.errors import DataError
from dtm.report import render
from dtm.report import sections as cards
from dtm.report.page import page

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Elements, attributes and text of a page; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.elements, self.words, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def test_every_number_of_the_score_table_is_there_with_its_interval(results):
    text = Reader(page(results)).text
    for row in results["results"]["scores"]:
        assert f"{100 * row['value']:.1f}" in text
        assert f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]" in text
    for row in results["results"]["comparisons"]:
        assert f"{100 * row['difference']:+.1f}".replace("-", "−").replace("+0.0", "0.0") in text
    for portion in results["portions"]:
        assert f"{portion['rows']:,}" in text
        assert portion["examples"][2]["response"] in text
    for name in ("mixture/facts.jsonl:230", "0.25", "dtm run examples/first.yaml", "1 of 5 stages reused"):
        assert name in text


def test_only_significant_differences_are_coloured(results):
    elements = Reader(page(results)).elements
    kinds = [
        attrs["class"].split()[1]
        for _, attrs in elements
        if (attrs.get("class") or "").startswith("difference ")
    ]
    significant = [row for row in results["results"]["comparisons"] if row["p_holm"] < 0.05]
    assert kinds.count("better") == sum(row["difference"] > 0 for row in significant) > 0
    assert kinds.count("worse") == sum(row["difference"] < 0 for row in significant)


def test_hostile_text_stays_text(results, poisoned):
    clean, hostile = Reader(page(results)), Reader(page(poisoned(results)))
    assert len(hostile.scripts) == len(clean.scripts) == 2
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in clean.elements}
    names = {name for _, attrs in hostile.elements for name in attrs}
    assert not any(name.startswith("on") for name in names)
    assert names == {n for _, a in clean.elements for n in a}
    assert "</script><script>window.pwned=1</script>" in hostile.text
    assert json.loads(hostile.scripts[0])[0]["name"].endswith("&amp;")


def test_nothing_is_loaded_and_only_our_script_may_run(results, poisoned):
    for text in (page(results), page(poisoned(results, " https://evil.example/x.png url(//evil) "))):
        reader = Reader(text)
        for tag, attrs in reader.elements:
            assert tag not in {
                "link",
                "img",
                "iframe",
                "object",
                "embed",
                "base",
                "form",
                "image",
                "use",
                "video",
            }
            assert not {"src", "srcset", "xlink:href", "action", "data"} & set(attrs)
            assert (attrs.get("href") or "#").startswith("#")
            assert "url(" not in (attrs.get("style") or "")
        style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
        assert "url(" not in style
        assert "@import" not in style
        assert "expression" not in style
        policy = next(attrs["content"] for _, attrs in reader.elements if attrs.get("http-equiv"))
        digest = base64.b64encode(hashlib.sha256(reader.scripts[1].encode()).digest()).decode()
        assert policy.startswith("default-src 'none'")
        assert f"script-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize(
    "missing", ["run", "statement", "results", "data", "portions", "curves", "merge", "stages", "all"]
)
def test_any_section_may_be_missing_empty_or_null(results, missing):
    sections = [name for name in results if name != "format"] if missing == "all" else [missing]
    for kind in ("missing", "null", "empty"):
        less = {name: value for name, value in results.items() if name not in sections}
        if kind != "missing":
            less |= {name: None if kind == "null" else type(results[name])() for name in sections}
        reader = Reader(page(less))
        targets = {attrs["id"] for _, attrs in reader.elements if "id" in attrs}
        assert {attrs["href"][1:] for tag, attrs in reader.elements if tag == "a"} <= targets


def test_any_list_of_the_results_may_be_empty_and_any_value_null(results):
    for name in results["results"]:
        Reader(page(results | {"results": results["results"] | {name: []}}))
    for name in ("scores", "comparisons", "heldout", "tasks"):
        for row in results["results"][name]:
            row |= {key: None for key, value in row.items() if isinstance(value, float | int)}
    for portion in results["portions"]:
        portion |= {"rows": None, "tokens": None, "trained_tokens": None, "terms": None, "examples": None}
        portion["sources"] = dict.fromkeys(portion["sources"])
    for curve in results["curves"]:
        curve["points"][3]["loss"] = float("nan")
        curve["points"][4] = {}
    reader = Reader(page(results))
    assert "None" not in reader.text
    assert "nan" not in reader.text.lower().split()
    json.loads(reader.scripts[0], parse_constant=pytest.fail)


def test_64_sub_models_and_30_tasks_stay_below_three_megabytes(make_results):
    text = page(make_results(k=64, tasks=30, sources=14, points=300))
    assert len(Reader(text).elements) > 5000
    assert len(text.encode()) < 3_000_000


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    first = render(results, tmp_path).read_bytes()
    assert render(json.loads(json.dumps(results)), tmp_path).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_lone_surrogate_does_not_stop_the_page(results, tmp_path):
    results["portions"][0]["examples"][0]["response"] = "half a pair: \ud83d"
    assert "half a pair: ?" in render(results, tmp_path).read_text(encoding="utf-8")


def test_the_given_statement_is_printed_and_a_missing_one_is_made(results):
    assert "Said by hand." in Reader(page(results | {"statement": ["Said by hand."]})).text
    assert "no claim about the method" in Reader(page(results)).text


def test_every_figure_has_words_for_those_who_do_not_see_it(results):
    elements = Reader(page(results)).elements
    pictures = [attrs for _, attrs in elements if attrs.get("role") == "img"]
    assert len(pictures) >= 4
    assert all(attrs["aria-label"] for attrs in pictures)
    assert all("scope" in attrs for tag, attrs in elements if tag == "th")
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_results_that_break_the_schema_are_refused(results, tmp_path):
    with pytest.raises(DataError, match=r"results\.json"):
        render(results | {"format": 99}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_many_stages_the_longest_have_bars_and_all_are_listed(results):
    results["stages"] = [{"name": f"stage-{i:02}", "seconds": 99.5 if i == 59 else 1.0} for i in range(60)]
    reader = Reader(page(results))
    bars = [attrs for _, attrs in reader.elements if (attrs.get("class") or "").startswith("stage")]
    assert len([attrs for attrs in bars if attrs["class"].split()[0] == "stage"]) == 20
    assert reader.text.count("1 min 40 s") == 2  # the last has a bar too, and stands in the list of all
    assert "The 20 longest of 60 stages." in reader.text
    assert all(f"stage-{i:02}" in reader.text for i in range(60))


def test_a_run_without_a_merge_has_no_merge_section():
    nothing = {"relative_error": None, "worst": {"tensor": None, "relative_error": None}}
    assert cards.merge({"merge": {"weights": [], "low_rank": nothing}}, None) is None
