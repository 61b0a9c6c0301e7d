"""What a trainer keeps between two logs, carried over a stop: the next log shows the mean it would have shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dtm.foundations.files import read_json, write_json


def save(trainer: Any, checkpoint: Path) -> None:
    """Write this process's share of the mean loss since the last log beside the trainer's own state."""
    write_json(_file(checkpoint), {
        "loss": trainer._tr_loss.item(), "total": float(trainer._total_loss_scalar),
        "logged": int(trainer._globalstep_last_logged),
    })  # fmt: skip


def restore(trainer: Any, checkpoint: Path) -> None:
    """Take it up again, if the training goes on from that checkpoint."""
    file = _file(checkpoint)
    if not file.exists():
        return
    found = read_json(file)
    trainer._tr_loss.fill_(found["loss"])
    trainer._total_loss_scalar, trainer._globalstep_last_logged = found["total"], found["logged"]


def _file(checkpoint: Path) -> Path:
    return checkpoint / f"dtm-logged-{os.environ.get('RANK', '0')}.json"
