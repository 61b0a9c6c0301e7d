"""A model in several files is merged by the workers, a range of the files each."""

from __future__ import annotations

import json
import shutil

from dtm.foundations.files import sha256, walk
from dtm.pipeline import run
from tests.pipeline.conftest import RUN, write_run

FULL = RUN.replace("  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\n", "")


class Several:
    """The one warm worker, said to be two; `names` are the jobs that it got."""

    def __init__(self, launcher):
        self.launcher, self.workers, self.names = launcher, 2, []

    def __getattr__(self, name):
        return getattr(self.launcher, name)

    def map(self, jobs, **callbacks):
        self.names += [job.name for job in jobs]
        return self.launcher.map(jobs, **callbacks)


def test_workers_write_a_model_of_several_files(inputs, tmp_path, warm, monkeypatch):
    from transformers import AutoModelForCausalLM

    monkeypatch.chdir(tmp_path)
    path = write_run(inputs, tmp_path, FULL.replace("base: model", "base: sharded"))
    AutoModelForCausalLM.from_pretrained(inputs / "model").save_pretrained("sharded", max_shard_size="40KB")
    for file in (inputs / "model").glob("tokenizer*"):
        shutil.copy(file, "sharded")
    several = Several(warm["launcher"])
    run(path, until="merge", quiet=True, launcher=several)
    files = sorted(file.name for file in (tmp_path / "run" / "merged").glob("*.safetensors"))
    assert len(files) > 2
    assert [name for name in several.names if name.startswith("merge")] == [
        f"merge, {name}" for name in files
    ]
    parted = contents(tmp_path)
    for manifest in (tmp_path / ".dtm-store" / "objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] == "merge":
            shutil.rmtree(manifest.parent)
    run(path, until="merge", **warm)
    assert contents(tmp_path) == parted


def contents(out):
    return {name: sha256(path) for name, path in walk(out / "run" / "merged") if name != "manifest.json"}
