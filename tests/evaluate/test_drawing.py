"""Drawn answers against the plain definition, and against themselves in other company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, MistralConfig

from dtm.evaluate.drawing import Drawing, draw
from dtm.evaluate.reading import can_be_read
from tests.evaluate.test_reading import KINDS, SIZES, made

PROMPTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [1, 2, 3, 4]]
NUMBERS = [np.random.default_rng(row).random(8) for row in range(8)]


def plain(logits, number, temperature, top_p, top_k):
    """By the definition, in numpy: sort, cut, cumulate, and see where the number falls."""
    shares = np.exp(np.float64(logits) / temperature)
    order = np.argsort(-shares, kind="stable")
    shares = shares[order] / shares.sum()
    kept = top_k if top_k else len(shares)
    if top_p < 1:
        kept = min(kept, int(np.searchsorted(np.cumsum(shares), top_p)) + 1)
    shares = shares[:kept] / shares[:kept].sum()
    return int(order[np.searchsorted(np.cumsum(shares), number, side="right")])


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(1, 1, 0), (0.7, 0.8, 0), (2, 1, 5), (1, 0.9, 3)]
)
def test_a_token_is_where_its_number_falls(temperature, top_p, top_k):
    random = np.random.default_rng(0)
    logits, numbers = random.normal(size=(200, 30)).astype(np.float32), random.random(200)
    found = Drawing(temperature, top_p, top_k).tokens(torch.from_numpy(logits), numbers)
    assert found == [plain(*one, temperature, top_p, top_k) for one in zip(logits, numbers, strict=True)]
    assert len(set(found)) > 5


def test_numbers_spread_evenly_draw_each_token_as_often_as_its_share():
    logits = torch.tensor([[2.0, 0.0, 1.0, -3.0]]).expand(1000, 4)
    found = np.bincount(Drawing().tokens(logits, (np.arange(1000) + 0.5) / 1000), minlength=4)
    assert found.tolist() == pytest.approx((logits[0].softmax(-1) * 1000).tolist(), abs=1)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_answer_is_the_same_alone_and_in_company(name):
    model = made(KINDS[name], torch.float64)
    ends, drawing = set(range(0, 60, 7)), Drawing(0.9)
    found = draw(model, PROMPTS, 2, NUMBERS, 8, ends, drawing)
    for row, (prompt, numbers) in enumerate(
        zip([one for one in PROMPTS for _ in range(2)], NUMBERS, strict=True)
    ):
        text = list(prompt)
        for number in numbers:
            with torch.no_grad():
                logits = model(torch.tensor([text])).logits[0, -1].float().numpy()
            text.append(plain(logits, number, 0.9, 1, 0))
            if text[-1] in ends:
                break
        assert found[row] == text[len(prompt) :]
    lengths = {len(one) for one in found}
    assert len(lengths) > 1
    assert found == [one for place, prompt in enumerate(PROMPTS)
                     for one in draw(model, [prompt], 2, NUMBERS[2 * place :][:2], 8, ends, drawing)]  # fmt: skip


def test_a_model_with_a_window_answers_by_generate_as_without_one():
    wide = made(MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=64), torch.float64)
    other = made(LlamaConfig(**SIZES, num_key_value_heads=2), torch.float64)
    other.load_state_dict(wide.state_dict())
    assert not can_be_read(wide)
    assert can_be_read(other)
    ends, drawing = set(range(0, 60, 7)), Drawing(0.8, 0.95)
    assert draw(wide, PROMPTS, 2, NUMBERS, 8, ends, drawing) == draw(
        other, PROMPTS, 2, NUMBERS, 8, ends, drawing
    )
