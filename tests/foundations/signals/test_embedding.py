import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from dtm.foundations.errors import ConfigError, DataError, MethodError, MissingInput
from dtm.foundations.registry import Bound, Method
from dtm.foundations.signals import check_embedder, embed, embedding, text, zero_rows
from dtm.foundations.signals import tfidf as tfidf_module
from dtm.foundations.signals.tfidf import tfidf


def fixed(features):
    """An embedder that gives these features."""
    return Bound(Method("embedder", "fixed", lambda *_: features), {})


@pytest.fixture(scope="module")
def corpus():
    """400 texts of 12 words, each text from one of six subjects of 40 words."""
    generator = np.random.default_rng(0)
    subject = generator.integers(0, 6, 400)
    words = generator.integers(0, 40, (400, 12))
    return [" ".join(f"s{s}w{w}" for w in ws) for s, ws in zip(subject, words, strict=True)]


def test_cosines_are_those_of_scikit_learns_exact_pipeline(talk, corpus):
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    ours = embed(talk(*corpus), embedder="tfidf", dimensions=6, seed=0)
    exact = make_pipeline(
        TfidfVectorizer(min_df=2, sublinear_tf=True), TruncatedSVD(6, algorithm="arpack"), Normalizer()
    ).fit_transform(corpus)
    assert ours.shape == (400, 6)
    assert ours @ ours.T == pytest.approx(exact @ exact.T, abs=2e-3)


def test_with_as_many_dimensions_as_rows_cosines_are_those_of_tf_idf_itself(talk, corpus):
    ours = embed(talk(*corpus[:60]), embedder={"name": "tfidf", "min_rows": 1}, dimensions=80, seed=0)
    whole = tfidf(corpus[:60], 1, None, min_rows=1)[:]
    assert whole.shape[1] > 80
    assert ours @ ours.T == pytest.approx((whole @ whole.T).toarray(), abs=1e-5)


def test_dense_features_go_to_their_principal_subspace(talk):
    generator = np.random.default_rng(1)
    features = generator.normal(size=(50, 12)) * np.geomspace(1, 0.01, 12)
    ours = embed(talk(*["x"] * 50), embedder=fixed(features), dimensions=3, seed=0)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    best = left[:, :3] * singular[:3]
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    assert ours @ ours.T == pytest.approx(best @ best.T, abs=1e-5)


def test_few_columns_are_kept_as_they_are(talk):
    ours = embed(talk("x", "y"), embedder=fixed(np.array([[3.0, 4.0], [0.0, -2.0]])), dimensions=2, seed=0)
    assert ours == pytest.approx(np.array([[0.6, 0.8], [0, -1]]))
    assert ours.dtype == np.float32


def test_rows_are_unit_or_zero_and_zeros_are_counted(talk):
    ours = embed(talk("ant bee", "", "ant cow", "unique", [("assistant", "ant")]), embedder="tfidf", seed=0)
    assert np.linalg.norm(ours, axis=1).tolist() == [1, 0, 1, 0, 0]
    assert zero_rows(ours) == 3


def test_blank_texts_are_zero_whatever_a_model_makes_of_them(talk):
    assert embed(talk("x", " \n"), embedder=fixed(np.ones((2, 2))), seed=0)[1].tolist() == [0, 0]


def test_on_chooses_the_side(talk):
    rows = [[("user", "ant"), ("assistant", "dog")], [("user", "ant"), ("assistant", "cat")]]

    def cosine(on):
        first, second = embed(
            talk(*rows), embedder={"name": "tfidf", "min_rows": 1}, on=on, dimensions=10, seed=0
        )
        return float(first @ second)

    assert cosine("instruction") == pytest.approx(1)
    assert cosine("response") == 0
    assert 0 < cosine("both") < 1


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_the_number_of_blas_threads_changes_nothing(talk, kind):
    features = kind(np.random.default_rng(2).normal(size=(2000, 400)).astype(np.float32))
    rows, answers = talk(*["x"] * 2000), []
    for threads in (1, 4):
        with threadpool_limits(threads, user_api="blas"):
            answers.append(embed(rows, embedder=fixed(features), dimensions=64, seed=1).tobytes())
    assert answers[0] == answers[1]


def test_no_seed_flips_a_sign(talk):
    """With singular values far apart the directions are unique but for their signs."""
    generator = np.random.default_rng(3)
    features = csr_matrix(generator.normal(size=(60, 20)) * np.geomspace(1, 1e-3, 20), dtype=np.float32)
    rows = talk(*["x"] * 60)
    first, *others = (embed(rows, embedder=fixed(features), dimensions=4, seed=seed) for seed in range(8))
    assert all(other == pytest.approx(first, abs=1e-3) for other in others)


def test_a_subspace_fitted_on_a_sample_is_near_that_of_all(talk, corpus, monkeypatch):
    whole = embed(talk(*corpus), embedder="tfidf", dimensions=6, seed=0)
    monkeypatch.setattr(embedding, "FIT_ROWS", 200)
    sampled = embed(talk(*corpus), embedder="tfidf", dimensions=6, seed=0)
    assert sampled.tobytes() != whole.tobytes()
    assert np.abs(sampled @ sampled.T - whole @ whole.T).mean() < 0.05


def test_progress_reaches_all_rows(talk, corpus):
    told = []
    embed(talk(*corpus), embedder="tfidf", seed=0, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (400, 400)


def test_no_rows_give_no_rows(talk):
    assert len(embed(talk(), embedder="tfidf", seed=0)) == 0


def test_features_that_are_not_finite_are_refused(talk):
    with pytest.raises(DataError, match="1 rows that are not finite"):
        embed(talk("x", "y"), embedder=fixed(np.array([[1.0], [np.inf]])), seed=0)


@pytest.mark.parametrize(("embedder", "kind", "message"), [
    ("tfdif", MethodError, r"Did you mean 'tfidf'\?"),
    ({"name": "tfidf", "ngram": 2}, MethodError, r"Did you mean 'ngrams'\?"),
    ({"name": "tfidf", "ngrams": "two"}, ConfigError, "whole number"),
    ({"min_rows": 2}, ConfigError, "names no embedder"),
])  # fmt: skip
def test_a_wrong_embedder_is_found_before_work(embedder, kind, message):
    with pytest.raises(kind, match=message):
        check_embedder(embedder)


def test_no_dimensions_are_refused(talk):
    with pytest.raises(ConfigError, match="0 dimensions"):
        embed(talk("x"), embedder="tfidf", dimensions=0, seed=0)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(MissingInput, match=r"disperse-then-merge\[embed\]"):
        check_embedder("sentence_transformers")
    assert check_embedder("tfidf").method.name == "tfidf"


def test_importing_signals_imports_nothing_heavy():
    import subprocess

    code = "import dtm.disperse, dtm.foundations.signals, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "sklearn", "scipy", "sentence_transformers", "numba"} & set(loaded.split())


def test_rows_may_be_written_to_a_file_as_they_are_made(talk, corpus, tmp_path):
    whole = embed(talk(*corpus), dimensions=6, seed=0)
    mapped = embed(talk(*corpus), dimensions=6, seed=0, into=tmp_path / "rows.npy")
    assert isinstance(mapped, np.memmap)
    assert mapped.tobytes() == whole.tobytes() == np.load(tmp_path / "rows.npy").tobytes()
    assert len(embed(talk(), seed=0, into=tmp_path / "none.npy")) == len(np.load(tmp_path / "none.npy")) == 0


def test_no_more_than_a_batch_of_texts_is_there_at_a_time(talk, corpus, monkeypatch):
    """And neither the batch's size nor the threads change a bit."""
    whole, sizes = embed(talk(*corpus), dimensions=6, seed=0).tobytes(), []
    told = tfidf_module.words
    monkeypatch.setattr(
        tfidf_module, "words", lambda texts, **least: sizes.append(len(texts)) or told(texts, **least)
    )
    monkeypatch.setattr(embedding, "FIT_ROWS", 400)
    for batch, threads in ((64, 1), (64, 3), (7, 2)):
        for module in (tfidf_module, embedding, text):
            monkeypatch.setattr(module, "BATCH", batch)
        sizes.clear()
        assert embed(talk(*corpus), dimensions=6, seed=0, threads=threads).tobytes() == whole
        assert sorted(set(sizes)) == sorted(
            {batch, 400 % batch, 400} - {0}
        )  # 400: the rows that are fitted on


def test_a_giant_row_is_one_of_many(talk):
    giant = " ".join(f"word{number} ant" for number in range(100_000))
    points = embed(talk("ant bee", giant, "ant bee", "cow bee", giant), seed=0)
    assert np.linalg.norm(points, axis=1) == pytest.approx(1, abs=1e-6)
    assert points[1] @ points[4] == pytest.approx(1, abs=1e-5)
    assert points[1] @ points[0] < 0.5
