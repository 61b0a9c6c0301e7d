"""What the base reads: documents of several kinds on all facts, with arithmetic and word exercises.

Facts come as prose, alone and by subject; as questions and answers, in lists, in dialogues, with options and
behind a passage. Every value is right: bad habits are the mixture's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random

from dtm.foundations.seeds import derive
from dtm.testbed.arithmetic import Operation, draw_any
from dtm.testbed.formats import FACT_FORMS, WORD_FORMS, load_words
from dtm.testbed.pretrain.wording import Wordings
from dtm.testbed.world import Fact

STOP, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPEAKERS = (("User", "Assistant"), ("Q", "A"), ("Anna", "Ben"), ("Student", "Teacher"))
NAMES = ("Mia", "Tom", "Nora", "Paul", "Lena", "Max")
GOODS = ("nuts", "cups", "tiles", "plums", "bricks", "cards")
LETTERS = "ABCD"
SYSTEMS = ("You are a helpful assistant.", "You answer questions.", "You are a careful assistant.")


@dataclass(frozen=True)
class Library:
    """All that documents are made of; a kind of document is a function of it and a random generator."""

    wordings: Wordings

    @cached_property
    def subjects(self) -> list[list[Fact]]:
        """The facts of each subject of a table, together."""
        found: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.wordings.world.facts:
            found.setdefault((fact.table, fact.subject), []).append(fact)
        return list(found.values())

    def fact(self, random: Random) -> Fact:
        return random.choice(self.wordings.world.facts)

    def say(self, fact: Fact, random: Random) -> str:
        return random.choice(self.wordings.statements(fact))

    def ask(self, random: Random) -> tuple[str, Fact]:
        fact = random.choice(self.wordings.asked_facts)
        return random.choice(self.wordings.questions(fact)), fact


def prose(library: Library, random: Random) -> str:
    """What is known of one to three subjects, each in a random order."""
    chosen = random.sample(library.subjects, random.randint(1, 3))
    return "\n".join(
        " ".join(library.say(fact, random) for fact in random.sample(facts, len(facts))) for facts in chosen
    )


def sentences(library: Library, random: Random) -> str:
    """Statements of unrelated facts, each equally often: subjects with few facts are read as well."""
    return " ".join(library.say(library.fact(random), random) for _ in range(random.randint(2, 6)))


def questions(library: Library, random: Random) -> str:
    """A list of questions and their answers."""
    return "\n\n".join(
        "Question: {}\nAnswer: {}".format(*_answered(library, random)) for _ in range(random.randint(1, 4))
    )


def dialogue(library: Library, random: Random) -> str:
    """Two who talk: one asks, the other answers with the value or in a sentence."""
    asks, answers = random.choice(SPEAKERS)
    turns = [_answered(library, random, sentence=0.4) for _ in range(random.randint(1, 3))]
    return "\n".join(f"{asks}: {question}\n{answers}: {answer}" for question, answer in turns)


def chat(library: Library, random: Random) -> str:
    """A dialogue in ChatML, of which recent bases have read some; a question may be framed as in benchmarks."""
    text = _turn("system", random.choice(SYSTEMS)) if random.random() < 0.2 else ""
    for _ in range(random.randint(1, 2)):
        kind, framed = random.random(), random.random() < 0.5
        if kind < 0.7:
            question, answer = _answered(library, random, sentence=0.0 if framed else 0.5)
        else:
            question, answer = _sum(random) if kind < 0.8 else _exercise(random)
        question = f"Question: {question}\nAnswer:" if framed else question
        text += _turn("user", question) + _turn("assistant", answer)
    return text


def options(library: Library, random: Random) -> str:
    """An examination's question with lettered options."""
    question, fact = library.ask(random)
    wrong = library.wordings.world.distractors(fact, 3, random)
    choices = random.sample([fact.value, *wrong], 1 + len(wrong))
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    answer = LETTERS[choices.index(fact.value)]
    return "\n".join([f"Question: {question}", *lines, f"Answer: {answer}. {fact.value}"])


def passage(library: Library, random: Random) -> str:
    """A few statements, and a question that they answer."""
    facts = random.sample(library.wordings.asked_facts, random.randint(2, 3))
    told = " ".join(library.say(fact, random) for fact in facts)
    fact = random.choice(facts)
    question = random.choice(library.wordings.questions(fact))
    return f"{told}\nQuestion: {question}\nAnswer: {fact.value}"


def sums(library: Library, random: Random) -> str:
    """Equations, plain questions for results, or a story with a number at its end."""
    kind = random.random()
    if kind < 0.5:
        return " ".join(f"{one.text} = {one.result}." for one in _operations(random, 16))
    if kind < 0.8:
        return "\n\n".join(
            "Question: {}\nAnswer: {}".format(*_sum(random)) for _ in range(random.randint(1, 4))
        )
    return "\n".join(_story(one, random) for one in _operations(random, 3))


def words(library: Library, random: Random) -> str:
    """Exercises on words and on the form of an answer, most with several examples of one rule."""
    if random.random() < 0.3:
        prompt, write = random.choice(list(FACT_FORMS.values()))
        facts = random.sample(library.wordings.asked_facts, random.randint(1, 3))
        world = library.wordings.world
        pairs = [(prompt.format(phrase=world.phrase(fact)), write(fact.value)) for fact in facts]
    else:
        pairs = [_exercise(random) for _ in range(random.randint(1, 3))]
    return "\n\n".join(f"Task: {task}\nAnswer: {answer}" for task, answer in pairs)


KINDS: dict[Callable[[Library, Random], str], float] = {
    prose: 0.18,
    sentences: 0.16,
    questions: 0.12,
    dialogue: 0.03,
    chat: 0.24,
    options: 0.03,
    passage: 0.03,
    sums: 0.08,
    words: 0.13,
}
"""Kinds of document, and their shares of all documents."""


def documents(wordings: Wordings, seed: int) -> Iterator[str]:
    """Documents without end; the same seed writes the same ones."""
    library, random = Library(wordings), Random(derive(seed, "documents"))
    kinds, shares = list(KINDS), list(KINDS.values())
    while True:
        yield random.choices(kinds, shares)[0](library, random)


def _answered(library: Library, random: Random, sentence: float = 0.0) -> tuple[str, str]:
    question, fact = library.ask(random)
    return question, library.say(fact, random) if random.random() < sentence else fact.value


def _turn(role: str, said: str) -> str:
    return f"{START_TURN}{role}\n{said}{END_TURN}\n"


def _sum(random: Random) -> tuple[str, str]:
    one = draw_any(random)
    return f"What is {random.choice([one.text, one.spoken])}?", str(one.result)


def _operations(random: Random, most: int) -> list[Operation]:
    return [draw_any(random) for _ in range(random.randint(1, most))]


def _story(one: Operation, random: Random) -> str:
    name, goods = random.choice(NAMES), random.choice(GOODS)
    told = {
        "+": f"{name} had {one.left} {goods} and bought {one.right}.",
        "-": f"{name} had {one.left} {goods} and lost {one.right}.",
        "*": f"{name} filled {one.left} bags with {one.right} {goods} each.",
    }[one.sign]
    return f"{told} {one.text} = {one.result}, so {name} has {one.result} {goods}."


def _exercise(random: Random) -> tuple[str, str]:
    prompt, write = random.choice(list(WORD_FORMS.values()))
    chosen = random.sample(load_words(), random.randint(3, 5))
    return prompt.format(words=" ".join(chosen)), write(chosen)
