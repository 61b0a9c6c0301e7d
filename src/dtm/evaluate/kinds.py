"""The kinds of benchmark rows that we read without a network, each as a registered function of one row.

A kind turns a row into an `Item`: texts to score, or a prompt to answer. Its keyword-only arguments are
what an entry of the run file may set. `keys` are the columns by which `kind: auto` knows it. Raise the
version of a kind when its prompt or its scoring changes: results of other versions are not reused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dtm.foundations.answers import number_in
from dtm.foundations.errors import DtmError
from dtm.foundations.instructions import bind
from dtm.foundations.registry import Bound, Method, registry
from dtm.foundations.seeds import derive

kinds = registry("task")

Row = Mapping[str, Any]
ANSWER = "\nAnswer:"


class BadRow(ValueError):
    """A row that cannot be used; the text is the reason."""


@dataclass(frozen=True)
class Item:
    """One question in the form that all kinds share.

    `contexts` and `continuations` are paired, a single one standing for all; without continuations the
    model generates until one of `stops`, at most `max_tokens` tokens, and `answers` are accepted.
    """

    row: int  # place in the file, from 0
    contexts: tuple[str, ...]
    continuations: tuple[str, ...] = ()
    gold: int = 0  # index of the right pair
    answers: tuple[str, ...] = ()
    exact: bool = False  # compare answers as they stand, not normalised
    worked: str = ""  # what stands behind the right context when the item is an example
    group: str = ""  # items of a group get examples of that group
    preamble: str = ""  # stands before the examples
    stops: tuple[str, ...] = ()
    max_tokens: int = 0
    instructions: tuple[Bound, ...] = field(default=(), hash=False)  # in place of answers: what to follow
    other: Item | None = field(default=None, hash=False)  # of a pair: the second item, which is answered too

    @property
    def context(self) -> str:
        """The right context."""
        return self.contexts[self.gold] if len(self.contexts) > 1 else self.contexts[0]

    @property
    def choices(self) -> int:
        """How many answers are compared; 1 or 0 where nothing is chosen."""
        return max(len(self.contexts), len(self.continuations))


@kinds.register(
    "multiple_choice", keys=("query", "choices", "gold"), metrics=("acc", "acc_norm"), answer="choices"
)
def multiple_choice(row: Row, place: int, *, suffix: str | None = None) -> Item:
    """The likeliest of several answers (ARC, PIQA, OpenBookQA).

    `suffix` follows each query. By default a query that starts with "Question:" gets "Answer:" on a line
    of its own, as these benchmarks are scored elsewhere, and any other is continued as it stands.
    `acc_norm` divides log likelihoods by the answer's length in characters.
    """
    query, choices = text(row, "query"), texts(row, "choices", at_least=2)
    if suffix is None:
        suffix = ANSWER if query.startswith("Question:") and not query.rstrip().endswith("Answer:") else ""
    gold = index(row, "gold", len(choices))
    return Item(place, (query.rstrip() + suffix,), choices, gold, worked=choices[gold])


@kinds.register(
    "lettered_choice",
    keys=("question", "choices", "answer"),
    metrics=("acc",),
    answer="choices",
)
def lettered_choice(row: Row, place: int) -> Item:
    """The likeliest letter after a list of answers (MMLU, Hendrycks et al. 2021)."""
    choices, subject = texts(row, "choices", at_least=2), row.get("subject") or ""
    if len(choices) > 26:
        raise BadRow(f"{len(choices)} choices are more than there are letters")
    letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)])
    lines = [f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True)]
    about = f" about {subject.replace('_', ' ')}" if subject else ""
    gold = index(row, "answer", len(choices))
    return Item(
        place,
        ("\n".join([text(row, "question").strip(), *lines]) + ANSWER,),
        letters,
        gold,
        worked=letters[gold],
        group=subject,
        preamble=f"The following are multiple choice questions (with answers){about}.\n\n",
    )


@kinds.register(
    "schema", keys=("context_options", "continuation", "gold"), metrics=("acc",), answer="choices"
)
def schema(row: Row, place: int) -> Item:
    """Which of several contexts makes one continuation likeliest (WinoGrande, scored partially)."""
    contexts, continuation = texts(row, "context_options", at_least=2), text(row, "continuation")
    return Item(
        place, contexts, (continuation,), index(row, "gold", len(contexts)), worked=continuation.lstrip(" ")
    )


@kinds.register(
    "continuation", keys=("context", "continuation"), metrics=("acc", "loglikelihood"), answer="continuation"
)
def continuation(row: Row, place: int, *, suffix: str = "") -> Item:
    """Whether the greedy continuation is the expected one, and its log likelihood (LAMBADA, Jeopardy).

    `suffix` follows each context: Jeopardy is commonly asked with "\\nAnswer:".
    """
    expected = text(row, "continuation")
    return Item(place, (text(row, "context") + suffix,), (expected,), worked=expected.lstrip(" "))


@kinds.register("exact_match", keys=("context", "answer"), metrics=("exact_match",), answer="generate")
def exact_match(
    row: Row,
    place: int,
    *,
    suffix: str = "",
    case_sensitive: bool = False,
    max_tokens: int = 32,
    stop: Literal["line", "paragraph"] = "line",
) -> Item:
    """Whether the greedy answer, to the end of its line, is one of those accepted (TriviaQA, our own).

    Case, punctuation, articles and spaces do not count (the normalisation of SQuAD), unless the entry
    says `case_sensitive` or the row `"match": "exact"`: then only surrounding spaces do not. `aliases`
    may be left out; a row or an entry may say `stop: paragraph` for answers of several lines.
    """
    answers = (text(row, "answer"), *(texts(row, "aliases") if row.get("aliases") else ()))
    match = row.get("match", "normalised")
    if match not in ("normalised", "exact"):
        raise BadRow(f"`match` is {match!r}, not 'exact' or 'normalised'")
    if row.get("stop", stop) not in ("line", "paragraph"):
        raise BadRow(f"`stop` is {row['stop']!r}, not 'line' or 'paragraph'")
    stops = ("\n",) if row.get("stop", stop) == "line" else ("\n\n",)
    return Item(
        place,
        (text(row, "context") + suffix,),
        answers=tuple(dict.fromkeys(answers)),
        exact=case_sensitive or match == "exact",
        worked=answers[0],
        stops=stops,
        max_tokens=max_tokens,
    )


@kinds.register(
    "number",
    keys=("context", "chain_of_thought", "answer"),
    metrics=("exact_match",),
    answer="generate",
)
def number(row: Row, place: int, *, max_tokens: int = 256) -> Item:
    """Whether the last number of the greedy answer is the right one (GSM8K, SVAMP)."""
    answer = text(row, "answer")
    if number_in(answer) is None:
        raise BadRow(f"the answer {answer!r} holds no number")
    steps = re.sub(r"<<[^<>]*>>", "", text(row, "chain_of_thought"))  # GSM8K's calculator marks
    return Item(
        place,
        (f"Question: {text(row, 'context').strip()}{ANSWER}",),
        answers=(answer,),
        worked=f"{steps.strip()}\nThe answer is {answer}.",
        stops=("\nQuestion:", "Question:"),
        max_tokens=max_tokens,
    )


@kinds.register(
    "truthfulqa_mc1",
    keys=("Question", "Best Answer", "Correct Answers", "Incorrect Answers"),
    metrics=("acc",),
    answer="choices",
)
def truthfulqa_mc1(row: Row, place: int) -> Item:
    """Whether the best answer is likelier than all false ones (TruthfulQA MC1, Lin et al. 2022).

    Asked without the six questions that the authors put before it, so figures differ from theirs. The
    best answer's place is drawn from the question, so that a tie does not always go its way.
    """
    best, question = text(row, "Best Answer").strip(), text(row, "Question").strip()
    false = [part.strip() for part in text(row, "Incorrect Answers").split(";") if part.strip()]
    if not false:
        raise BadRow("there are no incorrect answers")
    gold = derive(0, "truthfulqa_mc1", question) % (len(false) + 1)
    choices = (*false[:gold], best, *false[gold:])
    return Item(place, (f"Q: {question}\nA:",), choices, gold, worked=best)


@kinds.register(
    "ifeval",
    keys=("prompt", "instruction_id_list", "kwargs"),
    metrics=("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose"),
    answer="generate",
    examples=False,
    version=2,
)
def ifeval(row: Row, place: int, *, max_tokens: int = 1280) -> Item:
    """Whether the greedy response follows all instructions, checked by rule (IFEval, Zhou et al. 2023).

    `prompt_*`: all of them; `instruction_*`: the share of the prompt's, whose mean over prompts is not the mean over
    all instructions that the paper gives. Strict: as it stands; loose: also without its first or last line, or its
    asterisks.
    """
    names = texts(row, "instruction_id_list", at_least=1)
    settings = row.get("kwargs")
    if not isinstance(settings, list) or not all(isinstance(one, dict) for one in settings):
        raise BadRow("`kwargs` is no list of mappings")
    if len(settings) != len(names):
        raise BadRow(f"there are {len(names)} instructions, and settings of {len(settings)}")
    try:
        bound = tuple(bind(name, own) for name, own in zip(names, settings, strict=True))
    except DtmError as error:
        raise BadRow(str(error)) from None
    return Item(place, (text(row, "prompt"),), instructions=bound, max_tokens=max_tokens)


REFUSED = {
    "humaneval": (
        ("task_id", "prompt", "entry_point", "test"),
        "it runs the code that a model writes, and that is off",
    ),
}


def detect(row: Row) -> Method | None:
    """The kind whose columns a row has, the one with most columns winning; None where there is none."""
    fitting = [kind for kind in kinds.values() if set(kind.properties["keys"]) <= row.keys()]
    return max(fitting, key=lambda kind: len(kind.properties["keys"]), default=None)


def text(row: Row, key: str) -> str:
    """A column that must hold text with something in it."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow(f"`{key}` is missing" if value is None else f"`{key}` is {value!r:.60}, not text")
    return _usable(str(value), f"`{key}`")


def texts(row: Row, key: str, *, at_least: int = 0) -> tuple[str, ...]:
    """A column that must hold a list of texts."""
    values = row.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRow(
            f"`{key}` is missing" if values is None else f"`{key}` is {values!r:.60}, not a list of texts"
        )
    if len(values) < at_least:
        raise BadRow(f"`{key}` holds {len(values)}, and at least {at_least} are needed")
    return tuple(_usable(value, f"an entry of `{key}`") for value in values)


def index(row: Row, key: str, count: int) -> int:
    """A column that must hold the place, from 0, of one of `count` things."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRow(
            f"`{key}` is missing" if value is None else f"`{key}` is {value!r:.60}, not a whole number"
        )
    if not 0 <= value < count:
        raise BadRow(f"`{key}` is {value}, but there are {count} choices, counted from 0")
    return value


def _usable(value: str, what: str) -> str:
    if not value.strip():
        raise BadRow(f"{what} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{what} holds half a surrogate pair, which is no text") from None
    return value
