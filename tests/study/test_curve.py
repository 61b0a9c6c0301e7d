"""The curve of the tax: losses before a point, and the ratio of their drops."""

from __future__ import annotations

import pytest

from dtm.study.curve import drop_ratio, training_loss


def test_training_loss_is_the_mean_of_the_tenth_before():
    points = [{"step": step, "loss": float(step)} for step in range(1, 101)]
    assert training_loss(points, 1.0) == pytest.approx(sum(range(91, 101)) / 10)
    assert training_loss(points, 0.5) == pytest.approx(sum(range(41, 51)) / 10)
    assert training_loss([{"step": 4, "loss": None}], 1.0) is None
    assert training_loss([], 1.0) is training_loss(points, 0.0) is None


def test_the_ratio_of_drops_is_theirs_and_none_where_nothing_fell():
    assert drop_ratio(3.0, 1.0, 2.0) == pytest.approx(2.0)
    assert drop_ratio(3.0, 2.5, 2.0) == pytest.approx(0.5)
    assert drop_ratio(3.0, 1.0, 3.0) is None
    assert drop_ratio(3.0, 1.0, 3.5) is None
    assert drop_ratio(None, 1.0, 2.0) is drop_ratio(3.0, None, 2.0) is None
