"""The limit of connections over all devices."""

from __future__ import annotations

import asyncio
import resource

import pytest

from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7.answers import Busy, ConnectFailed
from medagent_hl7.client import Remote
from medagent_hl7.pool import MOST_POOLS, Pools
from medagent_hl7.room import most_connections


def message(control_id: str) -> bytes:
    return rf"MSH|^~\&|SENDER|NORTH|RECEIVER|SOUTH|20260302||ADT^A01|{control_id}|P|2.5".encode() + b"\rPID|1\r"


def remote(server: MllpServer) -> Remote:
    return Remote("127.0.0.1", server.port)


def test_a_quarter_of_the_files_at_most() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most_connections() <= max(soft, 40_000) // 4


async def test_mute_devices_leave_so_many_connections_and_the_rest_wait() -> None:
    async with MllpServer(lambda body: []) as mute, MllpServer() as well:
        pools = Pools(most=2)
        sending = [asyncio.ensure_future(pools.to(remote(mute)).send(message(f"M{number}"))) for number in range(2)]
        await mute.wait_for(2)
        with pytest.raises(Busy, match=r"as many connections as this process may open to devices were in use for 0\.05 s"):
            await pools.to(remote(well)).send(message("W1"), wait=0.05)
        waiting = asyncio.ensure_future(pools.to(remote(well)).send(message("W2")))
        mute.connections[0].send(*acknowledge(mute.received[0], "AA"))  # and its connection makes room
        assert [answer.code for answer in await waiting] == ["AA"]
        mute.connections[1].send(*acknowledge(mute.received[1], "AA"))
        await asyncio.gather(*sending)
        await pools.close()


async def test_idle_connections_make_room_and_failed_ones_take_none() -> None:
    async with MllpServer() as first, MllpServer() as second:
        pools = Pools(keep_alive=True, most=1)
        for number in range(3):
            for server in (first, second):
                await pools.to(remote(server)).send(message(f"M{number}"))
            with pytest.raises(ConnectFailed):
                await pools.to(Remote("127.0.0.1", 1)).send(message("M"))
        assert (len(first.connections), len(second.connections)) == (3, 3)
        await pools.close()


async def test_of_pools_that_are_not_in_use_so_many_are_kept() -> None:
    async with MllpServer() as server:
        pools = Pools(keep_alive=True)
        used = pools.to(remote(server))
        await used.send(message("M1"))
        unused = pools.to(Remote("10.0.0.7", 1))
        for port in range(2, MOST_POOLS + 1):
            pools.to(Remote("10.0.0.7", port))
        assert pools.to(remote(server)) is used
        assert pools.to(Remote("10.0.0.7", 1)) is not unused
        await pools.close()
