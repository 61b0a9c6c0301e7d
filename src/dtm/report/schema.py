"""What `results.json` holds: the documented JSON Schema (draft 2020-12), and a small check against it.

Every field but `format` may be missing or null, so that a run that was not evaluated, or stopped early,
still has results and a page. `docs/results_json.md` is `documentation()`, made from the descriptions below.
"""

from __future__ import annotations

import math
from typing import Any

from dtm.foundations.errors import DataError, DtmError, several
from dtm.report.fields import HIGH as _HIGH
from dtm.report.fields import LOW as _LOW
from dtm.report.fields import PROMPT as _PROMPT
from dtm.report.fields import count as _count
from dtm.report.fields import field as _field
from dtm.report.fields import flag as _flag
from dtm.report.fields import items as _list
from dtm.report.fields import number as _number
from dtm.report.fields import record as _object
from dtm.report.fields import required as _name
from dtm.report.fields import row as _row
from dtm.report.fields import text as _text
from dtm.report.merging_schema import ATTRIBUTION, INSPECTION, LOW_RANK, SEARCH
from dtm.report.preference_schema import AUGMENTED, PREFERENCE
from dtm.report.split_schema import CONTAMINATION, CURATION, SPLIT

FORMAT = 1
WORDS = {"object": "an object", "array": "a list", "string": "text", "number": "a number",
         "integer": "a whole number", "boolean": "true or false", "null": "null"}  # fmt: skip


RESULTS_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "results.json of dtm",
    "description": "what a run did and what came out",
    "type": "object",
    "required": ["format"],
    "properties": {
        "format": {"const": FORMAT, "type": "integer", "description": "version of this structure"},
        "run": _object("what was run", {
            "name": _text("name of the run: its folder"),
            "recipe": _text("name of the recipe"),
            "base": _text("base model: hub id, folder or file"),
            "seed": _field("integer", "root seed: all other seeds are derived from it"),
            "k": _count("number of portions and sub-models"),
            "command": _text("command line that started the run"),
            "dtm": _text("version of dtm"),
            "versions": _object("version of each package whose arithmetic shows in the results"),
            "config": _object("run file with all defaults filled in"),
            "config_text": _text("run file as YAML"),
            "threads": _count("CPU threads a worker"),
            "workers": _count("worker processes"),
            "device": _text("kind of device"),
        }),
        "statement": _list("what is shown and what is not, in plain sentences", {"type": "string"}),
        "results": _object(
            "the deterministic block", {
            "models": _list("every model that was scored or trained", _row({
                "name": _name("`base`, `merged`, `submodel-0`, the name of a recipe, or `NAME@STEP`, a checkpoint"),
                "role": _name("its part in this run", enum=["base", "baseline", "submodel", "checkpoint", "merged"]),
                "tokens": _count("trained tokens (those with loss) spent to make it, its parts included"),
                "steps": _count("optimiser steps spent to make it, its parts included"),
                "digest": _text("sha256 of the checkpoint's content"),
                "parts": _count("of a model that has none of its own weights: the models that answer for it"),
                "share": _number("of a checkpoint: share of its training's optimiser steps", minimum=0, maximum=1),
            })),
            "tasks": _list("what was evaluated, once for each prompt format", _row({
                "name": _name("name of the task"),
                "kind": _text("how it is scored: `multiple_choice`, `exact_match`, ..."),
                "format": _PROMPT,
                "metric": _text("its primary metric"),
                "n": _count("items"),
                "chance": _number("expected score of guessing, in the metric's unit"),
                "source": _text("file or data set that the items come from"),
            })),
            "scores": _list("one row a model, task, format and metric", _row({
                "model": _name("name of the model"),
                "task": _name("name of the task"),
                "format": _PROMPT,
                "metric": _name("`acc`, `exact_match`, ...; shares are in [0, 1]"),
                "value": _number("the score"),
                "n": _count("items"),
                "low": _LOW,
                "high": _HIGH,
                "primary": _flag("whether this is the task's primary metric"),
            })),
            "comparisons": _list("paired comparisons: both models answered the same items", _row({
                "task": _name("name of the task"),
                "format": _PROMPT,
                "metric": _name("the metric compared"),
                "a": _name("name of a model"),
                "b": _name("name of the model it is compared with"),
                "difference": _number("score of `a` minus score of `b`"),
                "low": _LOW,
                "high": _HIGH,
                "p": _number("two-sided p of the paired test (McNemar's exact test for 0/1 items)",
                             minimum=0, maximum=1),
                "p_holm": _number("p after Holm's correction over all comparisons of the run",
                                  minimum=0, maximum=1),
                "only_a": _count("items that only `a` got right"),
                "only_b": _count("items that only `b` got right"),
                "n": _count("items"),
            })),
            "heldout": _list("loss on rows kept from training", _row({
                "model": _name("name of the model"),
                "source": _name("source of the rows, or `all`"),
                "loss": _number("mean negative log-likelihood of a response token, nats"),
                "low": _LOW,
                "high": _HIGH,
                "rows": _count("rows"),
                "tokens": _count("response tokens"),
            })),
            "dev": _list("with `evaluate.dev`, scores on what choices are made on", _row({
                "model": _name("name of the model"),
                "metric": _text("what the score is"),
                "score": _number("mean over the dev tasks, or without any minus the held-out loss"),
                "tasks": _object("score on each dev task"),
                "loss": _number("held-out loss, nats a token, where there are no dev tasks"),
            })),
            "choices": _list("what recipes chose on dev, in order", _row({
                "for": _name("name of the recipe"),
                "on": _text("what was looked at: never test items", enum=["dev", None]),
                "metric": _text("what the scores are; more is better"),
                "candidates": _list("what could be chosen", _row({
                    "name": _name("name of the model"),
                    "score": _number("its score"),
                })),
                "chosen": _text("name of the candidate that was taken"),
            })),
        }),
        "data": _object("what was read and what was kept", {
            "read": _count("rows read"),
            "kept": _count("rows kept"),
            "train": _count("those that were trained on"),
            "dev": _count("those held out"),
            "sources": _list("one row a source", _row({
                "source": _name("name of the source"),
                "read": _count("rows read"),
                "kept": _count("rows kept"),
                "dropped": _count("rows not used, duplicates among them"),
                "duplicates": _count("exact duplicates of an earlier row"),
                "tokens": _count("tokens in the kept rows"),
                "trained_tokens": _count("those that carry loss"),
                "license": _text("licence as the run file states it"),
            })),
            "reasons": _list("why rows were not used", _row({
                "reason": _name("the reason"),
                "count": _count("rows"),
                "examples": _list("the first of them", _row({
                    "file": _name("file"),
                    "line": _count("line or row number, from 1"),
                })),
            })),
            "contamination": CONTAMINATION,
            "curation": CURATION,
        }),
        "portions": _list("the portions of the data, one for each sub-model", _row({
            "index": _count("number of the portion, from 0"),
            "rows": _count("rows"),
            "copied": _count("those that are another portion's own (`overlap`)"),
            "replayed": _count("those that every portion has (`replay`)"),
            "tokens": _count("tokens"),
            "trained_tokens": _count("those that carry loss"),
            "sources": _object("rows of each source"),
            "terms": _list("most typical terms, the most typical first", {"type": "string"}),
            "examples": _list("a few rows", _row({
                "instruction": _text("what was asked, cut"),
                "response": _text("what was answered, cut"),
            })),
        })),
        "split": SPLIT,
        "growing": _object("what became of portions that were kept (`disperse.keep`); null where none were", {
            "kept": _count("rows that stay where they were"),
            "joined": _count("rows that are new"),
            "left": _count("rows of the kept portions that are not in the training data any more"),
            "removed": _count("rows that `remove` took out of the data, those kept for dev among them"),
            "gone": _list("numbers of the kept portions of which no row is left", {"type": "integer"}),
            "replayed": _object("rows that every portion has", {
                "kept": _count("rows that stay"),
                "joined": _count("rows that are new: of the families of others"),
                "left": _count("rows that are gone"),
            }),
            "portions": _list("one row a portion", _row({
                "portion": _count("number of the portion, from 0"),
                "was": _count("its number in the run before; null: formed of new rows"),
                "kept": _count("rows that stay"),
                "joined": _count("rows that are new"),
                "left": _count("rows that are gone"),
                "copies_joined": _count("copies of other portions' rows that are new"),
                "copies_left": _count("copies that are gone"),
                "submodel": _text("whether its sub-model was trained again", enum=["reused", "trained", None]),
            })),
        }),
        "dropped": _list("sub-models that failed and that the merge does without (`on_failure: drop`)", _row({
            "submodel": _name("name of the sub-model"),
            "portion": _count("number of its portion, from 0"),
            "rows": _count("rows of that portion, which the merge has learnt nothing of"),
            "trained_tokens": _count("those of its tokens that carry loss"),
            "digest": _text("sha256 of those rows as they were given to training"),
            "reason": _name("what ended it"),
        })),
        "curves": _list("training curve of each trained model", _row({
            "model": _name("name of the model"),
            "points": _list("one row a logged step", _row({
                "step": _count("optimiser step"),
                "epoch": _number("passes over the model's data"),
                "loss": _number("mean training loss since the last point, nats a token; null: not finite"),
                "learning_rate": _number("learning rate"),
                "grad_norm": _number("norm of the gradient before clipping"),
                "tokens": _count("tokens seen so far"),
            })),
        })),
        "merge": _object("how the sub-models were merged; further facts of the engine may follow", {
            "method": _text("merge method"),
            "settings": _object("its settings"),
            "weights": _list("weight of each sub-model, in order", {"type": ["number", "null"]}),
            "space": _text("`weight` (exact updates) or `adapter` (average of the factors)"),
            "export": _text("`model` or `adapter`"),
            "paper": _text("source of the method"),
            "inputs": _object("sha256 of each file that was merged, by what it is"),
            "low_rank": LOW_RANK,
            "inspection": INSPECTION,
            "search": SEARCH,
        }),
        "attribution": ATTRIBUTION,
        "augmented": AUGMENTED,
        "preference": PREFERENCE,
        "stages": _list("what the run did, in order", _row({
            "name": _name("name of the stage"),
            "what": _text("the stage in a few words"),
            "seconds": _number("wall-clock time when the work was done", minimum=0),
            "tokens": _count("tokens worked through"),
            "steps": _count("optimiser steps"),
            "reused": _flag("whether the result came from the store"),
        })),
    },
}  # fmt: skip


def validate(results: Any) -> None:
    """Check results against RESULTS_SCHEMA; raises one DataError that names every fault by its place."""
    found = faults(results, RESULTS_SCHEMA)
    if found:
        errors: list[DtmError] = [DataError(what, where=place or None) for place, what in found[:20]]
        more = f" (the first 20 of {len(found)})" if len(found) > 20 else ""
        mend = "Was it written by another version of dtm? Make it again with `dtm run`"
        raise DataError(several(errors).message, where=f"results.json{more}", mend=mend)


def faults(value: Any, schema: dict[str, Any], place: str = "") -> list[tuple[str, str]]:
    """Where (`results.scores[3].low`) and how a value breaks a schema of RESULTS_SCHEMA's keywords."""
    kinds = schema.get("type", list(WORDS))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(_is(value, kind) for kind in kinds):
        wanted = " or ".join(WORDS[kind] for kind in kinds)
        return [(place, f"{_short(value)} is not {wanted}")]
    if "const" in schema and value != schema["const"]:
        return [(place, f"{_short(value)} is not {schema['const']!r}")]
    if "enum" in schema and value not in schema["enum"]:
        return [(place, f"{_short(value)} is not one of {', '.join(map(repr, schema['enum']))}")]
    found = []
    if isinstance(value, dict):
        found += [(place, f"`{name}` is missing") for name in schema.get("required", ()) if name not in value]
        for name, field in schema.get("properties", {}).items():
            if name in value:
                found += faults(value[name], field, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += faults(item, schema.get("items", {}), f"{place}[{index}]")
    elif _is(value, "number") and (
        value < schema.get("minimum", value) or value > schema.get("maximum", value)
    ):
        found.append((place, f"{value!r} is out of range"))
    return found


def complete(value: Any, schema: dict[str, Any] = RESULTS_SCHEMA) -> Any:
    """A copy with every known field: missing lists and objects empty, missing or non-finite scalars None.

    So the code that draws a page never asks whether a section exists.
    """
    kinds = schema.get("type", ())
    if "object" in kinds:
        known = schema.get("properties", {})
        value = value or {}
        rest = {name: _finite(item) for name, item in value.items() if name not in known}
        return {**{name: complete(value.get(name), field) for name, field in known.items()}, **rest}
    if "array" in kinds:
        return [complete(item, schema["items"]) for item in value or ()]
    return _finite(value)


def documentation() -> str:
    """The schema as Markdown: a heading for each object, a table row for each field."""
    lines = [
        "# results.json",
        "",
        "<!-- Made by `documentation()` of src/dtm/report/schema.py: edit that file. -->",
        "",
        "Every run writes `results.json` into its folder (UTF-8, keys sorted), and `dtm report RUN` draws",
        "`report.html` from it. Fields marked * are always there; others may be missing or null, and readers",
        "must accept fields that they do not know. The block `results` is deterministic: the same bytes for",
        "the same seed, threads, processes, device kind and package versions. Seconds, and nats for losses.",
        "",
        "The machine-readable form is `dtm.report.RESULTS_SCHEMA` (JSON Schema, draft 2020-12);",
        "`dtm.report.validate(results)` checks a dictionary against it.",
    ]
    _describe(RESULTS_SCHEMA, "", lines)
    return "\n".join(lines) + "\n"


def _describe(schema: dict[str, Any], path: str, lines: list[str]) -> None:
    fields = schema["properties"]
    required = schema.get("required", ())
    title = [f"## `{path}`", "", _sentence(schema["description"])] if path else ["## Top level"]
    lines += ["", *title, "", "| field | type | what it is |", "|---|---|---|"]
    for name, field in fields.items():
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        kind = next(kind for kind in kinds if kind != "null")
        choices = [f"`{choice}`" for choice in field.get("enum", ()) if choice is not None]
        text = field["description"] + (f": {', '.join(choices)}" if choices else "")
        lines.append(f"| `{name}`{'*' if name in required else ''} | {kind} | {text} |")
    for name, field in fields.items():
        inner = field.get("items", field)
        if inner.get("properties"):
            place = f"{path}.{name}".lstrip(".") + ("[]" if "items" in field else "")
            _describe({**inner, "description": field["description"]}, place, lines)


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return not isinstance(value, bool) and (
            whole if kind == "integer" else isinstance(value, int | float)
        )
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, types[kind])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
