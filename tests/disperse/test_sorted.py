"""by_length and by_difficulty: sorted, then cut."""

import json

import numpy as np
import pytest

from dtm.disperse import assign, needed
from dtm.foundations.errors import DataError, MethodError
from dtm.foundations.registry import registry


def portions(name, examples, k=2, signals=None, **settings):
    return assign(registry("disperse").bind(name, settings), examples, k, 0, signals).tolist()


def test_shortest_first_by_row_or_response_and_cut_by_rows_or_tokens(make_examples):
    examples = make_examples([{}] * 6, tokens=[(9, 1), (2, 2), (50, 3), (4, 4), (5, 5), (6, 6)])
    assert portions("by_length", examples) == [1, 0, 1, 0, 0, 1]
    assert portions("by_length", examples, of="response") == [0, 0, 0, 1, 1, 1]
    assert portions("by_length", examples, balance="tokens") == [0, 0, 1, 0, 0, 0]


def test_a_family_counts_by_its_mean_length_and_all_its_rows(make_examples):
    rows = [{"family": "x"}, {"family": "x"}, {"family": "x"}, {}, {}, {}]
    examples = make_examples(rows, tokens=[(2, 1), (3, 1), (10, 1), (4, 1), (6, 1), (7, 1)])  # x: mean 5
    assert portions("by_length", examples) == [0, 0, 0, 0, 1, 1]


def test_easiest_first_by_a_field_or_by_loss(make_examples):
    scores = [3, 1.5, 9, 2]
    examples = make_examples([{"meta": json.dumps({"judge": {"score": one}})} for one in scores])
    assert portions("by_difficulty", examples, by="judge.score") == [1, 0, 1, 0]
    assert portions("by_difficulty", examples, 4, {"loss": np.array([0.4, 0.1, 0.3, 0.2])}) == [3, 0, 2, 1]


def test_only_the_loss_itself_needs_a_model(make_examples):
    bind = registry("disperse").bind
    assert needed(bind("by_difficulty", {"by": "score"})) == ()
    assert needed(bind("by_difficulty")) == ("loss",)
    with pytest.raises(MethodError, match="needs the signal 'loss'"):
        portions("by_difficulty", make_examples([{}] * 3))


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("by_length", {}, "not rendered"),
    ("by_difficulty", {"by": "score", "balance": "tokens"}, "not rendered"),
    ("by_difficulty", {"by": "depth"}, "3 of 3 rows have no field 'depth', the first is 0. There is: mark, score"),
    ("by_difficulty", {"by": "mark"}, "'mark' of row 0 is 'good', which is not a number"),
])  # fmt: skip
def test_what_the_rows_do_not_have_is_an_error(make_examples, name, settings, message):
    examples = make_examples([{"meta": '{"score": 1, "mark": "good"}'}] * 3)
    with pytest.raises(DataError, match=message):
        portions(name, examples, **settings)


@pytest.mark.parametrize(("field", "message"), [
    ("judge.score", r"1 of 3 rows have no field 'judge.score', the first is 2. There is: judge.mark, judge.sc"),
    ("judge.mark", r"the field 'judge.mark' of row 0 is 'A', which is not a number"),
    ("judge.why", r"the field 'judge.why' of row 1 is 'nan', which is not a number"),
    ("judge", r"the field 'judge' of row 0 is .*, which is not a number"),
])  # fmt: skip
def test_a_judges_score_inside_another_field_must_be_there_and_a_number(make_examples, field, message):
    judged = [
        {"score": 4, "mark": "A", "why": 1},
        {"score": 2.5, "mark": "B", "why": "nan"},
        {"mark": "C", "why": 0},
    ]
    examples = make_examples([{"meta": json.dumps({"judge": one})} for one in judged])
    with pytest.raises(DataError, match=message):
        portions("by_difficulty", examples, by=field)
