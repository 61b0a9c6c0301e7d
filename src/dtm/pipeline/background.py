"""Work that is done again and again beside the run, until it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Calls `work` every so many seconds in a thread; an error is told, and it is tried again later."""

    def __init__(self, work: Callable[[], None], every: float, tell: Callable[[str], None]) -> None:
        self.work, self.every, self.tell = work, every, tell
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the call in hand end, and make one last."""
        self._end.set()
        self._thread.join()
        self._once()

    def _repeat(self) -> None:
        while not self._end.wait(self.every):
            self._once()

    def _once(self) -> None:
        try:
            self.work()
        except Exception as error:  # the run does not depend on it
            self.tell(f"not uploaded for now: {error}")
