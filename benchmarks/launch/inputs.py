"""What the measurements run on: the testbed's base of 1.6M parameters and made-up sums in sentences."""

from __future__ import annotations

import json
import random
from pathlib import Path

import dtm.testbed

BASE = Path(dtm.testbed.__file__).parent / "weights"


def make_rows(path: Path, count: int) -> Path:
    """A .jsonl file of that many rows of `messages`, of 60 to 200 tokens; the same every time."""
    chance = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            pairs = [(chance.randrange(100), chance.randrange(100)) for _ in range(chance.randrange(2, 7))]
            asked = " and ".join(f"{a} plus {b}" for a, b in pairs)
            told = ". ".join(f"If you add {a} to {b}, then you get {a + b}" for a, b in pairs)
            messages = [
                {"role": "user", "content": f"What is {asked}?"},
                {"role": "assistant", "content": f"{told}."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path
