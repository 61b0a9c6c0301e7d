"""`python -m dtm.testbed.pretrain FOLDER`: make the base, measure what it holds, write it in half precision."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from dtm.foundations.files import write_json
from dtm.testbed.base import FACTS, half_precision
from dtm.testbed.pretrain.knowledge import holds, probes, shares
from dtm.testbed.pretrain.training import Settings, pretrain
from dtm.testbed.pretrain.wording import Wordings
from dtm.testbed.world import load_world

EVERY = 100  # steps between two lines of progress; the loss is their mean


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, make a base and write it to a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="python -m dtm.testbed.pretrain", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder for the base")
    for field in fields(Settings):
        name = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(
                name, type=type(field.default), default=field.default, help=f"default: {field.default}"
            )
    given = vars(parser.parse_args(arguments))
    folder = given.pop("folder")
    if folder.exists():
        parser.error(f"{folder} is there already")
    make(folder, replace(Settings(), **given))


def make(folder: Path, settings: Settings) -> dict[str, Any]:
    """Make a base, write it whole or not at all, and return its facts (see `dtm.testbed.base`)."""
    started, losses = time.monotonic(), []

    def progress(step: int, loss: float) -> None:
        losses.append(loss)
        if step % EVERY == 0 or step == settings.steps:
            spent = time.monotonic() - started
            print(f"step {step}/{settings.steps}  loss {_mean(losses):.3f}  {spent:.0f} s", flush=True)

    model, tokenizer = pretrain(settings, progress)
    minutes = (time.monotonic() - started) / 60
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(model, tokenizer, beside / "new")
        facts = {
            "settings": asdict(settings),
            "parameters": sum(one.numel() for one in model.parameters()),
            "tokens": settings.tokens,
            "minutes": round(minutes, 1),
            "loss": round(_mean(losses), 4),
            "holds": measure(beside / "new", settings),
        }
        write_json(beside / "new" / FACTS, facts)
        (beside / "new").rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(json.dumps({way: of["all"] for way, of in facts["holds"].items()}, indent=2))
    return facts


def write(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint whose weights are float16 on disk and whose config asks for float32."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(half_precision(weights.read_bytes()))


def measure(folder: Path, settings: Settings) -> dict[str, Any]:
    """What the written base holds, after its weights were rounded."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    wordings = Wordings(load_world(), settings.seed, settings.asked)
    asked = list(probes(wordings, wordings.world.facts))
    return shares(asked, holds(model, AutoTokenizer.from_pretrained(folder), asked))


def _mean(losses: list[float]) -> float:
    """Mean of the last steps: what the progress shows."""
    return sum(losses[-EVERY:]) / len(losses[-EVERY:])


if __name__ == "__main__":
    main()
