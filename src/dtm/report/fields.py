"""Fields of a JSON schema, each with its description; all but `required` ones may be null."""

from __future__ import annotations

from typing import Any


def field(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], "description": description, **more}


def text(description: str, **more: Any) -> dict[str, Any]:
    return field("string", description, **more)


def number(description: str, **more: Any) -> dict[str, Any]:
    return field("number", description, **more)


def count(description: str) -> dict[str, Any]:
    return field("integer", description, minimum=0)


def flag(description: str) -> dict[str, Any]:
    return field("boolean", description)


def required(description: str, **more: Any) -> dict[str, Any]:
    """Text that must be there."""
    return {"type": "string", "description": description, **more}


def items(description: str, each: dict[str, Any]) -> dict[str, Any]:
    return field("array", description, items=each)


def record(description: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An object; the fields made by `required` are required, further fields are allowed."""
    properties = properties or {}
    needed = [name for name, one in properties.items() if one["type"] == "string"]
    return field("object", description, properties=properties, required=needed, **more)


def row(properties: dict[str, Any]) -> dict[str, Any]:
    return {**record("", properties), "type": "object"}


LOW, HIGH = number("lower end of the 95% interval"), number("upper end of the 95% interval")
PROMPT = text("how items were put to the model", enum=["raw", "chat", None])
