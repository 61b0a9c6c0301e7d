"""Checkpoints of trainings in work, streamed to a store's URL, so that another machine can go on from them.

URL/work/<key>/checkpoint-STEP/     the newest that is whole; its stamp of digests is uploaded last
URL/work/<key>/points/              models that are kept on the way, which it stands on
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dtm.foundations.errors import DtmError
from dtm.foundations.files import link, link_tree, read_json, walk
from dtm.foundations.mirror import MirroredStore
from dtm.foundations.store import Claim, Store
from dtm.pipeline.background import Background
from dtm.train.checkpoints import PLAN, POINTS, STAMP, is_whole, latest, step_of

EVERY = 0.2  # seconds between two looks at the folders of checkpoints


class Streaming:
    """Sends the checkpoints of claims while workers train, and brings back those of a run that was killed.

    Of a store on this machine alone, nothing.
    """

    def __init__(self, store: Store) -> None:
        self.store = store if isinstance(store, MirroredStore) else None
        self._claims: list[Claim] = []
        self._sent: dict[str, set[str]] = {}  # by key, the folders that are there
        self._background: Background | None = None

    def restore(self, claim: Claim) -> None:
        """Put the newest whole checkpoint of the remote into the scratch, unless the scratch is as far."""
        if self.store is None:
            return
        remote = self.store.remote.below(f"work/{claim.step.key}")
        there = remote.walk()
        whole = {name.rpartition("/")[0] for name in there if name.rpartition("/")[2] == STAMP}
        newest = max((name for name in whole if "/" not in name), key=_step, default=None)
        mine = latest(claim.scratch)
        if newest is None or (mine is not None and step_of(mine) >= _step(newest)):
            return
        wanted = {newest, *(name for name in whole if name.startswith(f"{POINTS}/"))}
        names = [name for name in there
                 if name == f"{POINTS}/{PLAN}" or any(name.startswith(f"{folder}/") for folder in wanted)]  # fmt: skip
        self.store.tell(f"  going on from {newest} of {remote.url}")
        partial = claim.work / f"fetching-{os.getpid()}"
        try:
            remote.get((name, partial / name) for name in names)
            if not all(is_whole(partial / folder) for folder in wanted):
                self.store.tell(f"  {newest} of {remote.url} is damaged: the training begins again")
                remote.remove(names)
                return
            for name, path in walk(partial):
                link(path, claim.scratch / name)
            self._sent[claim.step.key] = wanted
        except FileNotFoundError:  # another driver published, or sent a newer one, meanwhile
            return
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def start(self, claims: Iterable[Claim]) -> None:
        """From now on send what these write."""
        self._claims = [claim for claim in claims if claim.artifact is None]
        if self.store is not None and self._claims:
            self._background = Background(self._send_all, EVERY, self.store.tell)

    def stop(self) -> None:
        """Send what is new, and drop the checkpoints of what is published."""
        if self._background is None or self.store is None:
            return
        self._background.stop()
        for claim in self._claims:
            if claim.artifact is not None:
                try:
                    remote = self.store.remote.below(f"work/{claim.step.key}").brief()
                    remote.remove(list(remote.walk()))
                except DtmError as error:  # `gc` removes them too
                    self.store.tell(f"its checkpoints stay for now: {error}")

    def _send_all(self) -> None:
        for claim in self._claims:
            if claim.artifact is None:
                try:
                    self._send(claim)
                except FileNotFoundError:  # the trainer dropped it, or it was published
                    continue

    def _send(self, claim: Claim) -> None:
        """Upload the newest whole checkpoint and the points before it, then drop older checkpoints."""
        assert self.store is not None
        checkpoint = max((one for one in _stamped(claim.scratch) if one.name.startswith("checkpoint-")), key=step_of,
                         default=None)  # fmt: skip
        sent = self._sent.setdefault(claim.step.key, set())
        if checkpoint is None or checkpoint.name in sent:
            return
        points = claim.scratch / POINTS
        folders = [*(one for one in _stamped(points) if f"{POINTS}/{one.name}" not in sent), checkpoint]
        remote = self.store.remote.below(f"work/{claim.step.key}").brief()
        if (points / PLAN).exists():
            remote.put([(points / PLAN, f"{POINTS}/{PLAN}")])
        for folder in folders:
            name = folder.relative_to(claim.scratch).as_posix()
            self._upload(folder, name, _snapshot(claim), remote)
            sent.add(name)
        remote.remove([one for one in remote.walk() if _is_older(one, checkpoint)])

    def _upload(self, folder: Path, name: str, snapshot: Path, remote: Any) -> None:
        """Upload what the folder holds now, its stamp last; the trainer may drop the folder meanwhile."""
        try:
            link_tree(folder, snapshot)
            files = {file: path for file, path in walk(snapshot) if file != STAMP}
            if files.keys() != read_json(snapshot / STAMP).keys():
                raise FileNotFoundError(folder)
            remote.put((path, f"{name}/{file}") for file, path in files.items())
            remote.put([(snapshot / STAMP, f"{name}/{STAMP}")])
        finally:
            shutil.rmtree(snapshot, ignore_errors=True)


def _stamped(folder: Path) -> list[Path]:
    """Folders whose stamp was written, without reading what they hold."""
    return sorted(path.parent for path in folder.glob(f"*/{STAMP}") if not path.parent.name.startswith("."))


def _snapshot(claim: Claim) -> Path:
    return claim.store.root / "work" / f"sending-{claim.step.key}-{os.getpid()}"


def _is_older(name: str, checkpoint: Path) -> bool:
    folder = name.split("/")[0]
    return folder.startswith("checkpoint-") and _step(folder) < step_of(checkpoint)


def _step(name: str) -> int:
    return step_of(Path(name))
