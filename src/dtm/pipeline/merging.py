"""`dtm merge FILE OUT`: the merge engine with a bar, and what it did in a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dtm.pipeline.display import Display, duration, size


def merge_file(
    file: Path,
    out: Path,
    *,
    dry_run: bool = False,
    inspect: bool = False,
    allow_nonfinite: bool = False,
    threads: int | None = None,
    hash_inputs: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Carry out or plan a merge file, with a bar on standard error unless `quiet`; returns its facts.

    What `inspect` measures stands in the folder as inspection.json and, drawn, as inspection.html.

    Raises DtmError for all that a user can mend.
    """
    from dtm.merge.command import run

    display = Display(quiet=quiet)
    label = out.name
    if not dry_run:
        display.start(label, "merging")
    try:
        facts = run(
            file, out, dry_run=dry_run, inspect=inspect, allow_nonfinite=allow_nonfinite, threads=threads,
            hash_inputs=hash_inputs, device=device, progress=lambda done, total: display.update(label, done, total),
        )  # fmt: skip
    finally:
        display.close()
    if "inspection" in facts:
        from dtm.report import render_inspection

        render_inspection(facts, out)
    return facts


def show(facts: dict[str, Any], out: Path) -> str:
    """The facts of a merge, or of its plan, for people."""
    passes = "1 pass" if facts["passes"] == 1 else f"{facts['passes']} passes"
    lines = [
        f"{facts['method']} of {len(facts['models'])} models: {facts['parameters']:,} parameters in "
        f"{facts['tensors']} tensors, {facts['unchanged']} of them unchanged",
        f"{size(facts['bytes_in'])} in, in {passes}; {size(facts['bytes_out'])} out: {', '.join(facts['files'])}",
    ]
    for method, tensors in sorted(facts["fallbacks"].items()):
        lines.append(
            f"{len(tensors)} tensors that {facts['method']} cannot treat: {method}, such as {tensors[0]}"
        )
    if facts["untied"]:
        lines.append("input and output embeddings become two tensors")
    if missed := facts.get("low_rank"):
        lines.append(f"relative error of the merged adapters' sum: {missed['relative_error']:.3g}, at most "
                     f"{missed['worst']['relative_error']:.3g}, in {missed['worst']['tensor']}")  # fmt: skip
    lines += [f"note: {note}" for note in facts["notes"]]
    if facts["dry_run"]:
        return "\n".join([*lines, "nothing was written"])
    if "inspection" in facts:
        lines += _overall(facts["inspection"]["overall"])
        lines.append(f"inspection: {out / 'inspection.html'}, and the numbers in inspection.json")
    return "\n".join([*lines, f"{out}, in {duration(facts['seconds'])}"])


def _overall(whole: dict[str, Any] | None) -> list[str]:
    if whole is None:
        return ["no tensor was changed"]
    shares = ", ".join(f"{share:.0%}" for share in whole["shares"] or [])
    conflict = f"signs in conflict: {whole['sign_conflict']:.1%} of the values"
    return [f"shares in the result: {shares}; {conflict}" if shares else conflict]
