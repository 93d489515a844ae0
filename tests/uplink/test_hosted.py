"""A plugin's uplink under guard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from medagent.guard import Guard
from medagent.guard.breaker import FAULTS_IN_A_ROW, FIRST_COOL_DOWN
from medagent.testing.doubles import Clock, MemoryUplink
from medagent.uplink import hosted as hosted_module
from medagent.uplink.base import Response, Transmit, UplinkStatus
from medagent.uplink.hosted import MOST_OVERHEAD, HostedUplink

FRAME = Transmit("adt", "10.0.0.7:41022", "text/plain", "body", "callback")


class Handler:
    """Takes notes of what the uplink tells."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def connected(self) -> None:
        self.heard.append("connected")

    def disconnected(self) -> None:
        self.heard.append("disconnected")

    def writable(self) -> None: ...

    def answered(self, responses: Sequence[Response]) -> None: ...

    def failed(self, text: str) -> None: ...


class Odd(MemoryUplink):
    """Fails in whatever it is told to."""

    runs = 0
    failing: frozenset[str] = frozenset()
    taken: Any = 0

    async def run(self) -> None:
        self.runs += 1
        if "run" in self.failing:
            raise SystemExit(3)
        if "return" in self.failing:
            return
        await super().run()

    def transmit(self, messages: Sequence[Transmit]) -> int:
        if "transmit" in self.failing:
            raise RuntimeError
        return self.taken if "taken" in self.failing else super().transmit(messages)

    def reply(self, frame: dict[str, Any]) -> None:
        raise SystemExit(3)

    @property
    def status(self) -> UplinkStatus:
        if "status" in self.failing:
            raise RuntimeError
        return super().status


def hosted(*failing: str, clock: Clock | None = None) -> tuple[HostedUplink, Odd, Handler]:
    handler = Handler()
    uplink = Odd(handler)
    uplink.failing = frozenset(failing)
    return HostedUplink(uplink, Guard("lab", "uplink", clock=clock or Clock()), handler), uplink, handler


@pytest.mark.parametrize("fault", ["run", "return"])
async def test_it_is_run_again_and_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_module, "FIRST_RETRY", 0.001)
    one, uplink, handler = hosted(fault)
    running = asyncio.ensure_future(one.run())
    while uplink.runs < 3:
        await asyncio.sleep(0.001)
        assert one.status.state in ("waiting", "connecting")
    assert handler.heard[-1] == "disconnected", "whatever it was about to be told"
    uplink.failing = frozenset()
    async with asyncio.timeout(5):
        while "connected" not in handler.heard:
            await asyncio.sleep(0.001)
    assert one.status.state == "connected"
    running.cancel()


async def test_the_pause_doubles_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", note)
    with pytest.raises(asyncio.CancelledError):
        await hosted("return")[0].run()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize("taken", [None, -1, 2, True, "1"])
def test_a_number_that_makes_no_sense_is_a_fault(taken: object) -> None:
    one, uplink, _ = hosted("taken")
    uplink.taken = taken
    with pytest.raises(TypeError):
        one.transmit([FRAME])


def test_one_that_takes_nothing_any_more_is_left_alone_for_a_while() -> None:
    clock = Clock()
    one, uplink, _ = hosted("transmit", clock=clock)
    for _ in range(FAULTS_IN_A_ROW):
        with pytest.raises(RuntimeError):
            one.transmit([FRAME])
    uplink.failing = frozenset()
    uplink.connected = True
    assert one.transmit([FRAME]) == 0, "no message is failed for it"
    assert one.status.state == "waiting"
    clock.now += FIRST_COOL_DOWN
    assert one.transmit([FRAME]) == 1
    assert one.status.state == "connected"


def test_what_else_it_raises_hurts_nobody_and_stops_no_message() -> None:
    one, uplink, _ = hosted("status")
    uplink.connected = True
    uplink.overhead_bytes = None  # type: ignore[assignment]  that is the point
    for _ in range(2 * FAULTS_IN_A_ROW):
        one.reply({})
        assert one.status.state == "waiting"
        assert one.overhead_bytes == MOST_OVERHEAD
    assert one.transmit([FRAME]) == 1
