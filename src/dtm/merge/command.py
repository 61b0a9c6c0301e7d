"""`dtm merge FILE OUT`: a merge file, ours or mergekit's, carried out, planned, or looked into."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.digests import user_digest
from dtm.merge.merging import execute
from dtm.merge.planning import Plan, plan_merge
from dtm.merge.request import Request, parse_request, read_request

Progress = Callable[[int, int], None]


def run(
    yaml_path: Path | str,
    out: Path | str | None,
    *,
    dry_run: bool = False,
    inspect: bool = False,
    allow_nonfinite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    hash_inputs: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Do what a merge file says; returns the plan's facts, `seconds`, and with `inspect` the `inspection`.

    `dry_run` only plans; `out` may then be None. With `inspect` the folder also holds `inspection.json`. Threads: as
    many as there are cores by default. `hash_inputs` tells the sha256 of all inputs, kept for the next time.
    `device`: see `execute`. Raises DtmError for all that a user can mend.
    """
    request, text = read_request(Path(yaml_path))
    return carry_out(request, out, text=text, dry_run=dry_run, inspect=inspect, allow_nonfinite=allow_nonfinite,
                     threads=threads, progress=progress, hash_inputs=hash_inputs, device=device)  # fmt: skip


def merge(source: Path | str | Mapping[str, Any], out: Path | str | None, **options: Any) -> dict[str, Any]:
    """The same from Python: `source` is a merge file, or its content as a dict. Options: see `run`."""
    if isinstance(source, Mapping):
        return carry_out(parse_request(dict(source)), out, text=None, recipe=dict(source), **options)
    return run(source, out, **options)


def carry_out(
    request: Request,
    out: Path | str | None,
    *,
    text: str | None,
    recipe: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    inspect: bool = False,
    allow_nonfinite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    hash_inputs: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Plan a request, and unless it is a dry run, merge into `out`."""
    started = time.monotonic()
    plan = plan_request(request)
    facts = {**plan.facts(), "notes": request.notes, "dry_run": dry_run}
    if dry_run or out is None:
        return facts
    card = {"recipe": text or recipe}
    extra = execute(
        plan, Path(out), threads=threads or cores(), seed=request.seed, allow_nonfinite=allow_nonfinite,
        progress=progress, card=card, inspect=inspect, digest=user_digest if hash_inputs else None,
        device=device,
    )  # fmt: skip
    return {**facts, **extra, "seconds": round(time.monotonic() - started, 3)}


def plan_request(request: Request) -> Plan:
    """The checked plan of a request."""
    return plan_merge(
        base=request.base, models=request.models, method=request.method, weights=request.weights, space=request.space,
        export=request.export, dtype=request.dtype, statistics=request.statistics, slices=request.slices,
        tokenizer=request.tokenizer,
    )  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
