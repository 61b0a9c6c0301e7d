"""A random Llama of a few thousand weights with a byte-level tokenizer, made without a hub.

    from tests.tiny import tiny_model

    folder = tiny_model(tmp_path / "model", seed=3)

The tokenizer encodes any text exactly (256 bytes, and some merges so that word starts are single tokens).
With `template=True` it is a chat model of SmolLM2's kind: ChatML, eos = pad = <|im_end|>; with
`template=False` a base model that knows <|endoftext|> alone, so that a template's tokens must be added.
"""

from __future__ import annotations

from pathlib import Path

CHATML = (
    "{% for m in messages %}{{'<|im_start|>'+m['role']+'\\n'}}{% if m['role']=='assistant' %}"
    "{% generation %}{{ m['content']+'<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content']+'<|im_end|>' }}{% endif %}{{'\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)
MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "n"), ("Ġ", "the"), ("Ġ", "a"),
          ("Ġ", "b"), ("Ġ", "c"), ("Ġ", "s"), ("Ġ", "in"), ("an", "d"), ("Ġ", "and")]  # fmt: skip
SIZE = 320  # rows of the embedding: 256 bytes, merges, special tokens, and rows that nobody uses


def tiny_tokenizer(*, template: bool = True):
    """A byte-level BPE tokenizer whose ids are below SIZE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if template else ["<|endoftext|>"]
    pieces = special + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(pair) for pair in MERGES]
    backend = Tokenizer(
        models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=MERGES)
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    stop = special[-1]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=stop, pad_token=stop, clean_up_tokenization_spaces=False
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    if template:
        tokenizer.chat_template = CHATML
    return tokenizer


def tiny_model(
    folder: Path | str,
    *,
    vocab: int = SIZE,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    seed: int = 0,
    tie: bool = True,
    template: bool = True,
    dtype: str = "float32",
    max_length: int = 2048,
) -> Path:
    """Save the model and its tokenizer into `folder` and return it; the same arguments give the same weights.

    Weights are drawn with a standard deviation of 0.2 rather than 0.02, so that answers differ clearly.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(folder)
    tokenizer = tiny_tokenizer(template=template)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=max(1, heads // 2), max_position_embeddings=max_length,
        initializer_range=0.2, tie_word_embeddings=tie, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
