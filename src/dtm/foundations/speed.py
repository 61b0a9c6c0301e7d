"""How fast something goes, measured over the last minute by this machine's own clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 60.0  # seconds


class Speed:
    """Amounts that grow, and when they were seen; measuring begins with the first, so what warms up is not in it."""

    def __init__(self, window: float = WINDOW, clock: Callable[[], float] = time.monotonic) -> None:
        self.window, self.clock = window, clock
        self._seen: deque[tuple[float, float]] = deque()

    def seen(self, amount: float) -> float | None:
        """What there is now; returns how much a second the window gained, None before there is a second look."""
        now = self.clock()
        if self._seen and amount < self._seen[-1][1]:  # it began anew
            self._seen.clear()
        self._seen.append((now, amount))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self.window:
            self._seen.popleft()
        (since, before), (until, after) = self._seen[0], self._seen[-1]
        return (after - before) / (until - since) if until > since else None
