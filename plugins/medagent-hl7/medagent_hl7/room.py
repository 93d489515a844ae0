"""How many connections to all devices together may be open: devices that never answer must not use up the process's files."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable

SHARE = 4
"""One in so many files that the process may open is for these connections."""
MOST = 10_000


def most_connections() -> int:
    """By the limit of open files that is in force (RLIMIT_NOFILE)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(1, min(soft // SHARE, MOST))


class Room:
    """Counts them. Each enters before it is opened, and leaves when it has ended, or was not opened after all."""

    def __init__(self, most: int, make: Callable[[], None]) -> None:
        """`make` is asked to close one that is not in use, if there is any."""
        self._free = asyncio.Semaphore(most)
        self._make = make
        self._wanting = 0

    @property
    def wanted(self) -> bool:
        """Whether some wait to enter."""
        return self._wanting > 0

    async def enter(self) -> Callable[[], None]:
        """Wait for a place, in the order of asking; what gives it back, once however often it is called."""
        self._wanting += 1
        try:
            if self._free.locked():
                self._make()
            await self._free.acquire()
        finally:
            self._wanting -= 1
        places = [self._free]
        return lambda: places.pop().release() if places else None
