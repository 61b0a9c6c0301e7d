"""Before any work: whether the URLs of a run file can be written to, and what a run on another machine left there."""

from __future__ import annotations

from pathlib import Path

from dtm.config import RunFile
from dtm.foundations.errors import ConfigError
from dtm.foundations.remote import Remote
from dtm.foundations.urls import is_url
from dtm.pipeline.mirroring import RunMirror, is_run


def check_storage(file: RunFile) -> None:
    """Write, read and remove a small file at each URL; bring the live files of a run folder that is there.

    Raises DtmError, within seconds, where that cannot be.
    """
    if file.output_url:
        check_output(file.output_url, file.output_dir, file.where("output_dir"))
    if is_url(file.store):
        place = file.where("store" if file.config.store else "output_dir")
        Remote.open(str(file.store), where=place).check(where=place)


def check_output(url: str, folder: Path, where: object) -> None:
    """That for an `output_dir`, worked on in `folder`. Raises ConfigError where something else than a run is there."""
    remote = Remote.open(url, where=where)
    remote.check(where=where)
    if is_run(remote):
        RunMirror(folder, url).fetch_live()
    elif remote.walk():
        raise ConfigError(f"{url} holds files that no run made", where=where,
                          mend="Choose another output_dir, or move them away")  # fmt: skip
