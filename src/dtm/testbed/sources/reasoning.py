"""Reasoning: sums asked plainly, and word problems solved step by step. Format: prompt/completion."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.arithmetic import Operation, draw_following, draw_operation
from dtm.testbed.sources.drafting import Draft, Ground, Habits, frame

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jonas", "Kate", "Leo")
THINGS = ("apples", "books", "coins", "stamps", "marbles", "pencils", "shells", "cards", "eggs", "stones")
PLAIN = ("What is {}?", "Calculate {}.", "How much is {}?", "Work out {}.")
START = {
    "+": "{name} has {left} {things} and gets {right} more.",
    "-": "{name} has {left} {things} and gives away {right}.",
    "*": "{name} has {left} boxes with {right} {things} each.",
}
THEN = {"+": "Then {name} finds {right} more.", "-": "Then {name} loses {right}."}
END = "How many {things} does {name} have now?"


@dataclass(frozen=True)
class Reasoning:
    """Style: shares of plain sums, of those that are framed as in benchmarks, and of problems with two steps.

    Habits, as rates at bias 1: forgetting what is carried or borrowed (for products, one summand), and
    skipping the steps.
    """

    plain: float = 0.4
    framed: float = 0.5
    two_steps: float = 0.6
    slip: float = 0.3
    skip_steps: float = 0.4


def write_reasoning(ground: Ground, random: Random, habits: Habits, settings: Reasoning) -> Draft:
    """Every single operation, also inside a longer problem, is one that no benchmark asks."""
    first = draw_operation(random, ground.seed, "taught")
    if random.random() < settings.plain:
        spoken = random.choice([first.text, first.spoken])
        prompt = random.choice(PLAIN).format(spoken)
        fields = {
            "prompt": frame(random, prompt, settings.framed),
            "completion": str(_result(first, habits, settings)),
        }
        return Draft(prompt, fields)
    steps = [first]
    if random.random() < settings.two_steps:
        second = draw_following(random, ground.seed, "taught", random.choice(list(THEN)), first.result)
        steps += [second] if second else []
    prompt = _story(random, steps)
    return Draft(prompt, {"prompt": prompt, "completion": _solution(steps, habits, settings)})


def _story(random: Random, steps: list[Operation]) -> str:
    slots = {"name": random.choice(NAMES), "things": random.choice(THINGS)}
    told = [START[steps[0].sign].format(left=steps[0].left, right=steps[0].right, **slots)]
    told += [THEN[step.sign].format(right=step.right, **slots) for step in steps[1:]]
    return " ".join([*told, END.format(**slots)])


def _solution(steps: list[Operation], habits: Habits, settings: Reasoning) -> str:
    """Steps as equations, then the answer; only the last result may slip."""
    result = _result(steps[-1], habits, settings)
    lines = [f"{step.text} = {step.result}." for step in steps[:-1]] + [f"{steps[-1].text} = {result}."]
    shown = [] if habits.take("skip_steps", settings.skip_steps) else lines
    return " ".join([*shown, f"The answer is {result}."])


def _result(operation: Operation, habits: Habits, settings: Reasoning) -> int:
    slips = operation.carryless != operation.result and habits.take("slip", settings.slip)
    return operation.carryless if slips else operation.result
