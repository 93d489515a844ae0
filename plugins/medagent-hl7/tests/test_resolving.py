"""Look-ups of names, with a resolver of the test's own."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from medagent.testing.mllp_server import MllpServer
from medagent_hl7.answers import ConnectFailed
from medagent_hl7.client import Client, Remote
from medagent_hl7.resolving import addresses

TCP = (socket.AF_INET, socket.SOCK_STREAM, 6, "")


async def test_an_address_needs_no_look_up_and_a_name_has_one() -> None:
    assert await addresses("10.0.0.7") == ["10.0.0.7"]
    assert await addresses("fe80::1%lo") == ["fe80::1%lo"]
    assert "127.0.0.1" in await addresses("localhost")


async def test_slow_names_are_looked_up_once_at_a_time_and_hold_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), []
    real = socket.getaddrinfo

    def resolve(host: str, *rest: object, **options: object) -> object:
        if not host.endswith(".slow"):
            return real(host, *rest, **options)  # type: ignore[arg-type]  # as it came
        asked.append(host)
        answer.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    names = [f"dev{number}.slow" for number in range(20)] * 2
    waiting = [asyncio.ensure_future(Client.connect(Remote(name, 2575))) for name in names]
    try:
        # what else the process looks up, such as the server's name, uses the loop's threads
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().getaddrinfo("localhost", 1)
        with pytest.raises(ConnectFailed, match=r"no answer within 0\.05 s"):
            await Client.connect(Remote("dev0.slow", 2575), 0.05)
    finally:
        answer.set()
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert all("Temporary failure in name resolution" in str(failure) for failure in failures)
    assert sorted(asked) == sorted(set(names))


async def test_the_addresses_of_a_name_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(*TCP, (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]
    async with MllpServer() as server:  # on 127.0.0.1 only
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        async with await Client.connect(Remote("lab.example", server.port)) as client:
            assert client.usable
