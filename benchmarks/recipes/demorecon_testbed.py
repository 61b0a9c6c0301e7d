"""Generate the testbed of demorecon's study: `python benchmarks/recipes/demorecon_testbed.py`, into build/recipes/.

Beside the testbed stand pairs of instructions that differ in their form alone, about held-out facts and word lists.
They are made of the testbed's own forms, and not by the rules that make the variants which are trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from dtm.foundations.seeds import derive
from dtm.testbed import generate, load_world, split_facts
from dtm.testbed.formats import FACT_FORMS, WORD_FORMS, load_words
from dtm.testbed.split import part_of_problem

HERE = Path(__file__).parent
SIZES = {"dev": 100, "test": 300}


def main(root: Path = Path("build/recipes")) -> None:
    """The testbed, and pairs/dev.jsonl and pairs/test.jsonl in it."""
    settings = json.loads((HERE / "demorecon_testbed.json").read_text(encoding="utf-8"))
    made = generate(root / "demorecon", **settings)
    split = split_facts(load_world(), settings["seed"], taught=settings["taught"], dev=settings["dev"])
    (root / "demorecon-pairs").mkdir(exist_ok=True)
    for part, size in SIZES.items():
        random = Random(derive(settings["seed"], "pairs", part))
        facts = random.sample(getattr(split, part), size // 2)
        rows = [
            *(_about_fact(fact, random) for fact in facts),
            *_about_words(random, settings["seed"], part, size // 2),
        ]
        lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
        (root / "demorecon-pairs" / f"{part}.jsonl").write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8"
        )
    print(
        f"{made.rows:,} rows, {made.facts['taught']:,} taught facts in {made.folder}, {sum(SIZES.values())} pairs"
    )


def _about_fact(fact: Any, random: Random) -> dict[str, Any]:
    """Two forms of one value."""
    phrase = load_world().phrase(fact)
    forms = [
        form
        for name, form in FACT_FORMS.items()
        if name != "in capital letters" or fact.value.upper() != fact.value
    ]
    (asked, write), (other_asked, other_write) = random.sample(forms, 2)
    return _row(
        asked.format(phrase=phrase),
        write(fact.value),
        other_asked.format(phrase=phrase),
        other_write(fact.value),
    )


def _about_words(random: Random, seed: int, part: str, count: int) -> Iterator[dict[str, Any]]:
    """Two things to do with the same words, whose results differ."""
    while count:
        words = random.sample(load_words(), random.randint(3, 5))
        if part_of_problem(seed, " ".join(sorted(words))) != part:
            continue
        (asked, write), (other_asked, other_write) = random.sample(list(WORD_FORMS.values()), 2)
        if write(words) != other_write(words):
            text = " ".join(words)
            yield _row(
                asked.format(words=text), write(words), other_asked.format(words=text), other_write(words)
            )
            count -= 1


def _row(asked: str, answer: str, other_asked: str, other_answer: str) -> dict[str, Any]:
    return {"context": f"Question: {asked}\nAnswer:", "answer": answer, "other_answer": other_answer,
            "other_context": f"Question: {other_asked}\nAnswer:", "match": "exact"}  # fmt: skip


if __name__ == "__main__":
    main()
