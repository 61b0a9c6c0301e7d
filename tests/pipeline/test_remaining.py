import pytest

from dtm.pipeline.remaining import Going, seconds_left


def running(done, total, seconds=None):
    return Going(done, total, seconds)


def waiting(total):
    return Going(0, total, running=False)


@pytest.mark.parametrize(("jobs", "workers", "expected"), [
    ([running(50, 100, 25.0)], 1, 25.0),
    ([running(50, 100, 25.0), running(20, 100, 40.0)], 2, 40.0),
    ([running(50, 100, 25.0), waiting(100)], 1, 75.0),  # half a second a step
    ([running(50, 100, 25.0), waiting(100)], 2, 50.0),  # the second worker is free
    # (25 + 40) s for 130 steps: 0.5 s each; the one that waits follows the first that ends
    ([running(50, 100, 25.0), running(20, 100, 40.0), waiting(100)], 2, 75.0),
    ([running(50, 100, 25.0), waiting(100), waiting(20), waiting(100)], 1, 135.0),
    ([running(0, 100), running(50, 100, 25.0)], 2, 50.0),  # it loads
    ([running(100, 100, 0.0)], 1, 0.0),
])  # fmt: skip
def test_against_shares_dealt_by_hand(jobs, workers, expected):
    assert seconds_left(jobs, workers) == pytest.approx(expected)


def test_what_nothing_is_known_of_has_no_time():
    assert seconds_left([], 1) is None
    assert seconds_left([waiting(100)], 1) is None
    assert seconds_left([running(5, None)], 1) is None
    assert seconds_left([running(50, 100, 25.0), Going(0, None, running=False)], 2) is None


def test_what_has_ended_tells_for_what_waits():
    assert seconds_left([waiting(100)], 1, [(50, 10.0), (50, 30.0)]) == pytest.approx(40.0)
