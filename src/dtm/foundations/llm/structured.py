"""Answers that are values: the JSON in a text, checked by a pydantic model or a JSON schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dtm.foundations.errors import MissingInput

Schema = Any  # a pydantic model's class, or a JSON schema as a mapping


class Invalid(Exception):
    """A text that holds no such value, with the reason."""


def json_schema(schema: Schema) -> dict[str, Any]:
    """The schema as JSON schema."""
    return dict(schema) if isinstance(schema, Mapping) else schema.model_json_schema()


def parse(schema: Schema, text: str, finish: str = "stop") -> Any:
    """The value that the text holds. Raises Invalid with a reason for people.

    Models put JSON between fences or behind a sentence: the first JSON object (or list) of the text is taken.
    """
    value = _json(text, finish)
    if isinstance(schema, Mapping):
        _check(schema, value)
        return value
    from pydantic import ValidationError

    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise Invalid(f"{place}: {first['msg']}") from None


def asked_for(schema: Schema) -> str:
    """A sentence that asks for such JSON, for backends that cannot hold a model to it."""
    return (
        f"Answer with JSON alone, which fits this schema: {json.dumps(json_schema(schema), sort_keys=True)}"
    )


def strict(schema: Mapping[str, Any]) -> bool:
    """Whether an endpoint can hold a model to it exactly: every object closed, and all its keys required."""
    if schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            return False
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [schema["items"]] if isinstance(schema.get("items"), Mapping) else []
    return all(strict(part) for part in parts)


def _json(text: str, finish: str) -> Any:
    decoder = json.JSONDecoder()
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    if not starts:
        raise Invalid("cut off at max_tokens" if finish == "length" else "there is no JSON in the answer")
    try:
        return decoder.raw_decode(text, min(starts))[0]
    except json.JSONDecodeError as error:
        cut = finish == "length" or error.pos >= len(text.rstrip())
        raise Invalid(
            "the JSON is cut off" + (" at max_tokens" if finish == "length" else "")
            if cut else f"the JSON is broken: {error.msg}"
        ) from None  # fmt: skip
    except RecursionError:
        raise Invalid("the JSON is nested too deeply") from None


def _check(schema: Mapping[str, Any], value: Any) -> None:
    try:
        import jsonschema
    except ImportError:
        raise MissingInput("checking answers by a JSON schema needs the package jsonschema", where="llm",
                           mend='Run `pip install "disperse-then-merge[llm]"`, or give a pydantic model'
                           ) from None  # fmt: skip
    validator = jsonschema.validators.validator_for(schema)(schema)
    error = next(iter(sorted(validator.iter_errors(value), key=lambda one: list(map(str, one.path)))), None)
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "the answer"
        raise Invalid(f"{place}: {error.message}")
