"""The run that is killed: the testbed's base of 1.6M parameters, made-up sums, every stage, half a minute in all."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import dtm.testbed

BASE = Path(dtm.testbed.__file__).parent / "weights"
RUN = """
base: {base}
data: [{{path: rows.jsonl, source: sums}}]
dev: {{fraction: 0.1}}
disperse: {{method: kmeans, k: {k}, embedder: base, dimensions: 8}}
train:
  lora: {{r: 4, lora_alpha: 8, lora_dropout: 0.1}}
  args: {{learning_rate: 1e-3, num_train_epochs: {epochs}, max_length: 128, per_device_train_batch_size: {batch}}}
merge: {{method: ties}}
evaluate: {{tasks: [{{name: sums, path: sums.jsonl}}], models: [base, merged]}}
launch: {launch}
output_dir: run
store: store
"""


def write(folder: Path, config: dict[str, Any], launch: dict[str, Any]) -> Path:
    """The run file with its data in a new folder; rows are the same every time."""
    folder.mkdir(parents=True)
    (folder / "tmp").mkdir()
    chance = random.Random(0)
    rows = []
    for _ in range(config["rows"]):
        a, b = chance.randrange(1000), chance.randrange(1000)
        asked = {"role": "user", "content": f"Add {a} and {b}."}
        rows.append({"messages": [asked, {"role": "assistant", "content": f"{a} and {b} make {a + b}."}]})
    items = [
        {"query": f"Question: What is {n} + 1?", "choices": [str(n + 1), str(n + 2)], "gold": 0}
        for n in range(60)
    ]
    for name, lines in (("rows.jsonl", rows), ("sums.jsonl", items)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = {name: config[name] for name in ("k", "epochs", "batch")}
    (folder / "run.yaml").write_text(RUN.format(base=BASE, launch=json.dumps(launch), **own))
    return folder / "run.yaml"
