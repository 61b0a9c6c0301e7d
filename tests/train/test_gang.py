"""A sub-model in two processes on gloo: the numbers of one process, a kill between, and weights out of shards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dtm.foundations.launch import Job, LocalLauncher, Share, gang
from dtm.train.sft import train

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def jobs_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.slow
def test_two_processes_resume_after_a_kill_and_train_as_one_does(job, tmp_path):
    """Real `accelerate launch`. Two processes of two rows take the steps that one takes of four, up to rounding."""
    own = {name: str(tmp_path / "one" / name) for name in ("output", "scratch")}
    train({**job, **own}, lambda data: None)
    job["args"] |= {"per_device_train_batch_size": 2, "save_steps": 1, "logging_steps": 1}
    seen = []
    with LocalLauncher(share=Share(processes=2, cpus=2), log=tmp_path / "log") as launcher:
        work = Job("submodel-0", "gang_jobs:dies_once", job, lock=str(tmp_path / "lock"), spread=True)
        facts = launcher.map([work], on_event=lambda event: seen.append((event.kind, event.data)))[0]
    assert ("retry", {"reason": "a process of its gang was killed"}) in seen
    assert ("progress", {"stage": "resuming", "step": 2}) in seen
    assert facts["steps"] == 3
    alone, together = (
        load_file(Path(folder) / "adapter_model.safetensors") for folder in (own["output"], job["output"])
    )
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, atol=2e-6)
    assert list(tmp_path.glob("gang-*")) == []


RANKS = """
import os, subprocess, sys
common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0" , "ACCELERATE_USE_FSDP": "true"}
import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    common["MASTER_PORT"] = str(probe.getsockname()[1])
ranks = [subprocess.Popen([sys.executable, "-m", "dtm.foundations.launch.rank"],
                          env={**os.environ, **common, "RANK": str(n), "LOCAL_RANK": str(n)}) for n in range(2)]
sys.exit(max(rank.wait() for rank in ranks))
"""


@pytest.mark.parametrize("lora", [None, {"r": 2, "target_modules": "all-linear"}])
def test_weights_in_shards_become_one_folder_in_the_bases_names_and_dtype(lora, base, tmp_path, monkeypatch):
    """FSDP 2 against a step of plain torch on both rows: the mean of the processes' gradients."""
    import torch
    from transformers import AutoModelForCausalLM

    def launch(settings, folder, address):
        return subprocess.Popen([sys.executable, "-c", RANKS], env={**os.environ, gang.ADDRESS: address})

    monkeypatch.setattr(gang, "_launch", launch)
    rows, output = [[5, 9, 17, 40, 7], [8, 30, 31, 4, 12]], tmp_path / "output"
    output.mkdir()
    arguments = {"base": str(base), "dtype": "float32", "lora": lora, "rows": rows, "output": str(output)}
    sent = []
    gang.run({"function": "gang_jobs:one_step_in_shards", "arguments": arguments, "lock": None,
              "gang": {"processes": 2}}, sent.append)  # fmt: skip
    assert [one["event"] for one in sent] == ["done"], sent
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if lora:
        found = load_file(output / "adapter_model.safetensors")
        assert all(one.dtype == np.float32 for one in found.values())
        assert {name.rpartition(".lora_")[2] for name in found} == {"A.weight", "B.weight"}
        assert len(found) == 2 * 7 * model.config.num_hidden_layers
        assert all(np.abs(value).max() > 0 for name, value in found.items())  # B was zero before the step
        return
    found, before = load_file(output / "model.safetensors"), load_file(base / "model.safetensors")
    assert {name: value.dtype for name, value in found.items()} == {
        name: value.dtype for name, value in before.items()
    }
    for row in rows:
        ids = torch.tensor([row])
        (model(input_ids=ids, labels=ids).loss / 2).backward()
    for name, value in model.named_parameters():
        np.testing.assert_allclose(found[name], (value - 0.1 * value.grad).detach(), atol=1e-6)


def test_processes_of_a_gang_come_to_one_answer_whether_to_stop(monkeypatch):
    """Else the one that goes on would wait for the other in the next step's collective."""
    ranks = RANKS.replace(', "ACCELERATE_USE_FSDP": "true"', "")

    def launch(settings, folder, address):
        return subprocess.Popen([sys.executable, "-c", ranks], env={**os.environ, gang.ADDRESS: address})

    monkeypatch.setattr(gang, "_launch", launch)
    sent = []
    gang.run(
        {"function": "gang_jobs:agrees", "arguments": {}, "lock": None, "gang": {"processes": 2}}, sent.append
    )
    assert [one["data"]["answers"] for one in sent if one["event"] == "progress"] == [[False, True]]
    assert sent[-1] == {"event": "left", "at": 2}
