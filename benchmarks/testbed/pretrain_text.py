"""Text as the testbed's base was pre-trained on: `python benchmarks/testbed/pretrain_text.py`, into build/study/.

Other documents than the base read (another seed), of the same kinds and facts: what a replay of pre-training text would
have, and what the Fisher information of the base is taken on.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from dtm.testbed.pretrain.text import documents
from dtm.testbed.pretrain.wording import ASKED, Wordings
from dtm.testbed.world import load_world

ROWS, SEED, LETTERS = 1500, 1, 400  # the last: documents that stay below the 256 tokens of a row


def main(root: Path = Path("build/study"), rows: int = ROWS) -> None:
    """Write pretrain.jsonl, a document a line."""
    texts = dict.fromkeys(islice((one for one in documents(Wordings(load_world(), 0, ASKED), SEED)
                                  if len(one) <= LETTERS), 2 * rows))  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "pretrain.jsonl", "w", encoding="utf-8") as file:
        for text in list(texts)[:rows]:
            file.write(json.dumps({"text": text}) + "\n")
    print(f"{rows:,} documents in {root / 'pretrain.jsonl'}")


if __name__ == "__main__":
    main()
