import json

from dtm.data import load, resolve


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def test_alpaca_and_messages_become_examples(tmp_path):
    alpaca = [
        {"instruction": "Add.", "input": "1 + 1", "output": "2"},
        {"instruction": "Greet.", "output": "Hi"},
    ]
    chat = [{"messages": [{"role": "user", "content": "Greet."}, {"role": "assistant", "content": "Hi"}]}]
    entries = [
        {"path": write_lines(tmp_path / "a.jsonl", alpaca)},
        {"path": write_lines(tmp_path / "b.jsonl", chat)},
    ]

    examples, card = load(resolve(entries, tmp_path), 0, tmp_path / "dropped.jsonl")

    assert examples.column("messages") == [
        [{"role": "user", "content": "Add.\n\n1 + 1"}, {"role": "assistant", "content": "2"}],
        [{"role": "user", "content": "Greet."}, {"role": "assistant", "content": "Hi"}],
    ]
    assert examples.column("source") == ["a", "a"]
    assert (card["read"], card["kept"], card["dropped"], card["duplicates"]) == (3, 2, 1, 1)
    [row] = [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert (row["file"], row["line"], row["reason"]) == ("b.jsonl", 1, "duplicate of a.jsonl:2")
