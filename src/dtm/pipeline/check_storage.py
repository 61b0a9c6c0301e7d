"""Before any work: whether the URLs of a run file can be written to, and what a run on another machine left there."""

from __future__ import annotations

from dtm.config import RunFile
from dtm.foundations.errors import ConfigError
from dtm.foundations.remote import Remote, is_url
from dtm.pipeline.mirroring import RunMirror


def check_storage(file: RunFile) -> None:
    """Write, read and remove a small file at each URL; bring the live files of a run folder that is there.

    Raises DtmError, within seconds, where that cannot be.
    """
    if file.output_url:
        place = file.where("output_dir")
        remote = Remote.open(file.output_url, where=place)
        remote.check(where=place)
        if remote.read("run.yaml") is not None:
            RunMirror(file.output_dir, file.output_url).fetch_live()
        elif remote.walk():
            raise ConfigError(f"{file.output_url} holds files that no run made", where=place,
                              mend="Choose another output_dir, or move them away")  # fmt: skip
    if is_url(file.store):
        place = file.where("store" if file.config.store else "output_dir")
        Remote.open(str(file.store), where=place).check(where=place)
