"""Random models of a real shape, and random adapters of them: what the benchmark merges.

    python benchmarks/merge/models.py FOLDER --size 270M --adapters

Weights are normal numbers (0.02) in bf16; sub-models differ from the base by a tenth of that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SIZES = {
    "30M": {"hidden_size": 320, "intermediate_size": 896, "num_hidden_layers": 12, "vocab_size": 24576,
            "num_attention_heads": 5, "num_key_value_heads": 1},
    "270M": {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 23, "vocab_size": 49152,
             "num_attention_heads": 15, "num_key_value_heads": 5},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 15, "vocab_size": 49152,
           "num_attention_heads": 32, "num_key_value_heads": 8},
}  # fmt: skip


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """A Llama's tensors, embeddings tied."""
    c = SIZES[size]
    hidden, inner, head = (
        c["hidden_size"],
        c["intermediate_size"],
        c["hidden_size"] // c["num_attention_heads"],
    )
    narrow = head * c["num_key_value_heads"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c["vocab_size"], hidden)}
    for layer in range(c["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        found |= {f"{block}.self_attn.{name}_proj.weight": (rows, hidden)
                  for name, rows in (("q", hidden), ("k", narrow), ("v", narrow), ("o", hidden))}  # fmt: skip
        found |= {f"{block}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        found[f"{block}.mlp.down_proj.weight"] = (hidden, inner)
        found |= {f"{block}.{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    found["model.norm.weight"] = (hidden,)
    return found


def write_models(
    folder: Path, size: str, count: int = 4, rank: int = 16, adapters: bool = False, dtype: str = "bfloat16"
) -> None:
    """`base`, `m0` ... and, if asked, `a0` ... adapters of all linear layers."""
    import torch
    from safetensors.torch import save_file

    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True,
              "torch_dtype": dtype, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, **SIZES[size]}  # fmt: skip
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)

    def normal(shape: tuple[int, ...], scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    def save(name: str, tensors: dict[str, torch.Tensor], file: str, settings: dict) -> None:
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name / file, {"format": "pt"})
        which = "config.json" if file.startswith("model") else "adapter_config.json"
        (folder / name / which).write_text(json.dumps(settings, indent=2, sort_keys=True))

    base = {name: normal(shape, 0.02) for name, shape in shapes(size).items()}
    save("base", {name: tensor.to(kind) for name, tensor in base.items()}, "model.safetensors", config)
    for k in range(count):
        model = {name: (tensor + normal(tensor.shape, 0.002)).to(kind) for name, tensor in base.items()}
        save(f"m{k}", model, "model.safetensors", config)
        if adapters:
            factors = {}
            for name, tensor in base.items():
                if name.endswith("_proj.weight"):
                    module = "base_model.model." + name.removesuffix(".weight")
                    factors[f"{module}.lora_A.weight"] = normal((rank, tensor.shape[1]), 0.02)
                    factors[f"{module}.lora_B.weight"] = normal((tensor.shape[0], rank), 0.02)
            save(f"a{k}", factors, "adapter_model.safetensors", {
                "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(folder / "base"),
                "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj",
                "gate_proj", "up_proj", "down_proj"], "bias": "none", "inference_mode": True,
            })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="270M")
    parser.add_argument("--adapters", action="store_true")
    arguments = parser.parse_args()
    write_models(arguments.folder, arguments.size, adapters=arguments.adapters)
