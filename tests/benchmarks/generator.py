"""Devices: a process that sends messages over MLLP and checks that each is acknowledged once, to the connection that sent it.

    generator.py LOAD

LOAD is a `Load` as JSON. Says `ready` on standard output once all is built and connected, begins with the first line of its
standard input, and prints the figures as a line of JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import selectors
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import uvloop
from messages import ID_DIGITS, build

START_BLOCK, END_BLOCK = b"\x0b", b"\x1c\r"
WRITE_BYTES = 65_536
"""Of messages in one write, without a window."""
BUFFER_BYTES = 131_072
"""Unsent, at which a connection waits."""
LEAST_TICK = 0.00025
"""Seconds between two writes at a given rate, at least; each message counts from the time at which it was due."""
STALLED_AFTER = 30.0
"""Seconds without an acknowledgment, after which what is missing is missing."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What the devices do."""

    count: int
    """Messages."""
    connections: int = 10
    window: int = 0
    """Messages of a connection that are not acknowledged, at most; 0 for no limit."""
    rate: float = 0.0
    """Messages a second, whatever is acknowledged; 0 for as many as possible."""
    expect: str = "AA"
    """The acknowledgments of each message, in order, separated by commas."""
    size: int = 0
    """Bytes of a message, if more than it has anyway."""


class Ledger:
    """What was sent and acknowledged, and when."""

    def __init__(self, load: Load, prefix: bytes, finished: Callable[[], None]) -> None:
        self.load = load
        self.sent_at = array("d", bytes(8 * load.count))
        self.times = {code.encode(): array("d", bytes(8 * load.count)) for code in load.expect.split(",")}
        """When each message was acknowledged, by code; 0 for not yet."""
        self.first = next(iter(self.times))
        self.waiting = load.count * len(self.times)
        self.wrong = self.duplicate = self.negative = 0
        self.last_at = 0.0
        self._finished = finished
        self._acknowledgment = re.compile(rb"\rMSA\|([A-Z]{2})\|" + re.escape(prefix) + rb"(\d{%d})[|\r]" % ID_DIGITS)

    def take(self, connection: int, data: bytes, frames: int) -> int:
        """Note whole acknowledgments; how many were the first of their message."""
        now = time.perf_counter()
        found = self._acknowledgment.findall(data)
        self.wrong += abs(frames - len(found))
        firsts = taken = 0
        connections, sent_at = self.load.connections, self.sent_at
        for code, digits in found:
            number = int(digits)
            if (times := self.times.get(code)) is None:
                self.negative += 1
            elif number >= len(sent_at) or number % connections != connection or not sent_at[number]:
                self.wrong += 1
            elif times[number]:
                self.duplicate += 1
            else:
                times[number] = now
                taken += 1
                firsts += code == self.first
        self.waiting -= taken
        self.last_at = now
        if not self.waiting:
            self._finished()
        return firsts

    def give_up(self) -> None:
        self._finished()


class Device(asyncio.Protocol):
    """One connection. Message `number` of the load belongs to connection `number` modulo their count."""

    def __init__(self, connection: int, ledger: Ledger, frames: Sequence[bytes]) -> None:
        self._connection = connection
        self._ledger = ledger
        self._frames = frames
        self._next = connection
        self._outstanding = 0
        self._rest = b""
        self._paused = False
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def begin(self) -> None:
        self._begun = True
        self._fill()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._begun:
            self._fill()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        end = data.rfind(END_BLOCK) + len(END_BLOCK)
        if end < len(END_BLOCK):
            self._rest = data
            return
        whole, self._rest = data[:end], data[end:]
        self._outstanding -= self._ledger.take(self._connection, whole, whole.count(END_BLOCK))
        if self._begun:
            self._fill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ledger.give_up()

    def _fill(self) -> None:
        """Send what the window, or the buffer, allows."""
        window = self._ledger.load.window
        at_once = max(1, WRITE_BYTES // len(self._frames[0]))
        while not self._paused and self._next < len(self._frames):
            count = min(at_once, window - self._outstanding) if window else at_once
            if count <= 0:
                return
            self.send(count, time.perf_counter())

    def send(self, count: int, sent_at: float) -> None:
        """The next `count` messages in one write."""
        step = self._ledger.load.connections
        numbers = range(self._next, min(self._next + count * step, len(self._frames)), step)
        for number in numbers:
            self._ledger.sent_at[number] = sent_at
        self._transport.write(b"".join(self._frames[numbers.start : numbers.stop : step]))
        self._next = numbers[-1] + step
        self._outstanding += len(numbers)

    def close(self) -> None:
        self._transport.abort()


async def run(addresses: Sequence[tuple[str, int]], load: Load, prefix: str) -> dict[str, object]:
    """The figures."""
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    frames = [START_BLOCK + message + END_BLOCK for message in build(prefix.encode(), range(load.count), load.size)]
    ledger = Ledger(load, prefix.encode(), finished.set)
    devices: list[Device] = []
    for connection in range(load.connections):
        device = Device(connection, ledger, frames)
        await loop.create_connection(partial(_same, device), *addresses[connection % len(addresses)])
        devices.append(device)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    cpu, began_at = time.process_time(), time.perf_counter()
    late: list[float] = []
    if load.rate:
        late = await _paced(devices, load, began_at)
    else:
        for device in devices:
            device.begin()
    while not finished.is_set():
        try:
            async with asyncio.timeout(STALLED_AFTER):
                await finished.wait()
        except TimeoutError:
            if time.perf_counter() - max(ledger.last_at, began_at) > STALLED_AFTER:
                break
    cpu = time.process_time() - cpu
    figures = _figures(ledger, began_at) | _percentiles("late", late) | {"generator_cpu_s": round(cpu, 3)}
    for device in devices:
        device.close()
    return figures


async def _paced(devices: Sequence[Device], load: Load, began_at: float) -> list[float]:
    """Send each message when it is due; how late each was, seconds, which is the fault of this process."""
    late: list[float] = []
    while (number := len(late)) < load.count:
        due, now = began_at + number / load.rate, time.perf_counter()
        if due <= now:
            devices[number % len(devices)].send(1, due)
            late.append(now - due)
        else:
            await asyncio.sleep(max(due - now, LEAST_TICK))
    return late


def _figures(ledger: Ledger, began_at: float) -> dict[str, object]:
    count, kinds = ledger.load.count, len(ledger.times)
    seconds = max(max(map(max, ledger.times.values())) - began_at, 1e-6)
    figures: dict[str, object] = {
        "messages": count,
        "missing": ledger.waiting,
        "wrong": ledger.wrong,
        "duplicate": ledger.duplicate,
        "negative": ledger.negative,
        "seconds": round(seconds, 4),
        "rate": round((count - ledger.waiting / kinds) / seconds, 1),
    }
    for code, times in ledger.times.items():
        waited = [at - sent for at, sent in zip(times, ledger.sent_at, strict=True) if at]
        figures |= _percentiles(code.decode(), waited)
    return figures


def _percentiles(name: str, seconds: Iterable[float]) -> dict[str, float]:
    """In milliseconds; nothing of nothing."""
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0} if ordered else {}
    return {f"{name}_{key}_ms": round(ordered[int((len(ordered) - 1) * share)] * 1000, 3) for key, share in shares.items()}


def _same(device: Device) -> Device:
    return device


def main() -> int:
    request = json.loads(sys.argv[1])
    load = Load(**request["load"])

    def loop() -> asyncio.AbstractEventLoop:
        # only select(2) wakes to the microsecond; the timers of the others count milliseconds
        return asyncio.SelectorEventLoop(selectors.SelectSelector()) if load.rate else uvloop.new_event_loop()

    addresses = [(host, port) for host, port in request["addresses"]]
    with asyncio.Runner(loop_factory=loop) as runner:
        print(json.dumps(runner.run(run(addresses, load, request["prefix"]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
