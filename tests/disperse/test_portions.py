import numpy as np
import pytest

from dtm.disperse import assign
from dtm.foundations.errors import DataError, MethodError
from dtm.foundations.registry import Bound, Method, registry


def bound(function, needs=()):
    return Bound(Method("disperse", "mine", function, needs=needs), {})


def test_a_method_sees_each_family_once_with_its_rows_tokens_and_signals(make_examples):
    families = ["b", "a", "b", "c", "b"]
    examples = make_examples([{"family": f} for f in families], tokens=[(n, 1) for n in (10, 20, 30, 40, 50)])
    seen = {}

    def method(examples, k, seed, **signals):
        seen.update(signals, ids=examples.column("id"), k=k, seed=seed)
        return np.array([1, 0, 1], np.int8)

    signal = np.arange(10.0).reshape(5, 2)
    portions = assign(bound(method, ("rows", "tokens", "embedding")), examples, 2, 7, {"embedding": signal})
    assert portions.tolist() == [1, 0, 1, 1, 1]
    assert portions.dtype == np.int64
    assert (seen["ids"], seen["k"], seen["seed"]) == (["0", "1", "3"], 2, 7)
    assert seen["rows"].tolist() == [3, 1, 1]
    assert seen["tokens"].tolist() == [90, 20, 40]
    assert (seen["embedding"] == signal[[0, 1, 3]]).all()


def test_what_a_method_needs_is_no_setting_of_the_user():
    assert set(registry("disperse")["kmeans"].settings) == {
        "balanced",
        "balance",
        "restarts",
        "max_iterations",
    }
    with pytest.raises(MethodError, match="embedding"):
        registry("disperse").bind("kmeans", {"embedding": [[1.0]]})


@pytest.mark.parametrize(("k", "families", "message"), [
    (4, "abc", "3 rows cannot fill 4 portions. Set k to 3"),
    (3, "aabb", r"2 families \(4 rows\) cannot fill 3 portions. Set k to 2"),
    (0, "abc", "0 portions"),
    (1, "", "0 rows cannot fill 1 portions. Add data"),
])  # fmt: skip
def test_a_k_that_does_not_fit_is_an_error(make_examples, k, families, message):
    examples = make_examples([{"family": family} for family in families])
    with pytest.raises(DataError, match=message):
        assign(registry("disperse").bind("random"), examples, k, 0)


@pytest.mark.parametrize(("answer", "kind", "message"), [
    ([0, 0, 2, 2, 0], DataError, "left portions 1, 3 of 4 without a row.*Lower k"),
    ([0, 1, 3, 3, 1], DataError, "left portion 2 of 4"),
    ([0, 1, 2, 3, 4], MethodError, r"outside 0\.\.3"),
    ([0, 1, 2, 3, -1], MethodError, r"outside 0\.\.3"),
    ([0.0, 1.0, 2.0, 3.0, 0.0], MethodError, "float64"),
    ([0, 1, 2, 3], MethodError, r"\(4,\)"),
])  # fmt: skip
def test_an_answer_that_is_no_partition_is_an_error(make_examples, answer, kind, message):
    with pytest.raises(kind, match=message):
        assign(bound(lambda *_: np.array(answer)), make_examples([{}] * 5), 4, 0)


def test_a_missing_or_short_signal_is_an_error(make_examples):
    kmeans, examples = registry("disperse").bind("kmeans"), make_examples([{}] * 5)
    with pytest.raises(MethodError, match="embedding"):
        assign(kmeans, examples, 2, 0)
    with pytest.raises(DataError, match="4 rows, the data 5"):
        assign(kmeans, examples, 2, 0, {"embedding": np.eye(4)})
