import fcntl
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.foundations.errors import StoreError
from dtm.foundations.files import walk
from dtm.foundations.store import Step, Store
from tests.foundations.forks import fork, outcome

STEP = Step("train", {"r": 16, "args": {"a": 1, "b": 2}}, {"base": "f" * 64}, 7, {"threads": 2})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def write(claim, text="weights"):
    (claim.output / "sub").mkdir(exist_ok=True)
    (claim.output / "model.safetensors").write_text(text)
    (claim.output / "sub" / "card.json").write_text("{}")
    return {"rows": 3}


def never(claim):
    raise AssertionError("the artifact should have been found")


def test_the_key_is_the_sha256_of_canonical_fields():
    fields = {"format": 1, "inputs": {"base": "f" * 64}, "numerics": {"threads": 2}, "seed": 7,
              "settings": {"args": {"a": 1, "b": 2}, "r": 16}, "step": "train", "version": 1}  # fmt: skip
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert STEP.key == hashlib.sha256(text.encode()).hexdigest()[:32]


def shuffled(value):
    """The same value with all dictionaries' keys the other way round."""
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(list(value))}
    return [shuffled(one) for one in value] if isinstance(value, list) else value


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_the_key_does_not_depend_on_the_order_of_settings(settings):
    step, other = Step("s", settings), Step("s", shuffled(settings))
    assert step.key == other.key


@pytest.mark.parametrize("change", [
    {"name": "merge"}, {"settings": {"r": 8}}, {"inputs": {"base": "e" * 64}}, {"seed": 8}, {"seed": None},
    {"numerics": {"threads": 1}}, {"version": 2},
])  # fmt: skip
def test_the_key_depends_on_every_field(change):
    whole = {"name": STEP.name, "settings": STEP.settings, "inputs": STEP.inputs, "seed": STEP.seed,
             "numerics": STEP.numerics, "version": STEP.version}  # fmt: skip
    assert Step(**{**whole, **change}).key != STEP.key


def test_the_same_work_in_two_stores_has_one_key_and_one_digest(tmp_path):
    here, there = Store(tmp_path / "a"), Store(tmp_path / "deep" / "er" / "b")
    one, two = here.make(STEP, write), there.make(STEP, write)
    assert (one.key, one.digest) == (two.key, two.digest)


def test_made_once_then_found_with_manifest_and_facts(store):
    assert store.find(STEP) is None
    made = store.make(STEP, write)
    found = store.make(STEP, never)
    assert found == made == store.find(STEP)
    assert found.facts == {"rows": 3}
    expected = {name: hashlib.sha256(text).hexdigest()
                for name, text in (("model.safetensors", b"weights"), ("sub/card.json", b"{}"))}  # fmt: skip
    assert found.manifest["files"] == expected
    assert found.manifest["sizes"] == {"model.safetensors": 7, "sub/card.json": 2}
    assert {name: found.manifest[name] for name in STEP.fields} == STEP.fields
    canonical = json.dumps(expected, sort_keys=True, separators=(",", ":"))
    assert found.digest == hashlib.sha256(canonical.encode()).hexdigest()
    assert not (store.root / "work" / STEP.key).exists()
    assert [artifact.key for artifact in store.artifacts()] == [STEP.key]


def test_the_digest_is_of_content_not_of_logs_and_times(tmp_path):
    def with_log(text):
        def build(claim):
            (claim.output / "log.jsonl").write_text(text)
            (claim.output / "training_args.bin").write_text(text)
            return write(claim)

        return build

    one = Store(tmp_path / "a").make(STEP, with_log("one"))
    two = Store(tmp_path / "b").make(STEP, with_log("two"))
    assert one.digest == two.digest
    assert one.digest != Store(tmp_path / "c").make(STEP, lambda claim: write(claim, "other")).digest


@pytest.mark.parametrize("harm", [
    lambda folder: (folder / "model.safetensors").write_text("weightz"),  # same size, another mtime
    lambda folder: (folder / "model.safetensors").write_text("longer than before"),
    lambda folder: (folder / "sub" / "card.json").unlink(),
    lambda folder: (folder / "manifest.json").unlink(),
    lambda folder: (folder / "manifest.json").write_text('{"files": {'),
    lambda folder: (folder / "manifest.json").write_text("[]"),
    lambda folder: (folder / "manifest.json").write_text('{"files": {}, "sizes": {}}'),
    lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    lambda folder: shutil.rmtree(folder / "sub"),
], ids=["byte", "size", "file", "manifest", "cut", "list", "foreign", "binary", "folder"])  # fmt: skip
def test_a_damaged_artifact_is_put_aside_and_made_again(store, harm):
    made, told = store.make(STEP, write), []
    store.tell = told.append
    harm(made.folder)
    assert store.find(STEP) is None
    assert len(told) == 1
    assert told[0].startswith(f"train {STEP.key} in the store is damaged: ")
    assert [path.name.split("-")[1] for path in (store.root / "work").glob("damaged-*")] == [STEP.key]
    again = store.make(STEP, write)
    assert again.digest == made.digest
    assert store.find(STEP) == again


@pytest.mark.parametrize("shift", [-10 * 365 * 86400, 10 * 365 * 86400], ids=["past", "future"])
def test_clocks_that_are_wrong_change_nothing(store, shift, monkeypatch):
    """A store written under another clock: found, resumed, and no time that it took is below zero."""
    made, half = store.make(STEP, write), Step("half")
    with store.claim(half) as claim:
        (claim.scratch / "checkpoint").write_text("half way")
    for place, _, names in os.walk(store.root):
        for path in (place, *(os.path.join(place, name) for name in names)):
            stat = os.stat(path)
            os.utime(path, (stat.st_atime + shift, stat.st_mtime + shift))
    other = Store(store.root)
    assert other.find(STEP) == made
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - shift)
    with other.claim(half) as claim:
        monkeypatch.setattr(time, "time", lambda: real() - 2 * abs(shift))  # set back while the work is done
        assert (claim.scratch / "checkpoint").exists()
        assert 0 <= claim.publish(write(claim)).manifest["seconds"] < 60


def test_another_artifacts_manifest_is_no_manifest(store):
    one, other = store.make(STEP, write), store.make(Step("other"), write)
    shutil.copy(other.folder / "manifest.json", one.folder / "manifest.json")
    assert store.find(STEP) is None


def test_a_flipped_byte_under_an_unchanged_stat_is_what_the_cache_cannot_see(store):
    """The documented limit: path, size, mtime and inode stand for the content; without the cache it shows."""
    file = store.make(STEP, write).folder / "model.safetensors"
    stat = file.stat()
    file.write_text("weightz")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.find(STEP) is not None
    again = Store(store.root)
    assert again.verify() == [f"train {STEP.key}: model.safetensors has other bytes than were written"]
    assert again.find(STEP) is None
    assert again.verify() == []


def test_what_a_failed_build_left_is_there_for_the_next_owner(store):
    def fails(claim):
        (claim.scratch / "checkpoint-1").write_text("half way")
        (claim.output / "first.safetensors").write_text("done")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        store.make(STEP, fails)
    assert store.find(STEP) is None
    with store.claim(STEP, wait=lambda: pytest.fail("the lock was not given back")) as claim:
        assert (claim.scratch / "checkpoint-1").read_text() == "half way"
        artifact = claim.publish()
    assert set(artifact.manifest["files"]) == {"first.safetensors"}
    assert not claim.work.exists()


def test_hidden_leftovers_of_a_killed_writer_are_not_published(tmp_path):
    clean = Store(tmp_path / "clean").make(STEP, write)
    store = Store(tmp_path / "killed")
    with store.claim(STEP) as claim:
        (claim.output / ".tmpA1b2C3").write_text("half of a safetensors file")
        (claim.output / ".card.json.4711.tmp").write_text("{")
    made = store.make(STEP, write)
    assert made.digest == clean.digest
    assert sorted(name for name, _ in walk(made.folder)) == [
        "manifest.json",
        "model.safetensors",
        "sub/card.json",
    ]


def test_work_left_by_a_kill_just_after_publishing_is_freed(store):
    store.make(STEP, write)
    scratch = store.root / "work" / STEP.key / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "optimizer.pt").write_text("large")
    assert store.find(STEP) is not None
    assert not scratch.parent.exists()


def test_the_second_owner_waits_and_then_finds(store):
    told, ready = os.pipe()

    def second():
        os.close(told)
        with Store(store.root).claim(STEP, wait=lambda: os.write(ready, b"waiting")) as claim:
            assert claim.artifact is not None
            assert claim.artifact.facts == {"rows": 3}

    def first():
        with Store(store.root).claim(STEP) as claim:
            os.write(ready, b"holding")
            assert os.read(go, 2) == b"go"
            claim.publish(write(claim))

    go, say_go = os.pipe()
    one = fork(first)
    assert os.read(told, 7) == b"holding"
    two = fork(second)
    assert os.read(told, 7) == b"waiting"
    os.write(say_go, b"go")
    assert (outcome(one), outcome(two)) == (0, 0)
    for end in (told, ready, go, say_go):
        os.close(end)


def test_a_new_owner_waits_until_the_worker_of_a_killed_one_has_left(store):
    with store.claim(STEP) as claim:
        told, say = os.pipe()

        def orphan():
            with open(claim.job_lock) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                os.write(say, b"x")
                time.sleep(0.3)
                (claim.output / "late").write_text("written by the orphan")

        claim.release()
        child = fork(orphan)
        assert os.read(told, 1) == b"x"
    with store.claim(STEP) as second:
        assert (second.output / "late").exists()
        second.empty()
    assert outcome(child) == 0
    os.close(told)
    os.close(say)


def test_empty_drops_the_output_and_keeps_the_scratch(store):
    with store.claim(STEP) as claim:
        (claim.output / "sub").mkdir()
        (claim.output / "sub" / "old").write_text("old")
        (claim.scratch / "checkpoint").write_text("kept")
        claim.empty()
        assert list(claim.output.iterdir()) == []
        assert (claim.scratch / "checkpoint").read_text() == "kept"


def test_of_many_processes_exactly_one_builds_each_key(store, tmp_path):
    log = os.open(tmp_path / "built", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    steps = [Step("s", {"number": number}) for number in range(6)]

    def build(claim):
        os.write(log, f"{claim.step.settings['number']}\n".encode())
        return write(claim)

    def race():
        mine = Store(store.root)
        for step in steps:
            assert mine.make(step, build).facts == {"rows": 3}

    assert [outcome(child) for child in [fork(race) for _ in range(4)]] == [0] * 4
    os.close(log)
    assert sorted((tmp_path / "built").read_text().split()) == [str(number) for number in range(6)]


def test_remove_frees_objects_and_unfinished_work(store):
    store.make(STEP, write)
    half = Step("half")
    with store.claim(half) as claim:
        (claim.output / "part").write_text("12345")
    size = sum(path.stat().st_size for _, path in walk(store.root / "objects"))
    assert store.remove({STEP.key, half.key, "no-such-key"}) == size + 5
    assert [name for place in ("objects", "work", "locks") for name in os.listdir(store.root / place)] == []
    assert store.find(STEP) is None


def test_remove_does_not_count_bytes_that_a_run_folder_still_shows(store, tmp_path):
    made = store.make(STEP, write)
    os.link(made.folder / "model.safetensors", tmp_path / "shown")
    manifest = (made.folder / "manifest.json").stat().st_size
    assert store.remove({STEP.key}) == manifest + len("{}")
    assert (tmp_path / "shown").read_text() == "weights"


def test_remove_leaves_a_key_that_somebody_holds(store):
    with store.claim(STEP) as claim:
        (claim.output / "part").write_text("12345")
        assert store.remove({STEP.key}) == 0
        assert (claim.output / "part").read_text() == "12345"
        claim.publish()
    assert store.find(STEP) is not None


def test_a_lock_file_that_was_removed_under_a_second_collector_does_not_hide_the_owner(store, monkeypatch):
    """Two collectors and an owner: the one that opened the old lock file must not take it for the key's."""
    path = store.root / "locks" / STEP.key
    path.touch()
    real, swapped = os.open, []

    def slow_open(name, *arguments, **options):
        descriptor = real(name, *arguments, **options)
        if Path(name) == path and not swapped:
            monkeypatch.undo()
            path.unlink()  # what another collector does in the end
            swapped.append(Store(store.root).claim(STEP))  # and a new owner comes
            (swapped[0].output / "part").write_text("12345")
        return descriptor

    monkeypatch.setattr(os, "open", slow_open)
    assert store.remove({STEP.key}) == 0
    assert (swapped[0].output / "part").exists()
    swapped[0].release()


def test_a_removal_that_was_killed_half_way_does_not_stop_the_next(store):
    made = store.make(STEP, write)
    doomed = store.root / "work" / f"doomed-{STEP.key}"
    doomed.mkdir()
    (doomed / "rest").write_text("rest")
    assert store.remove({STEP.key, doomed.name}) > 4
    assert not made.folder.exists()
    assert not doomed.exists()


def test_a_slow_finder_does_not_put_a_repaired_artifact_aside(store, monkeypatch):
    made = store.make(STEP, write)
    (made.folder / "model.safetensors").write_text("damaged")
    slow = Store(store.root)
    harm = slow.harm

    def while_another_repairs(artifact):
        verdict = harm(artifact)
        store.make(STEP, write)
        return verdict

    monkeypatch.setattr(slow, "harm", while_another_repairs)
    assert slow.find(STEP) is None
    assert store.find(STEP) is not None


def test_a_store_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made") as caught:
        Store(tmp_path / "file" / "store")
    assert "Set `store:`" in caught.value.message


def test_settings_that_are_not_json_have_no_key():
    with pytest.raises(ValueError):
        Step("s", {"rate": float("nan")}).key  # noqa: B018
