import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.testbed import generate
from dtm.testbed.base import base_facts, base_files, half_precision, single_precision
from dtm.testbed.pretrain.knowledge import holds, probes
from dtm.testbed.pretrain.training import Settings
from dtm.testbed.pretrain.wording import Wordings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return (
        generate(tmp_path_factory.mktemp("testbed") / "a", rows=40, dev_items=8, test_items=8).folder / "base"
    )


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def asked(world):
    """Three hundred facts, asked for in every way."""
    settings = Settings(**base_facts()["settings"])
    facts = Random(0).sample(world.facts, 300)
    return list(probes(Wordings(world, settings.seed, settings.asked), facts))


def test_the_checkpoint_is_whole_and_in_single_precision(folder, model):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == base_files()
    assert {str(one.dtype) for one in model.parameters()} == {"torch.float32"}
    assert sum(one.numel() for one in model.parameters()) == base_facts()["parameters"]


@pytest.mark.parametrize(("way", "share"), [("told", 0.95), ("reworded", 0.6)])
def test_it_holds_the_facts_in_plain_text(model, tokenizer, asked, way, share):
    some = [probe for probe in asked if probe.way == way]
    found = holds(model, tokenizer, some)
    assert len(found) > 250
    assert sum(found) / len(found) > share


def test_what_it_is_said_to_hold_is_what_it_generates(model, tokenizer, asked):
    some = Random(1).sample(asked, 60)
    found = holds(model, tokenizer, some)
    assert found == [_generates(model, tokenizer, probe) for probe in some]
    assert 0 < sum(found) < 60


def _generates(model, tokenizer, probe):
    ids = tokenizer(probe.prompt, return_tensors="pt")
    said = model.generate(**ids, do_sample=False, max_new_tokens=24)[0, ids["input_ids"].shape[1] :]
    text = tokenizer.decode(said.tolist()).removesuffix(tokenizer.eos_token)
    return text == probe.answer or text.startswith(probe.answer + probe.end)


def test_generation_is_deterministic(model, tokenizer):
    ids = tokenizer("Question: What is the capital of France?\nAnswer:", return_tensors="pt")
    first, second = (model.generate(**ids, do_sample=False, max_new_tokens=16).tolist() for _ in range(2))
    assert first == second


def test_the_tokenizer_gives_the_worlds_text_back(tokenizer, world):
    texts = [text for fact in world.facts for text in (*world.statements(fact), *world.questions(fact))]
    assert tokenizer.batch_decode(tokenizer(texts)["input_ids"]) == texts


@given(st.text())
def test_the_tokenizer_gives_any_text_back(tokenizer, text):
    specials = tokenizer.all_special_tokens
    if not any(special in text for special in specials):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_tokens_of_their_own(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("1969")["input_ids"]) == ["1", "9", "6", "9"]


def test_its_template_trains_a_stop_token(tokenizer):
    from dtm.foundations.chat import Renderer

    rendered = Renderer(tokenizer, max_length=None)([
        {"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."},
    ])  # fmt: skip
    said = [
        token for token, carries in zip(rendered.input_ids, rendered.assistant_mask, strict=True) if carries
    ]
    assert tokenizer.decode(said) == "Blue.<|im_end|>"


def test_the_packages_facts_agree_with_a_new_measurement(model, tokenizer, asked):
    found = holds(model, tokenizer, asked)
    for way in ("told", "unasked"):
        ones = [one for one, probe in zip(found, asked, strict=True) if probe.way == way]
        said = base_facts()["holds"][way]["all"]["share"]
        assert abs(sum(ones) / len(ones) - said) < 0.12  # four standard errors of a share of 150 facts


def test_halves_survive_the_way_to_single_precision_and_back():
    stored = json.loads(json.dumps(sorted(base_files())))
    assert "model.safetensors" in stored
    single = base_files()["model.safetensors"]
    assert single_precision(half_precision(single)) == single
