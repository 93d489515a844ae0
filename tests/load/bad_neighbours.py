"""Measure good devices alone and beside bad ones: the bad may not make the good wait.

Of the bad, a quarter each sends one byte every ten seconds, stops inside a frame, never reads its answers, or resets its
connection inside a frame and comes again. Run with `make bad-neighbours`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator

from agent import MESSAGE, agent_with_channel, percentile_ms, raise_open_files

from medagent.testing.mllp import MllpClient, framed

SPARE_FILES = 200
PACE = 0.05
"""Seconds between the messages of one good device, and before the next one of it if an answer is late."""
FRAME = framed(MESSAGE % b"BAD")


async def slow(host: str, port: int) -> None:
    """One byte every ten seconds."""
    async with await MllpClient.connect(host, port) as client:
        for byte in FRAME:
            await client.send_raw(bytes([byte]))
            await asyncio.sleep(10)


async def half(host: str, port: int) -> None:
    """Half a frame, and then nothing."""
    async with await MllpClient.connect(host, port) as client:
        await client.send_raw(FRAME[:40])
        await client.closed(timeout=3600)


async def deaf(host: str, port: int) -> None:
    """Messages, and no look at the answers."""
    _, writer = await asyncio.open_connection(host, port, limit=1024)
    try:
        while True:
            writer.write(FRAME)
            await writer.drain()
            await asyncio.sleep(2)
    finally:
        writer.transport.abort()


async def resetting(host: str, port: int) -> None:
    """Half a frame and a reset, once a second."""
    client = await MllpClient.connect(host, port)
    await client.send_raw(FRAME[:40])
    await asyncio.sleep(1)
    client.abort()


KINDS = (slow, half, deaf, resetting)


async def be_bad(host: str, port: int, count: int) -> None:
    """Be so many bad devices until killed; says `ready` once each has connected."""

    async def again(number: int) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, TimeoutError):  # refused or closed: that is what it is there for
                await KINDS[number % len(KINDS)](host, port)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(again(number))
            await asyncio.sleep(0.001)
        print("ready", flush=True)


@contextlib.asynccontextmanager
async def bad_devices(host: str, port: int, count: int) -> AsyncIterator[None]:
    """Bad devices in a process of their own, so that they take nothing from the good ones'."""
    command = (sys.executable, __file__, "--be-bad", f"{host}:{port}", "--bad", str(count))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield
    finally:
        process.kill()
        await process.communicate()


async def good_device(host: str, port: int, name: int, seconds: float) -> list[float]:
    """Send at an even pace, wait for each commit acknowledgment; returns the times waited, in seconds."""
    waited = []
    end = time.monotonic() + seconds
    async with await MllpClient.connect(host, port) as client:
        while (begin := time.monotonic()) < end:
            await client.send(MESSAGE % f"{name}-{len(waited)}".encode())
            answer = await client.receive()
            assert b"MSA|CA|" in answer
            waited.append(time.monotonic() - begin)
            await asyncio.sleep(PACE)
    return waited


async def good_devices(host: str, port: int, count: int, seconds: float) -> list[float]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(good_device(host, port, name, seconds)) for name in range(count)]
    return [waited for task in tasks for waited in task.result()]


async def measure(good: int, bad: int, seconds: float, rounds: int) -> dict[str, float]:
    """Figures by name. Alone and beside take turns, so that a change of the machine's mood meets both."""
    alone: list[float] = []
    beside: list[float] = []
    async with agent_with_channel(max_connections=good + 2 * bad) as process:
        host, port = process.addresses["load"]
        for _ in range(rounds):
            alone += await good_devices(host, port, good, seconds)
            async with bad_devices(host, port, bad):
                beside += await good_devices(host, port, good, seconds)
    return {
        "messages_alone": len(alone),
        "messages_beside": len(beside),
        "p99_ms_alone": percentile_ms(alone, 99),
        "p99_ms_beside": percentile_ms(beside, 99),
        "factor": round(percentile_ms(beside, 99) / percentile_ms(alone, 99), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=10, help="good devices (default: %(default)s)")
    parser.add_argument("--bad", type=int, default=1000, help="bad devices (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often alone and beside take turns (default: %(default)s)")
    parser.add_argument("--factor", type=float, default=2.0, help="fail if p99 grows by this or more (default: %(default)s)")
    parser.add_argument("--be-bad", metavar="HOST:PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not raise_open_files(2 * arguments.bad + SPARE_FILES):
        return 2
    if arguments.be_bad:
        host, _, port = arguments.be_bad.rpartition(":")
        asyncio.run(be_bad(host, int(port), arguments.bad))
    figures = asyncio.run(measure(arguments.good, arguments.bad, arguments.seconds, arguments.rounds))
    print(json.dumps(figures))
    return 0 if figures["factor"] < arguments.factor else 1


if __name__ == "__main__":
    sys.exit(main())
