import hashlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.data.choosing import chosen, repeats
from dtm.data.table import Builder


def table(count, order=None):
    builder = Builder("s")
    for number in order or range(count):
        messages = [{"role": "user", "content": str(number)}, {"role": "assistant", "content": "a"}]
        builder.add(hashlib.sha256(str(number).encode()).hexdigest(), messages, "{}")
    return builder.table()


def ids(table):
    return table.column("id").to_pylist()


def take(rows, seed=0, source="s", fraction=1.0, limit=None):
    return ids(chosen(rows, seed, source, fraction=fraction, limit=limit))


@pytest.mark.parametrize(("count", "fraction", "limit", "kept"), [
    (10, 1.0, None, 10), (10, 0.5, None, 5), (10, 0.25, None, 3), (10, 0.24, None, 2), (100, 0.29, None, 29),
    (10, 0.001, None, 1), (10, 1.0, 3, 3), (10, 0.5, 3, 3), (10, 0.2, 3, 2), (10, 1.0, 99, 10), (0, 0.5, 3, 0),
])  # fmt: skip
def test_how_many(count, fraction, limit, kept):
    assert len(take(table(count), fraction=fraction, limit=limit)) == kept


@settings(deadline=None, max_examples=30)
@given(order=st.permutations(range(60)), seed=st.integers(0, 2**64 - 1))
def test_the_order_of_rows_does_not_choose_and_is_kept(order, seed):
    plain, shuffled = take(table(60), seed, fraction=0.3), take(table(60, order), seed, fraction=0.3)
    assert set(plain) == set(shuffled)
    position = {identity: place for place, identity in enumerate(ids(table(60, order)))}
    assert [position[one] for one in shuffled] == sorted(position[one] for one in shuffled)


def test_more_rows_hold_the_fewer():
    rows = table(200)
    assert set(take(rows, fraction=0.1)) < set(take(rows, fraction=0.2)) < set(take(rows, limit=50))


def test_seed_and_source_choose():
    rows = table(200)
    first = take(rows, limit=50)
    assert take(rows, limit=50) == first
    assert take(rows, seed=1, limit=50) != first
    assert take(rows, source="t", limit=50) != first


def test_every_row_is_as_likely():
    # Of 100 rows 10 are drawn 1,000 times: 100 each are expected, and the standard deviation is 9.5.
    rows = table(100)
    times = dict.fromkeys(ids(rows), 0)
    for seed in range(1000):
        for identity in take(rows, seed, limit=10):
            times[identity] += 1
    assert min(times.values()) > 100 - 5 * 9.5
    assert max(times.values()) < 100 + 5 * 9.5
    assert sum((count - 100) ** 2 / 90 for count in times.values()) < 160  # chi-square, 99 degrees, p = 1e-4


@pytest.mark.parametrize(("weight", "sizes"), [
    (1, []), (1.0, []), (2, [10]), (1.5, [5]), (2.25, [10, 3]), (3.04, [10, 10]), (1.05, [1]),
])  # fmt: skip
def test_weights_make_copies(weight, sizes):
    rows = table(10)
    copies = repeats(rows, 0, "s", weight=weight)
    assert [len(copy) for copy in copies] == sizes
    for number, copy in enumerate(copies, 1):
        bare = [identity.removesuffix(f"#{number}") for identity in ids(copy)]
        assert all(identity.endswith(f"#{number}") for identity in ids(copy))
        assert copy.column("family").to_pylist() == bare
        assert set(bare) <= set(ids(rows))
        assert copy.schema == rows.schema


def test_the_share_that_is_repeated_is_not_the_share_of_a_fraction():
    rows = table(100)
    [copy] = repeats(rows, 0, "s", weight=1.5)
    assert {one.split("#")[0] for one in ids(copy)} != set(take(rows, fraction=0.5))


def test_choosing_from_many_batches():
    rows = pa.concat_tables([table(5, range(start, start + 5)) for start in range(0, 50, 5)])
    assert set(take(rows, limit=20)) == set(take(table(50), limit=20))
