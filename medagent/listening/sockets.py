"""Opening the sockets a channel listens on."""

from __future__ import annotations

import asyncio
import errno
import socket

from medagent.errors import BindFailed

BACKLOG = 1024
_KEEPALIVE = {
    # a firewall forgets an idle connection after minutes, and a device that lost power never says so
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 60,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 15,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
}
_ADVICE = {
    errno.EADDRINUSE: "the port is in use; stop the program that listens there, or change the port in Endpoint.address",
    errno.EADDRNOTAVAIL: "this is no address of this machine; use one in Endpoint.address (0.0.0.0 for all), or --bind any",
    errno.EACCES: "not permitted; ports below 1024 need a privilege, so choose one from 1024 on in Endpoint.address",
}


async def open_sockets(host: str | None, port: int) -> list[socket.socket]:
    """Listen on `port` of every address that `host` resolves to; None means all interfaces, IPv4 and IPv6.

    Port 0 takes a free port, the same on all of them. The connections inherit TCP keepalive. Raises `BindFailed`.
    """
    where = f"{host or 'all interfaces'}, port {port}"
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a name has labels of 1 to 63 characters"
        raise BindFailed(f"cannot listen on {where}: the host name cannot be resolved ({reason})") from error
    targets = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in targets:
        shared_port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen(family, (address[0], shared_port, *address[2:]), only_v6=len(targets) > 1))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                _close(sockets)
                raise _bind_failed(where, error) from error
            # one of several, such as ::1 of `localhost` on a machine without IPv6
            failure = error
    if failure is not None and not sockets:
        raise _bind_failed(where, failure) from failure
    return sockets


def _listen(family: int, address: tuple[str | int, ...], *, only_v6: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for (level, option), value in _KEEPALIVE.items():
            listener.setsockopt(level, option, value)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _close(sockets: list[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


def _bind_failed(where: str, error: OSError) -> BindFailed:
    return BindFailed(f"cannot listen on {where}: {_ADVICE.get(error.errno or 0, error.strerror)}")


def format_address(address: tuple[str, int]) -> str:
    """`address` as `10.0.0.7:41022`, or `[2001:db8::7]:41022`; an IPv4 peer of an IPv6 socket is written as IPv4."""
    host, port = address[:2]
    host = host.removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
