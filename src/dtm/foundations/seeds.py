"""Seeds that depend on names, not on the order in which things happen to run."""

from __future__ import annotations

import hashlib


def derive(root: int, *names: object) -> int:
    """A 64-bit seed for one purpose: the first 8 bytes, big-endian, of sha256(`root/name/...`)."""
    text = "/".join(str(part) for part in (root, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def derive32(root: int, *names: object) -> int:
    """The same for libraries that take 32 bits (numpy's legacy generators, transformers)."""
    return derive(root, *names) & 0x7FFF_FFFF
