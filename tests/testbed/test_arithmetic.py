from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.testbed.arithmetic import Operation, draw_following, draw_operation
from dtm.testbed.split import part_of_problem


@pytest.mark.parametrize(
    ("operation", "result", "carryless"),
    [
        (Operation(17, "+", 25), 42, 32),
        (Operation(17, "+", 22), 39, 39),
        (Operation(99, "+", 99), 198, 188),
        (Operation(42, "-", 17), 25, 35),
        (Operation(48, "-", 17), 31, 31),
        (Operation(7, "*", 8), 56, 49),
    ],
)
def test_results(operation, result, carryless):
    assert (operation.result, operation.carryless) == (result, carryless)


def test_the_order_of_summands_does_not_make_another_problem():
    assert Operation(3, "+", 9).key == Operation(9, "+", 3).key
    assert Operation(3, "*", 9).key == Operation(9, "*", 3).key
    assert Operation(9, "-", 3).key != Operation(3, "-", 9).key


@given(st.integers(), st.sampled_from(["taught", "dev", "test"]))
def test_drawn_operations_are_small_and_of_their_part(seed, part):
    random = Random(seed)
    operation = draw_operation(random, 5, part)
    assert part_of_problem(5, operation.key) == part
    assert 0 <= operation.result <= 198
    assert eval(operation.text) == operation.result
    following = draw_following(random, 5, part, "-", operation.result)
    if following is not None:
        assert following.left == operation.result
        assert part_of_problem(5, following.key) == part
        assert following.result >= 0


def test_nothing_follows_a_number_out_of_range():
    assert draw_following(Random(0), 0, "taught", "+", 150) is None
