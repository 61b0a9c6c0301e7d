"""Rows out of rows, as steps of the store: some sources, a share, several together, one order for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from dtm.foundations.errors import ConfigError, DataError
from dtm.foundations.seeds import derive
from dtm.foundations.store import Claim, Step
from dtm.foundations.types import Examples
from dtm.pipeline.rows import Rows, rows_of

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

FILE = "rows.arrow"
Unit = Literal["rows", "tokens"]


def of_sources(run: Run, examples: Rows, sources: Sequence[str], name: str) -> Rows:
    """The rows of those sources, in their order. Raises DataError where there is none."""

    def build() -> Examples:
        import numpy as np

        rows = examples.open()
        wanted = set(sources)
        taken = [place for place, source in enumerate(rows.column("source")) if source in wanted]
        if not taken:
            raise DataError(f"no row of {', '.join(sorted(wanted))} is left to train on", where="data")
        return rows.take(np.array(taken, np.int64))

    step = Step("of_sources", {"sources": sorted(sources)}, {"examples": examples.digest})
    return _made(run, name, f"rows of {', '.join(sources)}", step, build, [examples])


def share(run: Run, examples: Rows, k: float, unit: Unit, least: int, name: str) -> Rows | None:
    """A seeded share `k` of each source's rows, or of its tokens, and `least` rows of it at least; None where k is 0.

    A larger share of the same seed holds the smaller one. In tokens a source's rows are taken in a drawn order until
    they have that share of its tokens.
    """
    if k == 0:
        return None
    seed = derive(run.seed, "share")
    step = Step("share", {"k": k, "unit": unit, "least": least}, {"examples": examples.digest}, seed)
    what = (
        f"{k:.4g} of {examples.count:,} rows" if unit == "rows" else f"{k:.4g} of {examples.tokens:,} tokens"
    )
    return _made(run, name, what, step, lambda: drawn(examples.open(), k, unit, least, seed), [examples], k)


def drawn(examples: Examples, k: float, unit: Unit, least: int, seed: int) -> Examples:
    """The rows of `share`, in the order in which they stood."""
    import numpy as np

    lengths_N, _ = examples.token_counts()
    sources_N = np.array(examples.column("source"))
    order_N = np.random.default_rng(seed).permutation(len(examples))
    taken: list[Any] = []
    for source in np.unique(sources_N):
        own = order_N[sources_N[order_N] == source]
        if unit == "tokens":
            reached = np.cumsum(lengths_N[own])
            count = int(np.searchsorted(reached, k * reached[-1] - 1e-9)) + 1
        else:
            count = round(k * len(own))
        taken.append(own[: max(count, least)])
    return examples.take(np.sort(np.concatenate(taken)))


def mix(run: Run, parts: Sequence[Rows | None], name: str) -> Rows:
    """All rows of the parts, one part after another; seeds are as for the first part."""
    there = [part for part in parts if part is not None]
    if len(there) == 1:
        return there[0]

    def build() -> Examples:
        import pyarrow as pa

        return Examples(pa.concat_tables([part.open().table for part in there]))

    digests = {f"part {number}": part.digest for number, part in enumerate(there)}
    made = _made(run, name, f"{len(there)} parts together", Step("mix", {}, digests), build, there)
    return replace(made, part=there[0].part, lineage=there[0].lineage)


def in_order(run: Run, stages: Sequence[Rows], epochs: Any, name: str) -> Rows:
    """Stage after stage, each shuffled anew for each of its epochs: what one training reads from first to last."""
    if not isinstance(epochs, int | float) or epochs != int(epochs):
        raise ConfigError(f"stages of {epochs} epochs cannot be laid end to end",
                          where=run.checked.file.where("train.args.num_train_epochs"),
                          mend="Give a whole number, or let the optimizer be reset")  # fmt: skip
    seed = derive(run.seed, "in_order", *(stage.part for stage in stages))

    def build() -> Examples:
        import numpy as np
        import pyarrow as pa

        draw, tables = np.random.default_rng(seed), list[Any]()
        for stage in stages:
            rows = stage.open()
            tables += [rows.take(draw.permutation(len(rows))).table for _ in range(int(epochs))]
        return Examples(pa.concat_tables(tables))

    digests = {f"stage {number}": stage.digest for number, stage in enumerate(stages)}
    step = Step("in_order", {"epochs": int(epochs)}, digests, seed)
    return _made(run, name, f"{len(stages)} stages, {int(epochs)} epochs each", step, build, stages, epochs)


def waits(run: Run, rows: Rows) -> bool:
    """Whether, in planning, the rows wait for a costly step and are only counted."""
    return run.steps.planning and not rows.file.exists()


def planned_portions(run: Run, section: Any, examples: Rows) -> list[Rows]:
    """In planning, portions of rows that are only counted: of equal size, and 4 of them where k would be proposed."""
    k = 4 if section.k == "auto" else section.k
    whole = {"rows": examples.count, "tokens": examples.tokens, "trained_tokens": examples.trained_tokens}
    each = [
        {name: total * (part + 1) // k - total * part // k for name, total in whole.items()}
        for part in range(k)
    ]
    step = Step("disperse", {"method": section.method, "k": k}, {"examples": examples.digest})
    artifact = run.steps.make("disperse", f"{section.method} into {k} portions", step, lambda claim: {}, heavy=True,
                              needs={"rows": examples.count})  # fmt: skip
    return [
        rows_of(f"portion {one}", artifact, f"portion-{one}.arrow", facts, str(one))
        for one, facts in enumerate(each)
    ]


def counted(examples: Examples) -> dict[str, int]:
    """What `rows_of` reads of a step's facts."""
    lengths_N, trained_N = examples.token_counts()
    return {"rows": len(examples), "tokens": int(lengths_N.sum()), "trained_tokens": int(trained_N.sum())}


def _made(
    run: Run,
    name: str,
    what: str,
    step: Step,
    build: Callable[[], Examples],
    of: Sequence[Rows],
    times: float = 1,
) -> Rows:
    """The rows that a step wrote; its seeds are its own, by its name.

    In planning rows that wait for a costly step are only counted: as those they are made `of`, so many `times`.
    """

    def write(claim: Claim) -> dict[str, int]:
        claim.empty()
        examples = build()
        examples.save(claim.output / FILE)
        return counted(examples)

    pending = any(waits(run, rows) for rows in of)
    guess = {
        "rows": round(times * sum(rows.count for rows in of)),
        "tokens": round(times * sum(rows.tokens for rows in of)),
        "trained_tokens": round(times * sum(rows.trained_tokens for rows in of)),
    }
    artifact = run.steps.make(name, what, step, write, heavy=pending, needs=guess if pending else {})
    return rows_of(name, artifact, FILE, artifact.facts, name)
