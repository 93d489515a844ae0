"""Have a second agent wait for the state folder of a first one, kill the first, and measure how long the taking over takes.

In some rounds the first is stopped (SIGSTOP) or looked at by other commands before: it holds the queue all the same. Run with
`make takeover-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from medagent.testing.crash_site import MODES, CrashSite
from medagent.testing.invariants import check
from medagent.testing.process import AgentProcess
from medagent.testing.recorded import record

HELD = 75
"""The exit code of an agent that does not want to wait (docs/monitoring.md)."""
STOPPED_EVERY = 10
LOOKS_EVERY = 25
STOPPED_SECONDS = 1.0


async def look(site: CrashSite) -> None:
    """What operators do beside a running agent."""
    for command in (("queue", "stats"), ("status",)):
        arguments = (sys.executable, "-m", "medagent", *command, "--state-dir", str(site.state_dir))
        process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
        await process.communicate()
    for path in site.state_dir.iterdir():
        path.stat()


async def refused(site: CrashSite, holder: int) -> list[str]:
    """A further agent that does not wait must leave, and say for whom."""
    async with site.agent(more=("--no-wait",)) as further:
        code = await further.wait()
        if code == HELD and any(f"process {holder} holds the queue" in line for line in further.log):
            return []
        return [f"I3: an agent beside process {holder} left with exit code {code}"]


async def one_round(site: CrashSite, number: int, first: AgentProcess, second: AgentProcess) -> tuple[float, list[str]]:
    """Kill `first` while `second` waits; returns the seconds until that has the queue, and what is wrong."""
    wrong: list[str] = []
    load = asyncio.ensure_future(site.load(first))
    await second.logged(f"process {first.pid} holds the queue in")
    if number % LOOKS_EVERY == 0:
        await look(site)
        wrong += await refused(site, first.pid)
    if number % STOPPED_EVERY == 0:
        first.signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_SECONDS)
        wrong += await refused(site, first.pid)
        if second.addresses:
            wrong.append(f"I3: process {second.pid} took the queue from a stopped agent")
        first.signal(signal.SIGCONT)
    begin = time.monotonic()
    first.signal(signal.SIGKILL)
    await second.logged("taking over")
    seconds = time.monotonic() - begin
    await first.wait()
    await load
    await site.listening(second)
    return seconds, wrong


async def run(rounds: int) -> tuple[list[float], float, list[str]]:
    """Seconds of every round, those until all channels listened at most, and all violations."""
    times, wrong = [], []
    with tempfile.TemporaryDirectory(prefix="medagent-takeover-") as folder:
        async with CrashSite(Path(folder), strategy="batched", channels=MODES, window=5, sizes=(500, 1000), pace=0.05) as site:
            first = site.agent()
            await first.__aenter__()
            try:
                await site.listening(first)
                for number in range(rounds):
                    second = site.agent()
                    await second.__aenter__()
                    try:
                        seconds, found = await one_round(site, number, first, second)
                    finally:
                        await first.__aexit__()
                        first = second
                    times.append(seconds)
                    wrong += found
                    if number % 50 == 49:
                        print(f"{number + 1} rounds, at most {max(times):.3f} s", file=sys.stderr, flush=True)
                await site.settle(first, timeout=300)
            finally:
                await first.__aexit__()
        wrong += check(site.evidence())
    return times, max(site.restart_seconds[1:]), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500, help="(default: %(default)s)")
    parser.add_argument("--limit", type=float, default=1.0, help="seconds that a taking over may take (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reliability")
    options = parser.parse_args()
    times, listening, wrong = asyncio.run(run(options.rounds))
    for violation in wrong[:20]:
        print(violation, file=sys.stderr)
    times.sort()
    figures = {
        "rounds": len(times),
        "takeover_ms_p50": round(times[len(times) // 2] * 1000),
        "takeover_ms_max": round(times[-1] * 1000),
        "listening_ms_max": round(listening * 1000),
        "violations": len(wrong),
    }
    print(json.dumps(figures))
    if options.record:
        record("takeovers", figures)
    return 1 if wrong or times[-1] > options.limit else 0


if __name__ == "__main__":
    sys.exit(main())
