"""`dtm merge FILE OUT`: the command around the engine, and the same from Python."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.pipeline.conftest import dtm as command
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def merge_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    for seed in range(3):
        tiny_model(folder / f"model-{seed}", seed=seed)
    (folder / "merge.yaml").write_text(
        "base: model-0\nmethod: task_arithmetic\nmodels: [model-1, {path: model-2, weight: 0.5}]\n"
    )
    return folder / "merge.yaml"


def test_dry_run_writes_nothing(merge_file, tmp_path):
    done = command("merge", merge_file, tmp_path / "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "task_arithmetic of 2 models" in done.stdout
    assert "nothing was written" in done.stdout
    assert not list(tmp_path.iterdir())


def test_merges_with_facts_and_inspection(merge_file, tmp_path):
    done = command("merge", merge_file, tmp_path / "out", "--inspect", "--threads", "2", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["method"] == "task_arithmetic"
    assert len(facts["inspection"]["overall"]["shares"]) == 2
    drawn = (tmp_path / "out" / "inspection.html").read_text()
    assert f"{facts['inspection']['overall']['norms'][1]:.4g}" in drawn
    assert "model.layers.1.mlp.up_proj.weight" in drawn
    base, one, other = (load_file(merge_file.parent / f"model-{k}/model.safetensors") for k in range(3))
    for name, merged in load_file(tmp_path / "out" / "model.safetensors").items():
        start = base[name].astype(np.float64)
        np.testing.assert_allclose(
            merged, start + (one[name] - start) + 0.5 * (other[name] - start), atol=1e-6
        )


def test_a_mistake_is_one_paragraph_and_exit_code_2(merge_file, tmp_path):
    (merge_file.parent / "typo.yaml").write_text(
        "base: model-0\nmethod: task_arithmetik\nmodels: [model-1]\n"
    )
    done = command("merge", merge_file.parent / "typo.yaml", tmp_path / "out")
    assert done.returncode == 2
    assert "Did you mean 'task_arithmetic'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_from_python_whatever_was_imported_before(merge_file, tmp_path):
    code = (
        "import sys, dtm\nassert 'dtm.merge' not in sys.modules\n"
        "first = dtm.merge\nfrom dtm.merge import merge_models, merge\nassert dtm.merge is first\n"
        f"assert callable(merge_models) and dtm.merge.merge is merge\n"
        f"print(dtm.merge({str(merge_file)!r}, {str(tmp_path / 'out')!r})['method'])\n"
        f"print(dtm.merge.merge({str(merge_file)!r}, {str(tmp_path / 'more')!r}, threads=1)['method'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "task_arithmetic\ntask_arithmetic\n", done.stderr
    assert (tmp_path / "more" / "model.safetensors").read_bytes() == (
        tmp_path / "out/model.safetensors"
    ).read_bytes()
    assert (tmp_path / "out" / "config.json").exists()
