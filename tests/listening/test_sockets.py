"""Opening the sockets a channel listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from medagent.errors import BindFailed
from medagent.listening.sockets import format_address, open_sockets

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),  # noqa: S104 the host under test
        pytest.param("::1", ["::1"], marks=needs_ipv6),
        pytest.param("::", ["::1", "127.0.0.1"], marks=needs_ipv6),
        pytest.param(None, ["::1", "127.0.0.1"], marks=needs_ipv6),
    ],
)
async def test_host_is_reached(host: str | None, reached: list[str]) -> None:
    peers: asyncio.Queue[str] = asyncio.Queue()

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [60, 15, 4]
        peers.put_nowait(format_address(writer.get_extra_info("peername")))
        writer.close()

    sockets = await open_sockets(host, 0)
    ports = {opened.getsockname()[1] for opened in sockets}
    assert len(ports) == 1
    servers = [await asyncio.start_server(greet, sock=opened) for opened in sockets]
    for address in reached:
        _, writer = await asyncio.open_connection(address, *ports)
        assert await peers.get() == format_address(writer.get_extra_info("sockname"))
        writer.close()
        await writer.wait_closed()
    for server in servers:
        server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", None])
async def test_port_in_use(host: str | None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BindFailed, match=rf", port {port}: the port is in use; .*Endpoint\.address"):
            await open_sockets(host, port)


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("192.0.2.1", "--bind any"),
        ("no-such-host.invalid", "cannot be resolved"),
        ("lab..example", "cannot be resolved"),
        ("x" * 64, "cannot be resolved"),
    ],
)
async def test_host_that_is_not_here(host: str, advice: str) -> None:
    with pytest.raises(BindFailed, match=advice):
        await open_sockets(host, 0)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("10.0.0.7", 41022), "10.0.0.7:41022"),
        (("2001:db8::7", 1, 0, 0), "[2001:db8::7]:1"),
        (("::ffff:10.0.0.7", 1), "10.0.0.7:1"),
    ],
)
def test_format_of_address(address: tuple[str, int], text: str) -> None:
    assert format_address(address) == text
