"""How far the splits of arms agree: against scikit-learn, arms of one split in one line, and the matrix on the page."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from dtm.study.page import page
from dtm.study.splits import matrix, splits
from tests.study.made import made

ROWS = 60


@pytest.fixture
def outcomes(tmp_path):
    """Arms of two seeds: random parts, the same again in a file of its own, others under one seed, and none."""

    def outcome(arm, seed, parts, results=True):
        folder = tmp_path / f"{arm}-{seed}"
        if parts is not None:
            (folder / "portions").mkdir(parents=True)
            text = "".join(f"row{number},{part}\n" for number, part in enumerate(parts))
            (folder / "portions" / "assignment.csv").write_text("id,portion\n" + text)
        found = {"portions": [{}] if parts is not None else []} if results else None
        return SimpleNamespace(
            trial=SimpleNamespace(arm=SimpleNamespace(name=arm), seed=seed), folder=folder, results=found
        )

    drawn = {seed: np.random.default_rng(seed).permutation(np.arange(ROWS) % 3) for seed in (0, 1)}
    again = [outcome(arm, seed, drawn[seed]) for arm in ("random", "sequential") for seed in (0, 1)]
    fallen = outcome("fallen", 0, np.arange(ROWS) % 2, results=False)
    return [*again, outcome("halves", 1, np.arange(ROWS) % 2), outcome("vanilla", 0, None), fallen], drawn


def test_pairs_are_means_over_the_seeds_that_two_splits_share(outcomes):
    found, drawn = splits(outcomes[0]), outcomes[1]
    assert [(one["name"], one["arms"], one["portions"]) for one in found["splits"]] == [
        ("random", ["random", "sequential"], 3), ("halves", ["halves"], 2),
    ]  # fmt: skip
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"], pair["seeds"], pair["rows"]) == ("random", "halves", [1], ROWS)
    assert pair["adjusted_rand"] == pytest.approx(
        adjusted_rand_score(drawn[1], np.arange(ROWS) % 2), abs=1e-12
    )
    assert pair["mutual_information"] == pytest.approx(
        normalized_mutual_info_score(drawn[1], np.arange(ROWS) % 2), abs=1e-9
    )


def test_one_split_alone_has_no_matrix(outcomes):
    assert splits(outcomes[0][:4]) is None
    assert splits([]) is None
    assert matrix({"splits": None}) is None


def test_the_matrix_is_on_the_page(outcomes):
    results = made(arms=3, resamples=20)
    assert 'id="splits"' not in page(results)
    found = splits(outcomes[0])
    text = page({**results, "splits": found})
    assert 'id="splits"' in text
    assert "random and sequential" in text
    value = found["pairs"][0]["adjusted_rand"]
    assert text.count(f"random and halves: adjusted Rand index {value:.2f}".replace("-", "−")) == 1
    assert text.count('title="itself"') == 2
