"""Short-lived access tokens under load, with the token server down again and again, for less and for more than their lifetime.

A real agent, senders in all acknowledgment modes, and a FHIR server of which only the token endpoint fails: it answers 503,
asks to be left alone (429 with Retry-After), or does not answer; and now and then the server forgets all tokens. Nothing may
be lost or refused, devices in enhanced mode are answered all the time, one token request is open at a time, and the
connection stays. Run with `make token-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from medagent.testing.crash_site import MODES, CrashSite
from medagent.testing.fhir_server import HttpFailure
from medagent.testing.invariants import check
from medagent.testing.process import AgentProcess
from medagent.testing.queue_file import read_contents
from medagent.testing.recorded import record
from medagent.types import State

SENDERS = 2
"""For each channel."""
PACE = 0.1
"""Seconds between two writes of a sender."""
AGE = 0.55
"""Of the token when an outage begins, in lifetimes: soon it is to be renewed."""
SHORT, LONG = 0.25, 1.1
"""Lengths of outages, in lifetimes: the first is over before the token is."""
OUTAGES = (
    ("503", SHORT),
    ("silence", LONG),
    ("forgotten", 0.0),
    ("429", SHORT),
    ("503", LONG),
    ("forgotten", SHORT),
    ("429", LONG),
    ("silence", SHORT),
)
"""What the token server does, and for how long; with "forgotten" it forgets all tokens, whatever their age, and is down as with
503."""
REQUESTS_A_LIFETIME = 22
"""Token requests in any time as long as a lifetime, at most: one in each twentieth of it and its last moment while the
server is down, and one after all tokens were forgotten."""
RETRY_AFTER = 0.1
"""What the server asks for with 429, in lifetimes."""
PATIENCE = 60.0
"""Seconds until messages must flow again after an outage."""
SHOWN = 20


@dataclass
class Result:
    """Of all lifetimes."""

    messages: int = 0
    acknowledged: int = 0
    attempts: int = 0
    seconds: float = 0.0
    outages: int = 0
    token_requests: int = 0
    most_at_once: int = 0
    most_in_a_lifetime: int = 0
    tokens_forgotten: int = 0
    connections: int = 0
    resumed_seconds: list[float] = field(default_factory=list)
    """From the end of each outage until a message reached the server."""
    violations: list[str] = field(default_factory=list)

    def count(self, number: str) -> int:
        return sum(violation.startswith(f"{number}:") for violation in self.violations)


class Run:
    """One agent with tokens of one lifetime."""

    def __init__(self, site: CrashSite, lifetime: float, result: Result) -> None:
        self._site = site
        self._fhir = site.fhir
        self._journal = site.fhir.journal
        self._lifetime = lifetime
        self._result = result
        self._tokens_forgotten = 0
        self._refused_as_forgotten = 0
        self._fhir.tokens.lifetime = lifetime

    async def go(self, seconds: float) -> None:
        """One outage after the other, until the time is over; then everything is delivered, and judged."""
        begin = time.monotonic()
        async with self._site.agent() as process:
            await self._site.listening(process)
            load = asyncio.ensure_future(self._site.load(process))
            await self._delivered()
            for kind, length in itertools.cycle(OUTAGES):
                if kind != "forgotten":
                    await asyncio.sleep(self._journal.token_requests_at[-1] + AGE * self._lifetime - time.monotonic())
                if time.monotonic() - begin >= seconds:
                    break
                await self._outage(kind, length * self._lifetime)
            for sender in self._site.all_senders:
                sender.left = 0
            await asyncio.wait({load}, timeout=PATIENCE)
            self._result.seconds += time.monotonic() - begin
            await self._settle(process)
            await load
        self._judge()

    async def _settle(self, process: AgentProcess) -> None:
        await self._site.settle(process, timeout=300)
        journal, result = self._journal, self._result
        result.messages += sum(sender.made for sender in self._site.all_senders)
        result.acknowledged += sum(sender.acknowledged for sender in self._site.all_senders)
        result.attempts += len(self._site.deliveries.noted)
        result.token_requests += journal.token_requests
        result.most_at_once = max(result.most_at_once, journal.most_token_requests)
        result.tokens_forgotten += self._tokens_forgotten
        result.connections += journal.upgrades

    async def _outage(self, kind: str, seconds: float) -> None:
        faults, journal = self._fhir.faults, self._journal
        retry_after = max(1, round(self._lifetime * RETRY_AFTER))
        refused_before, asked_before, accepted_before = journal.refused_tokens, journal.token_requests, self._accepted
        if kind == "forgotten":
            self._tokens_forgotten += 1
            self._fhir.forget_tokens()
        if seconds:
            faults.hang_token = kind == "silence"
            faults.token_failure = HttpFailure(429, retry_after) if kind == "429" else HttpFailure(503)
            await asyncio.sleep(seconds)
            faults.hang_token, faults.token_failure = False, None
        asked_at = journal.token_requests_at[asked_before:]
        accepted, end = self._accepted - accepted_before, time.monotonic()
        name = f"{kind} for {seconds:g} s with tokens of {self._lifetime:g} s"
        if seconds > self._lifetime and not accepted:
            self._wrong(f"{name}: the devices were not answered")
        if kind == "429" and any(later - earlier < retry_after for earlier, later in itertools.pairwise(asked_at)):
            self._wrong(f"{name}: the server was asked again before the {retry_after} s were over that it asked for")
        try:
            await self._delivered()
        except TimeoutError:
            self._wrong(f"{name}: nothing was sent within {PATIENCE:g} s after it")
        if kind == "forgotten":
            self._refused_as_forgotten += journal.refused_tokens - refused_before
        self._result.outages += 1
        self._result.resumed_seconds.append(time.monotonic() - end)
        print(
            f"{name}: {len(asked_at)} token requests, {accepted} messages accepted,"
            f" the next was sent {self._result.resumed_seconds[-1]:.1f} s after it",
            file=sys.stderr,
            flush=True,
        )

    @property
    def _accepted(self) -> int:
        """Messages that the devices were told are safe before they are sent."""
        return sum(sender.acknowledged for sender in self._site.senders["enhanced"])

    async def _delivered(self) -> None:
        """Wait until a message reaches the server. Raises `TimeoutError`."""
        count = self._journal.executed_count
        await self._fhir.wait_for(lambda fhir: fhir.journal.executed_count > count, timeout=PATIENCE)

    def _judge(self) -> None:
        journal = self._journal
        self._result.violations += check(self._site.evidence())
        for queue in self._site.evidence().queues:
            for row in read_contents(queue).rows:
                if row.state in (State.REJECTED, State.DEAD_LETTER):
                    self._wrong(f"message {row.channel}/{row.control_id} has ended as {row.state.name.lower()}")
        if journal.most_token_requests > 1:
            self._wrong(f"{journal.most_token_requests} token requests were open at once")
        most = most_within(journal.token_requests_at, self._lifetime)
        self._result.most_in_a_lifetime = max(self._result.most_in_a_lifetime, most)
        if most > REQUESTS_A_LIFETIME:
            self._wrong(f"{most} token requests within a lifetime of {self._lifetime:g} s")
        if refused := journal.refused_tokens - self._refused_as_forgotten:
            self._wrong(f"{refused} frames or requests were sent with a token that had expired")
        if journal.upgrades > 1 + self._tokens_forgotten:
            self._wrong(f"{journal.upgrades} connections, though the tokens were forgotten only {self._tokens_forgotten} times")

    def _wrong(self, what: str) -> None:
        self._result.violations.append(f"tokens: {what}")


def most_within(times: list[float], seconds: float) -> int:
    """The most of these times, which are in order, that lie within so many seconds."""
    first = most = 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


async def run(options: argparse.Namespace) -> Result:
    """Each lifetime gets its share of the time, so that all have the same number of outages."""
    result = Result()
    for lifetime in options.lifetime:
        with tempfile.TemporaryDirectory(prefix="medagent-tokens-", dir=options.folder) as folder:
            rate = options.rate / (SENDERS * len(MODES))
            async with CrashSite(
                Path(folder),
                strategy="batched",
                senders=SENDERS,
                seed=options.seed,
                window=100,
                sizes=(500, 2000),
                pace=PACE,
                rate=rate,
            ) as site:
                await Run(site, lifetime, result).go(options.seconds * lifetime / sum(options.lifetime))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of all lifetimes together (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second (default: %(default)s)")
    parser.add_argument("--lifetime", type=float, nargs="+", default=[20.0, 60.0], help="in seconds (default: 20 60)")
    parser.add_argument("--seed", type=int, help="repeat a run's messages (default: a new one)")
    parser.add_argument("--folder", help="where the queues are made (default: the system's for temporary files)")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reliability")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 32)
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    result = asyncio.run(run(options))
    figures = {
        "seed": options.seed,
        "lifetimes": " and ".join(f"{lifetime:g} s" for lifetime in options.lifetime),
        "seconds": round(result.seconds),
        "messages": result.messages,
        "per_second": round(result.messages / result.seconds),
        "acknowledged": result.acknowledged,
        "attempts": result.attempts,
        "outages": result.outages,
        "lost": result.count("I1"),
        "inversions": result.count("I2"),
        "violations": len(result.violations),
        "token_requests": result.token_requests,
        "token_requests_at_once": result.most_at_once,
        "token_requests_in_a_lifetime": result.most_in_a_lifetime,
        "tokens_forgotten": result.tokens_forgotten,
        "connections": result.connections,
        "resumed_ms_max": round(max(result.resumed_seconds, default=0.0) * 1000),
    }
    for violation in result.violations[:SHOWN]:
        print(violation, file=sys.stderr)
    print(json.dumps(figures))
    if options.record:
        record("tokens", figures)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
