"""The verbs of the command line beside runs: what there is, what a store holds, what to paste into a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")]


def methods(
    kind: Annotated[str, typer.Argument(help="recipe, disperse, merge, embedder, ...")] = "",
    as_json: Json = False,
) -> None:
    """The methods that run files can name, with their settings and papers."""
    from dtm.catalogue import catalogue, show

    found = catalogue(kind or None)
    typer.echo(json.dumps(found, indent=2, default=str) if as_json else show(found))


def gc(
    store: Annotated[
        str, typer.Argument(help="The store's folder or URL.", metavar="STORE")
    ] = "runs/.dtm-store",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
) -> None:
    """Free what no run folder names any more."""
    from dtm.pipeline.collect import collect

    typer.echo(collect(store, dry_run=dry_run))


def verify(
    store: Annotated[Path, typer.Argument(help="The store's folder.", metavar="STORE")] = Path(
        "runs/.dtm-store"
    ),
) -> None:
    """Read every byte of a store against its sha256; what is damaged is put aside, and the next run makes it again."""
    from dtm.pipeline.collect import verify as verify_store

    text, damaged = verify_store(store)
    typer.echo(text)
    if damaged:
        raise typer.Exit(1)


def schema() -> None:
    """The JSON schema of a run file."""
    from dtm.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def env() -> None:
    """Versions, cores, memory and GPUs: what to paste into a bug report."""
    from dtm.catalogue import environment

    typer.echo(json.dumps(environment(), indent=2))


def testbed(
    out: Annotated[Path, typer.Argument(help="Where to write it.", metavar="OUT")],
    rows: Annotated[int, typer.Option(help="Rows of the instruction mixture.")] = 3000,
    seed: Annotated[int, typer.Option(help="Redraws split, phrasings and order.")] = 0,
    bias: Annotated[float, typer.Option(help="Strength of the sources' bad habits, 0 to 1.")] = 1.0,
    taught: Annotated[float, typer.Option(help="Share of the facts that the mixture asks about.")] = 0.5,
    settings: Annotated[
        list[str],
        typer.Option(
            "-s", "--set", metavar="SOURCE.SETTING=VALUE", help="-s quiz.right_first=0 -s quiz.share=0.2"
        ),
    ] = [],  # noqa: B006
) -> None:
    """Write the testbed: an instruction mixture about a small world of facts, benchmarks, and a base that knows it."""
    from dtm.testbed import generate
    from dtm.testbed.plan import read_settings

    changes, shares = read_settings(settings)
    made = generate(out, rows=rows, seed=seed, bias=bias, taught=taught, settings=changes, shares=shares)
    typer.echo(f"{made.rows:,} rows about {made.facts['taught']:,} taught facts in {out}")


VERBS = (methods, gc, verify, schema, env, testbed)
