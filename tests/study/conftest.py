"""One undisturbed study of a tiny model, two steps a training; other tests start from copies of its store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import inputs  # noqa: F401 - the same small files

STUDY = """\
study: tiny
run:
  base: model
  data:
    - {path: adds.jsonl, source: adds, fraction: 0.8}
    - {path: colours.jsonl, source: colours}
  disperse: {method: kmeans, k: 2, dimensions: 8}
  dev: {fraction: 0.1}
  train:
    lora: {r: 4, lora_alpha: 8}
    args: {max_steps: 2, max_length: 128, per_device_train_batch_size: 4, learning_rate: 1e-3}
  evaluate: {tasks: [{name: sums, path: sums.jsonl}]}
  launch: {workers: 1, threads: 1}
seeds: [0, 1]
grid: {over: {train.args.learning_rate: [1e-3, 3e-2]}, seeds: [7]}
arms:
  - {name: vanilla, recipe: {name: vanilla_sft, checkpoints: 2}}
  - {name: dtm, disperse: {method: random}}
  - {name: dtm-clusters, seeds: [0], grid: dtm}
  - {name: early, recipe: {name: early_stopping, checkpoints: 2}, grid: vanilla}
costs: [sums]
output_dir: study
"""
FAULTS = Path(__file__).parents[1] / "pipeline" / "faults"


def write_study(files: Path, out: Path, text: str = STUDY) -> Path:
    """A study file in `out` beside links to the inputs."""
    for path in files.iterdir():
        if not (out / path.name).exists():
            (out / path.name).symlink_to(path)
    (out / "tiny.yaml").write_text(text)
    return out / "tiny.yaml"


def dtm(
    *arguments: object, fault: str | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess:
    """Run the command beside its file in a process of its own, killed with its parent at `fault` if given."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]),
                   "OMP_NUM_THREADS": "1", "COLUMNS": "160"}  # fmt: skip
    environment.pop("FAULT", None)
    if fault:
        environment |= {"FAULT": fault, "FAULT_DRIVER": "1"}
    folder = folder or next(Path(str(one)).parent for one in arguments if str(one).endswith(".yaml"))
    command = [sys.executable, "-m", "dtm.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder)


@pytest.fixture(scope="session")
def undisturbed(inputs, tmp_path_factory) -> Path:  # noqa: F811
    """The folder that holds `study/` and its store."""
    out = tmp_path_factory.mktemp("study")
    done = dtm("study", write_study(inputs, out))
    assert done.returncode == 0, done.stderr
    return out
