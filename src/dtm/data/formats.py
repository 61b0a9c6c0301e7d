"""The shapes that rows of instruction data have, one small function each.

A format takes a row (a JSON object) to turns. `detect` looks at keys only, and the first format
that fits wins, in the order below. Adding a format is one function with its decorator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtm.data.turns import Message, Unusable, conversation, kind_of, turns_of
from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import unknown

Row = Mapping[str, Any]

ANSWERS = ("output", "response", "completion", "answer")
QUESTIONS = ("question", "query")
SYSTEMS = ("system", "system_prompt")
CONVERSATIONS = ("conversations", "conversation")
COLUMNS = ("instruction", "input", "response", "system", "messages", "text")
PREFERENCES = ("chosen", "rejected")


@dataclass(frozen=True)
class Mapped:
    """A row's turns, the columns they were made of, and notes of ours that go into `meta.dtm`."""

    turns: list[Message]
    used: Iterable[str]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """How to know rows of a kind, and how to read one."""

    name: str
    detect: Callable[[Row], bool]
    read: Callable[[Row], Mapped]

    def convert(self, row: Any) -> tuple[list[Message], dict[str, Any]]:
        """Messages and meta of one row; raises Unusable with the reason."""
        if not isinstance(row, dict):
            raise Unusable("not an object", f"but {kind_of(row)}")
        mapped = self.read(row)
        meta = {key: row[key] for key in row if key not in mapped.used and row[key] is not None}
        messages, cut = conversation(mapped.turns)
        notes = {**mapped.notes, "cut_turns": cut} if cut else mapped.notes
        if notes:
            meta["dtm"] = notes
        return messages, meta


FORMATS: dict[str, Format] = {}


def reader(name: str, detect: Callable[[Row], bool]) -> Callable[[Callable[[Row], Mapped]], Format]:
    """Decorator: register a function as the format `name`."""

    def add(read: Callable[[Row], Mapped]) -> Format:
        FORMATS[name] = Format(name, detect, read)
        return FORMATS[name]

    return add


def detect(rows: Iterable[Any]) -> Format | None:
    """The format of most of these rows, or None where no row has a known one."""
    fits = (
        next((one for one in FORMATS.values() if one.detect(row)), None)
        for row in rows
        if isinstance(row, dict)
    )
    votes = Counter(one.name for one in fits if one)
    return FORMATS[votes.most_common(1)[0][0]] if votes else None


def named(value: str | Mapping[str, str], *, where: str) -> Format:
    """The format that a run file asks for: a name, or columns by what they hold."""
    if isinstance(value, str):
        if value not in FORMATS:
            raise unknown("data format", value, FORMATS, where=where)
        return FORMATS[value]
    return columns(value, where=where)


@reader("preference", lambda row: all(key in row for key in PREFERENCES))
def preference(row: Row) -> Mapped:
    raise _preference()


@reader("messages", lambda row: isinstance(row.get("messages"), list | str))
def messages(row: Row) -> Mapped:
    return _chat(row, "messages")


@reader("sharegpt", lambda row: any(isinstance(row.get(key), list | str) for key in CONVERSATIONS))
def sharegpt(row: Row) -> Mapped:
    return _chat(row, _first(row, CONVERSATIONS) or CONVERSATIONS[0])


def _texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)


@reader("ultrachat", lambda row: _texts(row.get("data")))
def ultrachat(row: Row) -> Mapped:
    """`data`: texts in turn, the user's first."""
    texts = row.get("data")
    if not isinstance(texts, list):
        raise Unusable("wrong type", f"`data` is {kind_of(texts)}, not a list of texts")
    said = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]
    return Mapped(turns_of(said, "data")[0], ("data",))


@reader("dolly", lambda row: all(key in row for key in ("instruction", "context", "response")))
def dolly(row: Row) -> Mapped:
    return _pair(row, "instruction", ("response",), "context")


@reader("alpaca", lambda row: "instruction" in row and _has(row, ANSWERS))
def alpaca(row: Row) -> Mapped:
    """`history`, where there is one, holds earlier [user, assistant] pairs."""
    mapped = _pair(row, "instruction", ANSWERS, "input")
    history = row.get("history")
    if not history:
        return mapped
    if not isinstance(history, list) or not all(isinstance(two, list) and len(two) == 2 for two in history):
        raise Unusable("wrong type", "`history` is not a list of [user, assistant] pairs")
    said = [{"role": role, "content": text} for two in history
            for role, text in zip(("user", "assistant"), two, strict=True)]  # fmt: skip
    system, rest = mapped.turns[:-2], mapped.turns[-2:]
    return Mapped([*system, *turns_of(said, "history")[0], *rest], (*mapped.used, "history"))


@reader("prompt_completion", lambda row: "prompt" in row and _has(row, ANSWERS))
def prompt_completion(row: Row) -> Mapped:
    """Texts, or chat lists as in TRL: the completion's turns follow the prompt's."""
    answer = _first(row, ANSWERS)
    if not isinstance(row.get("prompt"), list) and not (answer and isinstance(row[answer], list)):
        return _pair(row, "prompt", ANSWERS)
    turns: list[Message] = []
    used = ("prompt", answer or ANSWERS[0])
    for column, role in zip(used, ("user", "assistant"), strict=True):
        value = row.get(column)
        turns += turns_of(value if isinstance(value, list) else [{"role": role, "content": value}], column)[0]
    return Mapped(*_with_system(row, turns, used))


@reader("question_answer", lambda row: _has(row, QUESTIONS) and _has(row, ANSWERS))
def question_answer(row: Row) -> Mapped:
    return _pair(row, _first(row, QUESTIONS) or QUESTIONS[0], ANSWERS)


@reader("text", lambda row: isinstance(row.get("text"), str))
def text(row: Row) -> Mapped:
    """Running text: one message with the role `text`."""
    return Mapped([{"role": "text", "content": _text(row, "text", "no text")}], ("text",))


def columns(mapping: Mapping[str, str], *, where: str) -> Format:
    """A format from `{instruction: column, response: column, input: column, system: column}`.

    Or `{messages: column}`, or `{text: column}`. A dotted name goes down into lists and objects:
    `data.0`, `answers.text.0`. Raises ConfigError or MethodError.
    """
    for key, column in mapping.items():
        if key not in COLUMNS:
            raise unknown("part of a row", str(key), COLUMNS, where=where)
        if not isinstance(column, str):
            raise ConfigError(f"{column!r} is not the name of a column", where=f"{where}.{key}")
    alone = set(mapping) & {"messages", "text"}
    if len(mapping) > 1 if alone else not {"instruction", "response"} <= set(mapping):
        mend = "Give `instruction` and `response`, or `messages` or `text` alone"
        raise ConfigError(f"{dict(mapping)} does not say which columns make a row", where=where, mend=mend)

    def read(row: Row) -> Mapped:
        parts = {key: _reach(row, column) for key, column in mapping.items()}
        mapped = FORMATS[shape].read(parts)
        return Mapped(mapped.turns, mapping.values(), mapped.notes)

    shape = alone.pop() if alone else "alpaca"
    needed = [mapping[key] for key in (("instruction", "response") if shape == "alpaca" else (shape,))]
    return Format("columns", lambda row: all(_reach(row, column) is not None for column in needed), read)


def _reach(row: Row, column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _first(row: Row, names: Iterable[str]) -> str | None:
    for name in names:  # a generator would take twice the time, in the busiest place
        if row.get(name) is not None:
            return name
    return None


def _has(row: Row, names: Iterable[str]) -> bool:
    return any(name in row for name in names)


def _text(row: Row, column: str, missing: str) -> str:
    value = row.get(column)
    if value is None:
        raise _preference() if _has(row, PREFERENCES) else Unusable(missing, f"(no `{column}`)")
    if not isinstance(value, str):
        raise Unusable("wrong type", f"`{column}` is {kind_of(value)}, not text")
    return value


def _pair(row: Row, question: str, answers: tuple[str, ...], extra: str | None = None) -> Mapped:
    """One question and one answer; what the question is about follows it after an empty line."""
    answer = _first(row, answers) or answers[0]
    reply = _text(row, answer, "no answer")
    used: tuple[str, ...] = (question, answer)
    about = row.get(extra) if extra else None
    if extra and about is not None:
        about, used = _text(row, extra, ""), (*used, extra)
    asked = "" if about and row.get(question) is None else _text(row, question, "no prompt")
    asked = "\n\n".join(part for part in (asked, about) if part and part.strip()) if about else asked
    turns: list[Message] = [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
    return Mapped(*_with_system(row, turns, used))


def _chat(row: Row, column: str) -> Mapped:
    if row.get(column) is None:
        raise _preference() if _has(row, PREFERENCES) else Unusable("no turns", f"(no `{column}`)")
    turns, extras = turns_of(row[column], column)
    notes = {"turn_fields": extras} if any(extras) else {}
    return Mapped(*_with_system(row, turns, (column,)), notes)


def _with_system(
    row: Row, turns: list[Message], used: tuple[str, ...]
) -> tuple[list[Message], tuple[str, ...]]:
    """Put the row's own system column before turns that bring none."""
    column = _first(row, SYSTEMS)
    if column is None or (turns and turns[0]["role"] == "system"):
        return turns, used
    return [{"role": "system", "content": _text(row, column, "")}, *turns], (*used, column)


def _preference() -> Unusable:
    return Unusable("preference data", "(chosen/rejected): it is for DPO, not for instruction tuning")


def fitting(rows: list[Any], asked: Format | None, *, where: str) -> Format:
    """The format of a file with these first rows: the one asked for, or detected; raises ConfigError."""
    keys = sorted({key for row in rows if isinstance(row, dict) for key in row})
    shown = ", ".join(keys[:20]) or "none, for its rows are no objects"
    found = asked or detect(rows)
    if found is None:
        what = f"no known format has the columns of its rows: {shown}"
        mend = "Say which they are, as in `format: {instruction: column, response: column}`"
    elif asked and not any(isinstance(row, dict) and asked.detect(row) for row in rows):
        what = f"its rows are not of the format {asked.name!r}; their columns: {shown}"
        mend = "Correct `format`, or leave it out to have it detected"
    elif found.name == "preference":
        what = "its rows are preference data (chosen/rejected), which is for DPO"
        mend = "To train on one side, say `format: {instruction: prompt, response: chosen}`"
    else:
        return found
    raise ConfigError(what, where=where, mend=mend)
