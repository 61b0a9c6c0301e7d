"""Small arithmetic: sums up to 198, differences of numbers below 100, and the times tables to 12."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.split import part_of_problem

WORDS = {"+": "plus", "-": "minus", "*": "times"}


@dataclass(frozen=True)
class Operation:
    """`left sign right` over whole numbers, with a result that is not negative."""

    left: int
    sign: str
    right: int

    @property
    def result(self) -> int:
        """The right result."""
        if self.sign == "+":
            return self.left + self.right
        return self.left - self.right if self.sign == "-" else self.left * self.right

    @property
    def key(self) -> str:
        """The same for `a + b` and `b + a`: knowing one is knowing the other."""
        left, right = self.left, self.right
        if self.sign != "-" and left > right:
            left, right = right, left
        return f"{left}{self.sign}{right}"

    @property
    def text(self) -> str:
        """As written in a calculation: `3 + 4`."""
        return f"{self.left} {self.sign} {self.right}"

    @property
    def spoken(self) -> str:
        """As written in a sentence: `3 plus 4`."""
        return f"{self.left} {WORDS[self.sign]} {self.right}"

    @property
    def carryless(self) -> int:
        """The result of one who forgets what is carried or borrowed; for `*`, one summand too few."""
        if self.sign == "*":
            return self.result - self.left
        tens = self.left // 10 + self.right // 10 if self.sign == "+" else self.left // 10 - self.right // 10
        ones = self.left + self.right if self.sign == "+" else self.left - self.right
        return tens * 10 + ones % 10


def draw_any(random: Random) -> Operation:
    """A random operation, of whatever part."""
    while True:
        sign = random.choice("+-*")
        operation = _draw(random, sign, random.randint(2, 12 if sign == "*" else 99))
        if operation is not None:
            return operation


def draw_operation(random: Random, seed: int, part: str) -> Operation:
    """A random operation whose key lies in that part."""
    while True:
        operation = draw_any(random)
        if part_of_problem(seed, operation.key) == part:
            return operation


def draw_following(random: Random, seed: int, part: str, sign: str, left: int) -> Operation | None:
    """A sum or difference that goes on from a result; None where a few tries find none in that part."""
    for _ in range(20):
        operation = _draw(random, sign, left)
        if operation is not None and part_of_problem(seed, operation.key) == part:
            return operation
    return None


def _draw(random: Random, sign: str, left: int) -> Operation | None:
    """An operation on that number; None where it is out of the range of its sign."""
    if sign == "*":
        return Operation(left, sign, random.randint(2, 12))
    if not 2 <= left <= 99:
        return None
    return Operation(left, sign, random.randint(2, 99) if sign == "+" else random.randint(1, left))
