"""The load test's sender against receivers that are right and that are not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7.answers import ConnectFailed, Expect
from medagent_hl7.commands.ledger import Ledger, Result
from medagent_hl7.commands.load import LoadTest, Plan
from medagent_hl7.commands.target import Target
from medagent_hl7.message import Header
from medagent_hl7.samples.generate import Generator

PREFIX = "LT"
OTHER = b"MSH|^~\\&|\rMSA|AA|OTHER\r"


def number_of(body: bytes) -> int:
    """Of a generated message, from 0 on."""
    return int(Header.parse(body).control_id.removeprefix(PREFIX))


def prepare(
    port: int,
    *,
    rate: float = 1000,
    count: int | None = None,
    duration: float | None = None,
    connections: int = 2,
    window: int = 100,
    timeout: float = 10.0,
    expect: Expect = Expect.FIRST,
) -> tuple[LoadTest, Ledger]:
    plan = Plan(Target("127.0.0.1", port), rate, count, duration, connections, window, timeout)
    ledger = Ledger(PREFIX, expect, connections)
    return LoadTest(plan, ledger, Generator(PREFIX)), ledger


def figures(result: Result) -> tuple[int, int, int]:
    return result.sent, result.answered, result.missing


async def test_sends_on_schedule_over_all_connections_and_counts_every_answer() -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA", "AA")) as server:
        test, ledger = prepare(server.port, rate=2000, count=100, connections=3, expect=Expect.BOTH)
        await test.run()
        assert sorted(map(number_of, server.received)) == list(range(100))
        assert len(server.connections) == 3
    result = ledger.result()
    assert result.clean
    assert figures(result) == (100, 100, 0)
    assert result.commit is not None
    assert result.application is not None
    assert (result.commit.count, result.application.count) == (100, 100)
    assert (test.lost_connections, test.stopped) == (0, False)


async def test_a_receiver_that_stalls_does_not_stop_the_schedule() -> None:
    """The answers of all come at the end, and count from when each message was due."""
    held: list[bytes] = []

    def at_the_end(body: bytes) -> list[bytes]:
        held.append(body)
        return [answer for one in held for answer in acknowledge(one, "AA")] if len(held) == 100 else []

    async with MllpServer(at_the_end) as server:
        test, ledger = prepare(server.port, rate=1000, count=100, connections=1)
        await test.run()
    result = ledger.result()
    assert result.clean
    assert result.application is not None
    # 100 messages a millisecond apart, all answered after the last was due: half of them waited for at least 49 ms
    assert result.application.max >= 99
    assert result.application.p50 >= 49


async def test_latencies_count_from_when_a_message_was_due_even_if_it_left_later() -> None:
    def block_once(body: bytes) -> list[bytes]:
        """Hold up the event loop, and with it the sender, for 50 ms: 50 messages become due."""
        if number_of(body) == 10:
            time.sleep(0.05)
        return accept(body)

    async with MllpServer(block_once) as server:
        test, ledger = prepare(server.port, rate=1000, count=100, connections=1)
        await test.run()
    result = ledger.result()
    assert result.clean
    assert result.lateness is not None
    assert result.application is not None
    assert result.lateness.max >= 45
    assert result.application.max >= result.lateness.max


async def test_the_window_is_filled_and_not_exceeded() -> None:
    waiting: list[bytes] = []

    def in_tens(body: bytes) -> list[bytes]:
        """Answer only when the window is full, so that one less would stall."""
        waiting.append(body)
        if len(waiting) < 10:
            return []
        answers = [answer for one in waiting for answer in acknowledge(one, "AA")]
        waiting.clear()
        return answers

    async with MllpServer(in_tens) as server:
        test, ledger = prepare(server.port, rate=0, window=10, connections=1, count=1000)
        await test.run()
    assert figures(ledger.result()) == (1000, 1000, 0)

    async with MllpServer(lambda body: []) as server:
        test, ledger = prepare(server.port, rate=0, window=10, connections=2, count=1000, timeout=0.2)
        await test.run()
    assert figures(ledger.result()) == (20, 0, 20)


async def test_as_fast_as_it_goes_for_a_time() -> None:
    async with MllpServer() as server:
        test, ledger = prepare(server.port, rate=0, window=2, duration=0.2)
        await test.run()
        assert len(server.received) == ledger.sent_count
    assert ledger.result().clean


@pytest.mark.parametrize(
    ("respond", "found"),
    [
        pytest.param(lambda body: [], {"missing": 1, "answered": 19}, id="missing"),
        pytest.param(lambda body: acknowledge(body, "AE"), {"negative": {"AE": 1}, "answered": 20}, id="AE"),
        pytest.param(lambda body: acknowledge(body, "CR"), {"negative": {"CR": 1}, "answered": 20}, id="CR"),
        pytest.param(lambda body: acknowledge(body, "AA", "AA"), {"duplicate": 1, "answered": 20}, id="twice"),
        pytest.param(lambda body: [body, *acknowledge(body, "AA")], {"wrong": 1, "answered": 20}, id="no MSA"),
        pytest.param(lambda body: [OTHER, *acknowledge(body, "AA")], {"wrong": 1, "answered": 20}, id="unknown control ID"),
        pytest.param(lambda body: acknowledge(body, "ZZ"), {"wrong": 1, "missing": 1}, id="unknown code"),
        pytest.param(lambda body: [b"", *acknowledge(body, "AA")], {"wrong": 1, "answered": 20}, id="empty frame"),
    ],
)
async def test_one_fault_among_many_answers_is_found(respond: Callable[[bytes], list[bytes]], found: dict[str, object]) -> None:
    async with MllpServer(lambda body: (respond if number_of(body) == 7 else accept)(body)) as server:
        test, ledger = prepare(server.port, count=20, timeout=0.3)
        await test.run()
    result = ledger.result()
    assert not result.clean
    assert {name: getattr(result, name) for name in found} == found


def accept(body: bytes) -> list[bytes]:
    return acknowledge(body, "AA")


async def test_a_duplicate_after_the_last_expected_answer_is_found() -> None:
    async with MllpServer() as server:
        test, ledger = prepare(server.port, rate=0, count=1, connections=1)
        running = asyncio.ensure_future(test.run())
        while not ledger.answered_count:  # a turn of the loop at a time: it must not be missed
            await asyncio.sleep(0)
        server.connections[0].send(*acknowledge(server.received[0], "AA"))
        await running
    assert ledger.result().duplicate == 1


async def test_an_answer_on_another_connection_is_wrong() -> None:
    async with MllpServer(lambda body: []) as server:
        test, ledger = prepare(server.port, count=2, connections=2, timeout=0.3)
        running = asyncio.ensure_future(test.run())
        await server.wait_for(2)
        for body in server.received:  # both on one connection: one of them is right
            server.connections[0].send(*acknowledge(body, "AA"))
        await running
    result = ledger.result()
    assert (result.answered, result.wrong, result.missing) == (1, 1, 1)


@pytest.mark.parametrize(("expect", "answered"), [(Expect.FIRST, 5), (Expect.APPLICATION, 0), (Expect.BOTH, 0)])
async def test_a_commit_acknowledgment_alone_is_enough_only_for_the_first(expect: Expect, answered: int) -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA")) as server:
        test, ledger = prepare(server.port, count=5, expect=expect, timeout=0.2)
        await test.run()
    assert figures(ledger.result()) == (5, answered, 5 - answered)


async def test_the_other_connections_go_on_when_one_is_lost() -> None:
    async with MllpServer(lambda body: None if number_of(body) == 3 else accept(body)) as server:
        test, ledger = prepare(server.port, count=60, connections=5)
        await test.run()
    assert test.lost_connections == 1
    assert ledger.sent_count == 60
    # what was written before the loss was seen is missing, too
    assert 1 <= ledger.result().missing <= 12


@pytest.mark.parametrize("rate", [0, 100])
async def test_ends_when_every_connection_is_lost(rate: float) -> None:
    async with MllpServer(lambda body: None) as server:
        test, ledger = prepare(server.port, rate=rate, window=10, count=1000)
        await test.run()
    assert test.lost_connections == 2
    assert ledger.sent_count < 1000


@pytest.mark.parametrize("rate", [0, 1, 200])
async def test_stops_when_told(rate: float) -> None:
    async with MllpServer() as server:
        test, ledger = prepare(server.port, rate=rate, window=10, count=1_000_000)
        running = asyncio.ensure_future(test.run())
        await server.wait_for(1)
        test.stop()
        await running
    assert test.stopped
    assert ledger.result().clean


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        test, ledger = prepare(taken.getsockname()[1], count=1)
        with pytest.raises(ConnectFailed):
            await test.run()
    assert ledger.sent_count == 0


@pytest.mark.parametrize(
    ("rate", "count", "duration", "total"),
    [
        (1000, 50, None, 50),
        (500, None, 120, 60_000),
        (10, 50, 1, 10),
        (10, 5, 1, 5),
        (0, 7, None, 7),
        (0, None, 5, None),
        (0.1, None, 1, 1),
    ],
)
def test_how_many_messages_a_plan_has(rate: float, count: int | None, duration: float | None, total: int | None) -> None:
    assert Plan(Target("h", 1), rate, count, duration, 1, 1, 1).total == total
