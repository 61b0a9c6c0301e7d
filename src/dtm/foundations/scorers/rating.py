"""By an LLM that rates: how complex the instruction is, or how good the response, from 1 to 6.

The two scores of Deita, Liu et al., "What Makes Good Data for Alignment?", arXiv:2312.15685. The paper has ChatGPT rank
variants of a row that it evolved, and trains a scorer on the ranks; here a language model rates each row by itself, in
words of ours: not the paper's scorer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dtm.foundations.llm import Request
from dtm.foundations.registry import registry
from dtm.foundations.scorers.asked import requests_of
from dtm.foundations.types import Examples

VERSION = 1  # of the prompt: part of the step's key
PROMPT = """You rate examples that a language model is to learn from. Read the instruction and the response to it.

Give two ratings from 1 to 6. Fractions are welcome.
- "complexity": how complex the instruction is: how many constraints, steps and fields of knowledge it takes.
- "quality": how good the response is: helpful, relevant, right, deep, and detailed where that is wanted.
Rate each by itself: a simple instruction may have an excellent response.

### Instruction
{instruction}

### Response
{response}

Answer with one JSON object alone, such as {{"complexity": 2.5, "quality": 4.0}}."""


class Rating(BaseModel):
    """A language model's two ratings."""

    model_config = ConfigDict(extra="forbid")
    complexity: float = Field(ge=1, le=6)
    quality: float = Field(ge=1, le=6)

    @property
    def numbers(self) -> tuple[float, float]:
        """As `rating` takes them."""
        return self.complexity, self.quality


def requests(examples_N: Examples) -> list[Request]:
    """One a row, in order; rules answer their task `rating`."""
    return requests_of(examples_N, PROMPT, Rating, "rating")


@registry("scorer").register("rating", paper="arXiv:2312.15685", needs=("rating",))
def rating(examples_N: Examples, *, rating: np.ndarray, of: Literal["complexity", "quality"]) -> np.ndarray:
    """One of the two ratings, float64 [N]; NaN where a row was not rated. `rating` is float64 [N, 2]."""
    return np.asarray(rating, np.float64)[:, 0 if of == "complexity" else 1]
