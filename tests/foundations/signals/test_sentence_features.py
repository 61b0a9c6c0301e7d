"""The worker's job that embeds sentences: in batches by length, and after `kill -9` from where it stood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dtm.foundations.signals import base, sentences
from dtm.foundations.types import SCHEMA, Examples
from tests.foundations.signals.rendered import quiet

STUB = Path(__file__).parent / "stub"
FAULTS = Path(__file__).parents[2] / "pipeline" / "faults"
TEXTS = ["abc " * n for n in (3, 1, 9, 4, 7, 0, 2, 8, 5, 6, 11)]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job over TEXTS by the stub, whose batches are counted in the file `encoded`."""
    monkeypatch.syspath_prepend(STUB)
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    monkeypatch.setenv("ENCODED", str(tmp_path / "encoded"))
    rows = [
        {"id": str(n), "source": "s", "parent": None, "family": str(n), "meta": "{}",
         "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "hhh"}]}
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    Examples(pa.Table.from_pylist(rows, schema=SCHEMA)).save(tmp_path / "rows.arrow")
    yield {"model": "m", "examples": str(tmp_path / "rows.arrow"), "on": "instruction", "batch_size": 2,
           "device": "cpu", "threads": 1, **places(tmp_path / "one")}  # fmt: skip
    sys.modules.pop("sentence_transformers", None)


def places(folder):
    for name in ("output", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {name: str(folder / name) for name in ("output", "scratch")}


def features(job):
    return np.load(f"{job['output']}/features.npy")


def encoded(tmp_path):
    return [int(line) for line in (tmp_path / "encoded").read_text().split()]


def test_each_row_has_its_own_features_whatever_the_batches(job, tmp_path):
    told = []
    assert sentences.features(job, told.append) == {"rows": 11, "dimensions": 8}
    assert features(job).dtype == np.float32
    assert features(job)[:, 0].tolist() == [3, 1, 9, 4, 7, 0, 2, 8, 5, 6, 11]
    assert encoded(tmp_path) == [2, 2, 2, 2, 2, 1]
    assert told[0] == {"done": 2, "total": 11}
    assert told[-1] == {"done": 11, "total": 11}
    sentences.features({**job, "on": "response", **places(tmp_path / "two")}, quiet)
    assert features({**job, **places(tmp_path / "two")})[:, 7].tolist() == [3] * 11


def test_a_run_and_python_give_the_same_bytes(job):
    sentences.features(job, quiet)
    direct = sentences.sentence_transformers(TEXTS, 1, None, model="m", batch_size=2, device="cpu")
    assert direct.tobytes() == features(job).tobytes()


def test_a_killed_job_goes_on_where_it_stood(job, tmp_path, monkeypatch):
    sentences.features(job, quiet)
    again = {**job, **places(tmp_path / "two")}
    (tmp_path / "encoded").unlink()
    code = ("import sys, json; from dtm.foundations.signals import base, sentences; base.FLUSH = -1.0; "
            "sentences.features(json.loads(sys.argv[1]), print)")  # fmt: skip
    path = os.pathsep.join([str(FAULTS), str(STUB), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [sys.executable, "-c", code, json.dumps(again)], capture_output=True, timeout=120,
        env={**os.environ, "PYTHONPATH": path, "FAULT": "sentence_transformers:SentenceTransformer.encode:5"},
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    assert encoded(tmp_path) == [2, 2, 2, 2]
    sentences.features(again, quiet)
    assert encoded(tmp_path) == [2, 2, 2, 2, 2, 1]
    assert features(again).tobytes() == features(job).tobytes()


def test_what_is_not_finite_is_told(job, monkeypatch):
    from dtm.foundations.errors import ModelError

    monkeypatch.setattr(sentences, "_encode", lambda encoder, batch: np.full((len(batch), 8), np.nan))
    with pytest.raises(ModelError, match="features is not finite"):
        sentences.features(job, quiet)
    assert base.MARK not in os.listdir(job["scratch"])
