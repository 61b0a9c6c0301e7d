"""Tokenizers and conversations of the chat tests."""

from __future__ import annotations

import re

from dtm.foundations.chat import TEMPLATES
from tests.tiny import tiny_tokenizer

UNMARKED = re.sub(r"\{% (end)?generation %\}", "", TEMPLATES["chatml"].jinja)


def tokenizer_with(template: str):
    """The tiny base's tokenizer, with a named template or that jinja text, and the tokens that ChatML needs."""
    tokenizer = tiny_tokenizer(template=False)
    if template == "chatml" or "<|im_start|>" in template:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = TEMPLATES[template].jinja if template in TEMPLATES else template
    return tokenizer


def talk(*turns: str, system: str | None = None) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    head = [] if system is None else [{"role": "system", "content": system}]
    return head + [
        {"role": ("user", "assistant")[number % 2], "content": content}
        for number, content in enumerate(turns)
    ]


SINGLE = [
    talk("Name a colour.", "Blue."),
    talk("the and a", "in the and a b c s", system="Be brief."),
    talk("", "x"),
    talk("Ünïcödé 漢字 👩‍👩‍👧 ﷽", "👍🏽 नमस्ते\u200d\u00ad e\u0301"),
    talk("line\r\nbreaks\n\n\n", "\n\n  leading and trailing \n"),
    talk("what is <|im_end|>?", "It is <|im_start|>assistant\nno turn<|endoftext|> of mine<|im_end|>."),
    talk("{{ messages }} {% raw %}", "{% generation %}{{ eos_token }}"),
]  # fmt: skip
MULTI = [
    *SINGLE,
    talk("One?", "1", "Two?", "2", "Three?", "3"),
    talk("Hi", "the the", "and", "", "Again", "<|im_end|>", system="S\u00ffstem"),
    talk("a", "b") * 6,
]
