"""Many keys through an agent in trouble: is each key still worked in order, and how fast is that beside strict order?

A server takes about 100 ms for each message and fails on some with 503, and the agent is killed meanwhile. Counted at the
server: a message that is begun before the one before it of its key is done is an inversion. Then the rate of the same channel
in peace is measured, and that of one with `maxInFlight` 1. Run with `make ordered-keys`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.testing import bots
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

CHANNEL = "load"
LATENCY = 0.1
SENDERS = 20
TIMEOUT = 600.0
KEYED = "?enhanced=true&appLevelAck=NE&logicalChannelKey=PID-3.1&maxWorkers={workers}"
SERIAL = "?enhanced=true&appLevelAck=NE"
Name = tuple[int, int]
"""A key, and the number of a message of it."""


class Ledger:
    """What the server has done. Its bot takes `latency` seconds for a message, on average, and fails on some."""

    def __init__(self, *, spread: float, failing: float) -> None:
        """`spread`: from the average, as a fraction of it; `failing`: fraction of the attempts that get 503."""
        self._spread = spread
        self._failing = failing
        self._dice = random.Random(7)  # noqa: S311  nothing secret
        self.done: set[Name] = set()
        self.changed = asyncio.Event()
        self.inversions = self.repeats = self.failures = 0

    async def bot(self, request: bots.BotRequest) -> bots.BotResult:
        key, number = request.body.split("|")[9].split("-")
        name = (int(key), int(number))
        if name in self.done:
            self.repeats += 1
        elif name[1] and (name[0], name[1] - 1) not in self.done:
            self.inversions += 1
        await asyncio.sleep(LATENCY * self._dice.uniform(1 - self._spread, 1 + self._spread))
        if self._dice.random() < self._failing:
            self.failures += 1
            return bots.Reply(503, "busy")
        self.done.add(name)
        self.changed.set()
        return bots.acknowledge(request)

    async def reached(self, count: int) -> None:
        """Wait until so many messages are done."""
        async with asyncio.timeout(TIMEOUT):
            while len(self.done) < count:
                self.changed.clear()
                await self.changed.wait()


class Site:
    """A server, and an agent that may be killed."""

    def __init__(self, ledger: Ledger, query: str, folder: Path, **settings: int) -> None:
        endpoint = endpoint_resource(CHANNEL, f"mllp://127.0.0.1:0{query}")
        resource = agent_resource({CHANNEL: CHANNEL}, settings)
        self.fhir = FhirServer(resource, [endpoint], bot=ledger.bot, keep_journal=False)
        self._folder = folder
        self._process: AgentProcess | None = None
        self._running = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self.fhir:
            await self._start()
            try:
                yield
                await self.process.drained(self._folder, timeout=TIMEOUT)
            finally:
                await self.process.stop()

    async def _start(self) -> None:
        arguments = server_arguments(self.fhir.base_url, AGENT_ID, self._folder)
        self._process = await AgentProcess(*arguments, environ=SERVER_ENVIRON).__aenter__()
        await self._process.listening(CHANNEL)
        self._running.set()

    @property
    def process(self) -> AgentProcess:
        if self._process is None:
            raise RuntimeError("the agent was not started")
        return self._process

    async def kill(self) -> None:
        """As a crash, and start it again."""
        self._running.clear()
        await self.process.kill()
        await self._start()

    async def send(self, names: list[Name]) -> None:
        """Send messages one after the other, and each again until it is committed."""
        left = list(reversed(names))
        while left:
            await self._running.wait()
            try:
                async with await MllpClient.connect(*self.process.addresses[CHANNEL]) as client:
                    while left:
                        await client.send(message(*left[-1]))
                        if b"MSA|CA|" in await client.receive():
                            left.pop()
            except (OSError, EOFError):
                await asyncio.sleep(0.05)  # the agent is being killed


def message(key: int, number: int) -> bytes:
    return (
        f"MSH|^~\\&|LOAD|TEST|EHR|MAIN|20260105120000||ADT^A08^ADT_A01|{key}-{number}|P|2.5.1\rPID|1||K{key}^^^MAIN\r".encode()
    )


async def work(site: Site, ledger: Ledger, keys: int, each: int, kills: int = 0) -> float:
    """Send `each` messages of `keys` keys and wait until all are done; returns the seconds it took."""
    count = keys * each
    async with site.open(), asyncio.TaskGroup() as senders:
        begin = time.monotonic()
        for sender in range(min(SENDERS, keys)):
            names = [(key, number) for number in range(each) for key in range(sender, keys, SENDERS)]
            senders.create_task(site.send(names))
        for kill in range(1, kills + 1):
            await ledger.reached(count * kill // (kills + 1))
            await site.kill()
        await ledger.reached(count)
        return time.monotonic() - begin


async def measure(keys: int, each: int, workers: int, kills: int, serial_messages: int) -> dict[str, float]:
    """Figures by name."""
    keyed = KEYED.format(workers=workers)
    with tempfile.TemporaryDirectory(prefix="medagent-keys-") as name:
        folder = Path(name)
        trouble = Ledger(spread=0.9, failing=0.05)
        delays = {"channelAutoRetryBaseDelayMs": 50, "channelAutoRetryMaxDelayMs": 500}
        in_trouble = await work(Site(trouble, keyed, folder / "trouble", **delays), trouble, keys, each, kills)
        peace = Ledger(spread=0.0, failing=0.0)
        in_peace = await work(Site(peace, keyed, folder / "peace"), peace, keys, each)
        strict = Ledger(spread=0.0, failing=0.0)
        in_order = await work(Site(strict, SERIAL, folder / "strict", maxInFlight=1), strict, serial_messages, 1)
    rate, serial_rate = keys * each / in_peace, serial_messages / in_order
    return {
        "keys": keys,
        "messages": keys * each,
        "done": len(trouble.done),
        "inversions": trouble.inversions + peace.inversions + strict.inversions,
        "repeats": trouble.repeats,
        "failures": trouble.failures,
        "kills": kills,
        "seconds_in_trouble": round(in_trouble, 2),
        "per_second": round(rate, 1),
        "per_second_serial": round(serial_rate, 1),
        "times_faster": round(rate / serial_rate, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--each", type=int, default=5, help="messages of each key (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=32, help="maxWorkers (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=3, help="of the agent (default: %(default)s)")
    parser.add_argument("--serial-messages", type=int, default=100, help="to measure strict order (default: %(default)s)")
    parser.add_argument("--factor", type=float, default=10.0, help="fail if not so many times faster (default: %(default)s)")
    arguments = parser.parse_args()
    figures = asyncio.run(
        measure(arguments.keys, arguments.each, arguments.workers, arguments.kills, arguments.serial_messages)
    )
    print(json.dumps(figures))
    well = not figures["inversions"] and figures["done"] == figures["messages"] and figures["times_faster"] >= arguments.factor
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
