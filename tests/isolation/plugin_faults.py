"""Measure good devices beside faulty plugins: whatever is wrong with a plugin, the other channels go on as before.

Each fault is a distribution of its own, installed with medagent in an environment that has nothing else. An agent runs with it
and an agent without it in turn, both with a channel of good devices and one that the fault harms; every message of the good
devices must be answered, and their p99 must not grow. Run with `make plugin-faults`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distributions import channel, entry_point, make_environment, scheme, told
from faults import FAULTS

from medagent.admin import call
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.recorded import record
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

PACE = 0.02
"""Seconds between the messages of one device, and before the next one of it if an answer is late."""
STARTED_WITHIN = 60.0
"""Seconds: some of the faults make a start slow."""
TOLD_WITHIN = 20.0
"""Seconds after which `medagent status` must say what is wrong."""
MESSAGE = b"MSH|^~\\&|GOOD|TEST|EHR|MAIN|20260105120000||ADT^A01^ADT_A01|%s|P|2.5.1\rPID|1||4711\r"


@dataclass(slots=True)
class Waited:
    """How long the good devices have waited for their commit acknowledgments, seconds."""

    with_fault: list[float] = field(default_factory=list)
    without: list[float] = field(default_factory=list)


async def good_device(address: tuple[str, int], name: str, seconds: float) -> list[float]:
    """Send at an even pace, wait for both acknowledgments of each message."""
    waited: list[float] = []
    end = time.monotonic() + seconds
    async with await MllpClient.connect(*address) as client:
        while (begin := time.monotonic()) < end:
            await client.send(MESSAGE % f"{name}-{len(waited)}".encode())
            if b"MSA|CA|" not in await client.receive():
                raise RuntimeError("a good device was refused")
            waited.append(time.monotonic() - begin)
            if b"MSA|AA|" not in await client.receive():
                raise RuntimeError("a good device has no answer of the server")
            await asyncio.sleep(PACE)
    return waited


async def other_device(process: AgentProcess, name: str) -> None:
    """Send lines to a channel that a fault harms, whatever becomes of them, until cancelled."""
    while True:
        with contextlib.suppress(OSError):
            if (address := process.addresses.get(name)) is not None:
                _, writer = await asyncio.open_connection(*address)
                try:
                    for number in range(1_000_000):
                        writer.write(f"{number} temperature 37.2\n".encode())
                        await writer.drain()
                        await asyncio.sleep(PACE)
                finally:
                    writer.transport.abort()
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def other_devices(process: AgentProcess, names: Sequence[str]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(other_device(process, name)) for name in names]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def listed(python: Path, names: Sequence[str]) -> dict[str, str]:
    """What `medagent plugins` says of these, by entry point: the reason, or "" for one that is loaded."""
    environ = os.environ | {"MEDAGENT_ALLOW_PLUGINS": allowed(names)}
    command = (str(python), "-m", "medagent", "plugins", "--format", "json")
    done = subprocess.run(command, env=environ, capture_output=True, check=True)
    return {each["name"]: each["error"] for each in json.loads(done.stdout) if each["origin"] != "built in"}


def allowed(names: Sequence[str]) -> str:
    return ",".join(("hl7", "lines", *(entry_point(name) for name in names)))


def silent(python: Path, state_dir: Path, names: Sequence[str]) -> list[str]:
    """Faults of which neither `medagent plugins` nor `medagent status` tells."""
    reasons = listed(python, names) if any(not FAULTS[name].loads for name in names) else {}
    status = call(state_dir, "status")
    said = "\n".join((*status["reasons"], *(f"{each['plugin']} {each['where']}" for each in status["plugin_faults"])))
    return [name for name in names if told(name) not in (said if FAULTS[name].loads else reasons.get(entry_point(name), ""))]


async def until_told(python: Path, state_dir: Path, names: Sequence[str]) -> list[str]:
    """Those of which nothing is told in time."""
    end = time.monotonic() + TOLD_WITHIN
    while (left := await asyncio.to_thread(silent, python, state_dir, names)) and time.monotonic() < end:
        await asyncio.sleep(0.2)
    return left


async def run_agent(
    python: Path, harmed: Sequence[str], faulty: Sequence[str], *, devices: int, seconds: float, waited: list[float]
) -> list[str]:
    """One agent with a channel for each of `harmed`, and the faults `faulty`; returns those of which nothing is told."""
    agent = agent_resource({"good": "good"} | {channel(name): channel(name) for name in harmed})
    endpoints = [endpoint_resource("good", "mllp://127.0.0.1:0?enhanced=true")]
    for name in harmed:
        address = f"{scheme(name) if name in faulty else 'line'}://127.0.0.1:0"
        endpoints.append(endpoint_resource(channel(name), address))
    environ = {**SERVER_ENVIRON, "MEDAGENT_ALLOW_PLUGINS": allowed(faulty)}
    with tempfile.TemporaryDirectory(prefix="medagent-faults-") as folder:
        state_dir = Path(folder) / "state"
        async with FhirServer(agent, endpoints) as fhir:
            arguments = server_arguments(fhir.base_url, AGENT_ID, state_dir)
            if any(FAULTS[name].after_good_start for name in faulty):
                before = {**environ, "MEDAGENT_ALLOW_PLUGINS": allowed(())}
                async with AgentProcess(*arguments, environ=before, python=str(python)) as process:
                    await process.listening("good")
                    await process.stop()
            async with AgentProcess(*arguments, environ=environ, python=str(python)) as process:
                for name in ("good", *(channel(name) for name in harmed if name not in faulty)):
                    await process.logged(f"channel {name} listens on", STARTED_WITHIN)
                async with other_devices(process, [channel(name) for name in harmed]):
                    if any(FAULTS[name].starts_late for name in faulty):
                        await asyncio.sleep(1.0)
                    address = process.addresses["good"]
                    at_work = [good_device(address, f"G{number}", seconds) for number in range(devices)]
                    for some in await asyncio.gather(*at_work):
                        waited += some
                    left = await until_told(python, state_dir, faulty)
                if await process.stop() != 0:
                    raise RuntimeError("the agent did not stop in order")
                return left


def p99_ms(waited: Sequence[float]) -> float:
    return round(statistics.quantiles(waited, n=100)[98] * 1000, 2)


async def measure(python: Path, name: str, *, devices: int, seconds: float, rounds: int) -> dict[str, object]:
    """Figures of one fault. With and without take turns, so that a change of the machine's mood meets both."""
    waited = Waited()
    left: list[str] = []
    for _ in range(rounds):
        await run_agent(python, [name], [], devices=devices, seconds=seconds, waited=waited.without)
        try:
            left += await run_agent(python, [name], [name], devices=devices, seconds=seconds, waited=waited.with_fault)
        except (TimeoutError, EOFError, OSError, RuntimeError) as error:
            return {"fault": name, "harm": f"{type(error).__name__}: {error}"}
    without, beside = p99_ms(waited.without), p99_ms(waited.with_fault)
    return {
        "fault": name,
        "told": not left,
        "answered": len(waited.with_fault),
        "p99_ms_without": without,
        "p99_ms_with": beside,
        "factor": round(beside / without, 2),
        "blocks": FAULTS[name].blocks,
    }


def measure_each(python: Path, chosen: Sequence[str], options: argparse.Namespace) -> dict[str, object]:
    """One fault after the other; returns the figures of all."""
    rows = []
    for name in chosen:
        how = {"devices": options.devices, "seconds": options.seconds, "rounds": options.rounds}
        rows.append(asyncio.run(measure(python, name, **how)))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    measured = [row for row in rows if "harm" not in row]
    factors = {row["fault"]: float(str(row["factor"])) for row in measured if not row["blocks"]}
    return {
        "faults": len(rows),
        "answered": sum(int(str(row["answered"])) for row in measured),
        "harmful": len(rows) - len(measured),
        "slower": sum(factor >= options.factor for factor in factors.values()),
        "not_told": sum(not row["told"] for row in measured),
        "factor_max": str(max(factors.values(), default=0.0)),
    }


def all_together(python: Path, chosen: Sequence[str], options: argparse.Namespace) -> dict[str, object]:
    """All of them in one agent, without figures of time."""
    waited: list[float] = []
    left = asyncio.run(run_agent(python, chosen, chosen, devices=options.devices, seconds=options.seconds, waited=waited))
    return {"faults": len(chosen), "answered": len(waited), "harmful": 0, "slower": 0, "not_told": len(left), "silent": left}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="some of them (default: all)")
    parser.add_argument(
        "--together", action="store_true", help="all in one agent: that they are told of, not how fast others are"
    )
    parser.add_argument("--devices", type=int, default=10, help="good devices (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="how often with and without take turns (default: %(default)s)")
    parser.add_argument("--factor", type=float, default=2.0, help="fail if p99 grows by this or more (default: %(default)s)")
    parser.add_argument("--python", type=Path, help="of an environment that has them already (default: a new one)")
    parser.add_argument("--record", action="store_true", help="keep the result in docs/reliability")
    options = parser.parse_args()
    if unknown := set(options.faults) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    chosen = options.faults or [name for name in FAULTS if not (options.together and FAULTS[name].blocks)]
    with tempfile.TemporaryDirectory(prefix="medagent-faults-") as folder:
        python = options.python or make_environment(Path(folder), {name: FAULTS[name] for name in chosen})
        figures = (all_together if options.together else measure_each)(python, chosen, options)
    print(json.dumps(figures))
    if options.record:
        record("plugin_faults", figures)
    return 1 if figures["harmful"] or figures["slower"] or figures["not_told"] else 0


if __name__ == "__main__":
    sys.exit(main())
