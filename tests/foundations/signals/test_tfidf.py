from math import log, sqrt

import numpy as np
import pytest

from dtm.foundations.errors import ConfigError
from dtm.foundations.signals.tfidf import tfidf


def test_weights_follow_the_formula():
    """(1 + ln tf) (1 + ln((1 + N) / (1 + df))), scaled to unit norm."""
    features = tfidf(["ant ant bee", "bee", "ant ant ant"], 1, None, min_rows=1)[:].toarray()[:]
    idf = 1 + log(4 / 3)  # each word stands in two of three rows
    ant, bee = (1 + log(2)) * idf, idf
    norm = sqrt(ant**2 + bee**2)
    features = features[:, np.argsort(features[1])]  # the ant before the bee: columns are in order of hashes
    assert features == pytest.approx(np.array([[ant / norm, bee / norm], [0, 1], [1, 0]]), rel=1e-6)


def test_terms_of_too_few_rows_do_not_count_unless_there_are_no_others():
    assert tfidf(["ant bee", "ant cow"], 1, None)[:].toarray().tolist() == [[1.0], [1.0]]
    assert tfidf(["ant", "bee"], 1, None).shape == (2, 2)
    assert tfidf(["ant"], 1, None)[:].toarray().tolist() == [[1.0]]


def test_the_most_frequent_terms_win_and_words_may_go_in_pairs():
    rows = ["ant bee", "ant bee", "bee ant"]
    assert tfidf(rows, 1, None, max_terms=1).shape == (3, 1)
    assert tfidf(rows, 1, None, ngrams=2).shape == (3, 3)  # ant, bee, "ant bee"; "bee ant" stands once


def test_chinese_and_japanese_count_by_character():
    features = tfidf(["数学の問題", "数学", "model模型"], 1, None, min_rows=1)[:]
    assert features.getnnz(axis=1).tolist() == [5, 2, 3]


@pytest.mark.parametrize("rows", [["?", "!!", ""], []])
def test_rows_without_words_are_zero(rows):
    features = tfidf(rows, 1, None)[:]
    assert features.shape == (len(rows), 1)
    assert features.nnz == 0


@pytest.mark.parametrize("settings", [{"max_terms": 0}, {"min_rows": 0}, {"ngrams": 0}])
def test_settings_below_one_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        tfidf(["ant"], 1, None, **settings)
