"""The figures about merging: inspections, searches, attribution; and the page of `dtm merge --inspect`."""

from __future__ import annotations

import json
import re

import pytest

from dtm.report import inspection_page, page, render_inspection
from dtm.report.attribution import attribution
from dtm.report.merging import search, tensors, updates
from tests.report import insight
from tests.report.conftest import HOSTILE
from tests.report.test_page import Reader


def facts(found, **more):
    known = {"method": "ties", "base": "base", "parameters": 135, "tensors": 7, "unchanged": 0}
    return {**known, "models": found["models"], "inspection": found, **more}


@pytest.mark.parametrize("k", [1, 2, 4, 9, 16])
def test_every_cell_is_its_number(k):
    found = insight.inspection(k)
    drawn = updates(found, found["models"])
    if k == 1:
        assert drawn["matrix"] is None
        assert drawn["by_layer"] is None
    else:
        for i, row in enumerate(drawn["matrix"]):
            for j, cell in enumerate(row["cells"]):
                value = found["overall"]["cosines"][i][j]
                assert cell["text"] == f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
                assert cell["level"] == round(100 * min(abs(value), 1))
                assert cell["sign"] == ("plus" if value >= 0 else "minus")
        assert drawn["by_layer"]["layers"] == [*"012345", "outside"]
        assert len(drawn["by_layer"]["rows"]) == (k * (k - 1) // 2 if k * (k - 1) // 2 <= 28 else k)
    for row, norm, share in zip(
        drawn["models"], found["overall"]["norms"], found["overall"]["shares"], strict=True
    ):
        assert row["norm"] == f"{norm:.4g}"
        assert float(row["share"].replace("−", "-").split()[0]) == pytest.approx(100 * share, rel=0.01)
    text = Reader(inspection_page(facts(found), "out")).text
    for row in drawn["models"]:
        assert row["norm"] in text


def test_many_pairs_are_told_by_each_sub_model_s_mean():
    found = insight.inspection(9)
    row = updates(found, found["models"])["by_layer"]["rows"][2]
    for cell, name in zip(row["cells"], [*"012345", "outside"], strict=True):
        cosines = found["layers"][name]["cosines"][2]
        mean = (sum(cosines) - 1) / 8
        assert cell["text"] == f"{mean:.2f}".replace("-0.00", "0.00").replace("-", "−")


def test_lines_go_through_their_points():
    found = insight.inspection(2, layers=3)
    norms, shares, conflict = updates(found, found["models"])["charts"]
    assert [line["name"] for line in norms["lines"]] == ["submodel-0", "submodel-1", "merged"]
    places = [tuple(map(int, pair)) for pair in re.findall(r"(-?\d+) (-?\d+)", conflict["lines"][0]["path"])]
    values = [found["layers"][layer]["sign_conflict"] for layer in "012"]
    assert [x for x, _ in places] == [
        0,
        0,
        500,
        1000,
    ]  # the first point stands twice: a dot where it is alone
    order = sorted(range(3), key=lambda layer: values[layer])
    assert sorted(range(3), key=lambda layer: -places[layer + 1][1]) == order
    assert len(shares["lines"]) == 2


def test_nothing_measured_is_no_figure():
    assert updates({}, []) is None
    assert updates({"models": ["a"], "overall": None, "layers": {}}, ["a"]) is None
    assert search({}, []) is None
    assert attribution({}) is None
    found = {"models": ["a"], "overall": None, "layers": {}, "tensors": {}}
    assert "No tensor was changed." in inspection_page(facts(found), "out")


def test_a_merge_that_cancels_has_no_shares():
    found = insight.inspection(3)
    for one in [found["overall"], *found["layers"].values(), *found["tensors"].values()]:
        one["shares"] = None
    text = Reader(inspection_page(facts(found), "out")).text
    assert "None" not in text


def test_the_path_of_a_search_shows_each_candidate_and_the_best():
    card = insight.search(3, 12)
    drawn = search(card, ["a", "b", "c"])
    scores = [entry["score"] for entry in card["path"]]
    best = max(range(12), key=lambda n: -9 if scores[n] is None else scores[n])
    assert drawn["best"] == best + 1
    assert drawn["failed"] == 1
    assert len(drawn["dots"]) == 11
    assert [dot["at"] for dot in drawn["dots"] if dot["best"]] == [round(100 * best / 11, 2)]
    highest = max(drawn["dots"], key=lambda dot: dot["up"])
    assert highest["best"]
    for k, row in enumerate(drawn["weights"]):
        largest = max(weight for entry in card["path"] for weight in entry["weights"])
        levels = [round(100 * entry["weights"][k] / largest) for entry in card["path"]]
        assert [cell["level"] for cell in row["cells"]] == levels


def test_each_portion_stands_where_its_difference_is():
    found = insight.attribution(3)
    drawn = attribution(found)
    assert [block["name"] for block in drawn["blocks"]] == ["facts_choice", "arithmetic", "held-out loss",
                                                            "held-out loss, dolly"]  # fmt: skip
    for block, rows in zip(drawn["blocks"], [found["tasks"][:3], found["tasks"][3:], found["heldout"][:3],
                                             found["heldout"][3:]], strict=True):  # fmt: skip
        for mark, row in zip(block["rows"], rows, strict=True):
            assert (mark["at"] > block["zero"]) == (row["difference"] > 0)
            assert mark["left"] <= mark["at"] <= mark["left"] + mark["width"]
            assert (mark["left"] > block["zero"]) == (row["verdict"] == "helps")
            assert (
                mark["mark"]
                == {"helps": "better", "costs": "worse", "not told apart": "open"}[row["verdict"]]
            )


def test_tensors_are_listed_by_conflict():
    found = insight.inspection(2)
    names = [row["name"] for row in tensors(found)]
    assert names == sorted(found["tensors"], key=lambda name: -found["tensors"][name]["sign_conflict"])


def test_the_page_lets_nothing_in_and_loads_nothing(tmp_path):
    found = insight.inspection(3)
    found["models"] = [name + HOSTILE for name in found["models"]]
    found["tensors"] = {name + HOSTILE: one for name, one in found["tensors"].items()}
    hostile = facts(found, method="ties" + HOSTILE, base="b" + HOSTILE)
    path = render_inspection(hostile, tmp_path)
    assert path.name == "inspection.html"
    reader = Reader(path.read_text(encoding="utf-8"))
    assert reader.scripts == []
    assert not any(
        name.startswith("on") or name in ("src", "href") for _, attrs in reader.elements for name in attrs
    )
    policy = next(attrs["content"] for _, attrs in reader.elements if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "</script><script>window.pwned=1</script>" in reader.text
    first = path.read_bytes()
    assert render_inspection(json.loads(json.dumps(hostile)), tmp_path).read_bytes() == first


def test_a_run_s_page_has_all_three(results):
    reader = Reader(page(results))
    ids = {attrs["id"] for _, attrs in reader.elements if "id" in attrs}
    assert {"merge", "search", "attribution"} <= ids
    assert "cma_es on held-out loss: 12 candidates" in reader.text
