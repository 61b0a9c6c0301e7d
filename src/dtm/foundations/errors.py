"""Every error that a user can cause or mend.

    DtmError
    ├── ConfigError     (ValueError)         a run file says something that cannot be
    ├── MethodError     (LookupError)        no such method, or a setting it does not have
    ├── MissingInput    (FileNotFoundError)  a path, hub id or store entry that is not there
    ├── DataError       (ValueError)         rows or files of data that cannot be used
    ├── ModelError      (ValueError)         a checkpoint, adapter or tokenizer that cannot be used
    ├── TrainingError   (RuntimeError)       training stopped by itself: a loss that is not finite
    ├── StoreError      (RuntimeError)       the store is locked, damaged or from another version
    ├── ResourceError   (OSError)            disk, memory or a budget that does not suffice
    ├── BackendError    (ConnectionError)    an LLM's endpoint that cannot be reached or refuses
    └── WorkerError     (RuntimeError)       a worker process died or raised

Each is also of the built-in type in brackets, so that library users may catch what they know.
The command line prints `message` as one paragraph and exits with 2.
"""

from __future__ import annotations

from collections.abc import Sequence


class DtmError(Exception):
    """What is wrong, where it stands, and how to mend it; `last` are lines that show it, of a log."""

    def __init__(
        self, what: str, *, where: object = None, mend: str | None = None, last: Sequence[str] = ()
    ) -> None:
        self.what, self.where, self.mend = what, None if where is None else str(where), mend
        self.last = tuple(last)
        super().__init__(what)

    @property
    def message(self) -> str:
        """One paragraph: `where: what. mend`; the log's last lines below it."""
        text = _sentence(self.what)
        if self.where:
            text = f"{self.where}: {text}"
        text = f"{text} {_sentence(self.mend)}" if self.mend else text
        return "\n    | ".join([text, *self.last])

    def __str__(self) -> str:
        return self.message

    def __reduce__(self):  # keyword arguments survive the way back from a worker
        return _rebuild, (type(self), self.what, self.where, self.mend, self.last)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!", "\n")) else text + "."


def _rebuild(
    kind: type[DtmError], what: str, where: str | None, mend: str | None, last: Sequence[str]
) -> DtmError:
    return kind(what, where=where, mend=mend, last=last)


class ConfigError(DtmError, ValueError):
    """A run file says something that cannot be."""


class MethodError(DtmError, LookupError):
    """No such method, or a setting that it does not have."""

    __str__ = DtmError.__str__


class MissingInput(DtmError, FileNotFoundError):
    """A path, hub id or store entry that is not there."""

    __str__ = DtmError.__str__


class DataError(DtmError, ValueError):
    """Rows or files of data that cannot be used."""


class ModelError(DtmError, ValueError):
    """A checkpoint, adapter or tokenizer that cannot be used."""


class TrainingError(DtmError, RuntimeError):
    """Training stopped by itself, as on a loss that is not finite."""


class StoreError(DtmError, RuntimeError):
    """The store is locked, damaged or from another version."""


class ResourceError(DtmError, OSError):
    """Disk, memory or a budget that does not suffice."""

    __str__ = DtmError.__str__


class BackendError(DtmError, ConnectionError):
    """An LLM's endpoint that cannot be reached, refuses, or answers nothing of use."""

    __str__ = DtmError.__str__


class WorkerError(DtmError, RuntimeError):
    """A worker process died or raised something that is not a user's error."""


def several(errors: list[DtmError]) -> DtmError:
    """Fold all errors found at once into one, so that a user mends them in one go."""
    flat = [part for error in errors for part in getattr(error, "parts", [error])]
    if len(flat) == 1:
        return flat[0]
    lines = "\n".join(f"  {number}. {error.message}" for number, error in enumerate(flat, 1))
    folded = ConfigError(f"{len(flat)} things are wrong:\n{lines}")
    folded.parts = flat  # type: ignore[attr-defined]
    return folded
