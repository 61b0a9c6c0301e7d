"""The settings that a library's config class takes, read from its source without importing it.

TRL takes ten seconds to import, and a run file must be checked before that: its source is parsed, and
the annotated names of the class and of its bases are the settings.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dtm.foundations.errors import StoreError

# class name -> (package, file): where each class of the chain stands
_PLACES = {
    "SFTConfig": ("trl", "trainer/sft_config.py"),
    "DPOConfig": ("trl", "trainer/dpo_config.py"),
    "_BaseConfig": ("trl", "trainer/base_config.py"),
    "TrainingArguments": ("transformers", "training_args.py"),
    "LoraConfig": ("peft", "tuners/lora/config.py"),
    "PeftConfig": ("peft", "config.py"),
    "PeftConfigMixin": ("peft", "config.py"),
    "ClusterConfig": ("accelerate", "commands/config/config_args.py"),
    "BaseConfig": ("accelerate", "commands/config/config_args.py"),
}


@dataclass(frozen=True)
class Setting:
    """One field of a config class; `default` is its value where it is a plain constant, else None."""

    name: str
    annotation: str
    default: object = None


@cache
def settings_of(name: str) -> dict[str, Setting]:
    """All settings of that class, its bases' included, by name."""
    package, file = _PLACES[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StoreError(f"the package {package!r} is not installed", mend=f"pip install {package}")
    source = Path(spec.submodule_search_locations[0]) / file
    text = source.read_text(encoding="utf-8") if source.exists() else ""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            break
    else:
        raise StoreError(f"{source} holds no class {name}", mend="Install a version that the README names")
    found: dict[str, Setting] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in _PLACES:
            found.update(settings_of(base.id))
    for line in node.body:
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and not line.target.id.startswith("_")
        ):
            found[line.target.id] = Setting(
                line.target.id, ast.unparse(line.annotation), _default(line.value)
            )
    return found


def _default(node: ast.expr | None) -> object:
    """A constant, or the constant `default=` of a dataclass `field(...)`."""
    if isinstance(node, ast.Call):
        node = next((word.value for word in node.keywords if word.arg == "default"), None)
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None
