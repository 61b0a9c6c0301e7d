"""`merge_models`: from a checked plan to a folder that loads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.files import write_json
from dtm.foundations.registry import Bound
from dtm.merge.inputs import Where
from dtm.merge.planning import Export, Plan, Space, plan_merge

if TYPE_CHECKING:
    from dtm.merge.engine import Engine
    from dtm.merge.writer import Writer

Digest = Callable[[Path], str]
IN_WORK, INSPECTION = ".tmp", "inspection.json"


def merge_models(
    *,
    base: Path | None,
    models: Sequence[Where],
    output: Path,
    method: Bound,
    weights: Sequence[Any],
    space: Space = "weight",
    export: Export = "model",
    dtype: str | None = None,
    threads: int = 1,
    seed: int = 0,
    statistics: Sequence[Path] | None = None,
    allow_nonfinite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    card: Mapping[str, Any] | None = None,
    inspect: bool = False,
    digest: Digest | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Merge models into the folder `output` and return the facts of it.

    An existing folder, empty or with what a killed run of the same merge left, is written into; else the work is
    done in `OUTPUT.tmp`, which is renamed at the end. `progress(done, total)` counts values. `weights` and
    `statistics`: see `plan_merge`; `card`: see `output.model_card`; `inspect`, `digest` and
    `device`: see `execute`.
    """
    output = Path(output)
    plan = plan_merge(base=base, models=models, method=method, weights=weights, space=space, export=export,
                      dtype=dtype, statistics=statistics)  # fmt: skip
    return execute(plan, output, threads=threads, seed=seed, allow_nonfinite=allow_nonfinite, progress=progress,
                   card=card, inspect=inspect, digest=digest, device=device)  # fmt: skip


def execute(
    plan: Plan,
    output: Path,
    *,
    threads: int = 1,
    seed: int = 0,
    allow_nonfinite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    card: Mapping[str, Any] | None = None,
    inspect: bool = False,
    digest: Digest | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Do what a plan says; with `inspect`, also write `inspection.json` (see `inspection`), the facts' `inspection`.

    `digest` gives a file's sha256; with it the card and the facts' `inputs` tell those of all inputs, which are hashed
    beside the work, on one core. `device` is where matrices are decomposed, by the methods that do: cpu, cuda or auto.
    Raises ResourceError on a full disk, ModelError on NaN or infinity: nothing is left that looks like a model.
    """
    from dtm.merge.output import write_beside
    from dtm.merge.provenance import hashing
    from dtm.merge.writer import Writer, ensure_room, on_disk

    ensure_room(output.absolute().parent, plan)
    folder = _workplace(output)
    writer = Writer(folder, plan, seed)
    try:
        with hashing(plan, digest) as digests:
            engine = write_shards(plan, writer, threads=threads, seed=seed, allow_nonfinite=allow_nonfinite,
                                  progress=progress, inspect=inspect, device=device)  # fmt: skip
            facts = plan.facts()
            facts |= {"device": engine.algebra.device, **engine.findings.facts(facts["models"])}
            if digest is not None:
                facts["inputs"] = digests()
        with on_disk(folder):
            if inspect:
                write_json(folder / INSPECTION, facts["inspection"])
            write_beside(folder, plan, card or {}, facts)
    except Exception:
        writer.discard()
        if folder != output:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    writer.complete()
    if folder != output:
        os.replace(folder, output)
    return facts


def write_shards(
    plan: Plan,
    writer: Writer,
    *,
    threads: int,
    seed: int,
    allow_nonfinite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    inspect: bool = False,
    device: str = "cpu",
) -> Engine:
    """Write the writer's shards but those that are whole already; returns the engine, which knows what it found."""
    from threadpoolctl import threadpool_limits

    from dtm.merge.checkpoint import Files
    from dtm.merge.engine import Engine

    inputs = {one.path for job in plan.jobs for one in (*job.inputs, *([job.base] if job.base else []))}
    # One BLAS thread: our own threads take blocks, and a matrix product has one order of summation.
    with Files().open(inputs) as files, threadpool_limits(1):
        engine = Engine(plan, files, threads, seed=seed, allow_nonfinite=allow_nonfinite, progress=progress,
                        inspect=inspect, device=device)  # fmt: skip
        engine.write(writer)
    return engine


def _workplace(output: Path) -> Path:
    """The folder to write into: the output itself where it exists and may be filled, else one beside it."""
    from dtm.merge.writer import JOURNAL

    if not output.exists():
        folder = output.with_name(output.name + IN_WORK)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    if not output.is_dir() or (any(output.iterdir()) and not (output / JOURNAL).exists()):
        raise ConfigError("the output exists and is not an empty folder", where=output,
                          mend="Name a new folder, or remove this one")  # fmt: skip
    return output
