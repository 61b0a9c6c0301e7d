"""What stands beside the merged weights: config, tokenizer, index, and a card that says what this is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.files import write_json, write_text
from dtm.merge.adapter import CONFIG
from dtm.merge.checkpoint import INDEX
from dtm.merge.jobs import MergedFactors
from dtm.merge.planning import Plan
from dtm.merge.precision import CONFIG_NAMES

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "spiece.model",
    "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
COPIED = ("generation_config.json", *TOKENIZER)


def write_beside(folder: Path, plan: Plan, card: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Everything but the weights; the config, which makes the folder a model, comes last."""
    reference = plan.inputs.reference.folder
    tokenizer = plan.vocabulary.folder if plan.vocabulary else reference
    for name in COPIED:
        source = tokenizer / name if name in TOKENIZER else reference / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
    if plan.vocabulary is not None:
        plan.vocabulary.write(folder)
    if len(plan.shards) > 1:
        write_json(folder / INDEX, _index(plan))
    write_text(folder / "README.md", model_card(plan, card, facts))
    if plan.export == "adapter":
        write_json(folder / CONFIG, adapter_config(plan, card))
    elif plan.inputs.reference.config:
        write_json(folder / "config.json", model_config(plan))


def _index(plan: Plan) -> dict[str, Any]:
    places = {name: shard.name for shard in plan.shards for name in shard.slots}
    total = sum(slot.nbytes for shard in plan.shards for slot in shard.slots.values())
    return {"metadata": {"total_size": total}, "weight_map": places}


def model_config(plan: Plan) -> dict[str, Any]:
    """The reference's config with the output's dtype, and untied where the output is."""
    config = dict(plan.inputs.reference.config)
    if plan.dtype is not None:
        config["torch_dtype" if "torch_dtype" in config else "dtype"] = CONFIG_NAMES[plan.dtype]
    if plan.untie:
        config["tie_word_embeddings"] = False
        if isinstance(config.get("text_config"), dict):
            config["text_config"] = {**config["text_config"], "tie_word_embeddings": False}
    return {**config, **plan.config_changes}


def adapter_config(plan: Plan, card: Mapping[str, Any]) -> dict[str, Any]:
    """The first adapter's config with the merged rank: alpha equals it, so that the scale is 1."""
    adapters = [model.adapter for model in plan.inputs.models if model.adapter]
    ranks: dict[str, int] = {}
    for job in plan.jobs:
        source = job.sources[0]
        assert isinstance(source, MergedFactors)
        ranks[job.name.removesuffix(".weight")] = source.rank
    common = max(ranks.values())
    others = {name: rank for name, rank in sorted(ranks.items()) if rank != common}
    first = adapters[0].config
    base = card.get("base_model") or first.get("base_model_name_or_path")
    changes = {
        "r": common, "lora_alpha": common, "use_rslora": False, "rank_pattern": others, "alpha_pattern": others,
        "inference_mode": True, "lora_dropout": 0.0, "modules_to_save": None, "init_lora_weights": True,
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in ranks}), "exclude_modules": None,
        "layers_to_transform": None, "layers_pattern": None, "base_model_name_or_path": base,
    }  # fmt: skip
    return {**first, **changes}


def model_card(plan: Plan, card: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """README.md: front matter for the hub, the method, the models, and the file that it was made from.

    `card` may say `base_model`, `models` (names), `title`, `license`, `datasets`, and `recipe`: the run or merge
    file as text or as a dict. `facts` are those of the merge, see `merging.execute`.
    """
    base = card.get("base_model") or facts["base"]
    names = list(card.get("models") or facts["models"])
    front = {
        "base_model": [base] if base else names,
        "library_name": "peft" if plan.export == "adapter" else "transformers",
        "tags": ["merge", "dtm"],
        **{key: card[key] for key in ("license", "datasets", "language") if card.get(key)},
    }
    dtypes = sorted({CONFIG_NAMES.get(job.dtype, job.dtype) for job in plan.jobs if not job.opaque})
    lines = ["---", _yaml(front).rstrip(), "---", "", f"# {card.get('title') or 'Merged model'}", "",
             f"Made by disperse-then-merge (`dtm`) with the method "
             f"`{facts['method']}` from {len(names)} sub-models" + (f" of `{base}`." if base else "."), "",
             "| sub-model | weight |", "|---|---|",
             *(f"| {name} | {_plain(weight)} |" for name, weight in zip(names, plan.weights, strict=False)), "",
             f"Arithmetic in fp32, rounded once to {', '.join(dtypes)}."]  # fmt: skip
    for method, tensors in sorted(plan.fallbacks.items()):
        lines += ["", f"`{facts['method']}` cannot treat these {len(tensors)} tensors; they were merged with "
                  f"`{method}`: {', '.join(f'`{name}`' for name in tensors)}."]  # fmt: skip
    if missed := facts.get("low_rank"):
        worst = missed["worst"]
        lines += ["", "The merged update is not the adapters' exact weighted sum: its relative error (Frobenius norm) "
                  f"is {missed['relative_error']:.4g} over all modules, and at most {worst['relative_error']:.4g}, in "
                  f"`{worst['tensor']}`."]  # fmt: skip
    if files := facts.get("inputs"):
        lines += [
            "",
            "| input | sha256 |",
            "|---|---|",
            *(f"| {name} | `{value}` |" for name, value in files.items()),
        ]
    if plan.untie:
        lines += ["", "The base's embeddings are tied; here input and output embeddings are two tensors."]
    recipe = card.get("recipe") or {"method": {"name": facts["method"], **facts["settings"]}, "base": base,
                                    "models": names, "weights": list(plan.weights)}  # fmt: skip
    text = recipe if isinstance(recipe, str) else _yaml(recipe)
    return "\n".join([*lines, "", "```yaml", text.rstrip(), "```", ""])


def _plain(weight: Any) -> str:
    return f"{weight:.6g}" if isinstance(weight, int | float) else json.dumps(weight)


def _yaml(value: Any) -> str:
    import yaml

    plain = json.loads(json.dumps(value, default=str))
    return yaml.safe_dump(plain, sort_keys=True, allow_unicode=True, width=110)
