"""Data sets of the Hugging Face hub, pinned to a commit. The hub is first asked at `fingerprint` or `load`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dtm.data.rows import BATCH, Tell
from dtm.foundations.errors import DataError, DtmError, MissingInput

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
        """The commit behind the revision, asked for once a process; raises MissingInput."""
        return _commit(self.name, self.revision)

    def rows(self, tell: Tell = lambda count: None) -> Iterator[tuple[int, Any]]:
        """(number of the row, from 1) and the row; raises MissingInput or DataError."""
        number = 0
        for batch in self._table().with_format("arrow").iter(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row

    def _table(self) -> Any:
        import datasets

        commit = self.commit
        try:
            builder = datasets.load_dataset_builder(self.name, self.subset, revision=commit)
            if builder.hash != commit:  # offline it takes the latest that it has (huggingface/datasets#7928)
                raise FileNotFoundError(f"its cache holds commit {builder.hash}, not {commit}")
            builder.download_and_prepare()
            return builder.as_dataset(split=self.split)
        except OSError as error:
            raise _missing(self.name, error) from error
        except Exception as error:  # `datasets` has no class for all that data can have against it
            mend = "Check `subset` and `split`, or download its files and give the folder's path"
            what = f"the data set cannot be read: {_first_line(error)}"
            raise DataError(what, where=self.name, mend=mend) from error


@lru_cache
def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if revision and COMMIT.fullmatch(revision):
        return revision
    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except HfHubHTTPError as error:
        raise _missing(name, error) from error
    except Exception as error:  # no answer: its class depends on the version of the hub's client
        cached = _cached_commit(name, revision or "main")
        if cached is None:
            raise _missing(name, error) from error
        return cached


def _cached_commit(name: str, revision: str) -> str | None:
    """What the revision was when it was last downloaded to the hub's cache here."""
    from huggingface_hub import constants

    path = Path(constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}", "refs", revision)
    return path.read_text().strip() if path.is_file() else None


def _missing(name: str, error: Exception) -> DtmError:
    what = f"{name!r} is no file or folder here, and the hub does not give a data set of that name"
    mend = ("Correct `path` or `revision`; log in with `hf auth login` if it is gated; offline, say the commit "
            "that you have as `revision`, or give the path of a downloaded folder")  # fmt: skip
    return MissingInput(f"{what}: {_first_line(error)}", where=name, mend=mend)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
