import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import DtmError
from dtm.testbed.plan import plan_mixture, read_settings
from dtm.testbed.sources import SOURCES


def test_settings_of_a_command_line_lie_over_the_defaults():
    changes, shares = read_settings(["quiz.right_first=0", "chatty.most_turns=1", "quiz.share=0.5"])
    assert changes == {"quiz": {"right_first": 0}, "chatty": {"most_turns": 1}}
    assert shares == {**{name: source.share for name, source in SOURCES.items()}, "quiz": 0.5}
    plan = plan_mixture(1000, settings=changes, shares=shares)
    assert plan.rows["quiz"] == 352  # 0.5 of 1.42, in whole rows
    assert plan.settings["quiz"].right_first == 0.0
    assert read_settings([]) == ({}, None)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["quiz=1"], "is no setting of a source"),
        (["quiz.right_first"], "is not key=value"),
        (["quizz.right_first=0"], "Did you mean 'quiz'"),
        (["quizz.share=1"], "Did you mean 'quiz'"),
        (["quiz.share=many"], "is not a share"),
        (["quiz.right_frist=0"], "Did you mean 'right_first'"),
    ],
)
def test_mistakes_in_them_are_told(pairs, said):
    def plan():
        changes, shares = read_settings(pairs)
        return plan_mixture(1000, settings=changes, shares=shares)

    with pytest.raises(DtmError, match=said):
        plan()


def test_shares_replace_the_table():
    plan = plan_mixture(100, shares={"quiz": 3, "terse": 1})
    assert plan.rows == {"terse": 25, "quiz": 75}


@settings(max_examples=50)
@given(
    st.integers(8, 10_000),
    st.fixed_dictionaries({name: st.floats(0, 10) for name in SOURCES}).filter(
        lambda s: sum(s.values()) > 0.1
    ),
)
def test_rows_are_shared_out_exactly(rows, shares):
    plan = plan_mixture(rows, shares=shares)
    assert sum(plan.rows.values()) == rows
    exact = {name: rows * share / sum(shares.values()) for name, share in shares.items() if share > 0}
    assert set(plan.rows) == set(exact)
    assert all(count >= 1 for count in plan.rows.values())
    if min(exact.values()) >= 1:
        assert all(abs(plan.rows[name] - exact[name]) < 1 for name in exact)


def test_the_largest_remainder_gets_the_row():
    assert plan_mixture(10, shares={"terse": 0.54, "quiz": 0.46}).rows == {"terse": 5, "quiz": 5}
    assert plan_mixture(10, shares={"terse": 0.56, "quiz": 0.44}).rows == {"terse": 6, "quiz": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 100.0}, "100.0 is not a whole number"),
        ({"bias": "high"}, r"'high' is not in"),
        ({"shares": {"quiz": float("inf")}}, "inf is not a share"),
        ({"rows": 5}, "5 rows are too few for 8 sources"),
        ({"bias": 1.5}, r"bias: 1.5 is not in \[0, 1\]"),
        ({"shares": {"ters": 1.0, "quiz": 1.0}}, "Did you mean 'terse'"),
        ({"shares": {"quiz": -1.0}}, "-1.0 is not a share"),
        ({"shares": {"quiz": 0.0}}, "no source has a share above 0"),
        ({"settings": {"quizz": {}}}, "Did you mean 'quiz'"),
        ({"settings": {"quiz": {"right_frist": 1}}}, "Did you mean 'right_first'"),
        ({"settings": {"quiz": {"right_first": 2}}}, r"settings.quiz.right_first: 2 is not a rate"),
        ({"settings": {"quiz": {"right_first": True}}}, "True is not a rate"),
        ({"settings": {"chatty": {"most_turns": 0}}}, "0 is not a whole number from 1 to 8"),
        ({"settings": {"reading": {"fewest_sentences": 5}}}, "more than"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(DtmError, match=message):
        plan_mixture(**{"rows": 100, **options})


def test_all_mistakes_are_told_at_once():
    with pytest.raises(DtmError) as caught:
        plan_mixture(3, bias=-1, settings={"terse": {"lower_case": "often"}})
    assert "3 things are wrong" in str(caught.value)


def test_a_tiny_share_still_gets_a_row():
    assert plan_mixture(10, shares={"quiz": 1.0, "terse": 1e-9}).rows == {"terse": 1, "quiz": 9}
