"""Child processes of a test, forked: they start in a millisecond, and can be killed anywhere."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtm.foundations import store

FOUNDATIONS = str(Path(store.__file__).parent)


def fork(work: Callable[[], Any]) -> int:
    """Run `work` in a child, which then leaves with 0, or with 1 if it raised; returns its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def outcome(child: int) -> int:
    """Wait for a child: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_line(number: int, work: Callable[[], Any]) -> Callable[[], Any]:
    """`work`, with SIGKILL before the `number`-th line that it runs in foundations' own files."""
    left = number

    def on_line(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: Any, event: str, _: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(FOUNDATIONS) else None

    def traced() -> Any:
        sys.settrace(on_call)
        return work()

    return traced
