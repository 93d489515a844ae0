"""Kill a real agent again and again under load, and look for what is lost, changed, doubled or out of order.

Four channels in all acknowledgment modes, several senders each, bodies of 0.5 to 64 kB. SIGKILL comes after 5 to 2,000 ms, at
even odds; every tenth kill counts from the start of the process, so that it hits the recovery too. The senders keep a ledger
of their own and resend what was not acknowledged. Every few kills the queue is drained, checked, and begun anew. Run with
`make crash-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from backlog import restart_with_backlog

from medagent.testing.crash_site import MODES, STRATEGIES, CrashSite
from medagent.testing.evidence import Start
from medagent.testing.invariants import check
from medagent.testing.recorded import record

CHANNELS = {"original": MODES["original"], "enhanced": MODES["enhanced"], "aa": MODES["aa"], "second": MODES["enhanced"]}
KILLS_AT_START = 10
"""Every so many kills, one counts from the start of the process."""
SHOWN = 20


@dataclass
class Result:
    """Of all rounds so far."""

    kills: int = 0
    messages: int = 0
    acknowledged: int = 0
    deliveries: int = 0
    violations: list[str] = field(default_factory=list)
    restart_seconds: list[float] = field(default_factory=list)

    def count(self, number: str) -> int:
        return sum(violation.startswith(f"{number}:") for violation in self.violations)


async def one_life(site: CrashSite, delay: float, *, from_start: bool) -> None:
    """Start an agent, load it, kill it."""
    async with site.agent() as process:
        load = None
        if not from_start:
            await site.listening(process)
            load = asyncio.ensure_future(site.load(process))
        end = asyncio.ensure_future(process.wait())
        ended, _ = await asyncio.wait({end}, timeout=delay)
        if ended:
            reason = f"it ended by itself, with exit code {end.result()}"
            site.starts.append(Start(f"life {len(site.lives)}", works=False, reason=reason))
        else:
            process.signal(signal.SIGKILL)
            await end
        if load is not None:
            await load


async def one_round(strategy: str, kills: int, rng: random.Random, options: argparse.Namespace, result: Result) -> None:
    """One queue from its beginning to its check."""
    with tempfile.TemporaryDirectory(prefix="medagent-kills-", dir=options.folder) as folder:
        seed = rng.randrange(1 << 32)
        async with CrashSite(
            Path(folder), strategy=strategy, channels=CHANNELS, senders=options.senders, seed=seed, window=options.window
        ) as site:
            for number in range(kills):
                delay = rng.uniform(0.005, options.longest)
                await one_life(site, delay, from_start=number % KILLS_AT_START == KILLS_AT_START - 1)
                result.kills += 1
            async with site.agent() as last:
                await site.listening(last)
                await site.settle(last, timeout=300)
        result.violations += check(site.evidence())
        result.restart_seconds += site.restart_seconds
        result.messages += sum(sender.made for sender in site.all_senders)
        result.acknowledged += sum(sender.acknowledged for sender in site.all_senders)
        result.deliveries += len(site.deliveries.noted)


async def run(options: argparse.Namespace) -> Result:
    rng = random.Random(options.seed)  # noqa: S311  chooses when to kill, and keeps no secret
    result, begin = Result(), time.monotonic()
    strategies = [options.strategy] if options.strategy else list(STRATEGIES)
    left = dict.fromkeys(strategies, options.kills)
    while any(left.values()) or result.messages < options.messages:
        for strategy in strategies:
            kills = min(options.round, left[strategy]) or options.round
            await one_round(strategy, kills, rng, options, result)
            left[strategy] = max(0, left[strategy] - kills)
            print(
                f"{time.monotonic() - begin:6.0f} s  {strategy}: {result.kills} kills, {result.messages} messages,"
                f" {len(result.violations)} violations",
                file=sys.stderr,
                flush=True,
            )
        if options.minutes and time.monotonic() - begin > options.minutes * 60:
            break
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=160, help="for each strategy (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=0, help="go on until there are so many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no new round after so many (default: no limit)")
    parser.add_argument("--seed", type=int, help="repeat a run's choices (default: a new one)")
    parser.add_argument("--strategy", choices=list(STRATEGIES), help="only this one")
    parser.add_argument("--senders", type=int, default=4, help="for each channel (default: %(default)s)")
    parser.add_argument("--window", type=int, default=50, help="messages on their way for each sender (default: %(default)s)")
    parser.add_argument("--longest", type=float, default=2.0, help="seconds until a kill at most (default: %(default)s)")
    parser.add_argument("--round", type=int, default=40, help="kills until a check and a new queue (default: %(default)s)")
    parser.add_argument("--backlog", type=int, default=100_000, help="messages of the restart's check (default: %(default)s)")
    parser.add_argument("--restart-limit", type=float, default=2.0, help="seconds that it may take (default: %(default)s)")
    parser.add_argument("--folder", help="where the queues are made (default: the system's for temporary files)")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reliability")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 32)
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    result = asyncio.run(run(options))
    backlog_seconds = asyncio.run(restart_with_backlog(options.backlog, options.folder)) if options.backlog else 0.0
    times = sorted(result.restart_seconds)
    figures = {
        "seed": options.seed,
        "kills": result.kills,
        "messages": result.messages,
        "acknowledged": result.acknowledged,
        "attempts": result.deliveries,
        "lost": result.count("I1"),
        "inversions": result.count("I2"),
        "violations": len(result.violations),
        "restart_ms_p50": round(times[len(times) // 2] * 1000),
        "restart_ms_max": round(times[-1] * 1000),
        "backlog": options.backlog,
        "backlog_restart_ms": round(backlog_seconds * 1000),
    }
    for violation in result.violations[:SHOWN]:
        print(violation, file=sys.stderr)
    print(json.dumps(figures))
    if options.record:
        record("kills", figures)
    return 1 if result.violations or backlog_seconds > options.restart_limit else 0


if __name__ == "__main__":
    sys.exit(main())
