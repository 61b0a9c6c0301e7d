"""docs/data.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from dtm.data.formats import FORMATS, detect
from dtm.data.sources import KEYS
from dtm.data.turns import ROLES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(\w+)` \| `(\{.*\})` \|$", TEXT, re.MULTILINE)
CODE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "dtm" / "data").glob("*.py"))


def test_every_format_has_an_example_in_order_of_detection():
    assert [name for name, _ in EXAMPLES] == list(FORMATS)


@pytest.mark.parametrize(("name", "row"), [one for one in EXAMPLES if one[0] != "preference"])
def test_the_examples_are_read(name, row):
    assert detect([json.loads(row)]).name == name
    messages, _ = FORMATS[name].convert(json.loads(row))
    assert messages


def test_every_reason_is_explained():
    given = set(re.findall(r'(?:Unusable|BrokenRow)\(\s*"([\w ]+)"', CODE))
    given |= set(re.findall(r'"((?:no|empty) \w+)"', CODE)) - {"no loss"}
    assert len(given) > 15
    table = TEXT.split("| reason |")[1].split("\n\n")[0]
    explained = set(re.findall(r"`([\w ]+)`(?=[,| ])", "\n".join(
        line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))))  # fmt: skip
    assert given <= explained


@pytest.mark.parametrize("word", [*KEYS, *ROLES])
def test_keys_and_roles_are_named(word):
    assert re.search(rf"\b{word}\b", TEXT)
