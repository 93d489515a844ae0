"""Sending over a pool: which connection, for how long, and whose answer it is."""

from __future__ import annotations

import asyncio
import random

import pytest

from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7 import client as client_module
from medagent_hl7.answers import AnswerTimeout, Busy, ConnectFailed, ConnectionLost, Expect
from medagent_hl7.client import Client, Remote
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.pool import Pool, Pools

SHORT = 0.05
"""Seconds, for what is meant to time out."""


def message(control_id: str = "M1", msh_15_16: str = "") -> bytes:
    msh = rf"MSH|^~\&|SENDER|NORTH|RECEIVER|SOUTH|20260302||ADT^A01|{control_id}|P|2.5|||{msh_15_16}"
    return msh.encode() + b"\rPID|1\r"


def silent(body: bytes) -> list[bytes]:
    return []


def remote(server: MllpServer) -> Remote:
    return Remote("127.0.0.1", server.port)


async def until_closed(pool: Pool) -> None:
    async with asyncio.timeout(10):
        while pool.connections:
            await asyncio.sleep(0)


async def test_connections_are_used_again() -> None:
    async with MllpServer() as server:
        pool = Pool(remote(server))
        for number in range(5):
            assert [answer.code for answer in await pool.send(message(f"M{number}"))] == ["AA"]
        assert len(server.connections) == 1
        await pool.close()


@pytest.mark.parametrize(("settings", "most"), [({}, 5), ({"keep_alive": True}, 1), ({"max_clients": 3}, 3)])
async def test_so_many_connections_and_one_message_on_each(settings: dict[str, int], most: int) -> None:
    async with MllpServer(silent) as server:
        pool = Pool(remote(server), **settings)
        sending = [asyncio.ensure_future(pool.send(message(f"M{number}"))) for number in range(8)]
        await server.wait_for(most)
        assert len(server.connections) == pool.connections == most
        server.respond = lambda body: acknowledge(body, "AA")
        # in the order they were handed over: the first ones are answered, and each makes room for one that waits
        for connection, body in zip(server.connections, list(server.received), strict=True):
            connection.send(*acknowledge(body, "AA"))
        for answers in await asyncio.gather(*sending):
            assert [answer.code for answer in answers] == ["AA"]
        assert server.received == [message(f"M{number}") for number in range(8)]
        assert len(server.connections) == most
        await pool.close()


async def test_waiting_for_a_connection_ends() -> None:
    async with MllpServer(silent) as server:
        pool = Pool(remote(server), max_clients=1)
        first = asyncio.ensure_future(pool.send(message("M1")))
        await server.wait_for(1)
        with pytest.raises(Busy, match=r"in use for 0\.05 s"):
            await pool.send(message("M2"), wait=SHORT)
        server.connections[0].send(*acknowledge(message("M1"), "AA"))
        await first
        assert server.received == [message("M1")]
        await pool.close()


async def test_an_idle_connection_is_closed_unless_it_is_kept_alive() -> None:
    async with MllpServer() as server:
        pool, kept = Pool(remote(server), idle_seconds=SHORT), Pool(remote(server), keep_alive=True, idle_seconds=SHORT)
        await kept.send(message("M1"))
        await pool.send(message("M2"))
        assert pool.connections == 1
        await until_closed(pool)
        assert kept.connections == 1
        await pool.send(message("M3"))
        await kept.send(message("M4"))
        assert len(server.connections) == 3
        await pool.close()
        await kept.close()


async def test_a_connection_that_dies_fails_its_own_message_only() -> None:
    async with MllpServer(silent) as server:
        pool = Pool(remote(server))
        first, second = (asyncio.ensure_future(pool.send(message(control_id))) for control_id in ("M1", "M2"))
        await server.wait_for(2)
        server.connections[0].abort()
        server.connections[1].send(*acknowledge(message("M2"), "AA"))
        with pytest.raises(ConnectionLost, match="closed the connection"):
            await first
        assert [answer.code for answer in await second] == ["AA"]
        server.respond = lambda body: acknowledge(body, "AA")
        assert len(await pool.send(message("M3"))) == 1
        await pool.close()


async def test_a_connection_that_the_receiver_closed_while_idle_is_opened_again() -> None:
    async with MllpServer() as server:
        pool = Pool(remote(server), keep_alive=True)
        await pool.send(message("M1"))
        server.connections[0].abort()
        await until_closed(pool)
        await pool.send(message("M2"))
        assert len(server.connections) == 2
        await pool.close()


async def test_after_a_time_out_a_late_answer_finds_nobody() -> None:
    async with MllpServer(silent) as server:
        pool = Pool(remote(server), keep_alive=True)
        with pytest.raises(AnswerTimeout):
            await pool.send(message("M1"), timeout=SHORT)
        assert pool.connections == 0
        # the same control ID again: the late answer to the first must not be taken for its own
        again = asyncio.ensure_future(pool.send(message("M1")))
        await server.wait_for(2)
        server.connections[0].send(*acknowledge(message("M1"), "AA"))
        server.connections[1].send(*acknowledge(message("M1"), "AE"))
        assert [answer.code for answer in await again] == ["AE"]
        await pool.close()


async def test_a_sender_that_is_cancelled_frees_its_place() -> None:
    async with MllpServer(silent) as server:
        pool = Pool(remote(server), max_clients=1)
        first = asyncio.ensure_future(pool.send(message("M1")))
        await server.wait_for(1)
        first.cancel()
        server.respond = lambda body: acknowledge(body, "AA")
        assert len(await pool.send(message("M2"))) == 1
        await pool.close()


@pytest.mark.parametrize(
    ("msh_15_16", "codes"),
    [("", ["CA", "AA"]), ("AL|AL", ["CA", "AA"]), ("AL|NE", ["CA"]), ("NE|NE", [])],
)
async def test_the_message_says_what_is_waited_for(msh_15_16: str, codes: list[str]) -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA")) as server:
        pool = Pool(remote(server))
        sending = asyncio.ensure_future(pool.send(message(msh_15_16=msh_15_16)))
        await server.wait_for(1)
        if "AA" in codes:
            assert not sending.done()
            server.connections[0].send(*acknowledge(message(), "AA"))
        assert [answer.code for answer in await sending] == codes
        await pool.close()


async def test_nobody_listens_and_then_somebody_does() -> None:
    async with MllpServer() as server:
        where = remote(server)
    pool = Pool(where, max_clients=1)
    for _ in range(2):
        with pytest.raises(ConnectFailed, match="Connection refused"):
            await pool.send(message())
    await pool.close()


async def test_what_is_not_hl7_takes_no_connection() -> None:
    async with MllpServer() as server:
        pool = Pool(remote(server))
        with pytest.raises(Hl7Error):
            await pool.send(b"hello")
        assert server.connections == []
        await pool.close()


async def test_closing_fails_what_is_in_flight_and_what_comes_after() -> None:
    async with MllpServer(silent) as server:
        pools = Pools(max_clients=1)
        assert pools.to(remote(server)) is pools.to(remote(server))
        sending = [asyncio.ensure_future(pools.to(remote(server)).send(message(f"M{number}"))) for number in range(2)]
        await server.wait_for(1)
        await pools.close()
        for outcome in await asyncio.gather(*sending, return_exceptions=True):
            assert isinstance(outcome, ConnectionLost)
        assert len(server.received) == 1


class Unreliable:
    """Makes a server answer late, twice, for other messages, or not at all."""

    def __init__(self, server: MllpServer, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)  # noqa: S311 a test's choices
        self._loop = asyncio.get_running_loop()
        self.owed: dict[str, str] = {}
        """By control ID: the code of the true answer to the last message of that ID."""
        server.respond = self._respond

    def _respond(self, body: bytes) -> list[bytes]:
        control_id = Header.parse(body).control_id
        before = self.owed.get(control_id)
        code = self.owed[control_id] = self._random.choice([code for code in ("AA", "AE", "AR") if code != before])
        commit, true = acknowledge(body, "CA", code)
        other = [
            *acknowledge(message(f"M{int(control_id[1:]) - 1}"), "AA", "AE"),
            *acknowledge(message(f"{control_id}0"), "AA"),
            *acknowledge(message(""), "AA"),
        ]
        sender = self._server.sender
        assert sender is not None
        match self._random.choices(["none", "late", "at once"], [1, 50, 50])[0]:
            case "none":
                # comes when nobody waits any more, and the same control ID may be on its way again
                self._loop.call_later(2 * SHORT, sender.send, true)
                return [commit, *other]
            case "late":
                self._loop.call_later(self._random.random() * 0.004, sender.send, *other, true, true)
                return self._random.choice([[], [commit], other])
        return self._random.choice([[true], [*other, true], [true, true, *other], [commit, *other, true]])


async def test_ten_thousand_messages_to_an_unreliable_receiver_each_get_their_own_answer() -> None:
    count, senders = 10_000, 20
    async with MllpServer() as server:
        receiver = Unreliable(server, seed=9)
        pool = Pool(remote(server), max_clients=senders)
        numbers = iter(range(1, count + 1))
        timeouts = 0

        async def send_some() -> None:
            nonlocal timeouts
            for number in numbers:
                answers = []
                while not answers:
                    try:
                        answers = await pool.send(message(f"M{number}"), timeout=SHORT)
                    except AnswerTimeout:
                        timeouts += 1
                assert answers[-1].code == receiver.owed.pop(f"M{number}")

        await asyncio.gather(*(send_some() for _ in range(senders)))
        assert len(server.received) == count + timeouts
        assert timeouts > 0
        assert receiver.owed == {}
        await pool.close()


async def test_ten_thousand_messages_on_one_connection_answered_in_any_order() -> None:
    count = 10_000
    choices = random.Random(9)  # noqa: S311 a test's choices
    async with MllpServer(silent) as server, await Client.connect(remote(server)) as client:
        sending = [
            asyncio.ensure_future(client.send(message(f"M{number}"), Expect.APPLICATION, timeout=60)) for number in range(count)
        ]
        await server.wait_for(count)
        owed = {number: choices.choice(("AA", "AE", "AR")) for number in range(count)}
        for number in choices.sample(range(count), count):
            other = acknowledge(message(f"X{number}"), "AA")
            server.connections[0].send(*acknowledge(message(f"M{number}"), "CA", owed[number], owed[number]), *other)
        answers = await asyncio.gather(*sending)
        assert [found[1].code for found in answers] == list(owed.values())
        assert client.unmatched >= count


async def test_a_second_copy_of_an_answer_settles_no_later_message_of_the_same_control_id() -> None:
    async with MllpServer() as server:
        pool = Pool(remote(server), keep_alive=True)
        assert [answer.code for answer in await pool.send(message("X"), Expect.FIRST)] == ["AA"]
        server.respond = silent
        again = asyncio.ensure_future(pool.send(message("X", "AL"), Expect.FIRST))
        await server.wait_for(2)
        assert len(server.connections) == 2
        server.connections[0].send(*acknowledge(message("X"), "AA"))
        server.connections[1].send(*acknowledge(message("X"), "AE"))
        assert [answer.code for answer in await again] == ["AE"]
        await pool.close()


async def test_a_connection_that_can_remember_no_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_REMEMBERED", 2)
    async with MllpServer() as server:
        pool = Pool(remote(server), keep_alive=True)
        for number in range(5):
            await pool.send(message(f"M{number}"))
        assert len(server.connections) == 3
        await pool.close()


async def test_who_waits_for_a_connection_is_served_in_order() -> None:
    async with MllpServer(silent) as server:
        pool = Pool(remote(server), max_clients=1)
        sending = [asyncio.ensure_future(pool.send(message(f"M{number}"))) for number in range(6)]
        for number in range(6):
            await server.wait_for(number + 1)
            assert server.received[-1] == message(f"M{number}")
            # one that comes later does not go before those that wait
            sending.append(asyncio.ensure_future(pool.send(message(f"L{number}"))))
            server.connections[0].send(*acknowledge(message(f"M{number}"), "AA"))
        server.respond = lambda body: acknowledge(body, "AA")
        await server.wait_for(7)
        server.connections[0].send(*acknowledge(message("L0"), "AA"))
        await asyncio.gather(*sending)
        assert server.received[6:] == [message(f"L{number}") for number in range(6)]
        await pool.close()


async def test_an_early_acknowledgment_of_something_else_fails_nothing_and_ends_the_connection_after_the_message() -> None:
    async with MllpServer(lambda body: acknowledge(message("OTHER"), "AA")) as server:
        pool = Pool(remote(server), keep_alive=True)
        first = asyncio.ensure_future(pool.send(message("M1")))
        await server.wait_for(1)
        with pytest.raises(TimeoutError):  # the stray one has come by then
            await asyncio.wait_for(asyncio.shield(first), SHORT)
        server.connections[0].send(*acknowledge(message("M1"), "AA"))
        assert [answer.code for answer in await first] == ["AA"]
        server.respond = lambda body: acknowledge(body, "AA")
        await pool.send(message("M2"))
        assert len(server.connections) == 2
        # what was answered before may be answered again
        server.respond = lambda body: acknowledge(message("M2"), "AA") + acknowledge(body, "AA")
        await pool.send(message("M3"))
        await pool.send(message("M4"))
        assert len(server.connections) == 2
        await pool.close()


async def test_retired_connections_end_when_they_are_not_in_use() -> None:
    async with MllpServer(silent) as server:
        pools = Pools(keep_alive=True, max_clients=2)
        pool = pools.to(remote(server))
        in_use = asyncio.ensure_future(pool.send(message("M1")))
        await server.wait_for(1)
        server.respond = lambda body: acknowledge(body, "AA")
        await pool.send(message("M2"))  # leaves an idle connection
        pools.reconfigure(keep_alive=True, max_clients=2)
        assert pools.to(remote(server)) is pool
        pools.reconfigure(keep_alive=False, max_clients=5)
        assert pools.to(remote(server)) is not pool
        server.connections[0].send(*acknowledge(message("M1"), "AA"))
        assert len(await in_use) == 1
        await until_closed(pool)
        await pools.close()


async def test_closing_ends_retired_pools_too() -> None:
    async with MllpServer(silent) as server:
        pools = Pools()
        in_use = asyncio.ensure_future(pools.to(remote(server)).send(message("M1")))
        await server.wait_for(1)
        pools.retire(remote(server))
        await pools.close()
        with pytest.raises(ConnectionLost):
            await in_use
