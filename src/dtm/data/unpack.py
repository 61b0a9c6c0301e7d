"""The bytes of a file, unpacked as they are read: plain, gzip or zstandard, told by magic bytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 16  # packed bytes; unpacked they may be a thousand times as many
HEAD = 1 << 16
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Damaged(Exception):
    """The rest of the file cannot be read; what came before it was delivered."""


def chunks(path: Path, tell: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
    """The file's bytes, unpacked; `tell` hears how many packed bytes each read took.

    Raises Damaged where a packed file breaks off or is corrupt, after all that could be unpacked.
    """
    with open(path, "rb") as file:
        start = file.read(CHUNK)
        unpack = _unpacker(start)
        chunk = start
        while chunk:
            tell(len(chunk))
            yield from unpack(chunk) if unpack else (chunk,)
            chunk = file.read(CHUNK)
        if unpack and not unpack.done:
            raise Damaged("the packed data breaks off")


def head(path: Path) -> bytes:
    """The first bytes of the file, unpacked: HEAD of them, or fewer where it ends or is damaged."""
    found = b""
    try:
        for chunk in chunks(path):
            found += chunk
            if len(found) >= HEAD:
                break
    except Damaged:
        pass
    return found[:HEAD]


def is_packed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4).startswith((GZIP, ZSTD))


def _unpacker(start: bytes) -> Members | None:
    if start.startswith(GZIP):
        return Members(lambda: zlib.decompressobj(wbits=31), GZIP)
    if start.startswith(ZSTD):
        import zstandard

        return Members(lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(), ZSTD)
    return None


class Members:
    """Unpacks a file of one or more members, as `cat a.gz b.gz` makes it."""

    def __init__(self, make: Callable[[], Any], magic: bytes) -> None:
        self.make, self.magic = make, magic
        self.member: Any = None
        self.held = b""  # bytes between members, until they are known to be a member's start or padding

    @property
    def done(self) -> bool:
        return self.member is None and not self.held

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self.member is None:
                chunk, self.held = (self.held + chunk).lstrip(b"\0"), b""  # tar and tape pad with zeros
                if len(chunk) < len(self.magic) and self.magic.startswith(chunk):
                    self.held = chunk
                    return
                if not chunk.startswith(self.magic):
                    raise Damaged("there is something else behind the packed data")
                self.member = self.make()
            try:
                yield self.member.decompress(chunk)
            except Exception as error:  # zlib.error or zstandard.ZstdError, which must not be imported here
                raise Damaged(f"the packed data is corrupt ({error})") from error
            if not self.member.eof:
                return
            chunk, self.member = self.member.unused_data, None
