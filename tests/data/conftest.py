import json

import pytest


def read_lines(path):
    """JSON Lines end at newlines only, where `splitlines` knows more ends."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def write(tmp_path):
    """Write rows as JSON Lines below tmp_path; a string is written as it stands."""

    def write(name, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(line + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def loaded(tmp_path):
    """Resolve and load entries; gives the examples, the card and the rows of dropped.jsonl."""
    from dtm.data import load, resolve

    def loaded(*entries, seed=0, **kwargs):
        aside = tmp_path / "dropped.jsonl"
        examples, card = load(resolve(list(entries), tmp_path), seed, aside, **kwargs)
        return examples, card, read_lines(aside)

    return loaded
