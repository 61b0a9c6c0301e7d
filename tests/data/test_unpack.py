import gzip

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.data.unpack import CHUNK, Damaged, chunks, head, is_packed

TEXT = bytes(range(256)) * 40


def pack_zst(data):
    return zstandard.ZstdCompressor().compress(data)


def read(path):
    """What can be unpacked, and whether damage was told."""
    parts = []
    try:
        for chunk in chunks(path):
            parts.append(chunk)
    except Damaged:
        return b"".join(parts), True
    return b"".join(parts), False


@pytest.mark.parametrize("pack", [bytes, gzip.compress, pack_zst], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
def test_what_was_packed_comes_back(tmp_path, pack, size):
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    (tmp_path / "file").write_bytes(pack(data))
    assert read(tmp_path / "file") == (data, False)


@pytest.mark.parametrize("pack", [gzip.compress, pack_zst], ids=["gzip", "zstd"])
def test_members_behind_one_another_are_one_text(tmp_path, pack):
    (tmp_path / "file").write_bytes(pack(b"one") + pack(b"") + pack(b"two"))
    assert read(tmp_path / "file") == (b"onetwo", False)


def test_zeros_behind_the_last_member_are_padding(tmp_path):
    (tmp_path / "file").write_bytes(gzip.compress(b"one") + bytes(1000))
    assert read(tmp_path / "file") == (b"one", False)


@settings(max_examples=60, deadline=None)
@given(pack=st.sampled_from([gzip.compress, pack_zst]), share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_gives_a_beginning_and_says_so(tmp_path_factory, pack, share):
    packed = pack(TEXT)
    path = tmp_path_factory.mktemp("cut") / "file"
    path.write_bytes(packed[: 4 + int(share * (len(packed) - 4))])
    found, damaged = read(path)
    assert damaged
    assert TEXT.startswith(found)


@pytest.mark.parametrize("pack", [gzip.compress, pack_zst], ids=["gzip", "zstd"])
def test_corruption_and_foreign_bytes_are_damage(tmp_path, pack):
    packed = bytearray(pack(TEXT))
    (tmp_path / "foreign").write_bytes(bytes(packed) + b"something else")
    assert read(tmp_path / "foreign") == (TEXT, True)
    packed[-5] ^= 0xFF  # in gzip's checksum, in zstandard's last block
    (tmp_path / "corrupt").write_bytes(bytes(packed))
    found, damaged = read(tmp_path / "corrupt")
    assert damaged or found != TEXT


def test_all_bytes_on_disk_are_told(tmp_path):
    (tmp_path / "file").write_bytes(gzip.compress(TEXT * 100, compresslevel=0))
    told = []
    for _ in chunks(tmp_path / "file", told.append):
        pass
    assert sum(told) == (tmp_path / "file").stat().st_size
    assert len(told) > 5


def test_the_head_of_a_damaged_file_is_what_there_is(tmp_path):
    (tmp_path / "file").write_bytes(gzip.compress(TEXT, compresslevel=0)[:-20])
    assert TEXT.startswith(head(tmp_path / "file"))
    assert len(head(tmp_path / "file")) > 5000
    assert is_packed(tmp_path / "file")
