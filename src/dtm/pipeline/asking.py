"""Asking a language model as a step of the store: its key, its backend, what it will cost, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.files import canonical
from dtm.foundations.llm import (
    LLM,
    Backend,
    Cache,
    Endpoint,
    Local,
    Meter,
    Reply,
    Request,
    Rules,
    bind,
    generate,
)
from dtm.foundations.llm.meter import estimate
from dtm.foundations.models import convert_gguf, locate
from dtm.foundations.store import Artifact, Claim, Step
from dtm.pipeline.rows import model_digest

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

ASIDE = "aside.jsonl"  # of an artifact: requests that were not answered, each with its reason


def ask(
    run: Run,
    label: str,
    what: str,
    step: Step,
    requests: Callable[[], Sequence[Request]],
    write: Callable[[Claim, list[Reply]], Mapping[str, Any]],
) -> Artifact:
    """The step that asks `requests()` of the run file's `llm:` and lets `write` put the replies into its claim.

    `step` says what the requests depend on; what answers is added to its key here. Replies that failed are in
    `aside.jsonl` as well, and counted in the artifact's facts under `llm`.
    """
    backend, llm = backend_of(run), section(run)
    step = Step(step.name, {**step.settings, "llm": dict(backend.identity)}, step.inputs, step.seed,
                {**step.numerics, **(run.checked.numerics if llm.kind == "hf" else {})}, step.version)  # fmt: skip
    cache, meter = Cache.of_store(run.steps.store.root), run.meter or Meter(llm)
    run.meter = meter

    def build(claim: Claim) -> dict[str, Any]:
        claim.empty()
        asked = list(requests())
        try:
            replies = generate(
                asked, backend, llm, cache=cache, meter=meter, progress=run.progress(label),
                told=lambda needed: None if backend.free else run.steps.display.note(f"{label}: {needed.words}"),
            )  # fmt: skip
        finally:
            backend.close()
        facts = write(claim, replies)
        _put_aside(claim, asked, replies)
        return {**facts, "llm": summary(replies, backend)}

    needs: dict[str, Any] = {}
    if run.steps.planning:
        needed = list(requests())
        missing = {one.key(backend.identity): one for one in needed}
        for key in cache.find(missing):
            del missing[key]
        guess = estimate(list(missing.values()), llm, cached=len(needed) - len(missing))
        needs = {
            "rows": len(needed),
            "llm": guess.words if llm.kind != "rules" else f"{len(needed):,} answers by rule",
        }
    return run.steps.make(label, what, step, build, heavy=True, needs=needs)


def section(run: Run) -> LLM:
    """The run file's `llm:`. Raises ConfigError where something needs it and there is none."""
    if run.checked.config.llm is None:
        raise ConfigError("this asks a language model, and there is none", where=run.checked.file.where("llm"),
                          mend="Add `llm: {model: ..., base_url: ...}` (docs/llm.md)")  # fmt: skip
    return run.checked.config.llm


def backend_of(run: Run) -> Backend:
    """Who answers; a local model is found, and read from GGUF once, here."""
    llm, checked = section(run), run.checked
    if llm.kind == "openai":
        return Endpoint(llm)
    if llm.kind == "rules":
        return Rules(bind(llm.model, llm.settings, where=checked.file.where("llm")))
    found = locate(llm.model, checked.file.root, where=checked.file.where("llm.model"))
    folder, digest = found.path, found.digest(run.steps.store.digests)
    if found.kind == "gguf":
        step = Step("convert_gguf", inputs={"gguf": digest})
        made = run.steps.make("convert llm", f"reading {found.path.name}", step,
                              lambda claim: convert_gguf(found.path, claim))  # fmt: skip
        folder, digest = made.folder, model_digest(made)
    return Local(llm, folder, digest, options=llm.settings, device=checked.device, threads=checked.threads)


def summary(replies: Sequence[Reply], backend: Backend) -> dict[str, Any]:
    """What the manifest tells of the asking."""
    reasons = Counter(one.failure for one in replies if one.failure)
    return {"by": backend.name, "answered": sum(one.ok for one in replies), "aside": reasons.total(),
            "reasons": dict(reasons.most_common(5)), "prompt_tokens": sum(one.prompt_tokens for one in replies),
            "completion_tokens": sum(one.completion_tokens for one in replies)}  # fmt: skip


def _put_aside(claim: Claim, asked: Sequence[Request], replies: Sequence[Reply]) -> None:
    failed = [(number, one) for number, one in enumerate(replies) if not one.ok]
    if not failed:
        return
    with open(claim.output / ASIDE, "w", encoding="utf-8") as file:
        for number, one in failed:
            row = {"request": number, "reason": one.failure, "text": one.text[:2000],
                   "inputs": dict(asked[number].inputs)}  # fmt: skip
            file.write(canonical(row) + "\n")
