"""Flipped bytes, full disks, two drivers on one store: found, told, made again, and never twice."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from dtm.foundations.errors import ResourceError
from dtm.foundations.files import walk
from dtm.foundations.store import Store
from dtm.pipeline import steps
from dtm.pipeline.collect import verify
from tests.pipeline.conftest import content, events, without_places

SUBMODEL, MERGED = "submodels/1/adapter_model.safetensors", "merged/model.safetensors"


def flip(path, *, quietly=False):
    """Change one bit in the middle, as a failing disk would if `quietly`: no time tells it."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with open(path, "r+b") as file:  # in place: run folder and store show one file
        file.write(data)
    if quietly:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def notes(folder):
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return [line["text"] for line in log if line["event"] == "note"]


@pytest.mark.parametrize(
    ("name", "redone", "step"), [(SUBMODEL, ["submodel-1"], "train"), (MERGED, [], "merge")]
)
@pytest.mark.parametrize("quietly", [False, True], ids=["touched", "rotten"])
def test_one_flipped_bit_is_found_named_and_made_again(stubbed, name, redone, step, quietly):
    stubbed.run({})
    before, file = content(stubbed.folder), stubbed.folder / "run" / name
    flip(file, quietly=quietly)
    assert content(stubbed.folder) != before
    if quietly:
        text, damaged = verify(stubbed.folder / ".dtm-store", quiet=True)
        assert len(damaged) == 1
        assert damaged[0].startswith(f"{step} ")
        assert f"{file.name} has other bytes than were written" in text
        (stubbed.stub / "attempts").write_text("")
    stubbed.run({})
    assert (stubbed.attempts if redone else []) == redone
    done = {label for label, what in events(stubbed.folder).items() if what == "done"}
    assert done - {"settings"} == set(redone or ["merge"])
    assert content(stubbed.folder) == before
    told = [text for text in notes(stubbed.folder) if "damaged" in text]
    assert quietly or (len(told) == 1 and file.name in told[0] and told[0].startswith(step))
    assert verify(stubbed.folder / ".dtm-store", quiet=True)[1] == []


def test_several_drivers_on_one_store_do_each_step_once(stubbed):
    """Two of one run file and folder, and one of another that shares the sub-models: all at once."""
    stubbed.plan({f"submodel-{number}": "slow" for number in range(4)})
    other = ["merge.weights=[0.4, 0.3, 0.2, 0.1]", f"output_dir={stubbed.folder / 'other'}"]
    drivers = [stubbed.driver(), stubbed.driver(), stubbed.driver(*other)]
    for driver in drivers:
        _, printed = driver.communicate(timeout=120)
        assert driver.returncode == 0, printed
    assert sorted(stubbed.attempts) == [f"submodel-{number}" for number in range(4)]
    together = content(stubbed.folder), content(stubbed.folder, "other")
    assert Store(stubbed.folder / ".dtm-store").verify() == []
    assert list((stubbed.folder / ".dtm-store" / "work").iterdir()) == []
    alone = stubbed.run({}, f"store={stubbed.folder / 'alone'}")
    assert len(stubbed.attempts) == 4
    assert json.dumps(alone["results"], sort_keys=True) == together[0]["results"]
    stubbed.run({}, f"store={stubbed.folder / 'alone'}", *other)
    for place, before in zip(("run", "other"), together, strict=True):
        assert without_places(content(stubbed.folder, place)) == without_places(before)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here: it takes root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("left", [0, 200_000], ids=["none", "for some"])
def test_a_disk_that_fills_up_costs_no_finished_step(stubbed, small_disk, left, monkeypatch):
    whole = stubbed.run({}, f"store={stubbed.folder / 'roomy'}")
    before = content(stubbed.folder)
    (stubbed.stub / "attempts").unlink()
    store = [f"store={small_disk / 'store'}"]
    monkeypatch.setattr(steps, "free_bytes", lambda path: 1 << 40)  # as if the room went after the check
    stubbed.run({}, *store, until="disperse")
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize - left))
    with pytest.raises(OSError, match=r"No space left|is full|disk has") as caught:  # ResourceError is one
        stubbed.run({}, *store)
    assert isinstance(caught.value, ResourceError) or caught.value.errno == 28
    kept = {manifest.parent.name for manifest in small_disk.glob("store/objects/*/manifest.json")}
    (small_disk / "filler").unlink()
    assert Store(small_disk / "store").verify() == []
    again = stubbed.run({}, *store)
    assert again["results"] == whole["results"]
    assert without_places(content(stubbed.folder)) == without_places(before)
    assert kept <= {manifest.parent.name for manifest in small_disk.glob("store/objects/*/manifest.json")}
    assert not [name for name, _ in walk(small_disk / "store" / "work")]
