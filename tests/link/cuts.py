"""Cut the connection between an agent and its server thousands of times, and look for what is lost, mixed up or out of order.

One real agent lives through all cuts, with devices in all acknowledgment modes that send without a pause; some of them hang up
and come back from the same port. Between agent and server stands a faulty link: each connection ends at a random byte, either
way, by a reset, an end, a black hole, bytes that nobody sent, or a refusal of the next one; some have an answer dropped, a
message doubled or a delay before. The uplink's time goes faster than the clock, so that no back-off takes long. Then all heals,
everything must come to its end, and the evidence is checked. Run with `make link-cuts`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bugs import BUGS, VARIABLE
from chance import Chance, Fate

from medagent.admin import call
from medagent.tasks import Tasks
from medagent.testing.crash_site import MODES, CrashSite
from medagent.testing.evidence import Evidence, Figure, figures_of
from medagent.testing.faulty_link import FaultyLink
from medagent.testing.invariants import check
from medagent.testing.process import AgentProcess
from medagent.testing.queue_file import read_contents
from medagent.testing.recorded import record
from medagent.testing.senders import Sender
from medagent.types import State

CHANNELS = {**MODES, "second": MODES["enhanced"]}
SETTINGS = {
    # few at a time, because after two losses without an answer the agent looks for a guilty message, one by one
    "maxInFlight": 50,
    "responseTimeoutMs": 1000,
    "channelAutoRetryBaseDelayMs": 20,
    "channelAutoRetryMaxDelayMs": 200,
    "channelAutoRetryMaxAttempts": 0,
}
AGENT = str(Path(__file__).parent / "agent.py")
TIME_TO_STRIKE = 2.0
"""Seconds for the traffic to come to a fault's place; then the connection is cut where it is."""
TIME_TO_RECONNECT = 2.0
"""Seconds for the agent to notice, and to connect again; likewise. Bytes that hit a header of the upgrade do no harm."""
WARM_UP = 0.1
"""Rounds before the agent's memory is looked at for the first time."""
GROWTH = {"memory in MB": 60.0, "open files": 8.0, "threads": 1.0, "tasks": 8.0, "server_connections": 4.0}
"""What an agent may have more of after all cuts than near their beginning."""
LOOK_EVERY = 20
"""Rounds between two looks at how much waits in the queue."""
MUCH = 1500
"""Live messages at which the devices send more slowly, so that the cuts and not the backlog make the run."""
SLOW_PACE = 0.5
"""Seconds between two windows then."""
SHOWN = 5
"""Violations of each invariant."""


@dataclass
class Result:
    rounds: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    late: int = 0
    """Cuts that took the place of a fault that did not strike, or that the agent did not notice, in time."""
    drain_seconds: float = 0.0
    """How long what was left took, when all was well again."""
    violations: list[str] = field(default_factory=list)


class LinkSite(CrashSite):
    """A `CrashSite` whose server is behind a faulty link. The last sender of each channel is one that hangs up."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        super().__init__(
            folder,
            strategy="batched",
            channels=CHANNELS,
            senders=options.senders,
            seed=options.seed,
            window=options.window,
            sizes=(500, 4000),
            pace=options.pace,
            settings=SETTINGS
            | ({"queueMaxMessages": options.pause_at, "queueFullBehavior": "pause"} if options.pause_at else {}),
            flushed_ledger=False,
        )
        for sender in self.all_senders:
            sender.until_answered = True
        self.hasty = [senders[-1] for senders in self.senders.values()]
        for sender in self.hasty:
            sender.keeps_port = True

    def agent_behind(self, link: FaultyLink, bug: str) -> AgentProcess:
        environ = {VARIABLE: bug}
        return self.agent(environ, program=(AGENT,), more=("--base-url", f"http://127.0.0.1:{link.port}/"))

    async def keep_sending(self, sender: Sender, process: AgentProcess) -> None:
        """However often it hangs up, until it may send nothing new and has got everything it waits for."""
        channel = next(channel for channel, senders in self.senders.items() if sender in senders)
        while sender.left is None or sender.outstanding:
            await sender.run(process.addresses[channel])
            await asyncio.sleep(0.005)  # if the agent is gone, its end is seen elsewhere

    def evidence(self) -> Evidence:
        evidence = super().evidence()
        evidence.answered = [sender.name for sender in self.all_senders if sender not in self.hasty]
        return evidence


async def one_round(link: FaultyLink, fate: Fate, chance: Chance, result: Result) -> None:
    """One connection, from wherever it stands to its end, and the beginning of the next."""
    disturbance = chance.disturbance()
    disturbing = link.arm(*disturbance) if disturbance is not None else None
    armed = link.arm(fate.direction, fate.fault)
    late = False
    try:
        async with asyncio.timeout(TIME_TO_STRIKE):
            await armed.struck.wait()
    except TimeoutError:
        late = True
    accepted = link.accepted
    if late:
        link.cut()
    if fate.refusal_seconds:
        await link.refuse(listening=fate.listening)
        await asyncio.sleep(fate.refusal_seconds)
        await link.accept()
    try:
        async with asyncio.timeout(TIME_TO_RECONNECT):
            await link.until(lambda: link.accepted > accepted)
    except TimeoutError:
        late = True
        link.cut()
    if disturbing is not None and disturbing.struck.is_set():
        result.disturbances[type(disturbing.fault).__name__] += 1
    link.disarm()
    result.late += late
    result.kinds["reset" if late else fate.kind] += 1
    result.rounds += 1


async def measured(site: CrashSite, process: AgentProcess) -> dict[str, float]:
    """What the agent uses now."""
    stats = await asyncio.to_thread(call, site.state_dir, "stats")
    figures = figures_of(process.pid, rss_mb=0, files=0, threads=0)
    return {**stats["plugins"], **{each.name.removeprefix("the ").removeprefix("number of "): each.value for each in figures}}


async def all_rounds(
    site: LinkSite, process: AgentProcess, link: FaultyLink, options: argparse.Namespace, result: Result
) -> dict[str, float]:
    """Returns what the agent used near the beginning."""
    chance, begin = Chance(options.seed, options.reach), time.monotonic()
    usual: dict[str, float] = {}
    while result.rounds < options.cuts:
        await one_round(link, chance.fate(), chance, result)
        if chance.happens(options.hang_up):
            site.hasty[chance.one_of(len(site.hasty))].hang_up()
        if result.rounds % LOOK_EVERY == 0:
            depth = (await asyncio.to_thread(call, site.state_dir, "stats"))["depth"]
            for sender in site.all_senders:
                sender.pace = SLOW_PACE if depth > MUCH else options.pace
        if not usual and result.rounds >= options.cuts * WARM_UP:
            usual = await measured(site, process)
        if result.rounds % 250 == 0:
            made, attempts = sum(sender.made for sender in site.all_senders), len(site.deliveries.noted)
            print(
                f"{time.monotonic() - begin:6.0f} s  {result.rounds} cuts, {made} messages, {attempts} attempts",
                file=sys.stderr,
                flush=True,
            )
    return usual


async def calm_down(
    site: LinkSite, process: AgentProcess, sending: Iterable[asyncio.Task[None]], options: argparse.Namespace
) -> float:
    """No more faults: everything must come to its end. Returns how long that took, seconds. Raises `TimeoutError`."""
    begin = time.monotonic()
    async with asyncio.timeout(options.drain_seconds):
        for sender in site.all_senders:
            sender.left = 0
        await process.drained(site.state_dir, options.drain_seconds)
        await asyncio.wait(sending)
    return time.monotonic() - begin


async def run(options: argparse.Namespace) -> tuple[Result, dict[str, object]]:
    result = Result()
    with tempfile.TemporaryDirectory(prefix="medagent-cuts-", dir=options.folder) as folder:
        async with LinkSite(Path(folder), options) as site, FaultyLink("127.0.0.1", site.fhir.port, forget_after=1.0) as link:
            async with site.agent_behind(link, options.bug) as process:
                await site.listening(process)
                tasks = Tasks()
                sending = [tasks.spawn(site.keep_sending(sender, process), sender.name) for sender in site.all_senders]
                usual = await all_rounds(site, process, link, options, result)
                try:
                    result.drain_seconds = await calm_down(site, process, sending, options)
                    after = await measured(site, process)
                    site.figures += [
                        Figure(f"the growth of {name}", after[name] - usual[name], most) for name, most in GROWTH.items()
                    ]
                    await site.settle(process)
                except TimeoutError:
                    result.violations.append(f"I4: not everything came to its end within {options.drain_seconds:g} s")
                    for sender in site.all_senders:
                        waiting = {**sender.outstanding, **dict.fromkeys(sender.owed)}
                        result.violations += [f"I5: {name} still waits for an acknowledgment" for name in waiting]
                    await tasks.cancel()
                    await process.stop()
            result.violations += check(site.evidence())
            states = Counter(row.state for row in read_contents(site.evidence().queues[0]).rows)
            refused = states[State.REJECTED] + states[State.DEAD_LETTER] + sum(sender.refused for sender in site.all_senders)
            if refused:
                result.violations.append(f"I1: {refused} message(s) were refused or given up, and the server refuses none")
            figures = {
                "cuts": result.rounds,
                **{f"by_{kind}": count for kind, count in sorted(result.kinds.items())},
                **{
                    name: result.disturbances[kind]
                    for kind, name in {
                        "Delay": "delayed",
                        "DropMessage": "answers_dropped",
                        "DuplicateMessage": "messages_doubled",
                    }.items()
                },
                "messages": sum(sender.made for sender in site.all_senders),
                "acknowledged": sum(sender.acknowledged for sender in site.all_senders),
                "attempts": len(site.deliveries.noted),
                "drain_seconds": round(result.drain_seconds, 1),
            }
    return result, figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=5000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, help="repeat a run's choices (default: a new one)")
    parser.add_argument("--senders", type=int, default=3, help="for each of four channels (default: %(default)s)")
    parser.add_argument("--window", type=int, default=10, help="messages on their way for each sender (default: %(default)s)")
    parser.add_argument("--pace", type=float, default=0.05, help="seconds between two windows (default: %(default)s)")
    parser.add_argument("--reach", type=int, default=60_000, help="bytes of a connection at most (default: %(default)s)")
    parser.add_argument("--hang-up", type=float, default=0.2, help="rounds in which a device does (default: %(default)s)")
    parser.add_argument("--pause-at", type=int, default=0, help="live messages at which the channels pause (default: never)")
    parser.add_argument("--drain-seconds", type=float, default=120.0, help="for the end (default: %(default)s)")
    parser.add_argument("--folder", help="where the queue is made (default: the system's for temporary files)")
    parser.add_argument("--bug", choices=list(BUGS), default="", help="have the agent do this wrong, for the checks to find")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reliability")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 32)
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    begin = time.monotonic()
    result, figures = asyncio.run(run(options))
    numbers = Counter(violation.partition(":")[0] for violation in result.violations)
    figures |= {
        "lost": numbers["I1"],
        "inversions": numbers["I2"],
        "other_keys": numbers["I3"],
        "wrong_answers": numbers["I5"],
        "violations": len(result.violations),
        "seconds": round(time.monotonic() - begin),
    }
    for number in numbers:
        for violation in [each for each in result.violations if each.startswith(f"{number}:")][:SHOWN]:
            print(violation, file=sys.stderr)
    print(json.dumps({"seed": options.seed, **figures}))
    if options.record:
        record("link_cuts", {"seed": options.seed, **figures})
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
