import json
from math import log, sqrt

import numpy as np
import pytest

from dtm.disperse import card
from dtm.disperse.cards import log_odds


@pytest.fixture
def kitchen(make_examples):
    """Rows about soup in portion 0 and about planets in portion 1, with words that both share."""
    rows, portions = [], []
    for number in range(20):
        subject = "boil the soup" if number % 2 == 0 else "orbit of planets"
        rows.append({"instruction": f"Explain please {subject} {number}", "source": "ab"[number % 4 == 0],
                     "response": "r" * (290 + number)})  # fmt: skip
        portions.append(number % 2)
    return make_examples(rows, tokens=[(10 + n, n) for n in range(20)]), np.array(portions)


def test_figures_add_up(kitchen):
    examples, portions = kitchen
    first, second = card(examples, portions, 2)
    assert (first["index"], first["rows"], second["rows"]) == (0, 10, 10)
    assert (first["tokens"], second["tokens"]) == (190, 200)
    assert (first["trained_tokens"], second["trained_tokens"]) == (90, 100)
    assert list(first["sources"].items()) == [("a", 5), ("b", 5)]
    assert second["sources"] == {"a": 10}
    json.dumps([first, second], allow_nan=False)


def test_terms_set_portions_apart(kitchen):
    first, second = card(*kitchen, 2)
    assert set(first["terms"][:2]) == {"boil", "soup"}
    assert set(second["terms"][:2]) == {"orbit", "planets"}
    assert not {"explain", "the", "of"} & {*first["terms"], *second["terms"]}


def test_examples_are_the_nearest_to_the_centre_cut_to_300(kitchen):
    examples, portions = kitchen
    angles = np.linspace(-1, 1.2, 20) ** 3
    embedding = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shown = card(examples, portions, 2, embedding=embedding)[0]["examples"]
    east, north = embedding[portions == 0].sum(axis=0)
    nearest = sorted(range(0, 20, 2), key=lambda row: abs(angles[row] - np.arctan2(north, east)))
    assert [one["id"] for one in shown] == [str(row) for row in nearest[:3]]
    assert all(len(one["response"]) == min(300, 290 + int(one["id"])) for one in shown)


def test_without_an_embedding_examples_are_drawn_by_the_seed(kitchen):
    def ids(seed):
        return [[one["id"] for one in portion["examples"]] for portion in card(*kitchen, 2, seed=seed)]

    assert ids(1) == ids(1)
    assert len({str(ids(seed)) for seed in range(5)}) > 1


def test_rows_that_embed_to_nothing_are_counted(kitchen):
    examples, portions = kitchen
    embedding = np.ones((20, 3))
    embedding[[0, 2, 5]] = 0
    assert [one["unembedded"] for one in card(examples, portions, 2, embedding=embedding)] == [2, 1]
    assert card(examples, portions, 2)[0]["unembedded"] is None


def test_rows_before_rendering_without_words_or_user_turn_have_a_card(make_examples):
    said = [{"role": "assistant", "content": "only me"}]
    first, _ = card(make_examples([{"messages": said}, {"instruction": "?!"}]), np.array([0, 1]), 2)
    assert (first["tokens"], first["terms"]) == (None, [])
    assert first["examples"][0]["instruction"] == ""
    assert first["examples"][0]["response"] == "only me"


def test_a_single_portion_shows_its_most_frequent_words(make_examples):
    rows = [{"instruction": text} for text in ("red fox", "red hen", "red fox runs")]
    assert card(make_examples(rows), np.zeros(3, int), 1)[0]["terms"] == ["red", "fox", "hen", "runs"]


def test_log_odds_follow_the_formula():
    """Monroe, Colaresi, Quinn 2008, equations 16 and 22, one number at a time."""
    counts, rows = np.array([[3, 0, 7], [1, 5, 2], [0, 1, 9]]), np.array([10, 20, 15])
    expected = np.empty((3, 3))
    for portion in range(3):
        for term in range(3):
            prior = counts[:, term].sum() / rows.sum()
            inside, outside = counts[portion, term], counts[:, term].sum() - counts[portion, term]
            n_in, n_out = rows[portion], rows.sum() - rows[portion]
            delta = log((inside + prior) / (n_in + 1 - inside - prior))
            delta -= log((outside + prior) / (n_out + 1 - outside - prior))
            expected[portion, term] = delta / sqrt(1 / (inside + prior) + 1 / (outside + prior))
    assert log_odds(counts, rows) == pytest.approx(expected, rel=1e-12)


def test_of_two_portions_one_gains_what_the_other_loses():
    scores = log_odds(np.array([[3, 1, 8], [2, 9, 8]]), np.array([8, 12]))
    assert scores[0] == pytest.approx(-scores[1])
