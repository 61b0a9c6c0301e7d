"""The run folder: readable names, hard-linked over the store, and what `gc` may not remove."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dtm.foundations.files import link, link_tree, read_json, write_text
from dtm.foundations.store import Artifact
from dtm.foundations.types import Model
from dtm.pipeline import failing
from dtm.pipeline.curating import KEPT, STEP
from dtm.pipeline.verbs import Run

NOT_SHOWN = frozenset({"manifest.json"})
KINDS = ("submodels", "baselines", "checkpoints")


def open_folder(folder: Path, text: str, config: dict[str, Any], store: Path) -> None:
    """Make the folder and put the run file in it; from here on it is known to the store's `gc`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "run.yaml", text or _as_yaml(config))
    registry = store / "runs"
    registry.mkdir(exist_ok=True)
    write_text(registry / f"{_slug(folder)}.path", f"{folder}\n")


@contextmanager
def alone(folder: Path, store: Path) -> Iterator[None]:
    """Show results while no other driver does so in the same folder: each removes what is not its own."""
    with open(store / "locks" / f"shows-{_slug(folder)}", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def show_models(run: Run, models: Sequence[tuple[Model, str]]) -> None:
    """Link merged/, submodels/0..K-1/, baselines/<name>/ and checkpoints/<name>/ to what the store holds.

    What was there before goes.
    """
    folder = run.steps.folder
    shown = {folder / "submodels" / failing.part_of(model): model for model in run.submodels}
    for model, role in models:
        if role == "merged":
            shown[folder / "merged"] = model
        elif role in ("baseline", "checkpoint") and not model.parts:  # these have no files of their own
            shown[folder / f"{role}s" / model.name] = model
    for place in (folder / "merged", *(one for kind in KINDS for one in folder.glob(f"{kind}/*"))):
        if place not in shown:
            shutil.rmtree(place, ignore_errors=True)
    for place, model in shown.items():
        card = model.folder / "README.md"
        link_tree(model.folder, place, skip=NOT_SHOWN | {card.name})
        if card.exists():
            write_text(place / card.name, _card(card, run))


def show_data(run: Run) -> None:
    """Link portions/, curation/, augmented/<method>/, pairs/<name>.jsonl, dropped.jsonl and contaminated.jsonl."""
    folder = run.steps.folder
    if "disperse" in run.cards:
        link_tree(run.cards["disperse"].folder, folder / "portions", skip=NOT_SHOWN)
    if STEP in run.cards:
        link_tree(run.cards[STEP].folder, folder / "curation", skip=NOT_SHOWN | {KEPT})
    else:
        shutil.rmtree(folder / "curation", ignore_errors=True)
    overlaps = folder / "contaminated.jsonl"
    if "contamination" in run.cards:
        link(run.cards["contamination"].folder / overlaps.name, overlaps)
    else:
        overlaps.unlink(missing_ok=True)
    _show_made(run)
    dropped = [run.cards[name].folder / "dropped.jsonl" for name in ("load", "render")]
    text = "".join(path.read_text(encoding="utf-8") for path in dropped)
    write_text(folder / "dropped.jsonl", text)


def _show_made(run: Run) -> None:
    """New rows and pairs as files for other trainers; what another run left there goes."""
    folder = run.steps.folder
    for place in ("augmented", "pairs"):
        shutil.rmtree(folder / place, ignore_errors=True)
    for name, artifact in run.cards.items():
        kind, _, what = name.partition(":")
        if kind == "augment":
            link_tree(artifact.folder, folder / "augmented" / what, skip=NOT_SHOWN | {"train.arrow"})
        elif kind == "pairs":
            link(artifact.folder / "pairs.jsonl", folder / "pairs" / f"{what}.jsonl")


def show_evaluation(run: Run, evaluated: dict[tuple[str, str, str], Artifact]) -> None:
    """Link evaluation/<model>/<task>.<format>.jsonl and the scores beside them."""
    root = run.steps.folder / "evaluation"
    wanted = set()
    for (model, task, form), artifact in evaluated.items():
        for name in ("items.jsonl", "scores.json"):
            if (source := artifact.folder / name).exists():
                target = root / model / f"{task}.{form}.{name}"
                wanted.add(target)
                if not (target.exists() and os.path.samefile(source, target)):
                    link(source, target)
    for path in list(root.rglob("*.*")) if root.exists() else []:
        if path.is_file() and path not in wanted:
            path.unlink()


def named_keys(store: Path) -> tuple[set[str], list[Path]]:
    """All keys that run folders still name, and the run folders that are gone."""
    keys: set[str] = set()
    gone = []
    for entry in sorted((store / "runs").glob("*.path")):
        folder = Path(entry.read_text(encoding="utf-8").strip())
        try:
            keys |= set(read_json(folder / "keys.json"))
        except FileNotFoundError:
            if not folder.exists():
                gone.append(entry)
    return keys, gone


def _card(card: Path, run: Run) -> str:
    """The merge's card with this run's file in it: the store's may come from another run of the same merge.

    So it is here, too, that it tells of sub-models that were dropped.
    """
    from dtm.report.dropping import dropped

    head = card.read_text(encoding="utf-8").partition("```yaml")[0]
    head += "".join(f"**{line}**\n\n" for line in dropped(failing.dropped(run), len(run.portions)))
    return f"{head}```yaml\n{run.checked.file.document.text.rstrip()}\n```\n"


def _slug(folder: Path) -> str:
    from dtm.foundations.files import text_digest

    return f"{folder.name}-{text_digest(str(folder))[:12]}"


def _as_yaml(config: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(config, sort_keys=False)
