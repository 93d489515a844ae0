"""Taking connections from a listening socket, and waiting when the system has no room for another.

The event loop's own servers are not used: asyncio logs and retries once for each entry of its backlog when there is no free
file descriptor, and uvloop closes what it cannot hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

from medagent.listening.notices import Notices

RETRY_SECONDS = 1.0
"""How long nothing is accepted after the system has refused."""
_ACCEPTS_A_TURN = 64
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


async def accept(listener: socket.socket, take: Callable[[socket.socket, tuple[str, int]], None], notices: Notices) -> None:
    """Hand each connection of `listener` and its peer's address to `take`, until cancelled; `notices` is told of trouble."""
    loop = asyncio.get_running_loop()
    accepted = 0
    while True:
        try:
            client, address = await loop.sock_accept(listener)
        except ConnectionError:  # gone before it was accepted
            continue
        except OSError as error:
            reason = "no free file descriptor or memory" if error.errno in _NO_ROOM else error.strerror
            notices.add("accepting paused", f"{reason}; the limit of open files (ulimit -n) may be too low")
            await asyncio.sleep(RETRY_SECONDS)
            continue
        # a small answer should not wait for the acknowledgment of the one before
        with contextlib.suppress(OSError):  # gone already
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        take(client, address)
        accepted += 1
        if accepted % _ACCEPTS_A_TURN == 0:  # asyncio's sock_accept returns at once while connections wait
            await asyncio.sleep(0)
