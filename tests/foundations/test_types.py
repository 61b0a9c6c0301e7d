import hashlib
import random
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations import types
from dtm.foundations.types import SCHEMA, TOKENS, Examples, Model, RowWriter, canonical_id

WHOLE = pa.schema([*SCHEMA, *TOKENS])


def rows(count, seed=0):
    """Rows of unequal lengths, some without a parent, an answer or a token."""
    randomness, made = random.Random(seed), []
    for number in range(count):
        tokens = randomness.choice([0, 1, 3, 7, 9])
        made.append({
            "id": f"{seed}-{number}", "source": "s" * randomness.randint(0, 3), "family": str(number), "meta": "{}",
            "messages": [{"role": "user", "content": "é" * randomness.randint(0, 9)}] * randomness.randint(1, 3),
            "parent": None if randomness.random() < 0.5 else "parent",
            "input_ids": [randomness.randint(0, 50_000) for _ in range(tokens)],
            "assistant_mask": [randomness.random() < 0.5 for _ in range(tokens)],
        })  # fmt: skip
    return made


def table(made):
    return pa.Table.from_pylist(made, schema=WHOLE)


ROWS = rows(60)
TABLE = table(ROWS)
FORMS = {
    "as made": lambda start, stop: table(ROWS[start:stop]),
    "sliced": lambda start, stop: TABLE.slice(start, stop - start),
    "sliced twice": lambda start, stop: TABLE.slice(start).slice(0, stop - start),
    "in chunks": lambda start, stop: pa.concat_tables([
        table(ROWS[:start]).slice(start), TABLE.slice(start, (stop - start) // 3),
        TABLE.slice(start + (stop - start) // 3, stop - start - (stop - start) // 3),
    ]),
    "taken": lambda start, stop: TABLE.take(pa.array(range(start, stop), pa.int64())),
    "filtered": lambda start, stop: TABLE.filter(pa.array([start <= place < stop for place in range(60)])),
    "from disk": lambda start, stop: None,
}  # fmt: skip
spans = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)


@settings(deadline=None)
@given(spans, st.sampled_from(sorted(FORMS)))
def test_the_same_rows_give_the_same_bytes_whatever_they_were_cut_from(tmp_path_factory, span, form):
    folder = tmp_path_factory.mktemp("save")
    Examples(table(ROWS[slice(*span)])).save(folder / "expected.arrow")
    cut = Examples(FORMS[form](*span)) if form != "from disk" else Examples.open(folder / "expected.arrow")
    cut.save(folder / "found.arrow")
    assert (folder / "found.arrow").read_bytes() == (folder / "expected.arrow").read_bytes()
    assert Examples.open(folder / "found.arrow").table.to_pylist() == ROWS[slice(*span)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 61), spans)
def test_batches_on_disk_do_not_change_the_bytes_of_a_cut(tmp_path_factory, batch, span):
    folder = tmp_path_factory.mktemp("save")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "BATCH", batch)
        Examples(table(ROWS[slice(*span)])).save(folder / "expected.arrow")
        Examples(TABLE.slice(span[0], span[1] - span[0])).save(folder / "found.arrow")
    assert (folder / "found.arrow").read_bytes() == (folder / "expected.arrow").read_bytes()
    with pa.ipc.open_file(folder / "found.arrow") as file:
        sizes = [file.get_batch(place).num_rows for place in range(file.num_record_batches)]
    whole, rest = divmod(span[1] - span[0], batch)
    assert sizes == [batch] * whole + [rest] * (rest > 0)


@settings(deadline=None)
@given(spans, st.sampled_from([form for form in FORMS if form != "from disk"]))
def test_token_counts_are_those_of_plain_python(span, form):
    lengths, said = Examples(FORMS[form](*span)).token_counts()
    chosen = ROWS[slice(*span)]
    assert lengths.tolist() == [len(row["input_ids"]) for row in chosen]
    assert said.tolist() == [sum(row["assistant_mask"]) for row in chosen]
    assert lengths.dtype == said.dtype == "int64"


def test_taking_reading_and_streaming():
    examples = Examples(TABLE)
    assert len(examples) == 60
    assert examples.take([5, 2, 5]).column("id") == ["0-5", "0-2", "0-5"]
    assert len(examples.take([])) == 0
    assert list(examples.rows(batch_size=7)) == ROWS
    assert examples.rendered
    assert not Examples(TABLE.select(SCHEMA.names)).rendered


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 59)), st.sampled_from(["as made", "in chunks", "sliced"]), st.integers(1, 9))
def test_rows_taken_in_any_order_are_those_that_were_asked_for(tmp_path_factory, chosen, form, batch):
    examples = Examples(FORMS[form](0, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "BATCH", batch)
        taken = examples.take(chosen)
        assert taken.table.to_pylist() == [ROWS[place] for place in chosen]
        folder = tmp_path_factory.mktemp("taken")
        taken.save(folder / "taken.arrow")
        examples.save(folder / "chosen.arrow", chosen)
    assert (folder / "chosen.arrow").read_bytes() == (folder / "taken.arrow").read_bytes()


@pytest.mark.parametrize("wrong", [[60], [-1], [0, 99]])
def test_rows_that_are_not_there_cannot_be_taken(wrong):
    with pytest.raises(IndexError):
        Examples(TABLE).take(wrong)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=9), st.integers(1, 20))
def test_a_file_is_the_same_however_its_rows_were_handed_over(tmp_path_factory, sizes, batch):
    folder, ends = tmp_path_factory.mktemp("written"), [0]
    for size in sizes:
        ends.append(min(ends[-1] + size, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "BATCH", batch)
        with RowWriter(folder / "parts.arrow", WHOLE) as writer:
            for low, high in pairwise(ends):
                writer.add(TABLE.slice(low, high - low))
        Examples(TABLE.slice(0, ends[-1])).save(folder / "whole.arrow")
    assert writer.rows == ends[-1]
    assert (folder / "parts.arrow").read_bytes() == (folder / "whole.arrow").read_bytes()


def test_a_table_of_other_columns_is_no_examples():
    with pytest.raises(TypeError, match=r"examples lack the columns \['family', 'parent'\]"):
        Examples(TABLE.drop(["family", "parent"]))


def test_an_id_is_the_sha256_of_roles_and_contents():
    messages = [{"role": "user", "content": "é"}, {"role": "assistant", "content": ""}]
    assert canonical_id(messages) == hashlib.sha256("user\0é\0assistant\0\0".encode()).hexdigest()
    assert canonical_id(
        [{"role": "user", "content": "\ud800"}]
    )  # half a surrogate pair, as broken JSON has it


def test_the_base_of_a_model_is_the_dense_one_under_its_adapters(tmp_path):
    dense = Model("base", tmp_path, "d0")
    one = Model("one", tmp_path / "1", "d1", adapter_of=dense)
    two = Model("two", tmp_path / "2", "d2", adapter_of=one)
    assert dense.base is one.base is two.base is dense
