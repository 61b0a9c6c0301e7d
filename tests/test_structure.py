"""The staircase of the design holds, `--help` stays light, and the front page exports what it names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dtm

SOURCE = Path(dtm.__file__).parent
STAGES = {"data", "curate", "augment", "disperse", "train", "merge", "evaluate", "report"}
STEPS = [
    "foundations",
    "testbed",
    "stages",
    "recipes",
    "sections",
    "config",
    "pipeline",
    "study",
    "catalogue",
    "upkeep",
    "cli",
]
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "lm_eval",
    "sklearn",
    "pydantic",
    "rich",
    "ray",
    "numpy",
}


def _place(module: str) -> str:
    part = module.split(".")[1] if "." in module else "cli"
    return "stages" if part in STAGES else part


def _imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_go_down(path):
    module = "dtm." + ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    here = _place(module)
    if path.name == "__init__.py" and path.parent == SOURCE:
        return
    for target in _imports(path):
        if not target.startswith("dtm."):
            continue
        there = _place(target)
        assert STEPS.index(there) <= STEPS.index(here), f"{module} imports {target}, which stands above it"
        if here == there == "stages":
            assert module.split(".")[1] == target.split(".")[1], f"{module} imports the stage {target}"


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['dtm', '--help']\nfrom dtm.cli import main\ntry:\n    main()\nfinally:\n    " \
           "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "disperse" in done.stdout
    assert not HEAVY & set(ast.literal_eval(done.stderr.strip().splitlines()[-1]))


def test_every_public_name_is_there():
    for name in dtm.__all__:
        assert getattr(dtm, name) is not None


def test_no_file_outgrows_its_reason():
    for path in SOURCE.rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path.relative_to(SOURCE)} has {lines} lines: look for its second reason"
