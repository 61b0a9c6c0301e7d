"""Conversations: what a turn may say, whose turn it is, and why a row cannot be used.

A conversation is `system? (user assistant (tool+ assistant)*)+`. Content is kept exactly as the file
has it: no Unicode normalisation, no stripping.
"""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, str]  # role and content


class Unusable(Exception):
    """Why a row is dropped: `reason` is what the card counts, `detail` says where and what."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason} {detail}".rstrip())


ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
FOLLOWERS = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
CALLS = ("tool_calls", "function_call")
SPOKEN = frozenset({"role", "from", "content", "value", *CALLS})


def kind_of(value: Any) -> str:
    """A JSON value's type in words, for reasons."""
    words = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text",
             list: "a list", dict: "an object", bytes: "bytes"}  # fmt: skip
    return words.get(type(value), f"a {type(value).__name__}")


def turns_of(value: Any, column: str) -> tuple[list[Message], list[dict[str, Any]]]:
    """The turns of a chat list, and for each turn what else it said (`name`, ...)."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a CSV file
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable("wrong type", f"`{column}` is text that is no JSON list") from None
    if not isinstance(value, list):
        raise Unusable("wrong type", f"`{column}` is {kind_of(value)}, not a list of turns")
    turns = [turn(item, f"turn {number}") for number, item in enumerate(value, 1)]
    extras = [
        {key: item[key] for key in item if key not in SPOKEN and item[key] is not None} for item in value
    ]
    return turns, extras


def turn(item: Any, place: str) -> Message:
    """One turn, from `role/content` or `from/value`, with the role in our word for it."""
    if not isinstance(item, dict):
        raise Unusable("wrong type", f"{place} is {kind_of(item)}, not an object")
    said = item.get("role", item.get("from"))
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise Unusable("unknown role", f"{said!r} in {place}")
    if any(item.get(key) for key in CALLS):
        raise Unusable("tool calls", f"in {place}: only calls written as text can be trained on")
    if item.get("weight") == 0 or item.get("train") is False:
        raise Unusable("turn without loss", f"{place}: loss is on every answer of a row")
    return {"role": role, "content": text_of(item.get("content", item.get("value")), place)}


def text_of(value: Any, place: str) -> str:
    """Text from a string or a list of OpenAI content parts; null is empty text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if not isinstance(value, list):
        raise Unusable("wrong type", f"{place} is {kind_of(value)}, not text")
    parts = []
    for part in value:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            raise Unusable("not text", f"{place} holds a part of type {kind!r}")
        parts.append(text)
    return "".join(parts)


def conversation(turns: list[Message]) -> tuple[list[Message], list[Message]]:
    """The turns up to the last answer, and those cut off behind it; raises Unusable.

    A blank system turn says nothing and is left out. Running text is one turn of the role `text`.
    """
    if len(turns) == 1 and turns[0]["role"] == "text":
        check_content(turns[0])
        return turns, []
    if turns and turns[0]["role"] == "system" and not turns[0]["content"].strip():
        turns = turns[1:]
    before = None
    for number, message in enumerate(turns, 1):
        if message["role"] not in FOLLOWERS[before]:
            place = f"{before} at" if before else "the start at"
            raise Unusable("roles do not alternate", f"({message['role']} after {place} turn {number})")
        before = message["role"]
    end = len(turns)
    while end and turns[end - 1]["role"] != "assistant":
        end -= 1
    if not end:
        raise Unusable("no answer")
    for message in turns[:end]:
        check_content(message)
    return turns[:end], turns[end:]


def check_content(message: Message) -> None:
    """Raise Unusable for content that is blank or that no tokenizer or file can hold."""
    role, content = message["role"], message["content"]
    if role != "tool" and not content.strip():
        raise Unusable({"assistant": "empty answer", "user": "empty prompt"}.get(role, f"empty {role}"))
    if "\0" in content:  # it also separates fields in the canonical form behind an id
        raise Unusable("NUL character", f"in a {role} turn")
    if not content.isascii():
        try:
            content.encode()
        except UnicodeEncodeError:
            raise Unusable("not valid Unicode", f"in a {role} turn") from None
