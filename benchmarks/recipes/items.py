"""Easy and hard halves of the items that tuning can teach: `python benchmarks/recipes/items.py`, into build/study/.

An item's difficulty is the base's loss on its answer in chat, the number by which the recipe grades rows. The base is
that of every arm, and no arm's result is looked at: the halves are fixed before the first training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

BED = Path("build/study/clean")
TASKS = ("world_exact_taught", "format")


def main(bed: Path = BED) -> None:
    """`benchmarks/PART/TASK_easy.jsonl` and `TASK_hard.jsonl` beside each task of the testbed, as many items each."""
    for part in ("dev", "test"):
        for task in TASKS:
            items = read(bed / "benchmarks" / part / f"{task}.jsonl")
            loss_N = losses(items, bed / "base")
            order_N = np.argsort(loss_N, kind="stable")
            halves = {"easy": order_N[: len(items) // 2], "hard": order_N[len(items) // 2 :]}
            for name, places in halves.items():
                path = bed / "benchmarks" / part / f"{task}_{name}.jsonl"
                lines = [json.dumps(items[place], ensure_ascii=False) for place in sorted(places)]
                path.write_text("\n".join(lines) + "\n", encoding="utf-8")
                print(
                    f"{part} {task}_{name}: {len(places)} items, base loss {loss_N[places].mean():.2f} nats a token"
                )


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def losses(items: list[dict[str, Any]], base: Path) -> np.ndarray:
    """The base's mean negative log likelihood of an answer's tokens, the stop token included, float64 [N]."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dtm.foundations.chat import Renderer, choose_template

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if not tokenizer.chat_template:
        tokenizer.chat_template = choose_template("auto", None).jinja
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    renderer, found = Renderer(tokenizer, max_length=None), []
    for item in items:
        turns = [
            {"role": "user", "content": item["context"]},
            {"role": "assistant", "content": item["answer"]},
        ]
        row = renderer(turns)
        ids_T, told_T = torch.tensor(row.input_ids), torch.tensor(row.assistant_mask[1:])
        with torch.inference_mode():
            logits_TV = model(ids_T[None]).logits[0, :-1]
        found.append(cross_entropy(logits_TV[told_T].double(), ids_T[1:][told_T]).item())
    return np.array(found)


if __name__ == "__main__":
    main()
