"""The command line: verbs, no logic. Heavy packages are imported by the verb that needs them."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("TYPER_USE_RICH", "0")  # rich costs 0.1 s of CPU on every --help

import typer

from dtm import upkeep

INTERRUPTED = 130

app = typer.Typer(
    name="dtm",
    help="Instruction tuning as disperse, train, merge - measured against every honest alternative.\n\n"
    "Start with `dtm run FILE`; `dtm schema` shows what a run file may say.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(help="A run file (YAML); see `dtm schema`.", metavar="FILE")]
Setting = Annotated[
    list[str],
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a key: -s train.args.learning_rate=1e-4"),
]
RunFolder = Annotated[str, typer.Argument(help="A run's output_dir, a folder or a URL.", metavar="RUN")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON on standard output, nothing else.")]


@app.command()
def run(
    file: File,
    settings: Setting = [],  # noqa: B006 - typer's way to say "none"
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and why, and train nothing.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="With --dry-run: train 5 steps to measure the speed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Disperse, train, merge, evaluate, report. A run that was stopped goes on from where it was."""
    _run(file, settings, "evaluate", dry_run or probe, probe, as_json)


@app.command()
def disperse(file: File, settings: Setting = [], as_json: Json = False) -> None:  # noqa: B006
    """Read the data and split it into portions, and stop there."""
    _run(file, settings, "disperse", False, False, as_json)


@app.command()
def train(file: File, settings: Setting = [], as_json: Json = False) -> None:  # noqa: B006
    """Disperse and train the sub-models, and stop there."""
    _run(file, settings, "train", False, False, as_json)


@app.command()
def evaluate(file: File, settings: Setting = [], as_json: Json = False) -> None:  # noqa: B006
    """The whole run; what is trained and merged already is reused, so this evaluates."""
    _run(file, settings, "evaluate", False, False, as_json)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A study file (YAML); see docs/study.md.", metavar="FILE")],
    settings: Setting = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print arms x seeds x grid, time and tokens; train nothing.")
    ] = False,
    only: Annotated[
        list[str], typer.Option("--only", metavar="ARM", help="Run this arm alone; may be said again.")
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Arms x seeds over one store, to one table with statistics. A study that was stopped goes on."""
    from dtm.study import read
    from dtm.study import study as run_study
    from dtm.study.terminal import show

    command, parsed = shlex.join(["dtm", *sys.argv[1:]]), read(file, settings)
    results = run_study(parsed, only=only, dry_run=dry_run, quiet=as_json, command=command)
    if as_json:
        typer.echo(json.dumps(results, indent=2, sort_keys=True))
    else:
        show(results, parsed.output_url or parsed.output_dir)
    if not dry_run and any(arm["failures"] for arm in results["arms"]):
        raise typer.Exit(1)


@app.command()
def merge(
    file: Annotated[Path, typer.Argument(help="A merge file, ours or mergekit's.", metavar="FILE")],
    out: Annotated[Path, typer.Argument(help="A new folder for the merged model.", metavar="OUT")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, write nothing.")
    ] = False,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Also measure how the updates lie to one another.")
    ] = False,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Go on over NaN and infinity in the weights.")
    ] = False,
    hash_inputs: Annotated[
        bool, typer.Option("--hash", help="Tell the sha256 of every input in the model's card.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where methods of whole matrices decompose them: auto, cpu, cuda.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="As many as there are cores by default.")] = None,
    as_json: Json = False,
) -> None:
    """Merge models or adapters as a merge file says, without a run."""
    from dtm.pipeline.merging import merge_file, show

    facts = merge_file(file, out, dry_run=dry_run, inspect=inspect, allow_nonfinite=allow_nonfinite,
                       threads=threads, hash_inputs=hash_inputs, device=device, quiet=as_json)  # fmt: skip
    typer.echo(json.dumps(facts, indent=2, sort_keys=True) if as_json else show(facts, out))


@app.command()
def extend(
    run_folder: RunFolder,
    data: Annotated[list[str], typer.Argument(help="Data files to add.", metavar="[DATA]...")] = [],  # noqa: B006
    remove: Annotated[
        Path | None, typer.Option(metavar="IDS.txt", help="A file of row ids to take out of the data.")
    ] = None,
    new: Annotated[str, typer.Option(help="New rows `join` the portions, or form a `portion`.")] = "join",
    output_dir: Annotated[
        str | None, typer.Option(help="A new folder or URL; RUN-extended by default.")
    ] = None,
    settings: Setting = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and why, and train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run again with more data or less: known rows stay in their portions, and only changed sub-models train."""
    from dtm.pipeline.extending import extend as extend_run

    command = shlex.join(["dtm", *sys.argv[1:]])
    results = extend_run(run_folder, data, remove=remove, new=new, output_dir=output_dir, settings=settings,
                         dry_run=dry_run, quiet=as_json, command=command)  # fmt: skip
    if as_json:
        typer.echo(json.dumps(results, indent=2, sort_keys=True))
    else:
        _show(results, dry_run)


@app.command()
def attribute(
    run_folder: RunFolder,
    as_json: Json = False,
) -> None:
    """Which portion costs or helps which benchmark: merge again without each, and score. Nothing trains."""
    from rich.console import Console

    from dtm.pipeline.attribute import attribute as attribute_run
    from dtm.pipeline.attribute import show

    result = attribute_run(run_folder, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(result, indent=2, sort_keys=True))
    else:
        show(result, Console(highlight=False))


@app.command()
def agreement(
    splits: Annotated[
        list[str], typer.Argument(help="Run folders, or CSV files of id and portion.", metavar="RUN RUN...")
    ],
    as_json: Json = False,
) -> None:
    """How far the splits of two or more runs agree: adjusted Rand index and mutual information, pair by pair."""
    from rich.console import Console

    from dtm.pipeline.agreeing import agreement as agree
    from dtm.pipeline.agreeing import show

    found = agree(splits)
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        show(found, Console(highlight=False))


@app.command()
def report(
    run_folder: Annotated[
        str, typer.Argument(help="A run's or a study's output_dir, a folder or a URL.", metavar="RUN")
    ],
) -> None:
    """Write report.html again from a run's results.json or a study's study.json."""
    from dtm.foundations.errors import MissingInput
    from dtm.foundations.files import read_json
    from dtm.pipeline.mirroring import give_back, here

    folder = here(run_folder)
    if (folder / "study.json").exists():
        from dtm.study import render as render_study

        page = render_study(read_json(folder / "study.json"), folder)
    else:
        from dtm.report import render

        if not (folder / "results.json").exists():
            raise MissingInput("there is no results.json", where=run_folder, mend="`dtm run FILE` makes it")
        page = render(read_json(folder / "results.json"), folder)
    give_back(run_folder, page.name)
    typer.echo(f"{run_folder.rstrip('/')}/{page.name}")


@app.command()
def status(
    run_folder: Annotated[
        str, typer.Argument(help="The output_dir of a run or study, a path or URL.", metavar="RUN")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """What a run has done and does: stages, sub-models, speed, time left; of a study, its runs.

    Exit code 1: it failed, or was stopped.
    """
    from rich.console import Console

    from dtm.pipeline import watching
    from dtm.pipeline.status import ok
    from dtm.study.status import STUDY, is_study

    console = Console(highlight=False)
    try:
        kind = STUDY if is_study(run_folder) else watching.RUN
        if watch:
            found = (watching.lines if as_json else watching.watch)(run_folder, console, kind)
        else:
            found = kind.look(run_folder)
            if as_json:
                typer.echo(json.dumps(found, indent=2))
            else:
                console.print(kind.view(found))
    except KeyboardInterrupt:
        os._exit(
            INTERRUPTED
        )  # only the watching ends: nothing of the run was stopped, and nothing is to be said
    raise typer.Exit(0 if ok(found) else 1)


for verb in upkeep.VERBS:
    app.command()(verb)


def _run(file: Path, settings: list[str], until: str, dry_run: bool, probe: bool, as_json: bool) -> None:
    from dtm.pipeline import run as run_pipeline

    command = shlex.join(["dtm", *sys.argv[1:]])
    results = run_pipeline(
        file, settings, until=until, dry_run=dry_run, probe=probe, quiet=as_json, command=command
    )
    if as_json:
        typer.echo(json.dumps(results, indent=2, sort_keys=True))
        return
    _show(results, dry_run)


def _show(results: dict[str, Any], dry_run: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if dry_run:
        from dtm.pipeline.plan import show

        show(results, console)
        return
    from dtm.report.portions_table import portions_table
    from dtm.report.terminal import table

    if results["portions"]:
        console.print(portions_table(results))
    if results["results"]["scores"]:
        console.print(table(results))
    for sentence in results["statement"]:
        console.print(sentence, soft_wrap=True, markup=False)
    place = results["run"]["config"]["output_dir"].rstrip("/")
    console.print(f"\nreport: {place}/report.html", soft_wrap=True, markup=False)


def main() -> None:
    """Entry point: a user's error is one paragraph and exit code 2; Ctrl-C says how to go on."""
    from dtm.foundations.errors import DtmError

    try:
        app(standalone_mode=True)
    except DtmError as error:
        typer.echo(f"dtm: {error.message}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT):
            raise
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(
            f"dtm: {place}{error.strerror}. What was done is kept; the same command goes on from here.",
            err=True,
        )
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as left:  # typer turns Ctrl-C into a silent exit with 130
        if isinstance(left, SystemExit) and left.code != INTERRUPTED:
            raise
        from dtm.foundations.launch import signals

        command = shlex.join(["dtm", *sys.argv[1:]])
        typer.echo(
            f"dtm: stopped; what was done is kept, and the same command goes on from here: {command}",
            err=True,
        )
        sys.exit(128 + signals.received())
    except MemoryError:
        from dtm.foundations.launch.memory import MEND

        typer.echo(f"dtm: out of memory, outside of the workers. {MEND}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
