"""By an LLM that judges: how hard the instruction is in itself, and how hard it is to get from it to the response.

Pang et al., "Phased Instruction Fine-Tuning for Large Language Models", arXiv:2406.04371: scores from 1 to 5, fractions
among them, on these two dimensions, after AlpacaGasus (arXiv:2307.08701). The wording of the prompt is ours; how the
paper joins the two dimensions is not verified: here they are averaged with equal weight unless `weight` says otherwise.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dtm.foundations.llm import Request
from dtm.foundations.registry import registry
from dtm.foundations.scorers.asked import requests_of
from dtm.foundations.settings import Fraction
from dtm.foundations.types import Examples

VERSION = 1  # of the prompt: part of the step's key
PROMPT = """You grade tasks for a language model by how hard they are. Read the instruction and the response to it.

Give two grades from 1 (a child could do it at once) to 5 (an expert has to think hard). Fractions are welcome.
- "instruction": how hard the instruction is in itself: how much it asks for, and how much one has to know to see what.
- "response": how hard it is to get from the instruction to this very response: how many steps, how much skill.
Grade the difficulty and not the quality: a poor response to an easy instruction is still easy.

### Instruction
{instruction}

### Response
{response}

Answer with one JSON object alone, such as {{"instruction": 1.5, "response": 2.0}}."""


class Difficulty(BaseModel):
    """A judge's two grades."""

    model_config = ConfigDict(extra="forbid")
    instruction: float = Field(ge=1, le=5)
    response: float = Field(ge=1, le=5)

    @property
    def numbers(self) -> tuple[float, float]:
        """As `judge` takes them."""
        return self.instruction, self.response


def requests(examples_N: Examples) -> list[Request]:
    """One a row, in order; rules answer their task `difficulty`."""
    return requests_of(examples_N, PROMPT, Difficulty, "difficulty")


@registry("scorer").register("judge", paper="arXiv:2406.04371", needs=("judge",))
def judge(examples_N: Examples, *, judge: np.ndarray, weight: Fraction = 0.5) -> np.ndarray:
    """Weighted mean of the grades for instruction (`weight`) and response, float64 [N]; NaN where a row was not graded.

    `judge` is float64 [N, 2].
    """
    grades_N2 = np.asarray(judge, np.float64)
    return weight * grades_N2[:, 0] + (1 - weight) * grades_N2[:, 1]
