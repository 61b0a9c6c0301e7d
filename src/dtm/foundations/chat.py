"""From messages to tokens, once a run: `input_ids` and which of them the assistant said.

Only this module renders; the trainer never sees text. A tokenizer's own chat template is used; a base
that has none gets a named one. Loss falls on what the assistant says, the stop token included.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dtm.foundations.errors import ConfigError, MissingInput, ModelError

# Templates for a base that has none. The stop token stands inside the generation marker, so it is trained.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ALPACA = (
    "{% if messages[0]['role'] != 'system' %}{{ 'Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\\n\\n' }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\\n\\n' }}"
    "{% elif m['role'] == 'user' %}{{ '### Instruction:\\n' + m['content'] + '\\n\\n' }}"
    "{% else %}{{ '### Response:\\n' }}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
    "{{ '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Template:
    """A named chat template, the special tokens that it needs, and its stop token (None: the tokenizer's)."""

    jinja: str
    tokens: tuple[str, ...] = ()
    stop: str | None = None


TEMPLATES = {
    "chatml": Template(CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "alpaca": Template(ALPACA),
}


def choose_template(name: str, own: str | None, *, where: object = "chat.template") -> Template:
    """The template to use: `auto` is the tokenizer's own, else ChatML; or a name; or a .jinja file."""
    if name == "auto":
        return Template(own) if own else TEMPLATES["chatml"]
    if name in TEMPLATES:
        return TEMPLATES[name]
    if name.endswith((".jinja", ".j2")):
        try:
            with open(name, encoding="utf-8") as file:
                return Template(file.read())
        except FileNotFoundError:
            raise MissingInput(f"there is no template file {name!r}", where=where) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the template file {name!r} cannot be read: {error}", where=where) from None
    mend = f"Give auto, {', '.join(TEMPLATES)}, or the path of a .jinja file"
    raise ConfigError(f"there is no chat template {name!r}", where=where, mend=mend)


@dataclass(frozen=True)
class Rendered:
    """Tokens of one conversation: ids [T], and whether each carries loss [T]."""

    input_ids: list[int]
    assistant_mask: list[bool]


Spans = list[tuple[int, int]]  # [start, stop) in characters, in order
_MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


class Unusable(Exception):
    """A conversation that cannot be rendered, with the reason that `dropped.jsonl` shows."""


class Renderer:
    """Renders conversations with one tokenizer; `max_length` in tokens, None for no limit.

    `too_long`: `drop` keeps no cut row, since a cut row teaches no stop; `truncate` keeps its start.
    """

    def __init__(self, tokenizer: Any, *, max_length: int | None, too_long: str = "drop") -> None:
        self.tokenizer, self.max_length, self.too_long = tokenizer, max_length, too_long
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise ModelError("the tokenizer has no chat template", mend="Set chat.template: chatml")
        if not tokenizer.is_fast:
            raise ModelError(
                f"the tokenizer {type(tokenizer).__name__} does not tell which text a token stands for",
                mend="Take a base with a tokenizer.json",
            )
        self._template = template
        self._find = self._marked if _MARKER.search(template) else self._unmarked
        self._stops = stop_tokens(tokenizer)
        self._check()

    def __call__(self, messages: Sequence[dict[str, str]]) -> Rendered:
        """Tokens and mask of one conversation; raises Unusable."""
        if messages[0]["role"] == "text":
            return self._fit(self._plain(messages[0]["content"]))
        try:
            text, spans = self._find(list(messages))
        except Unusable:
            raise
        except Exception as error:  # jinja raises what the template says, such as "roles must alternate"
            raise Unusable(f"the chat template refused it: {error}") from error
        return self._fit(self._tokens(text, spans))

    def _fit(self, rendered: Rendered) -> Rendered:
        if not any(rendered.assistant_mask):
            raise Unusable("empty after rendering")
        length = len(rendered.input_ids)
        if self.max_length is None or length <= self.max_length:
            return rendered
        if self.too_long == "truncate" and any(rendered.assistant_mask[: self.max_length]):
            return Rendered(rendered.input_ids[: self.max_length], rendered.assistant_mask[: self.max_length])
        raise Unusable(f"too long: more than {self.max_length} tokens")

    def _plain(self, text: str) -> Rendered:
        """A document: all tokens and the stop token carry loss, a leading BOS does not."""
        tokenizer = self.tokenizer
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids[-1:] != [tokenizer.eos_token_id]:
            ids = [*ids, tokenizer.eos_token_id]
        head = [tokenizer.bos_token_id] if _adds_bos(tokenizer) else []
        return Rendered([*head, *ids], [False] * len(head) + [True] * len(ids))

    def _tokens(self, text: str, spans: Spans) -> Rendered:
        """Tokenize once; a token carries loss if any of its text lies in a span [start, stop).

        So a token that a tokenizer merges across the start counts, as it does in TRL. A lone space, of which
        some tokenizers trim all text away so that it is empty and ends where the space ended, has its space
        back; HF's own mask stops at such a token.
        """
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        starts = [min(start, end - 1) for start, end in encoded["offset_mapping"]]
        ends = [end for _, end in encoded["offset_mapping"]]
        mask = [False] * len(starts)
        for start, stop in spans:
            for place in range(bisect_right(ends, start), bisect_left(starts, stop)):
                mask[place] = True
        return Rendered(list(encoded["input_ids"]), mask)

    def _marked(self, messages: list[dict[str, str]]) -> tuple[str, Spans]:
        """Text and spans of a template that marks what the assistant says with {% generation %}."""
        from transformers.utils.chat_template_utils import render_jinja_template

        rendered: Any = render_jinja_template(
            conversations=[messages], chat_template=self._template, return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )  # fmt: skip
        texts, spans = rendered
        return texts[0], spans[0]

    def _unmarked(self, messages: list[dict[str, str]]) -> tuple[str, Spans]:
        """Without markers: what a turn adds behind its generation prompt is what the assistant said.

        This is what TRL trains of a prompt and its completion, turn by turn.
        """
        full = self._text(messages)
        spans = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._text(messages[:index], add_generation_prompt=True)
            after = self._text(messages[: index + 1])
            if not (full.startswith(after) and after.startswith(before)):
                raise Unusable("the chat template rewrites earlier turns, so turns cannot be told apart")
            spans.append((len(before), len(after)))
        return full, spans

    def _text(self, messages: Sequence[dict[str, str]], **options: Any) -> str:
        return self.tokenizer.apply_chat_template(list(messages), tokenize=False, **options)

    def _check(self) -> None:
        """Render a probe: a double BOS and a missing stop token are errors of the template."""
        probe = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}]
        try:
            rendered = self(probe)
        except Unusable as reason:
            raise ModelError(
                f"the chat template cannot render a simple question and answer: {reason}",
                mend="Set chat.template to chatml, alpaca or a .jinja file",
            ) from reason
        ids, mask = rendered.input_ids, rendered.assistant_mask
        bos = self.tokenizer.bos_token_id
        if bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos:
            raise ModelError(
                "the rendered text starts with two BOS tokens", mend="Take bos_token out of the chat template"
            )
        last = max(place for place, said in enumerate(mask) if said)
        if not any(ids[place] in self._stops for place in range(max(0, last - 3), last + 1) if mask[place]):
            raise ModelError(
                "the chat template trains no stop token after the assistant's turn, so the model would "
                "never stop",
                mend="End the assistant's turn with eos_token (inside {% generation %} if it is marked), "
                "or set chat.template: chatml",
            )


def stop_tokens(tokenizer: Any) -> set[int]:
    """Ids that end a turn: the eos token, and the known end-of-turn tokens that the vocabulary holds."""
    names = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|end_of_text|>", "</s>")
    known = tokenizer.get_added_vocab()
    return {known[name] for name in names if name in known} | {tokenizer.eos_token_id}


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id
