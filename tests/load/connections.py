"""Open many connections to an agent and keep them: memory, CPU while idle, and whether each is still answered.

Run with `make connections`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from agent import MESSAGE, agent_with_channel, raise_open_files

from medagent.testing.mllp import MllpClient
from medagent.testing.usage import cpu_seconds, rss_mb

OPENED_AT_ONCE = 100
SPARE_FILES = 200
ASKED = 100


async def measure(count: int, idle_seconds: float) -> dict[str, float]:
    """Figures by name."""
    async with agent_with_channel(max_connections=count) as process:
        before = rss_mb(process.pid)
        address = process.addresses["load"]
        begin = time.monotonic()
        clients: list[MllpClient] = []
        while len(clients) < count:
            opening = min(OPENED_AT_ONCE, count - len(clients))
            clients += await asyncio.gather(*(MllpClient.connect(*address, max_frame_bytes=4096) for _ in range(opening)))
        opened = time.monotonic() - begin
        step = max(1, count // ASKED)
        answered = await _ask(clients[::step])
        cpu = cpu_seconds(process.pid)
        await asyncio.sleep(idle_seconds)
        idle_cpu = (cpu_seconds(process.pid) - cpu) / idle_seconds * 100
        answered += await _ask(clients[::step])
        figures = {
            "connections": count,
            "opened_seconds": round(opened, 2),
            "rss_mb_before": round(before, 1),
            "rss_mb": round(rss_mb(process.pid), 1),
            "idle_cpu_percent": round(idle_cpu, 2),
            "asked": 2 * len(clients[::step]),
            "answered": answered,
        }
        await asyncio.gather(*(client.close() for client in clients))
        return figures


async def _ask(clients: list[MllpClient]) -> int:
    """Send a message over each; how many were committed."""
    answered = 0
    for number, client in enumerate(clients):
        await client.send(MESSAGE % str(number).encode())
        answered += b"MSA|CA|" in await client.receive()
    return answered


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="connections (default: %(default)s)")
    parser.add_argument("--max-rss-mb", type=float, default=600.0, help="fail above this (default: %(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="how long to measure idle CPU (default: %(default)s)")
    arguments = parser.parse_args()
    if not raise_open_files(arguments.count + SPARE_FILES):
        return 2
    figures = asyncio.run(measure(arguments.count, arguments.idle_seconds))
    print(json.dumps(figures))
    well = figures["answered"] == figures["asked"] and figures["rss_mb"] < arguments.max_rss_mb
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
