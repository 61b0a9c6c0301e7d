"""A folder with a checkpoint: every tensor's name, dtype, shape and place, read from headers alone."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.files import read_json
from dtm.foundations.tensor_files import Slot, read_header
from dtm.merge.precision import MERGED

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
CONVERT = (
    "A pickle can run code when it is opened, so it is refused. Convert it where you trust it: "
    "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)


@dataclass(frozen=True)
class Stored:
    """One tensor in one file."""

    name: str
    path: Path
    slot: Slot

    @property
    def shape(self) -> tuple[int, ...]:
        return self.slot.shape

    @property
    def dtype(self) -> str:
        return self.slot.dtype


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder: its tensors by name, its shards in order, and its `config.json`."""

    folder: Path
    tensors: dict[str, Stored]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return sorted({tensor.path for tensor in self.tensors.values()})

    @property
    def tied(self) -> bool:
        """Whether input and output embeddings are one tensor."""
        text = self.config.get("text_config") or {}
        return bool(self.config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the headers of a folder's safetensors.

    Raises MissingInput without folder or weights, ModelError on pickles, damaged files, and an
    index that points outside the folder or names tensors that are not there.
    """
    if not folder.is_dir():
        raise MissingInput("there is no such model folder", where=folder)
    if (folder / INDEX).exists():
        tensors = _indexed(folder)
    else:
        tensors = open_file(_single(folder))
    if not tensors:
        raise ModelError("the checkpoint holds no tensor", where=folder)
    return Checkpoint(folder, tensors, read_object(folder / "config.json"))


def open_file(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file."""
    return {name: Stored(name, path, slot) for name, slot in read_header(path).items()}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or {} where there is none."""
    if not path.exists():
        return {}
    try:
        value = read_json(path)
    except ValueError as error:
        raise damaged(path, f"is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise damaged(path, "is not a JSON object")
    return value


def _single(folder: Path) -> Path:
    if (folder / SINGLE).exists():
        return folder / SINGLE
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"has {len(found)} safetensors files and no {INDEX}", where=folder)
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]):
        raise ModelError(f"holds its weights as a pickle, {pickles[0].name}", where=folder, mend=CONVERT)
    raise MissingInput(f"has no weights ({SINGLE} or {INDEX})", where=folder)


def _indexed(folder: Path) -> dict[str, Stored]:
    path = folder / INDEX
    places = read_object(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise damaged(path, "has no weight_map of names to files")
    tensors: dict[str, Stored] = {}
    files = {name: _inside(folder, name, path) for name in sorted(set(places.values()))}
    for name, file in files.items():
        for tensor in open_file(file).values():
            if places.get(tensor.name) != name:
                raise damaged(path, f"says that {tensor.name!r} is not in {name}, and it is")
            tensors[tensor.name] = tensor
    if missing := sorted(places.keys() - tensors.keys()):
        raise damaged(path, f"names tensors that its files do not hold, such as {missing[0]!r}")
    return tensors


def _inside(folder: Path, name: str, index: Path) -> Path:
    """The file of that name; one outside the folder is refused (a link may lead to a cache)."""
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise ModelError(f"points to {name!r}, which is not a safetensors file of its folder", where=index)
    path = folder / name
    if not path.is_file():
        raise MissingInput(f"{name} is named by the index and is not there", where=index)
    return path


def damaged(path: Path, what: str) -> ModelError:
    return ModelError(what, where=path, mend="Fetch or write the file again")


class Files:
    """Files by path, mapped into memory and read from any thread: pages come from the cache without a copy.

    Mapped pages are the file's own, which the kernel may drop; they are no memory of this process.
    """

    def __init__(self) -> None:
        self._mapped: dict[Path, tuple[mmap.mmap, NDArray[np.uint8]]] = {}

    def view(self, tensor: Stored) -> NDArray[Any]:
        """The tensor's values [n] as they are stored, BF16 and what is not of floats as bits; read-only."""
        slot, (_, whole) = tensor.slot, self._mapped[tensor.path]
        raw = whole[slot.start : slot.start + slot.nbytes]
        if len(raw) < slot.nbytes:
            raise damaged(tensor.path, f"ended in the middle of {tensor.name!r} while it was read")
        kind = np.dtype(MERGED.get(slot.dtype, np.uint8))
        return (raw.copy() if slot.start % kind.itemsize else raw).view(kind)

    def prefetch(self, tensors: Iterable[Stored]) -> None:
        """Tell the kernel that these tensors will be read soon."""
        for tensor in tensors:
            self.view(tensor)  # tells of a file that has become shorter
            start = tensor.slot.start - tensor.slot.start % mmap.PAGESIZE
            length = tensor.slot.start + tensor.slot.nbytes - start
            if length and hasattr(mmap, "MADV_WILLNEED"):
                self._mapped[tensor.path][0].madvise(mmap.MADV_WILLNEED, start, length)

    @contextmanager
    def open(self, paths: Iterable[Path]) -> Iterator[Files]:
        try:
            for path in sorted(set(paths)):
                with open(path, "rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._mapped[path] = mapped, np.frombuffer(mapped, np.uint8)
            yield self
        finally:
            self._mapped.clear()  # unmapped with the last view
