"""Memory that did not suffice: what to change, and whether the kernel has ended a process for want of it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dtm.foundations.errors import ResourceError

ATTEMPTS = 2  # as often may the kernel end a job's worker: once may be another's fault
MEND = (
    "Change one of these and run again: a smaller train.args.per_device_train_batch_size (with more "
    "gradient_accumulation_steps), train.args.gradient_checkpointing: true, a smaller train.args.max_length, fewer "
    "launch.workers, train.lora, model.dtype: bfloat16; in evaluation a smaller evaluate.batch_size. What was done "
    "is kept"
)
CGROUPS, STATISTICS = Path("/sys/fs/cgroup"), Path("/proc/vmstat")
WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


class OutOfMemory(ResourceError):
    """A job's memory did not suffice."""


def is_oom(error: BaseException) -> bool:
    """Whether an allocation failed: Python's own, torch's on a GPU or on the CPU, the system's."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS)


def is_full(error: BaseException) -> bool:
    """Whether a disk, or the user's share of it, was full; libraries in Rust and C++ tell it in words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(
        word in str(error) for word in ("No space left on device", "StorageFull", "Disk quota exceeded")
    )


def first_line(text: str) -> str:
    """Of an error in many lines, as torch's are, the first that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), text)


def kills() -> int:
    """How many processes the kernel has ended for want of memory, in this process's cgroup or else on this machine."""
    for file in _places():
        with suppress(OSError):
            if found := re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE):
                return int(found[1])
    return 0


def _places() -> Iterator[Path]:
    """Files that tell it, the nearest first: of the cgroup (second version, first version), of the machine."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield CGROUPS / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
    yield CGROUPS / "memory.events"
    yield STATISTICS
