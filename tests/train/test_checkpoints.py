"""A checkpoint counts only if it carries the digests of its files and they are true."""

from __future__ import annotations

from dtm.train.checkpoints import discard_broken, is_whole, latest, stamp


def checkpoint(scratch, step, *, stamped=True):
    folder = scratch / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(bytes([step]) * 100)
    if stamped:
        stamp(folder)
    return folder


def test_the_newest_whole_one_by_number_not_by_name(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, stamped=False)
    assert latest(tmp_path) == newest


def test_a_flipped_byte_is_found_and_the_one_before_it_used(tmp_path):
    older, newer = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    content = bytearray((newer / "weights.safetensors").read_bytes())
    content[50] ^= 1
    (newer / "weights.safetensors").write_bytes(content)
    assert not is_whole(newer)
    assert latest(tmp_path) == older
    assert discard_broken(tmp_path) == [newer]
    assert not newer.exists()


def test_a_missing_file_and_a_damaged_stamp(tmp_path):
    first, second = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    (first / "weights.safetensors").unlink()
    (second / "dtm-digests.json").write_text("{")
    assert latest(tmp_path) is None


def test_nothing_there(tmp_path):
    assert latest(tmp_path) is None
    assert latest(tmp_path / "nowhere") is None
