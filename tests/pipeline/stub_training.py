"""In place of a training: an adapter in no time, or the failure that a file asks for; attempts are lines in another.

`STUB` names a folder with `adapter/` (a trained adapter), `plan.json` ({sub-model: what befalls it}) and `attempts`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

from safetensors.numpy import load_file, save_file

FOLDER = Path(os.environ.get("STUB", "."))


def check(job, progress):
    return {}


def train(job, progress):
    with open(FOLDER / "attempts", "a") as file:
        file.write(f"{job['name']} {os.getpid()}\n")
    match json.loads((FOLDER / "plan.json").read_text()).get(job["name"]):
        case "dies":
            print("what it printed last", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        case "out of memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "full disk":
            Path("/dev/full").write_text("x")
        case "slow":
            time.sleep(1)
    output = Path(job["output"])
    shutil.copy(FOLDER / "adapter" / "adapter_config.json", output)
    scale = 1 + int(job["name"].rpartition("-")[2])
    weights = load_file(FOLDER / "adapter" / "adapter_model.safetensors")
    save_file({name: scale * value for name, value in weights.items()}, output / "adapter_model.safetensors")
    (output / "training.json").write_text('{"curve": [], "epochs": 1, "steps": 5}')
    return {"steps": 5, "tokens": 100, "input_tokens": 120}
