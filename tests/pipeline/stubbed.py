"""A whole run without trainings: four sub-models that a stub makes in no time, over the store of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import load_file

from dtm.pipeline import run

COMMAND = "dtm run run.yaml"
K = 4
TRAIN, CHECK = (f"tests.pipeline.stub_training:{name}" for name in ("train", "check"))
WARM = "dtm.foundations.launch.worker:nothing"  # a stub needs no imports
DRIVER = f"""
import sys
from dtm.pipeline import flow, run, training
training.TRAIN, training.CHECK, flow.WARM = {TRAIN!r}, {CHECK!r}, {WARM!r}
run(sys.argv[1], sys.argv[2:], quiet=True)
"""


class Stubbed:
    """`run` does it, `driver` in a process of its own; `plan` says what befalls which sub-model."""

    def __init__(self, folder: Path, stub: Path) -> None:
        self.folder, self.stub = folder, stub

    def plan(self, plan):
        (self.stub / "plan.json").write_text(json.dumps(plan))
        (self.stub / "attempts").unlink(missing_ok=True)

    def settings(self, *more):
        return [f"disperse.k={K}", "disperse.method=random", "evaluate.tasks=[]", "evaluate.heldout=false",
                "launch.workers=2", f"output_dir={self.folder / 'run'}", *more]  # fmt: skip

    def run(self, plan, *settings, **options):
        self.plan(plan)
        return run(self.folder / "run.yaml", self.settings(*settings), quiet=True, command=COMMAND, **options)

    def driver(self, *settings):
        command = [sys.executable, "-c", DRIVER, str(self.folder / "run.yaml"), *self.settings(*settings)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    @property
    def attempts(self) -> list[str]:
        return [line.split()[0] for line in (self.stub / "attempts").read_text().splitlines()]

    def adapters(self, *numbers):
        return [load_file(self.folder / f"run/submodels/{n}/adapter_model.safetensors") for n in numbers]


def prepare(folder: Path, adapter: Path, monkeypatch) -> Stubbed:
    """The stub takes `adapter` for what it has trained; workers and drivers find it by their environment."""
    monkeypatch.setattr("dtm.pipeline.launching.cores", lambda: 2)
    monkeypatch.setattr("dtm.pipeline.training.TRAIN", TRAIN)
    monkeypatch.setattr("dtm.pipeline.training.CHECK", CHECK)
    monkeypatch.setattr("dtm.pipeline.flow.WARM", WARM)
    stub = folder / "stub"
    shutil.copytree(adapter, stub / "adapter")
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setenv("STUB", str(stub))
    return Stubbed(folder, stub)


def base_of(stubbed):
    """The tensors of the prepared base."""
    for manifest in (stubbed.folder / ".dtm-store/objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] == "prepare_base":
            return load_file(manifest.parent / "model.safetensors")
    raise AssertionError("there is no prepared base")
