"""Look-ups of the names of devices, in threads of their own: a slow one must not hold up what else the process looks up."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import Future, ThreadPoolExecutor

MOST_AT_ONCE = 4
_threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="device-names")
_running: dict[str, Future[list[str]]] = {}


async def addresses(host: str) -> list[str]:
    """The IP addresses of a host, the best one first. A name is looked up once at a time, however many ask.

    Raises `OSError`, and `ValueError` for what can be no name. The look-up goes on when the caller is cancelled.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    found = _running.get(host)
    if found is None:
        found = _running[host] = _threads.submit(_look_up, host)
        found.add_done_callback(lambda _: _running.pop(host, None))
    return await asyncio.shield(asyncio.wrap_future(found))


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
