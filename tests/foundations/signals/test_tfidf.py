from math import log, sqrt

import numpy as np
import pytest

from dtm.foundations.errors import ConfigError
from dtm.foundations.signals import tfidf as module
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


@pytest.mark.parametrize("ngrams", [1, 3])
def test_cosines_are_scikit_learns(ngrams):
    from sklearn.feature_extraction.text import TfidfVectorizer

    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(200)] + ["a", "b"]  # of one letter: no words
    rows = [" ".join(generator.choice(words, size)).title() for size in generator.integers(0, 30, 300)]
    ours = tfidf(rows, 1, None, ngrams=ngrams, max_terms=10_000)[:]
    peer = TfidfVectorizer(ngram_range=(1, ngrams), min_df=2, sublinear_tf=True).fit_transform(rows)
    assert ours.shape == peer.shape
    assert (ours @ ours.T).toarray() == pytest.approx((peer @ peer.T).toarray(), abs=1e-6)


def test_of_many_terms_the_most_frequent_are_kept_as_scikit_learn_does(monkeypatch):
    from sklearn.feature_extraction.text import CountVectorizer

    monkeypatch.setattr(module, "MERGE", 100)  # counts are added up many times on the way
    monkeypatch.setattr(module, "BATCH", 10)
    generator = np.random.default_rng(1)
    rows = [" ".join(f"w{number}" for number in generator.zipf(1.3, 20) % 1000) for _ in range(200)]
    features = tfidf(rows, 1, None, max_terms=50)[:]
    totals = np.sort(CountVectorizer(min_df=2).fit_transform(rows).sum(axis=0).A1)[::-1]
    assert features.shape == (200, 50)
    assert features.nnz == (CountVectorizer(min_df=2, max_features=50).fit_transform(rows) > 0).nnz or (
        totals[49] == totals[50]  # a tie, which each breaks its own way
    )


def test_rows_may_be_asked_for_in_any_cut():
    rows = ["ant bee", "bee cow", "cow ant ant", "", "bee"]
    features = tfidf(rows, 1, None, min_rows=1)
    whole = features[:].toarray()
    assert features.shape == whole.shape == (5, 3)
    assert (features[1:4].toarray() == whole[1:4]).all()
    assert (features[np.array([0, 4])].toarray() == whole[[0, 4]]).all()
