"""Reading what prompts share once against reading each prompt whole, for models of several kinds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen3Config,
)

from dtm.evaluate.ensemble import Ensemble
from dtm.evaluate.reading import LEAST, Reading, can_be_read, choices, greedy

V = 60
SIZES = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": 128, "initializer_range": 0.3}  # fmt: skip
KINDS = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    "gpt2": GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.3),
    "neox": GPTNeoXConfig(**SIZES),
    "bloom, which takes no positions": BloomConfig(vocab_size=V, hidden_size=32, n_layer=2, n_head=4,
                                                   initializer_range=0.3),
}  # fmt: skip
SHOTS = [7 * n % V for n in range(1, LEAST + 5)]
PROMPTS = [[*SHOTS, 3, 4, 5], [*SHOTS, 9], [*SHOTS, 3, 4, 8, 1, 2], [*SHOTS, 11, 12]]


def made(config, dtype=torch.float32):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).eval().to(dtype)
    model.generation_config.update(eos_token_id=None, pad_token_id=0, bos_token_id=None)
    return model


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return made(KINDS[request.param])


def logs(model, ids):
    """Log probabilities [T, V] of what follows each token of one sequence, read whole."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


def score(model, context, continuation):
    at = logs(model, [*context, *continuation])[len(context) - 1 : -1]
    said = torch.tensor(continuation)
    return float(at.gather(1, said[:, None]).sum()), bool((at.argmax(-1) == said).all())


@pytest.mark.parametrize(
    "contexts", [PROMPTS, [[1], [5, 6, 7, 2], [9, 9]], [SHOTS]], ids=["shots", "none", "one"]
)
def test_choices_are_what_each_sequence_alone_gives(model, contexts):
    best = [int(logs(model, context)[-1].argmax()) for context in contexts]
    several = [[4], [5, 6, 7], [8, 3]]
    continuations = [[*several[: 3 - n % 2], [first], [first, 3]] for n, first in enumerate(best)]
    found = choices(model, contexts, continuations)
    expected = [score(model, context, one) for context, several in zip(contexts, continuations, strict=True)
                for one in several]  # fmt: skip
    assert [said for _, said in found] == [said for _, said in expected]
    assert any(said for _, said in found)
    assert not all(said for _, said in found)
    assert [log for log, _ in found] == pytest.approx([log for log, _ in expected], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    "prompts", [PROMPTS, [prompt[len(SHOTS) :] for prompt in PROMPTS]], ids=["shots", "none"]
)
def test_greedy_says_what_transformers_says_to_each_prompt_alone(model, prompts):
    alone = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        said = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        alone.append(said[0, len(prompt) :].tolist())
    assert len({tuple(said) for said in alone}) > 1
    assert greedy(model, prompts, 12, set(), lambda tokens: False) == alone
    end = alone[0][2]  # ends some answers early and not all, so that the batch shrinks
    expected = [said[: said.index(end) + 1] if end in said else said for said in alone]
    assert greedy(model, prompts, 12, {end}, lambda tokens: False) == expected
    assert greedy(model, prompts, 12, set(), lambda tokens: tokens[-1] == end) == expected


def test_an_answer_leaves_the_batch_and_the_others_go_on_as_before():
    one = made(KINDS["llama"])
    prompts = [[n, n + 1] for n in range(1, 9)]
    alone = [greedy(one, [prompt], 10, set(), lambda tokens: False)[0] for prompt in prompts]
    lengths = {tuple(said): n + 1 for n, said in enumerate(alone)}  # the first answer ends first, and so on
    assert len(lengths) == 8

    def stopped(tokens):
        return any(tuple(said[: len(tokens)]) == tuple(tokens) and len(tokens) == lengths[tuple(said)]
                   for said in alone)  # fmt: skip

    found = greedy(one, prompts, 10, set(), stopped)
    for said, whole in zip(found, alone, strict=True):
        assert said == whole[: len(said)]
        assert stopped(said)


def test_the_shared_beginning_is_read_once(monkeypatch):
    one, widths = made(KINDS["llama"]), []
    forward = one.forward

    def counted(*arguments, **settings):
        widths.append(tuple(settings["input_ids"].shape))
        return forward(*arguments, **settings)

    counted.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(one, "forward", counted)
    Reading(one, PROMPTS)
    assert widths == [(1, len(SHOTS)), (4, 5)]
    widths.clear()
    Reading(one, [SHOTS, SHOTS])  # the last token is each prompt's own
    assert widths == [(1, len(SHOTS) - 1), (2, 1)]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_prompts_and_continuations(data):
    one = made(KINDS["llama"], torch.float64)
    tokens = st.integers(0, V - 1)
    start = data.draw(st.sampled_from([[], SHOTS]))
    contexts = [
        start + data.draw(st.lists(tokens, min_size=1, max_size=6))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    continuations = [data.draw(st.lists(st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=3))
                     for _ in contexts]  # fmt: skip
    expected = [score(one, context, said) for context, several in zip(contexts, continuations, strict=True)
                for said in several]  # fmt: skip
    found = choices(one, contexts, continuations)
    assert [log for log, _ in found] == pytest.approx([log for log, _ in expected], rel=1e-4, abs=1e-4)


def test_other_kinds_of_memory_are_left_to_lm_eval():
    sliding = MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=8)
    mamba = MambaConfig(vocab_size=V, hidden_size=16, num_hidden_layers=1, state_size=4)
    assert not can_be_read(made(sliding))
    assert not can_be_read(made(mamba))
    assert can_be_read(made(KINDS["llama"]))
    assert can_be_read(Ensemble([made(KINDS["llama"]), made(KINDS["gpt2"])]))
    assert not can_be_read(Ensemble([made(KINDS["llama"]), made(sliding)]))


def test_an_ensemble_of_equals_reads_as_one_of_them():
    one = made(KINDS["llama"])
    both = Ensemble([one, one])
    assert greedy(both, PROMPTS, 8, set(), lambda tokens: False) == greedy(
        one, PROMPTS, 8, set(), lambda t: False
    )
