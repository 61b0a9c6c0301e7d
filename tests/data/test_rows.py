import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.data.readers import opened
from dtm.data.rows import BrokenRow

ROWS = [{"instruction": f"Say {n}.", "output": "ä\n" * n, "n": n} for n in range(1, 2501)]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(path, name=None):
    return list(opened(path, name or path.name).rows())


def broken(path):
    return [(line, row.reason) for line, row in read(path) if isinstance(row, BrokenRow)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize(
    "name", ["rows.jsonl", "rows.json", "rows.csv", "rows", "rows.jsonl.gz", "rows.json.zst"]
)
@pytest.mark.parametrize("shape", ["lines", "array", "spread", "held"])
def test_json_is_read_whatever_it_is_called(tmp_path, pack, name, shape):
    rows = ROWS[:300]
    data = {"lines": lines(rows), "array": json.dumps(rows).encode(), "spread": json.dumps(rows, indent=2).encode(),
            "held": json.dumps({"version": 2, "data": rows}, indent=1).encode()}[shape]  # fmt: skip
    (tmp_path / name).write_bytes(pack(data))
    assert read(tmp_path / name) == list(enumerate(rows, 1))


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_tables_are_known_by_their_first_bytes(tmp_path, name):
    table = pa.Table.from_pylist(ROWS)
    parquet.write_table(table, tmp_path / name, row_group_size=700)
    assert read(tmp_path / name) == list(enumerate(ROWS, 1))
    with pa.ipc.new_file(str(tmp_path / name), table.schema) as writer:
        writer.write_table(table, max_chunksize=1300)
    assert read(tmp_path / name) == list(enumerate(ROWS, 1))
    with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1300)
    assert read(tmp_path / name) == list(enumerate(ROWS, 1))


def test_feather_is_arrow(tmp_path):
    import pyarrow.feather as feather

    feather.write_feather(pa.Table.from_pylist(ROWS), str(tmp_path / "rows.feather"), compression="lz4")
    assert read(tmp_path / "rows.feather") == list(enumerate(ROWS, 1))


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream", "jsonl", "json", "csv"])
def test_progress_adds_up_to_the_file(tmp_path, kind):
    path, table = tmp_path / "rows", pa.Table.from_pylist(ROWS)
    if kind == "parquet":
        parquet.write_table(table, path)
    elif kind in ("arrow", "stream"):
        make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
    elif kind == "csv":
        path.write_text("a,b\n" + "1,2\n" * 50_000)
    else:
        path.write_bytes(lines(ROWS) if kind == "jsonl" else json.dumps(ROWS).encode())
    told = []
    list(opened(path, "rows.csv" if kind == "csv" else "rows").rows(told.append))
    assert sum(told) == path.stat().st_size
    assert max(told) < 0.7 * sum(told)


def test_a_broken_line_costs_that_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": \n[1]\n' + b"[" * 99_999 + b'\n{"a": "\xff"}\n{"a": NaN}\n{"a": 2}'
    )
    found = read(path)
    assert [line for line, _ in found] == [1, 3, 4, 5, 6, 7, 8]
    assert broken(path) == [(3, "broken JSON"), (5, "broken JSON")]
    assert found[1][1].text == '{"a": '
    assert [row for _, row in found if not isinstance(row, BrokenRow)] == [
        {"a": 1}, [1], {"a": "\udcff"}, {"a": None}, {"a": 2}]  # fmt: skip


def test_a_broken_first_line_does_not_hide_that_these_are_lines(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": tru}\n{"a": 1}\n')
    assert broken(tmp_path / "rows.jsonl") == [(1, "broken JSON")]
    assert len(read(tmp_path / "rows.jsonl")) == 2


def test_a_cut_file_gives_its_whole_lines_and_keeps_the_half_one(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(lines(ROWS), compresslevel=0)[:70_000])
    found = read(path)
    *whole, (line, last) = found
    assert [row for _, row in whole] == ROWS[: len(whole)]
    assert len(whole) > 20
    assert (line, last.reason) == (len(whole) + 1, "damaged file")
    assert json.dumps(ROWS[len(whole)], ensure_ascii=False).startswith(
        last.text.rstrip("\udcc3")
    )  # half an `ä`


def test_a_cut_array_gives_its_whole_rows(tmp_path):
    (tmp_path / "rows.json.gz").write_bytes(
        gzip.compress(json.dumps(ROWS).encode(), compresslevel=0)[:70_000]
    )
    *whole, (_, last) = read(tmp_path / "rows.json.gz")
    assert [row for _, row in whole] == ROWS[: len(whole)]
    assert len(whole) > 20
    assert last.reason == "damaged file"


def test_a_damaged_table_is_told(tmp_path):
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "cut.parquet")
    data = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    assert broken(tmp_path / "cut.parquet") == [(1, "damaged file")]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=20)


@settings(deadline=None)
@given(records=st.lists(st.tuples(CELLS, CELLS), max_size=8), delimiter=st.sampled_from(",\t;"))
def test_csv_reads_what_csv_writes(tmp_path_factory, records, delimiter):
    held = io.StringIO()
    csv.writer(held, delimiter=delimiter, lineterminator="\n").writerows([("one", "two"), *records])
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    path.write_text(held.getvalue(), encoding="utf-8-sig", newline="")
    assert [row for _, row in read(path)] == [{"one": one, "two": two} for one, two in records]


def test_csv_lines_are_those_of_the_file(tmp_path):
    text = '\n\nq,a\n"two\nlines",x\nshort\n\nlast,"with ""quotes"""\na,b,c\n'
    (tmp_path / "rows.csv").write_text(text)
    assert [(line, row) for line, row in read(tmp_path / "rows.csv") if isinstance(row, dict)] == [
        (4, {"q": "two\nlines", "a": "x"}), (8, {"q": "last", "a": 'with "quotes"'})]  # fmt: skip
    assert broken(tmp_path / "rows.csv") == [(6, "broken CSV"), (9, "broken CSV")]


def test_long_and_unclosed_csv_fields(tmp_path):
    (tmp_path / "rows.csv").write_text('q,a\n"' + "x" * 300_000 + '",1\n"open,2\nz,3\n')
    found = read(tmp_path / "rows.csv")
    assert len(found[0][1]["q"]) == 300_000
    assert broken(tmp_path / "rows.csv") == [(3, "broken CSV")]


def test_a_cut_csv_is_told(tmp_path):
    (tmp_path / "rows.csv.gz").write_bytes(
        gzip.compress(b"q,a\n" + b"x,y\n" * 9000, compresslevel=0)[:30_000]
    )
    found = read(tmp_path / "rows.csv.gz")
    assert len(found) > 7000
    assert isinstance(found[-1][1], BrokenRow)
    assert all(row == {"q": "x", "a": "y"} for _, row in found[:-1])
