"""`map` over places that are not there at once, are lost, or cannot be opened; and GPUs shared out here."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from dtm.foundations.errors import ConfigError, MissingInput, WorkerError
from dtm.foundations.launch import Job, LocalLauncher, Share, places
from dtm.foundations.launch.local import visible_gpus
from dtm.foundations.launch.places import Places
from dtm.foundations.launch.process import Died


class Pretended:
    """A place that is ready after so many questions, and dies with the jobs of those names, once each."""

    def __init__(self, slot, after=0, deadly=None):
        self.where, self.after, self.deadly = {"pid": slot}, after, deadly if deadly is not None else set()
        self.left = False

    def ready(self):
        time.sleep(0.002)
        self.after -= 1
        return f"{self.after} to go" if self.after >= 0 else None

    def answers(self, message):
        name = message["arguments"]["name"]
        if name in self.deadly:
            self.deadly.discard(name)
            raise Died("the node is gone")
        time.sleep(message["arguments"].get("seconds", 0))
        yield {"event": "progress", "data": {}}
        yield {"event": "done", "result": {"place": self.where["pid"], "gang": message["gang"]}}

    def hang_up(self):
        self.left = True

    def stop(self):
        pass


class Pretending(Places):
    def __init__(self, open_place, *, workers=3, share=Share()):
        super().__init__(share, workers=workers, log=None)
        self.opened, self.open_place = [], open_place

    def open(self, slot):
        self.opened.append(self.open_place(slot))
        return self.opened[-1]


def jobs(count, **arguments):
    return [Job(str(number), "none:none", {"name": str(number), **arguments}) for number in range(count)]


def test_jobs_go_to_the_places_that_are_there_and_the_others_are_given_up():
    launcher = Pretending(lambda slot: Pretended(slot, after=0 if slot == 1 else 10**9))
    results = launcher.map(jobs(5))
    assert [one["place"] for one in results] == [1] * 5
    assert Counter(place.left for place in launcher.opened) == {True: 2, False: 1}
    launcher.map(jobs(1))  # a place that was given up may be asked for again
    launcher.close()
    assert all(place.left for place in launcher.opened)


def test_a_place_that_comes_later_takes_its_share():
    launcher = Pretending(lambda slot: Pretended(slot, after=20 * slot), workers=2)
    results = launcher.map(jobs(40, seconds=0.01))
    assert {one["place"] for one in results} == {0, 1}
    assert len(launcher.opened) == 2


def test_who_waits_long_is_told_why_once(monkeypatch):
    monkeypatch.setattr(places, "PATIENCE", 0.01)
    seen = []
    Pretending(lambda slot: Pretended(slot, after=30), workers=1).map(
        jobs(1), on_event=lambda event: seen.append((event.kind, event.data.get("reason")))
    )
    assert [kind for kind, _ in seen] == ["waiting", "started", "progress", "done"]
    assert "to go" in seen[0][1]


def test_a_lost_place_is_opened_anew_and_its_job_done_again():
    deadly, seen = {"1"}, []
    launcher = Pretending(lambda slot: Pretended(slot, deadly=deadly), workers=1)
    assert len(launcher.map(jobs(3), on_event=lambda event: seen.append((event.job.name, event.kind)))) == 3
    assert len(launcher.opened) == 2
    assert launcher.opened[0].left
    assert [kind for name, kind in seen if name == "1"] == ["started", "retry", "started", "progress", "done"]


def test_places_that_cannot_be_opened_fail_every_job_with_the_reason():
    def none(slot):
        raise MissingInput("there is no cluster")

    seen = []
    with pytest.raises(MissingInput, match="no cluster"):
        Pretending(none).map(jobs(4), on_event=lambda event: seen.append(event.kind))
    assert seen == ["failed"] * 4


def test_closing_ends_who_still_waits_for_a_place():
    launcher, raised = Pretending(lambda slot: Pretended(slot, after=10**9), workers=2), []

    def run():
        try:
            launcher.map(jobs(2))
        except WorkerError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    launcher.close()
    thread.join(5)
    assert not thread.is_alive()
    assert "launcher is closed" in str(raised[0])


def test_only_jobs_that_are_spread_get_the_processes():
    share = Share(threads=2, processes=4, cpus=8, accelerate={"distributed_type": "FSDP"})
    launcher = Pretending(lambda slot: Pretended(slot), workers=1, share=share)
    spread, alone = launcher.map(
        [Job("a", "none:none", {"name": "a"}, spread=True), Job("b", "none:none", {"name": "b"})]
    )
    assert spread["gang"] == {
        "processes": 4, "threads": 2, "cpu": True, "accelerate": {"distributed_type": "FSDP"},
    }  # fmt: skip
    assert alone["gang"] is None


def test_each_worker_is_pinned_to_gpus_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,GPU-8c1f,MIG-7")
    launcher = LocalLauncher(workers=2, share=Share(gpus=2))
    pinned = []
    monkeypatch.setattr(
        "dtm.foundations.launch.local._Process", lambda threads, gpus, log: pinned.append(gpus)
    )
    for slot in range(2):
        launcher.open(slot)
    assert pinned == ["3,5", "GPU-8c1f,MIG-7"]
    with pytest.raises(ConfigError, match="3 workers x 2 GPUs are more than the 4"):
        LocalLauncher(workers=3, share=Share(gpus=2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
