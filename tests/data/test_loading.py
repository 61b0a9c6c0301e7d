import gzip
import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtm.data import load, resolve
from dtm.foundations.errors import ConfigError, DataError
from dtm.foundations.types import SCHEMA, canonical_id


def pair(question, answer="a", **more):
    return {"instruction": question, "output": answer, **more}


def chat(question, answer="a"):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def adds_up(card):
    assert card["read"] == card["kept"] + card["dropped"] + card["left_out"]
    assert card["rows"] == card["kept"] + card["repeated"]
    assert card["dropped"] == sum(card["reasons"].values())


def test_alpaca_and_messages_become_examples(write, loaded):
    write("a.jsonl", [pair("Add.", "2", input="1 + 1"), pair("Greet.", "Hi", score=3)])
    write("b.jsonl", [{"messages": chat("Greet.", "Hi")}, {"messages": chat("Part.", "Bye")}])
    examples, card, dropped = loaded({"path": "a.jsonl", "license": "mit"}, {"path": "b.jsonl"})

    assert examples.table.schema == SCHEMA
    assert examples.column("messages") == [
        chat("Add.\n\n1 + 1", "2"),
        chat("Greet.", "Hi"),
        chat("Part.", "Bye"),
    ]
    assert examples.column("id") == [canonical_id(one) for one in examples.column("messages")]
    assert examples.column("family") == examples.column("id")
    assert examples.column("parent") == [None] * 3
    assert examples.column("source") == ["a", "a", "b"]
    assert examples.column("meta") == ["{}", '{"score":3}', "{}"]
    assert dropped == [{"file": "b.jsonl", "line": 1, "reason": "duplicate of a.jsonl:2", "source": "b",
                        "row": json.dumps({"messages": chat("Greet.", "Hi")})}]  # fmt: skip
    adds_up(card)
    a, b = card["sources"]
    assert (a["source"], a["license"], a["read"], a["kept"], a["dropped"]) == ("a", "mit", 2, 2, 0)
    assert (b["source"], b["license"], b["read"], b["kept"], b["duplicates"]) == ("b", None, 2, 1, 1)
    assert a["files"] == [{"file": "a.jsonl", "format": "alpaca", "read": 2, "dropped": 0}]
    assert card["reasons"] == {"duplicate": 1}


def test_dropped_rows_have_file_line_and_reason(write, loaded):
    write(
        "set/a.jsonl",
        [pair("q", ""), '{"instruction": ', "", pair("good"), pair("q", 5), pair("x" * 999, "")],
    )
    write("set/b.jsonl", [{"text": "t"}, {"text": "\ud800"}, "[1]"])
    examples, card, dropped = loaded({"path": "set", "source": "s"})
    assert len(examples) == 2
    assert [(row["file"], row["line"], row["reason"].split(" (")[0], row["source"]) for row in dropped] == [
        ("set/a.jsonl", 1, "empty answer", "s"), ("set/a.jsonl", 2, "broken JSON", "s"),
        ("set/a.jsonl", 5, "wrong type `output` is a number, not text", "s"), ("set/a.jsonl", 6, "empty answer", "s"),
        ("set/b.jsonl", 2, "not valid Unicode in a text turn", "s"),
        ("set/b.jsonl", 3, "not an object but a list", "s"),
    ]  # fmt: skip
    assert dropped[0]["row"] == json.dumps(pair("q", ""))
    assert dropped[1]["row"] == '{"instruction": '
    assert dropped[3]["row"] == json.dumps(pair("x" * 999, ""))[:500] + "..."
    assert json.loads(dropped[4]["row"]) == {"text": "\ud800"}
    assert card["reasons"] == {"empty answer": 2, "broken JSON": 1, "wrong type": 1, "not valid Unicode": 1,
                               "not an object": 1}  # fmt: skip
    adds_up(card)


def test_a_file_without_a_usable_row_is_an_error_after_all_are_read(write, loaded, tmp_path):
    write("set/a.jsonl", [pair("q", "")] * 3)
    write("set/b.jsonl", [pair("q")])
    write("c.jsonl", [{"messages": []}])
    with pytest.raises(ConfigError, match="2 things are wrong") as caught:
        loaded({"path": "set"}, {"path": "c.jsonl"})
    assert "set/a.jsonl: none of its 3 rows can be used; 3 times: empty answer" in caught.value.message
    assert "c.jsonl: none of its 1 rows" in caught.value.message
    assert len((tmp_path / "dropped.jsonl").read_text().splitlines()) == 4
    with pytest.raises(DataError, match="empty answer"):
        loaded({"path": "set"})


def test_a_file_of_duplicates_is_no_error(write, loaded):
    write("a.jsonl", [pair("q"), pair("q"), pair("q")])
    write("b.jsonl", [pair("q")])
    examples, card, dropped = loaded({"path": "a.jsonl"}, {"path": "b.jsonl"})
    assert len(examples) == 1
    assert [one["duplicates"] for one in card["sources"]] == [2, 1]
    assert [row["reason"] for row in dropped] == ["duplicate of a.jsonl:1"] * 3
    adds_up(card)


def test_only_exact_copies_are_duplicates(write, loaded):
    write(
        "a.jsonl",
        [pair("é"), pair("e\u0301"), pair("é "), pair("É"), {**pair("é"), "system": "s"}, pair("é", id=1)],
    )
    _, card, dropped = loaded({"path": "a.jsonl"})
    assert (card["kept"], [row["line"] for row in dropped]) == (5, [6])


def test_what_a_fraction_left_out_may_come_from_a_later_source(write, loaded):
    write("a.jsonl", [pair(str(n)) for n in range(100)])
    write("b.jsonl", [pair(str(n)) for n in range(100)])
    examples, card, _ = loaded({"path": "a.jsonl", "limit": 30}, {"path": "b.jsonl"})
    a, b = card["sources"]
    assert (a["kept"], a["left_out"], a["duplicates"]) == (30, 70, 0)
    assert (b["kept"], b["left_out"], b["duplicates"]) == (70, 0, 30)
    assert len(set(examples.column("id"))) == 100
    adds_up(card)


def test_fraction_limit_and_weight_together(write, loaded):
    write("a.jsonl", [pair(str(n)) for n in range(100)])
    entry = {"path": "a.jsonl", "fraction": 0.5, "limit": 40, "weight": 2.25}
    examples, card, dropped = loaded(entry)
    assert (card["kept"], card["left_out"], card["repeated"], card["rows"]) == (40, 60, 50, 90)
    assert dropped == []
    assert len(examples) == 90
    assert len(set(examples.column("id"))) == 90
    assert len(set(examples.column("family"))) == 40
    adds_up(card)
    assert loaded(entry)[0].table == examples.table
    assert loaded(entry, seed=1)[0].column("family") != examples.column("family")


def test_the_choice_does_not_see_file_order(write, loaded):
    write("a/1.jsonl", [pair(str(n)) for n in range(50)])
    write("a/2.jsonl", [pair(str(n)) for n in range(50, 100)])
    write("b/1.jsonl", [pair(str(n)) for n in range(99, 40, -1)])
    write("b/2.jsonl", [pair(str(n)) for n in range(41)])
    a, b = (loaded({"path": name, "source": "s", "fraction": 0.3})[0].column("id") for name in "ab")
    assert a != b
    assert set(a) == set(b)


def test_more_rows_than_a_batch_keep_their_order(write, loaded):
    write("a.jsonl", [pair(str(n), "a" * (n % 7 + 1), n=n) for n in range(10_000)])
    examples, card, _ = loaded({"path": "a.jsonl"})
    assert [json.loads(meta)["n"] for meta in examples.column("meta")] == list(range(10_000))
    assert examples.column("messages") == [chat(str(n), "a" * (n % 7 + 1)) for n in range(10_000)]
    assert len(examples.table.column("id").chunks) > 1
    adds_up(card)


def test_saved_examples_are_the_same_bytes(write, loaded, tmp_path):
    write("a.jsonl", [pair(str(n)) for n in range(100)])
    for name in ("one", "two"):
        loaded({"path": "a.jsonl", "fraction": 0.5})[0].save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_progress_ends_at_the_end(write, loaded, tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("".join(
        json.dumps(pair(str(n))) + "\n" for n in range(5000)).encode(), compresslevel=0))  # fmt: skip
    write("b.jsonl", [pair("x")])
    seen = []
    loaded(
        {"path": "a.jsonl.gz"}, {"path": "b.jsonl"}, progress=lambda done, total: seen.append((done, total))
    )
    size = sum((tmp_path / name).stat().st_size for name in ("a.jsonl.gz", "b.jsonl"))
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)
    assert len(seen) > 3


def test_meta_of_a_table_is_json(tmp_path, loaded):
    import datetime

    table = pa.table({"instruction": ["q"], "output": ["a"], "when": [datetime.date(2024, 5, 1)], "picture": [b"123"],
                      "score": [float("nan")], "none": pa.nulls(1), "list": [[1.5, None]]})  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    examples, _, _ = loaded({"path": "a.parquet"})
    assert json.loads(examples.column("meta")[0]) == {
        "when": "2024-05-01", "picture": "<3 bytes>", "score": None, "list": [1.5, None]}  # fmt: skip


def test_meta_may_hold_what_content_may_not(write, loaded):
    write("a.jsonl", [pair("q", odd="\ud800", nul="\0", big=10**30)])
    assert json.loads(loaded({"path": "a.jsonl"})[0].column("meta")[0]) == {
        "odd": "\ud800",
        "nul": "\0",
        "big": 10**30,
    }


def test_tables_and_lines_of_the_same_rows_give_the_same_examples(tmp_path, write, loaded):
    rows = [{"messages": chat(str(n)), "tag": "x"} for n in range(50)]
    write("a.jsonl", rows)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("messages,tag\n" + "".join(
        '"' + json.dumps(row["messages"]).replace('"', '""') + '",x\n' for row in rows))  # fmt: skip
    lines, table, cells = (loaded({"path": f"a.{kind}"})[0].table for kind in ("jsonl", "parquet", "csv"))
    assert lines == table == cells


KEYS = st.sampled_from(["instruction", "output", "input", "history", "role", "content", "text", "x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(JSON, max_size=12), cut=st.integers(0, 40))
def test_every_row_is_kept_or_dropped_with_a_reason(tmp_path, rows, cut):
    good = json.dumps(pair("good"))
    text = "\n".join([good, *(json.dumps(row) for row in rows), good[:cut]])
    (tmp_path / "a.jsonl").write_text(text)
    sources = resolve([{"path": "a.jsonl", "format": "alpaca"}], tmp_path)
    examples, card = load(sources, 0, tmp_path / "dropped.jsonl")
    with open(tmp_path / "dropped.jsonl", encoding="utf-8") as file:
        dropped = [json.loads(line) for line in file]
    adds_up(card)
    assert card["read"] == len(rows) + 1 + (cut > 0)
    assert (len(examples), len(dropped)) == (card["kept"], card["dropped"])
    assert all(row["reason"] and row["file"] == "a.jsonl" and row["line"] > 1 for row in dropped)
    assert all(json.loads(meta) is not None for meta in examples.column("meta"))


def test_places_say_where_each_kept_row_and_its_repeats_stood(tmp_path, write):
    from dtm.data import load, read_places, resolve

    write("a.jsonl", [pair("q1"), pair("q1"), pair("q2")])
    write("b.jsonl", [pair("q2"), pair("q3")])
    sources = resolve([{"path": "a.jsonl"}, {"path": "b.jsonl", "weight": 2}], tmp_path)
    examples, _ = load(sources, 0, tmp_path / "dropped.jsonl", places=tmp_path / "places.arrow")
    ids = examples.column("id")
    found = read_places(tmp_path / "places.arrow", ids)
    assert [found[one] for one in ids] == [("a.jsonl", 1), ("a.jsonl", 3), ("b.jsonl", 2), ("b.jsonl", 2)]


def test_removed_rows_and_their_copies_go_and_nothing_takes_their_place(write, loaded):
    """`limit`, `fraction` and `weight` choose as before; what a removed row says is written nowhere."""
    write("a.jsonl", [pair(f"question {n}") for n in range(20)])
    write(
        "b.jsonl", [pair(f"question {n}") for n in range(5)] + [pair("other"), {"instruction": "no answer"}]
    )
    entries = [{"path": "a.jsonl", "limit": 10, "weight": 2.5}, {"path": "b.jsonl"}]
    before, _, _ = loaded(*entries)
    gone = {
        next(one for one in before.column("id") if "#2" in one).split("#")[0],
        canonical_id(chat("other")),
    }
    after, card, dropped = loaded(*entries, removed=gone)
    assert after.column("id") == [one for one in before.column("id") if one.split("#")[0] not in gone]
    assert len(after) == len(before) - 4
    told = {row["id"]: row for row in dropped if row["reason"] == "removed"}
    assert set(told) == gone
    assert told[canonical_id(chat("other"))] == {"file": "b.jsonl", "line": 6, "reason": "removed", "row": "",
                                                 "source": "b", "id": canonical_id(chat("other"))}  # fmt: skip
    assert card["reasons"]["removed"] == 2
    adds_up(card)
    for one in card["sources"]:
        adds_up(one)


def test_a_second_copy_of_a_removed_row_is_not_written_aside(write, loaded):
    write("a.jsonl", [pair("secret"), pair("open")])
    write("b.jsonl", [pair("secret"), pair("open")])
    gone = {canonical_id(chat("secret"))}
    examples, card, dropped = loaded({"path": "a.jsonl"}, {"path": "b.jsonl"}, removed=gone)
    assert [one[0]["content"] for one in examples.column("messages")] == ["open"]
    assert "secret" not in json.dumps(dropped)
    assert len(dropped) == 3
    adds_up(card)


def test_a_file_whose_rows_were_all_removed_is_no_useless_file(write, loaded):
    write("a.jsonl", [pair("secret")])
    write("b.jsonl", [pair("open")])
    gone = {canonical_id(chat("secret"))}
    examples, _, _ = loaded({"path": "a.jsonl"}, {"path": "b.jsonl"}, removed=gone)
    assert len(examples) == 1
