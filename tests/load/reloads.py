"""Reload the configuration of a real agent under load, again and again, and look for what that disturbs.

Two channels never change; their connections must stand from the beginning to the end. Beside them a channel is added, removed,
moved to other ports and given other parameters, settings change, and some configurations cannot be used: those must be refused
with the reason, and nothing may change. The server asks for each reload, as an operator does with `$reload-config`. All senders
keep a ledger; at the end everything is drained and checked. Run with `make reload-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from medagent.testing.crash_site import CrashSite
from medagent.testing.in_process import free_port
from medagent.testing.invariants import check
from medagent.testing.process import AgentProcess
from medagent.testing.recorded import record
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.testing.senders import Sender

STEADY = {"enhanced": "?enhanced=true", "original": ""}
MOVING = "moving"
PARAMETERS = ("?enhanced=true", "?enhanced=aa", "?enhanced=true&appLevelAck=ER", "?enhanced=aa&messagesPerMin=600000")
WINDOW = 50
SENDERS = 2
"""For each channel."""
SHOWN = 20


class Configuration:
    """What the server holds of the agent, and what may be done to it."""

    def __init__(self, site: CrashSite, rng: random.Random) -> None:
        self._site = site
        self._rng = rng
        self._settings: dict[str, bool | int] = {}
        self._moving: tuple[int, str] | None = None
        """Port and parameters of the channel that changes; None while there is none."""
        self.put()

    def put(self, faulty: str = "") -> None:
        """Store it; `faulty`: the address of a channel too many."""
        names = [*STEADY, *([MOVING] if self._moving else []), *(["faulty"] if faulty else [])]
        if self._moving:
            port, query = self._moving
            self._site.fhir.put(endpoint_resource(MOVING, f"mllp://127.0.0.1:{port}{query}"))
        if faulty:
            self._site.fhir.put(endpoint_resource("faulty", faulty))
        self._site.fhir.put(agent_resource({name: name for name in names}, self._settings))

    def change(self, taken: int) -> tuple[str, str]:
        """Change something; returns what, and the text that the reload must answer with, or a part of it."""
        kinds: dict[str, Callable[[], None]] = {"nothing": lambda: None, "settings": self._set}
        kinds |= (
            {"add": self._add} if self._moving is None else {"remove": self._remove, "move": self._move, "adjust": self._adjust}
        )
        kind = self._rng.choice([*kinds, "invalid", "taken"])
        if kind in kinds:
            kinds[kind]()
            self.put()
            return kind, "All OK"
        self._set()  # must not come into force either
        self.put("mllp://127.0.0.1:99999" if kind == "invalid" else f"mllp://127.0.0.1:{taken}")
        return kind, "99999" if kind == "invalid" else "the port is in use"

    def _set(self) -> None:
        rng = self._rng
        self._settings = {
            "batchSize": rng.randint(10, 500),
            "batchFlushMs": rng.randint(5, 100),
            "maxInFlight": rng.randint(50, 1000),
        }

    def _add(self) -> None:
        self._moving = (free_port(), self._rng.choice(PARAMETERS))

    def _remove(self) -> None:
        self._moving = None

    def _move(self) -> None:
        self._moving = (free_port(), self._moving[1] if self._moving else "")

    def _adjust(self) -> None:
        self._moving = (self._moving[0] if self._moving else free_port(), self._rng.choice(PARAMETERS))

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the channel that changes listens."""
        return ("127.0.0.1", self._moving[0]) if self._moving else None

    def complete(self) -> None:
        """Every channel is there, so that everything can be drained."""
        if self._moving is None:
            self._add()
        self.put()


async def steady(sender: Sender, address: tuple[str, int], ends: list[str]) -> None:
    """Send over one connection; its end before there is nothing left to send is noted."""
    await sender.run(address)
    if sender.left is None or sender.outstanding:
        ends.append(sender.name)


async def moving(sender: Sender, configuration: Configuration) -> None:
    """Send to the channel that changes, wherever it is at the moment, until nothing is left to send."""
    while sender.left is None or sender.outstanding:
        if configuration.address is not None:
            await sender.run(configuration.address)
        await asyncio.sleep(0.01)  # the pause of a device before it connects again


@contextlib.asynccontextmanager
async def loaded(site: CrashSite, process: AgentProcess, configuration: Configuration, ends: list[str]) -> AsyncIterator[None]:
    """Every sender sends, until the end of the block; afterwards everything sent is acknowledged."""
    async with asyncio.TaskGroup() as group:
        for channel in STEADY:
            for sender in site.senders[channel]:
                group.create_task(steady(sender, process.addresses[channel], ends))
        for sender in site.senders[MOVING]:
            group.create_task(moving(sender, configuration))
        yield
        for sender in site.all_senders:
            sender.left = 0


async def run(options: argparse.Namespace, folder: Path) -> tuple[dict[str, object], list[str]]:
    rng = random.Random(options.seed)  # noqa: S311  chooses what to change, and keeps no secret
    counts: Counter[str] = Counter()
    violations: list[str] = []
    ends: list[str] = []
    seconds: list[float] = []
    async with CrashSite(
        folder,
        strategy="batched",
        channels={**STEADY, MOVING: PARAMETERS[0]},
        senders=SENDERS,
        seed=rng.randrange(1 << 32),
        window=WINDOW,
        sizes=(500, 4000),
        pace=0.005,
        rate=options.rate / SENDERS / (len(STEADY) + 1),
    ) as site:
        configuration = Configuration(site, rng)
        with socket.create_server(("127.0.0.1", 0)) as other:
            async with site.agent() as process:
                await process.listening(*STEADY)
                await process.logged("connected to")
                begin = time.monotonic()
                async with loaded(site, process, configuration, ends):
                    for number in range(1, options.reloads + 1):
                        kind, wanted = configuration.change(other.getsockname()[1])
                        counts[kind] += 1
                        asked = time.monotonic()
                        outcome = await site.fhir.reload_config(AGENT_ID)
                        seconds.append(time.monotonic() - asked)
                        told = outcome["issue"][0]["details"]["text"] if outcome else ""
                        if wanted not in told:
                            violations.append(f"reload {number} ({kind}) should have said {wanted!r}, and said {told!r}")
                        configuration.put()
                        await asyncio.sleep(rng.uniform(0, 2 * options.pause))
                        if number % 20 == 0:
                            print(f"{time.monotonic() - begin:6.0f} s  {number} reloads", file=sys.stderr, flush=True)
                    configuration.complete()
                    await site.fhir.reload_config(AGENT_ID)
                lasted = time.monotonic() - begin
                await site.settle(process, timeout=120)
        violations += [f"the connection of {name}, on a channel that never changes, has ended" for name in ends]
        violations += check(site.evidence())
        seconds.sort()
        figures = {
            "reloads": options.reloads,
            **{kind: counts[kind] for kind in sorted(counts)},
            "messages": sum(sender.made for sender in site.all_senders),
            "messages_a_second": round(sum(sender.made for sender in site.all_senders) / lasted),
            "lost": sum(violation.startswith("I1:") for violation in violations),
            "dropped_connections": len(ends),
            "reload_ms_p50": round(seconds[len(seconds) // 2] * 1000),
            "reload_ms_max": round(seconds[-1] * 1000),
        }
    return figures, violations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=1000.0, help="messages a second, about (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=0.5, help="seconds between two reloads, on average (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="repeat a run's choices (default: a new one)")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reliability")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 32)
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="medagent-reloads-") as folder:
        figures, violations = asyncio.run(run(options, Path(folder)))
    for violation in violations[:SHOWN]:
        print(violation, file=sys.stderr)
    result = {"seed": options.seed, **figures, "violations": len(violations)}
    print(json.dumps(result))
    if options.record:
        record("reloads", result)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
