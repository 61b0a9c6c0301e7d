"""Items of all models: the same questions for all, and one file from which every figure can be made again."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from dtm.foundations.errors import DataError
from dtm.study.items import Benchmark, Cell, Items

SUMS = Benchmark("sums", "raw", "acc", 0.5)


def records(values, first=0, word=""):
    return [
        {"doc_id": first + n, "prompt": f"{word}{n}", "metrics": {"acc": value}}
        for n, value in enumerate(values)
    ]


def test_the_file_holds_every_value(tmp_path):
    items = Items()
    items.add(SUMS, Cell("base"), records([1, 0]), Path("a"))
    items.add(SUMS, Cell("vanilla", 3), records([0, 1]), Path("b"))
    items.add(SUMS, Cell("vanilla", 3, 0.5), records([1, 1]), Path("c"))
    items.save(tmp_path / "items.parquet")
    rows = parquet.read_table(tmp_path / "items.parquet").to_pylist()
    assert [(row["arm"], row["seed"], row["share"], row["item"], row["value"]) for row in rows] == [
        ("base", None, None, "0", 1.0), ("base", None, None, "1", 0.0),
        ("vanilla", 3, None, "0", 0.0), ("vanilla", 3, None, "1", 1.0),
        ("vanilla", 3, 0.5, "0", 1.0), ("vanilla", 3, 0.5, "1", 1.0),
    ]  # fmt: skip
    assert {(row["task"], row["format"], row["metric"]) for row in rows} == {("sums", "raw", "acc")}


@pytest.mark.parametrize("other", [records([1, 0], first=1), records([1, 0], word="x"), records([1])])
def test_models_that_were_asked_something_else_cannot_be_compared(other):
    items = Items()
    items.add(SUMS, Cell("base"), records([1, 0]), Path("a"))
    with pytest.raises(DataError, match="not asked the same items in the same words"):
        items.add(SUMS, Cell("vanilla", 0), other, Path("b"))


def test_only_shares_enter_a_mean():
    items = Items()
    items.add(SUMS, Cell("base"), records([1, 0]), Path("a"))
    items.add(Benchmark("text", "raw", "loglikelihood"), Cell("base"),
              [{"doc_id": 0, "prompt": "", "metrics": {"loglikelihood": -3.0}}], Path("a"))  # fmt: skip
    assert items.shares == [SUMS]
