"""Whether a checkpoint's files are there and whole, and what they hold, from their headers alone."""

from __future__ import annotations

from pathlib import Path

from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.files import read_json
from dtm.foundations.tensor_files import read_header

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
INDEX = "model.safetensors.index.json"


def check_folder(folder: Path, *, where: object) -> None:
    """A checkpoint folder has a config, a tokenizer, and safetensors files whose headers are true."""
    _check_config(folder, f"{where}: {folder}")
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise MissingInput("there is no tokenizer in the model's folder", where=f"{where}: {folder}")
    for shard in shards(folder, where=where):
        read_header(shard, where=where)


def _check_config(folder: Path, where: str) -> None:
    if not (folder / "config.json").exists():
        is_adapter = (folder / "adapter_config.json").exists()
        mend = "This is an adapter: name its base, or merge it into its base first" if is_adapter else None
        raise MissingInput("there is no config.json in the model's folder", where=where, mend=mend)
    try:
        config = read_json(folder / "config.json")
    except ValueError as error:
        raise ModelError(f"config.json is not JSON: {error}", where=where) from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError("config.json names no model_type, so nothing can load it", where=where)


def shards(folder: Path, *, where: object = "model") -> list[Path]:
    """The safetensors files that hold a folder's weights; an index may not name files outside it.

    As transformers reads them: `model.safetensors`, else what the index names.
    """
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if (folder / INDEX).exists():
        return _indexed(folder, where)
    place = f"{where}: {folder}"
    others = sorted(path.name for path in folder.iterdir())
    if foreign := [name for name in others if name.endswith(".safetensors")]:
        raise ModelError(f"there is neither model.safetensors nor {INDEX}, only {foreign[0]}", where=place)
    if pickles := [name for name in others if name.endswith(PICKLES)]:
        raise ModelError(
            f"its weights are pickles ({pickles[0]}), which can run code when they are read",
            where=place,
            mend="Convert them: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW), where "
            "you trust them",
        )
    raise MissingInput("there are no safetensors files in the model's folder", where=place)


def _indexed(folder: Path, where: object) -> list[Path]:
    place = f"{where}: {folder / INDEX}"
    try:
        places = list(read_json(folder / INDEX)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"its index is damaged: {type(error).__name__}: {error}", where=place) from None
    if not places:
        raise ModelError("its index names no file", where=place)
    for name in places:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"its index names {name!r}, no safetensors file of the folder", where=place)
    names = sorted(set(places))
    for name in names:
        if not (folder / name).exists():
            raise MissingInput(f"the shard {name} is missing", where=f"{where}: {folder}")
    return [folder / name for name in names]


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


def count_parameters(folder: Path) -> int:
    """Values in all tensors of a checkpoint, from the headers alone."""
    return sum(slot.count for shard in shards(folder) for slot in read_header(shard).values())
