"""Cut the power of a recorded agent at any moment, and look for acknowledged messages that are not on the disk.

A real agent runs under strace. Its writes and flushes are replayed up to random moments on a disk that keeps what was flushed
and, of the rest, nothing, a random prefix, or any sectors. Each such disk is opened by medagent's own store: everything
acknowledged before the moment must be in it, byte for byte. The order itself is checked too: each acknowledgment after the
flush that covers it. Run with `make power-cut-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import json
import random
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medagent.errors import QueueError
from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.testing.crash_site import STRATEGIES, CrashSite
from medagent.testing.evidence import Evidence, Flush
from medagent.testing.invariants import check
from medagent.testing.ledger import read_ledger
from medagent.testing.power_cut import Cut, Disk, steps
from medagent.testing.queue_file import counters_agree, read_contents
from medagent.testing.recorded import record
from medagent.testing.system_calls import Call, acknowledgments, complete, flushes, read_calls, strace

WITHOUT_FLUSH = """
from medagent.cli.main import main
from medagent.queue.sqlite import file

prepare = file._prepare

def prepare_carelessly(connection):
    prepare(connection)
    connection.execute("PRAGMA synchronous = NORMAL")

file._prepare = prepare_carelessly
main()
"""
"""The agent, but that a commit returns before the write-ahead log is flushed: what the checks must find."""
SHOWN = 20


@dataclass
class Recording:
    """What one agent did, from an empty state folder to its orderly end."""

    folder: Path
    calls: list[Call]
    acknowledged: list[tuple[int, str]]
    """(position, control ID), in order."""
    bodies: dict[str, str]
    """Digests by control ID."""
    flushes: list[Flush]
    violations: list[str]
    """Of the run itself."""


async def recording(strategy: str, messages: int, seed: int, *, careless: bool) -> Recording:
    """Run an agent under strace, with three channels in the three acknowledgment modes."""
    with tempfile.TemporaryDirectory(prefix="medagent-power-") as folder:
        async with CrashSite(Path(folder), strategy=strategy, seed=seed, window=25, sizes=(500, 8000)) as site:
            for sender in site.all_senders:
                sender.left = -(-messages // len(site.all_senders))
            output = Path(folder) / "calls"
            program = ("-c", WITHOUT_FLUSH) if careless else ("-m", "medagent")
            async with site.agent(before=strace(output), program=program) as process:
                await site.listening(process)
                await site.load(process)
                await site.settle(process, timeout=600)
            await complete(output, process.pid)
        calls = read_calls(output, site.state_dir)
        entries = read_ledger(site.ledger.path).entries
        return Recording(
            folder=site.state_dir,
            calls=calls,
            acknowledged=list(acknowledgments(calls)),
            bodies={entry.control_id: entry.sha256 for entry in entries},
            flushes=flushes(calls, {entry.control_id: entry.channel for entry in entries}),
            violations=check(site.evidence()),
        )


class Replay:
    """Cuts of one recording in one mode."""

    def __init__(self, source: Recording, cut: Cut, rng: random.Random, folder: Path, *, lies: bool) -> None:
        self._source = source
        self._cut = cut
        self._rng = rng
        self._folder = folder
        self._disk = Disk(source.folder, lies=lies)
        self.lost = 0
        """Acknowledged messages that were not there, over all cuts."""
        self.violations: list[str] = []

    async def run(self, count: int) -> None:
        """So many cuts, at random moments between the first file and the end."""
        timed = steps(self._source.calls)
        moments = sorted(self._rng.randrange(len(timed)) for _ in range(count))
        done = 0
        for moment in moments:
            for _, call in timed[done : moment + 1]:
                self._disk.apply(call)
            done = max(done, moment + 1)
            # every acknowledgment before the next step may have left
            position = timed[moment + 1][0] if moment + 1 < len(timed) else sys.maxsize
            acknowledged = self._source.acknowledged[: bisect.bisect_left(self._source.acknowledged, (position, ""))]
            await self._check(self._disk.image(self._cut, self._rng), [control_id for _, control_id in acknowledged], position)

    async def _check(self, files: dict[str, bytes], acknowledged: list[str], position: int) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for name, data in files.items():
            (self._folder / name).write_bytes(data)
        where = f"after a cut at line {position} ({self._cut.value})"
        path = self._folder / QUEUE_NAME
        store = SqliteStore(path)
        try:
            await store.open()
            await store.close()
        except QueueError as error:
            self.violations.append(f"I10: the queue does not open {where}: {error}")
            return
        try:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            agree = counters_agree(path)
            stored = {row.control_id: row.sha256 for row in read_contents(path).rows}
        except sqlite3.DatabaseError as error:
            # a file that opens may still have pages that cannot be read
            self.violations.append(f"I10: the queue cannot be read {where}: {error}")
            return
        if found != "ok":
            self.violations.append(f"I10: the queue is corrupt {where}: {found}")
            return
        if not agree:
            self.violations.append(f"I4: the counters say otherwise than the rows {where}")
        for control_id in acknowledged:
            if control_id not in stored:
                self.lost += 1
                self.violations.append(f"I1: message {control_id} was acknowledged and is not in the queue {where}")
            elif stored[control_id] != self._source.bodies[control_id]:
                self.violations.append(f"I7: message {control_id} is in the queue with other bytes {where}")


async def run(options: argparse.Namespace) -> tuple[dict[str, int], list[str]]:
    rng = random.Random(options.seed)  # noqa: S311  chooses where to cut, and keeps no secret
    figures: Counter[str] = Counter()
    violations: list[str] = []
    begin = time.monotonic()
    for strategy in [options.strategy] if options.strategy else list(STRATEGIES):
        source = await recording(strategy, options.messages, rng.randrange(1 << 32), careless=options.careless)
        violations += source.violations
        found = check_order(source)
        violations += found
        figures["acknowledgments"] += len(source.flushes)
        figures["too_early"] += len(found)
        for cut in Cut:
            with tempfile.TemporaryDirectory(prefix="medagent-disk-", dir=options.folder) as folder:
                replay = Replay(source, cut, rng, Path(folder) / "state", lies=options.lies)
                await replay.run(options.cuts)
            violations += replay.violations
            figures["cuts"] += options.cuts
            figures["lost"] += replay.lost
            figures["corrupt"] += sum(violation.startswith("I10") for violation in replay.violations)
            print(
                f"{time.monotonic() - begin:6.0f} s  {strategy}, {cut.value}: {options.cuts} cuts,"
                f" {len(replay.violations)} violations",
                file=sys.stderr,
                flush=True,
            )
    return dict(figures), violations


def check_order(source: Recording) -> list[str]:
    """Violations of I6."""
    # of what the senders saw acknowledged, everything must be in the recording: otherwise it was read wrongly
    missing = len(source.bodies) - len(source.flushes)
    unseen = [f"I6: {missing} acknowledgments are not in the recording"] if missing else []
    return check(Evidence(flushes=source.flushes)) + unseen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=2000, help="for each mode and strategy (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=600, help="in each recording (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="repeat a run's choices (default: a new one)")
    parser.add_argument("--strategy", choices=list(STRATEGIES), help="only this one")
    parser.add_argument("--folder", default=memory(), help="where the disks are made (default: %(default)s)")
    parser.add_argument("--careless", action="store_true", help="have the agent not wait for the flush: losses must be found")
    parser.add_argument("--lies", action="store_true", help="replay on a disk that flushes nothing: losses must be found")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reliability")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        print("strace is not installed", file=sys.stderr)
        return 2
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 32)
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    figures, violations = asyncio.run(run(options))
    for violation in violations[:SHOWN]:
        print(violation, file=sys.stderr)
    result = {"seed": options.seed, **figures, "violations": len(violations)}
    print(json.dumps(result))
    if options.record:
        record("power_cuts", result)
    return 1 if violations else 0


def memory() -> str | None:
    """A folder in memory, if there is one: what is written there need not survive anything."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  only a folder made by tempfile is used in it


if __name__ == "__main__":
    sys.exit(main())
