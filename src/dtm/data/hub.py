"""Data sets of the Hugging Face hub, pinned to a commit. Nothing here runs before `load`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dtm.data.rows import BATCH, Tell
from dtm.foundations.errors import DataError, MissingInput

COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True)
class HubData:
    """One split of a data set: `name` is the `owner/name` of the hub."""

    name: str
    revision: str | None = None
    subset: str | None = None
    split: str = "train"

    @property
    def commit(self) -> str:
        """The commit behind the revision; asked of the hub once a process, or of its local cache offline."""
        return _commit(self.name, self.revision)

    def rows(self, tell: Tell = lambda count: None) -> Iterator[tuple[int, Any]]:
        """(number of the row, from 1) and the row; raises MissingInput or DataError."""
        import datasets

        def fetch() -> Any:
            return datasets.load_dataset(self.name, self.subset, split=self.split, revision=self.commit)

        table = _asked(fetch, self.name).with_format("arrow")
        number = 0
        for batch in table.iter(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row


@lru_cache
def _commit(name: str, revision: str | None) -> str:
    if revision and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants

    def ask() -> str:
        try:
            return str(HfApi().dataset_info(name, revision=revision).sha)
        except ConnectionError:
            cached = f"{constants.HF_HUB_CACHE}/datasets--{name.replace('/', '--')}/refs/{revision or 'main'}"
            with open(cached, encoding="utf-8") as file:
                return file.read().strip()

    return _asked(ask, name)


def _asked(question: Callable[[], Any], name: str) -> Any:
    """The hub's answer; what it says no to, and silence, are a user's to mend."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return question()
    except HfHubHTTPError as error:
        what = f"the hub does not give the data set {name!r}: {_first_line(error)}"
        mend = "Check its name and `revision`; for a gated one, log in with `hf auth login`"
        raise MissingInput(what, where=name, mend=mend) from error
    except OSError as error:
        what = f"it is no file or folder here, and cannot be fetched from the hub: {_first_line(error)}"
        mend = "Correct `path`, or go online once, or download the data and give the folder's path"
        raise MissingInput(what, where=name, mend=mend) from error
    except (ValueError, TypeError, RuntimeError) as error:  # what `datasets` raises for its many own classes
        mend = "Check `subset` and `split`, or download its files and give the folder's path"
        raise DataError(
            f"the data set cannot be read: {_first_line(error)}", where=name, mend=mend
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
