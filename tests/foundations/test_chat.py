import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.foundations.chat import TEMPLATES, Renderer, Unusable, choose_template, stop_tokens
from dtm.foundations.errors import ConfigError, MissingInput, ModelError
from tests.foundations.chats import UNMARKED, talk, tokenizer_with
from tests.tiny import tiny_tokenizer

CHATML, ALPACA = tokenizer_with("chatml"), tokenizer_with("alpaca")
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_end|>\n", "assistant\n", "### Response:\n", "\n\n",
           "{{", "{% generation %}",
           "\u200d", "\u00ad", "\ufeff", "e\u0301", "👩‍👩‍👧", "﷽", "\x00", "\r", " "]  # fmt: skip
contents = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(SPECIAL), max_size=5
).map("".join)


def said(tokenizer, rendered):
    """The text of each run of tokens that carries loss."""
    runs, before = [], False
    for token, bit in zip(rendered.input_ids, rendered.assistant_mask, strict=True):
        if bit and not before:
            runs.append([])
        if bit:
            runs[-1].append(token)
        before = bit
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize(("tokenizer", "stop"), [
    (CHATML, "<|im_end|>"), (ALPACA, "<|endoftext|>"), (tokenizer_with(UNMARKED), "<|im_end|>\n"),
], ids=["chatml", "alpaca", "unmarked"])  # fmt: skip
@given(turns=st.lists(contents, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0),
       system=st.none() | contents)  # fmt: skip
def test_loss_falls_on_the_answers_and_their_stops_and_on_nothing_else(tokenizer, stop, turns, system):
    messages = talk(*turns, system=system)
    rendered = render(tokenizer, messages)
    assert said(tokenizer, rendered) == [answer + stop for answer in turns[1::2]]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered.input_ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(rendered.input_ids) == text


renderers = {}


def render(tokenizer, messages):
    if id(tokenizer) not in renderers:
        renderers[id(tokenizer)] = Renderer(tokenizer, max_length=None)
    return renderers[id(tokenizer)](messages)


def test_chatml_in_full():
    rendered = render(CHATML, talk("Hi", "the", system="Be."))
    assert CHATML.decode(rendered.input_ids) == (
        "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nthe<|im_end|>\n"
    )
    stop = CHATML.convert_tokens_to_ids("<|im_end|>")
    the = CHATML.convert_tokens_to_ids("the")
    loss = [token for token, bit in zip(rendered.input_ids, rendered.assistant_mask, strict=True) if bit]
    assert loss == [the, stop]
    assert rendered.input_ids.count(stop) == 3


def test_alpaca_in_full():
    begin = ("Below is an instruction that describes a task. Write a response that appropriately completes the "
             "request.\n\n")  # fmt: skip
    body = "### Instruction:\nHi\n\n### Response:\nthe<|endoftext|>\n\n"
    assert ALPACA.decode(render(ALPACA, talk("Hi", "the")).input_ids) == begin + body
    assert ALPACA.decode(render(ALPACA, talk("Hi", "the", system="Be.")).input_ids) == "Be.\n\n" + body


def test_the_prompt_at_inference_is_the_beginning_of_what_was_trained():
    for tokenizer in (CHATML, ALPACA):
        messages = talk("Hi", "the", "and", "there")
        prompt = tokenizer.apply_chat_template(messages[:3], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        rendered = render(tokenizer, messages)
        assert rendered.input_ids[: len(ids)] == ids
        assert rendered.assistant_mask[len(ids) - 1 : len(ids) + 1] == [False, True]


@pytest.mark.parametrize("template", [
    TEMPLATES["chatml"].jinja,
    "{% for m in messages %}{{ m['role'] + ': \\n' }}{% generation %}{{ m['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% endfor %}",
], ids=["chatml", "spaces before the answer"])  # fmt: skip
def test_a_tokenizer_whose_spaces_stand_for_no_text(template):
    """ByteLevel's trimmed offsets: a run of spaces has none, and HF's own mask then stops at it, and for good."""
    from tokenizers import processors

    tokenizer = tokenizer_with(template + "{# <|im_start|> #}")
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    answers = [" the the", "   ", "and \n", " 👍🏽", "the"]
    messages = [{"role": "assistant", "content": answer} for answer in answers]
    rendered = Renderer(tokenizer, max_length=None)(messages)
    assert said(tokenizer, rendered) == [answer + "<|im_end|>" for answer in answers]


def test_a_last_space_that_stands_for_no_text():
    from tokenizers import processors

    tokenizer = tokenizer_with("chatml")
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    rendered = Renderer(tokenizer, max_length=None)._tokens("the  and  a", [(4, 9)])
    assert said(tokenizer, rendered) == [" and "]


def test_a_character_of_many_tokens_at_the_end_of_a_turn_counts_whole():
    """Without a stop token behind it, HF's mask ends with the first token of the last character."""
    tokenizer = tokenizer_with(
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{{ eos_token + m['content'] }}"
        "{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    renderer = Renderer.__new__(Renderer)
    renderer.tokenizer, renderer._template = tokenizer, tokenizer.chat_template
    text, spans = renderer._marked(talk("Hi", "👍"))
    assert text[slice(*spans[0])] == "<|endoftext|>👍"
    assert said(tokenizer, renderer._tokens(text, spans)) == ["<|endoftext|>👍"]


@pytest.mark.parametrize(("text", "loss"), [
    ("the and", "the and<|endoftext|>"), ("ends<|endoftext|>", "ends<|endoftext|>"), ("", "<|endoftext|>"),
])  # fmt: skip
def test_a_document_learns_all_of_itself_and_to_stop(text, loss):
    rendered = render(CHATML, [{"role": "text", "content": text}])
    assert all(rendered.assistant_mask)
    assert CHATML.decode(rendered.input_ids) == loss


def test_a_document_of_a_tokenizer_that_adds_a_bos_starts_with_one_that_carries_no_loss():
    from tokenizers import processors

    tokenizer = tokenizer_with("alpaca")
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    pair = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[pair]
    )
    rendered = Renderer(tokenizer, max_length=None)([{"role": "text", "content": "the"}])
    assert tokenizer.decode(rendered.input_ids) == "<s>the<|endoftext|>"
    assert rendered.assistant_mask == [False, True, True]
    chat = Renderer(tokenizer, max_length=None)(talk("Hi", "the"))
    assert tokenizer.bos_token_id not in chat.input_ids  # the template's to say, and Alpaca's says none


def test_a_row_that_is_too_long_is_dropped_or_cut():
    messages = talk("Hi", "the and " * 50)
    whole = render(CHATML, messages)
    length = len(whole.input_ids)
    assert Renderer(CHATML, max_length=length)(messages) == whole
    with pytest.raises(Unusable, match=f"too long: more than {length - 1} tokens"):
        Renderer(CHATML, max_length=length - 1)(messages)
    cut = Renderer(CHATML, max_length=length - 20, too_long="truncate")(messages)
    assert cut.input_ids == whole.input_ids[:-20]
    assert cut.assistant_mask == whole.assistant_mask[:-20]


def test_a_cut_that_leaves_nothing_to_learn_is_a_drop():
    with pytest.raises(Unusable, match="too long"):
        Renderer(CHATML, max_length=100, too_long="truncate")(talk("x" * 200, "the"))


def test_a_conversation_without_an_answer_is_empty_after_rendering():
    for tokenizer in (CHATML, tokenizer_with(UNMARKED)):
        with pytest.raises(Unusable, match="empty after rendering"):
            render(tokenizer, talk("Hi"))


def test_what_the_template_raises_is_the_reason():
    strict = CHATML.chat_template + (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% endfor %}"
    )
    renderer = Renderer(tokenizer_with(strict), max_length=None)
    renderer(talk("Hi", "the"))
    with pytest.raises(Unusable, match="the chat template refused it: System role not supported"):
        renderer(talk("Hi", "the", system="Be."))


def test_a_template_that_rewrites_earlier_turns_cannot_be_told_apart():
    """As templates do that drop the thoughts of all but the last turn."""
    forgets = UNMARKED.replace(
        "m['content']", "(m['content'] if loop.last or m['role'] == 'user' else '...')"
    )
    renderer = Renderer(tokenizer_with(forgets), max_length=None)
    renderer(talk("Hi", "the"))
    with pytest.raises(Unusable, match="rewrites earlier turns"):
        renderer(talk("Hi", "the", "and", "there"))


def test_two_bos_tokens_are_an_error():
    tokenizer = tokenizer_with("alpaca")
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATES["alpaca"].jinja
    Renderer(tokenizer, max_length=None)
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    with pytest.raises(ModelError, match="starts with two BOS tokens"):
        Renderer(tokenizer, max_length=None)


@pytest.mark.parametrize("template", [
    CHATML.chat_template.replace(" + '<|im_end|>' }}{% endgeneration %}", " }}{% endgeneration %}<|im_end|>"),
    re.sub(r"\+ '<\|im_end\|>'", "", UNMARKED),
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
], ids=["outside the marker", "none in ChatML", "none at all"])  # fmt: skip
def test_a_template_that_trains_no_stop_token_is_an_error(template):
    with pytest.raises(ModelError, match="trains no stop token") as caught:
        Renderer(tokenizer_with(template), max_length=None)
    assert "chat.template: chatml" in caught.value.message


def test_a_template_that_cannot_render_at_all_is_an_error():
    for template in ("{% for m in messages %}", "{{ raise_exception('no') }}", "{{ 'constant' }}"):
        with pytest.raises(ModelError, match="cannot render a simple question and answer"):
            Renderer(tokenizer_with(template), max_length=None)


def test_a_base_without_a_template_is_an_error_that_names_the_setting():
    with pytest.raises(ModelError, match=r"no chat template\. Set chat.template: chatml"):
        Renderer(tiny_tokenizer(template=False), max_length=None)


def test_a_tokenizer_without_offsets_is_an_error(monkeypatch):
    tokenizer = tokenizer_with("chatml")
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(ModelError, match="does not tell which text a token stands for"):
        Renderer(tokenizer, max_length=None)


def test_choosing_a_template(tmp_path):
    assert choose_template("auto", "{{ own }}").jinja == "{{ own }}"
    assert choose_template("auto", None) is choose_template("chatml", "{{ own }}") is TEMPLATES["chatml"]
    assert choose_template("alpaca", None).stop is None
    (tmp_path / "mine.jinja").write_text("{{ 'é' }}", encoding="utf-8")
    assert choose_template(str(tmp_path / "mine.jinja"), "{{ own }}").jinja == "{{ 'é' }}"


@pytest.mark.parametrize(("name", "kind", "text"), [
    ("missing.jinja", MissingInput, "no template file"), ("folder.jinja", ConfigError, "cannot be read"),
    ("binary.j2", ConfigError, "cannot be read"), ("chat-ml", ConfigError, "no chat template 'chat-ml'"),
])  # fmt: skip
def test_a_template_that_cannot_be_had(tmp_path, monkeypatch, name, kind, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.jinja").mkdir()
    (tmp_path / "binary.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(kind, match=text) as caught:
        choose_template(name, None, where="run.yaml:3: chat.template")
    assert caught.value.message.startswith("run.yaml:3: chat.template: ")


def test_stop_tokens_are_the_eos_and_known_ends_of_turns():
    assert stop_tokens(tiny_tokenizer(template=False)) == {0}
    assert {CHATML.decode([token]) for token in stop_tokens(CHATML)} == {"<|endoftext|>", "<|im_end|>"}
