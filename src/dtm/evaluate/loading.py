"""The model that a worker holds: loaded once, kept for the next job of the same model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.files import canonical

_kept: dict[tuple, tuple[Any, Any]] = {}


def model_and_tokenizer(job: dict[str, Any]) -> tuple[Any, Any]:
    """The causal model of a job in `eval` mode, its adapter merged in memory, and its tokenizer.

    The job's `model` is a folder, `adapter` a PEFT folder or None, `dtype` a torch name or "auto", `options`
    what else from_pretrained takes. Instead of the first two there may be `parts`, a list of such pairs: the
    model is then their ensemble. Only the model of the last job is kept. Raises MissingInput or ModelError.
    """
    places = [_places(one) for one in job.get("parts") or [job]]
    dtype, device = job.get("dtype") or "auto", job.get("device") or "cpu"
    options = {**(job.get("options") or {}), "dtype": dtype}
    stamps = [(_stamp(folder), _stamp(adapter) if adapter else None) for folder, adapter in places]
    key = (*stamps, canonical(options), device)
    if key not in _kept:
        _kept.clear()  # before loading, or two models are in memory at once
        loaded = [_load(folder, adapter, options, device) for folder, adapter in places]
        _kept[key] = _together(loaded) if job.get("parts") else loaded[0]
    return _kept[key]


@contextmanager
def lent(job: dict[str, Any]) -> Iterator[Any]:
    """The job's model, for its weights to be overwritten: jobs of that model see them until the end of the block.

    It is forgotten then, so that the next job of the model gets the one on disk again.
    """
    try:
        yield model_and_tokenizer(job)[0]
    finally:
        _kept.clear()


def parameters_of(model: Any) -> int | None:
    """How many values the loaded model has, tied ones once; None for an engine that does not show them."""
    return sum(one.numel() for one in model.parameters()) if hasattr(model, "parameters") else None


def _places(job: dict[str, Any]) -> tuple[Path, Path | None]:
    return Path(job["model"]), Path(job["adapter"]) if job.get("adapter") else None


def _together(loaded: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The ensemble of the models, and the tokenizer that all of them have."""
    from dtm.evaluate.ensemble import Ensemble

    return Ensemble([model for model, _ in loaded]), loaded[0][1]


def _load(folder: Path, adapter: Path | None, options: dict[str, Any], device: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    from dtm.foundations.models import load_model, shards

    shards(folder, where="model")  # refuses pickles
    home = adapter if adapter and (adapter / "tokenizer_config.json").exists() else folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(home, local_files_only=True)
        model = load_model(folder, options, device=device)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the model cannot be loaded: {_first_line(error)}", where=folder) from error
    if adapter:
        model = _merged(model, adapter)
    return model.eval().requires_grad_(False), tokenizer


def _merged(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_model.safetensors").exists():
        raise MissingInput("there is no adapter_model.safetensors in the adapter's folder", where=adapter)
    try:
        return PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"the adapter does not fit the model: {_first_line(error)}", where=adapter
        ) from error


def _stamp(folder: Path) -> tuple:
    """What tells that a folder's files are still the ones that were loaded."""
    if not folder.is_dir():
        raise MissingInput("there is no such model folder", where=folder)
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return str(folder), *((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]
