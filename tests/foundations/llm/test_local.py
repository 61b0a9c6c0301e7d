"""The local model: greedy text is transformers' own, draws follow the softmax, and a batch changes no answer."""

from __future__ import annotations

import numpy as np
import pytest

from dtm.foundations.errors import ModelError
from dtm.foundations.llm import LLM, Failed, Local, Request, generate
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), seed=5, max_length=64)


def ask(text, **more):
    return Request([{"role": "user", "content": text}], **more)


def local(folder, **settings):
    llm = LLM(**{"kind": "hf", "model": "tiny", "max_tokens": 12, "batch_size": 4, **settings})
    return Local(llm, folder, "digest", options={"dtype": "float32"}, threads=1)


def texts(folder, requests, **settings):
    backend = local(folder, **settings)
    return [one.text for one in generate(requests, backend, backend.llm)]


def test_greedy_answers_are_those_of_transformers(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    requests = [ask(text) for text in ("a", "the thing and the other", "in", "on on on")]
    found = texts(folder, requests)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for request, text in zip(requests, found, strict=True):
        ids = tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**ids, do_sample=False, max_new_tokens=12, eos_token_id=tokenizer.eos_token_id,
                             pad_token_id=tokenizer.pad_token_id)  # fmt: skip
        assert text == tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_draw_depends_on_its_own_seed_and_not_on_its_batch(folder):
    requests = [ask("the", seed=seed, temperature=1.0) for seed in range(6)]
    together = texts(folder, requests, batch_size=6)
    assert together == texts(folder, requests, batch_size=1)
    assert together == texts(folder, requests[::-1], batch_size=4)[::-1]
    assert len(set(together)) == 6


def test_draws_follow_the_softmax_and_stay_in_the_nucleus():
    import torch

    from dtm.foundations.llm.local import Sampling

    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = [(0.7, 1.0, torch.Generator().manual_seed(seed)) for seed in range(4000)]
    counts = np.bincount(Sampling(draws)(None, logits_V.repeat(4000, 1)).argmax(-1), minlength=4) / 4000
    expected = torch.softmax(logits_V.double() / 0.7, -1).numpy()
    assert np.abs(counts - expected).max() < 4 * np.sqrt(0.25 / 4000)
    draws = [(1.0, 0.7, torch.Generator().manual_seed(seed)) for seed in range(500)]
    drawn = Sampling(draws)(None, logits_V.repeat(500, 1)).argmax(-1)
    assert set(drawn.tolist()) == {0, 1}  # 0.64 and 0.24: the second passes 0.7


def test_a_prompt_without_room_is_kept_aside(folder):
    short, long = local(folder).complete([ask("a"), ask("x" * 80)])
    assert 0 < short.completion_tokens <= 12
    assert isinstance(long, Failed)
    assert "positions end at 64" in long.reason


def test_rooms_and_stops_are_each_requests_own(folder):
    free, cut = local(folder).complete([ask("a", max_tokens=10), ask("a", max_tokens=3)])
    assert (cut.finish, cut.completion_tokens) == ("length", 3)
    assert free.text.startswith(cut.text)
    stop = free.text[2]
    (stopped,) = local(folder).complete([ask("a", max_tokens=10, stop=(stop,))])
    assert stopped.text == free.text.split(stop)[0]


def test_a_base_without_a_template_cannot_be_asked(tmp_path):
    folder = tiny_model(tmp_path / "base", template=False)
    with pytest.raises(ModelError, match="no chat template"):
        local(folder).complete([ask("a")])
