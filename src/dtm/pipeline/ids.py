"""Files of row ids: `remove:` in a run file, and `dtm extend --remove`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from dtm.config import RunFile
from dtm.foundations.errors import DataError, MissingInput
from dtm.pipeline.kept import located

ID = re.compile(r"[0-9a-f]{64}")


def removed_of(file: RunFile) -> frozenset[str]:
    """The ids that the run file's `remove` names; those that are in no data are left alone."""
    if file.config.remove is None:
        return frozenset()
    return read_ids(located(file, file.config.remove), where=file.where("remove"))


def read_ids(path: Path, *, where: object = None) -> frozenset[str]:
    """Ids of a file of lines: an id, a CSV line that begins with one, or a JSON object with an `id`.

    A repeat's id (`...#1`) means its row. Raises MissingInput, or DataError for a line that holds no id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise MissingInput(f"there is no {path}", where=where) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}", where=where) from None
    found = frozenset(_ids(lines, path))
    if not found:
        raise DataError("the file holds no id", where=path)
    return found


def _ids(lines: Iterable[str], path: Path) -> Iterable[str]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or (
            number == 1 and text.split(",")[0].strip('" ') == "id"
        ):  # the header of an assignment.csv
            continue
        identity = _id(text)
        if not ID.fullmatch(identity):
            raise DataError(f"{text[:80]!r} holds no row id", where=f"{path}:{number}",
                            mend="Ids are 64 hex digits; they stand in portions/assignment.csv")  # fmt: skip
        yield identity


def _id(text: str) -> str:
    if text.startswith("{"):
        try:
            text = str(json.loads(text).get("id"))
        except ValueError:
            return ""
    return text.split(",")[0].strip('" ').split("#")[0]
