"""Where agents are made to crash: one state folder, many lives, a server that notes what it gets, senders with a ledger."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from medagent.queue.sqlite.store import QUEUE_NAME
from medagent.testing.evidence import Deliveries, Evidence, Figure, Start, figures_of
from medagent.testing.fhir_server import FhirServer
from medagent.testing.ledger import Ledger
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.testing.senders import CANARY, Sender

MODES = {"original": "", "enhanced": "?enhanced=true", "aa": "?enhanced=aa"}
"""Acknowledgment modes: the parameters of an Endpoint's address by their name."""
STRATEGIES = {"batched": True, "immediate": False}
"""The values of `batchEnabled` by the name of the strategy they choose."""
RSS_MB, FILES, THREADS = 300, 40, 8
"""What an agent may use after all that (`Figure`): memory, files beside its connections and listeners, threads."""


class CrashSite:
    """One queue through the lives of many agents; an async context manager. `channels` gives the mode of each by its name."""

    def __init__(
        self,
        folder: Path,
        *,
        strategy: str,
        channels: Mapping[str, str] = MODES,
        senders: int = 1,
        seed: int = 0,
        window: int = 50,
        sizes: tuple[int, int] = (500, 64_000),
        pace: float = 0.0,
        rate: float | None = None,
        settings: Mapping[str, bool | int | float | str] | None = None,
        flushed_ledger: bool = True,
    ) -> None:
        """`senders`: for each channel; `settings`: further ones of the Agent, such as a plugin's `queueStrategy`;
        `flushed_ledger` as `Ledger` takes it, and the rest as `Sender` does."""
        self.folder = folder
        self.state_dir = folder / "state"
        self.deliveries = Deliveries()
        endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in channels.items()]
        agent = agent_resource({name: name for name in channels}, {"batchEnabled": STRATEGIES[strategy], **(settings or {})})
        self.fhir = FhirServer(agent, endpoints, bot=self.deliveries, keep_journal=False)
        self.ledger = Ledger(folder / "ledger", flushed=flushed_ledger)
        rng = random.Random(seed)  # noqa: S311  chooses what to send, and keeps no secret
        self.senders = {
            channel: [
                Sender(self.ledger, channel, f"{channel}{number}", rng, window=window, sizes=sizes, pace=pace, rate=rate)
                for number in range(senders)
            ]
            for channel in channels
        }
        self.lives: list[AgentProcess] = []
        self.starts: list[Start] = []
        self.figures: list[Figure] = []
        self.restart_seconds: list[float] = []
        """From the start of the process until it listens."""

    async def __aenter__(self) -> Self:
        await self.fhir.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.fhir.close()
        self.ledger.close()

    def agent(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        before: Sequence[str] = (),
        program: Sequence[str] = ("-m", "medagent"),
        more: Sequence[str] = (),
    ) -> AgentProcess:
        """The next life; `before` and `program` as in `AgentProcess`, `more` are further arguments."""
        arguments = [*server_arguments(self.fhir.base_url, AGENT_ID, self.state_dir), *more]
        environ = SERVER_ENVIRON | dict(environ or {})
        process = AgentProcess(*arguments, environ=environ, before=before, program=program)
        self.lives.append(process)
        return process

    async def listening(self, process: AgentProcess) -> None:
        """Wait until all channels listen, and note the time that took. Raises as `AgentProcess.logged` does."""
        name, begin = f"start {len(self.lives)} on the same state folder", time.monotonic()
        try:
            await process.listening(*self.senders)
        except (RuntimeError, TimeoutError) as error:
            self.starts.append(Start(name, works=False, reason=type(error).__name__))
            raise
        self.starts.append(Start(name, works=True))
        self.restart_seconds.append(time.monotonic() - begin)

    async def load(self, process: AgentProcess) -> None:
        """Have all senders send until the agent goes."""
        async with asyncio.TaskGroup() as group:
            for channel, senders in self.senders.items():
                for sender in senders:
                    group.create_task(sender.run(process.addresses[channel]))

    async def settle(self, process: AgentProcess, timeout: float = 60.0) -> None:
        """Resend what was not acknowledged, wait until the queue is drained, and stop the agent."""
        async with asyncio.timeout(timeout):
            for sender in self.all_senders:
                sender.left = 0
            while any(sender.outstanding for sender in self.all_senders):
                await self.load(process)
            await process.drained(self.state_dir, timeout)
            files = FILES + len(self.senders) + len(self.all_senders)
            self.figures += figures_of(process.pid, rss_mb=RSS_MB, files=files, threads=THREADS)
            process.signal(signal.SIGTERM)
            await process.wait()

    @property
    def all_senders(self) -> list[Sender]:
        return [sender for senders in self.senders.values() for sender in senders]

    def evidence(self) -> Evidence:
        """Of all lives, once the last has been settled."""
        return Evidence(
            ledgers=[self.ledger.path],
            ordered_senders=True,
            deliveries=self.deliveries.noted,
            queues=[self.state_dir / QUEUE_NAME],
            drained=True,
            logs={f"the log of life {number}": life.log for number, life in enumerate(self.lives, 1)},
            canaries=[CANARY, *SERVER_ENVIRON.values()],
            figures=self.figures,
            starts=self.starts,
        )
