"""The embedding as a step: what another split finds in the store, and what makes another embedding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.launch import LocalLauncher
from dtm.foundations.signals import embed
from dtm.foundations.types import Examples
from dtm.pipeline import run
from dtm.pipeline.embedding import SEED
from tests.foundations.signals import test_static
from tests.pipeline.conftest import RUN, events, write_run

KMEANS = "disperse: {method: kmeans, k: 2, dimensions: 8, on: both}"
STUB = Path(__file__).parents[1] / "foundations" / "signals" / "stub"


@pytest.fixture(scope="module")
def launcher():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{STUB}", prepend=":")
        patch.syspath_prepend(STUB)
        with LocalLauncher(workers=1, threads=1) as kept:
            yield kept


@pytest.fixture(scope="module")
def place(inputs, tmp_path_factory, launcher):
    """A folder with models of both kinds, and a function that disperses there by a section, over one store."""
    out = tmp_path_factory.mktemp("embedding")
    words = {f"{word}": n for n, word in enumerate(["[UNK]", "Add", "and", "What", "colour", "is", "thing"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_static, "WORDS", list(words))
        test_static.save_model(out / "static")
    test_static.save_model(out / "sentences")

    def disperse(section, *settings, **more):
        text = RUN.replace(KMEANS, f"disperse: {section}").replace("fraction: 0.1", "fraction: 0")
        file = write_run(inputs, out, text)
        return run(file, [f"output_dir={out / 'run'}", *settings], until="disperse", quiet=True, launcher=launcher,
                   **more)  # fmt: skip

    return out, disperse


def stored(out, step):
    """The folders in the store of what that step made."""
    manifests = (out / ".dtm-store" / "objects").glob("*/manifest.json")
    return [path.parent for path in manifests if json.loads(path.read_text())["step"] == step]


def test_another_method_k_or_seed_embeds_no_row_again(place):
    out, disperse = place
    disperse("{method: kmeans, k: 2, dimensions: 8}")
    [folder] = stored(out, "embedding")
    for section in ("{method: kmeans, k: 3, dimensions: 8}", "{method: birch, k: 2, dimensions: 8}"):
        disperse(section)
        assert events(out)["embedding"] == "reused"
        assert events(out)["disperse"] == "done"
    disperse("{method: kmeans, k: 2, dimensions: 8}", "seed=7")
    assert stored(out, "embedding") == [folder]
    disperse("{method: kmeans, k: 2, dimensions: 8, on: response}")
    disperse("{method: kmeans, k: 2, dimensions: 4}")
    disperse("{method: kmeans, k: 2, dimensions: 8, embedder: {name: tfidf, ngrams: 2}}")
    assert len(stored(out, "embedding")) == 4


def test_the_step_holds_what_embed_gives(place):
    out, disperse = place
    disperse("{method: kmeans, k: 2, dimensions: 8}")
    examples = Examples.open(stored(out, "render")[0] / "train.arrow")
    expected = embed(examples, on="both", dimensions=8, seed=SEED)
    found = [np.load(folder / "embedding.npy") for folder in stored(out, "embedding")]
    assert expected.tobytes() in [one.tobytes() for one in found]


def test_methods_that_embed_nothing_share_one_sample(place):
    out, disperse = place
    disperse("{method: random, k: 2}")
    disperse("{method: by_length, k: 3}", "seed=7")
    [folder] = stored(out, "embedded_sample")
    assert np.load(folder / "rows.npy").tolist() == list(range(100))
    assert events(out)["embedding"] == "reused"


def test_sentences_are_embedded_by_a_worker_once_for_all_dimensions(place):
    out, disperse = place
    how = "embedder: {name: sentence_transformers, model: sentences, batch_size: 16}, on: instruction"
    before = len(stored(out, "embedding"))
    planned = disperse(f"{{method: kmeans, k: 2, dimensions: 8, {how}}}", dry_run=True)
    steps = {step["step"]: step for step in planned["steps"]}
    assert all(steps[name]["planned"] for name in ("features", "embedding", "disperse"))
    assert not stored(out, "features")
    disperse(f"{{method: kmeans, k: 2, dimensions: 8, {how}}}")
    disperse(f"{{method: kmeans, k: 2, dimensions: 4, {how}}}")
    [features] = stored(out, "features")
    assert np.load(features / "features.npy").shape == (100, 8)
    assert len(stored(out, "embedding")) == before + 2
    assert events(out)["features"] == "reused"
    manifest = json.loads((features / "manifest.json").read_text())
    assert str(out) not in json.dumps([manifest["settings"], manifest["inputs"]])  # moved models are the same


def test_static_vectors_part_by_words_and_another_model_embeds_anew(place):
    out, disperse = place
    how = "embedder: {name: static, model: static}, dimensions: 5, on: instruction"
    disperse(f"{{method: kmeans, k: 2, {how}, balanced: false}}")
    lines = (out / "run" / "portions" / "assignment.csv").read_text().splitlines()[1:]
    assert (
        len({tuple(line.split(",")[1:]) for line in lines}) == 2
    )  # each source whole in a portion of its own
    before = len(stored(out, "embedding"))
    test_static.save_model(out / "static", embeddings=-test_static.VECTORS)
    disperse(f"{{method: kmeans, k: 3, {how}}}")
    assert len(stored(out, "embedding")) == before + 1


@pytest.mark.parametrize(("embedder", "kind", "message"), [
    ("{name: static, model: ./nowhere}", MissingInput, r"run.yaml:\d+: disperse.embedder.model: there is no embedding"),
    ("{name: sentence_transformers, model: /nowhere}", MissingInput, "there is no embedding model"),
    ("{name: static, model: model}", ModelError, r"run.yaml:\d+.*no table of vectors named embeddings or"),
])  # fmt: skip
def test_a_model_that_is_not_there_is_told_before_any_work(place, embedder, kind, message):
    with pytest.raises(kind, match=message):
        place[1](f"{{method: kmeans, k: 2, embedder: {embedder}}}")
