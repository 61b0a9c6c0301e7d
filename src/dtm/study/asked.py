"""What was asked in an item and what models answered, in words: for the items that flipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LENGTH = 240  # characters of a question's end that are shown


class Answers:
    """Looks up questions in the tasks as they were checked, and answers in the run folders."""

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self._items = {
            name: {str(item.row): item for item in task.items or ()} for name, task in tasks.items()
        }
        self._records: dict[Path, dict[str, dict[str, Any]]] = {}

    def asked(self, task: str, item: str) -> str | None:
        """The end of the question; None for a task whose items we do not read ourselves."""
        found = self._items.get(task, {}).get(item)
        return None if found is None else _cut(found.context)

    def wanted(self, task: str, item: str) -> str | None:
        found = self._items.get(task, {}).get(item)
        if found is None:
            return None
        if found.answers:
            return found.answers[0]
        return found.worked or None

    def given(self, path: Path, task: str, item: str) -> str | None:
        """What a model said, or which choice it found likeliest."""
        record = self._of(path).get(item)
        if record is None:
            return None
        if "response" in record:
            return _cut(record["response"].strip())
        found, scores = self._items.get(task, {}).get(item), record.get("loglikelihoods") or []
        if found is None or not scores:
            return None
        best = max(range(len(scores)), key=lambda index: scores[index])
        options = found.continuations if len(found.continuations) == len(scores) else found.contexts
        return options[best].strip() if len(options) == len(scores) > 1 else None

    def _of(self, path: Path) -> dict[str, dict[str, Any]]:
        if path not in self._records:
            with open(path, encoding="utf-8") as file:
                records = [json.loads(line) for line in file]
            self._records[path] = {str(record["doc_id"]): record for record in records}
        return self._records[path]


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LENGTH else "…" + text[-LENGTH:]
