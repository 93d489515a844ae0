"""An agent in the test's own process beside an embedded FHIR server: the real thing, quicker than a process."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

from medagent.admin import call
from medagent.agent import Agent
from medagent.errors import NotReady, QueueError
from medagent.failpoints import VARIABLE
from medagent.plugins import Plugins
from medagent.queue.sqlite.store import QUEUE_NAME
from medagent.testing.command import run_command
from medagent.testing.fhir_server import FhirServer
from medagent.testing.in_process import bootstrap
from medagent.testing.installed import environ_with, plugins_with
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.queue_file import StoredMessage, read_messages
from medagent.testing.resources import Resource, agent_resource, endpoint_resource

# what `medagent status` shows, as decoded JSON
Status = dict[str, Any]


class Acknowledged(NamedTuple):
    """What an acknowledgment says: MSA-1 and MSA-2."""

    code: str
    control_id: str


def adt(control_id: str) -> bytes:
    """A message about an invented patient."""
    return f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01|{control_id}|P|2.5\rPID|1||4711^^^HOSP^MR\r".encode()


def read_ack(answer: bytes) -> Acknowledged:
    """Raises `ValueError` if `answer` holds no MSA segment."""
    segment = next((line for line in answer.split(b"\r") if line.startswith(b"MSA|")), None)
    if segment is None:
        raise ValueError("an acknowledgment must hold an MSA segment")
    code, control_id = segment.decode().split("|")[1:3]
    return Acknowledged(code, control_id)


class Site:
    """One agent, its server and its devices; an async context manager that starts the server, and ends all."""

    def __init__(
        self,
        state_dir: Path,
        channels: Mapping[str, str] | None = None,
        *,
        settings: Mapping[str, bool | float | str] | None = None,
        status: str = "active",
        endpoint_status: str = "active",
        client_secret: str = "secret",  # noqa: S107  the secret of a test server
        secret_file: Path | None = None,
        resources: tuple[Resource, Sequence[Resource]] | None = None,
        plugins: Sequence[ModuleType] | Plugins = (),
        # as `FhirServer` takes them
        **server: Any,
    ) -> None:
        """`channels`: what stands behind the address of each, such as `?enhanced=true`, or a whole address; instead of them
        `resources` gives the Agent and its Endpoints. `plugins`: modules with hooks, beside the installed ones; or those of the
        only agent of this site."""
        self.state_dir = state_dir
        self._plugins = plugins
        self._secret = client_secret
        self._secret_file = secret_file
        if resources is None:
            ends = channels if channels is not None else {"adt": ""}
            addresses = {name: end if "://" in end else f"mllp://127.0.0.1:0{end}" for name, end in ends.items()}
            resources = (
                agent_resource({name: name for name in addresses}, settings or {}, status=status),
                [endpoint_resource(name, address, endpoint_status) for name, address in addresses.items()],
            )
        self._agent_id = str(resources[0]["id"])
        self.fhir = FhirServer(*resources, **server)
        self._stop = asyncio.Event()
        self._agent: asyncio.Future[None] | None = None
        self._clients: list[MllpClient] = []

    async def __aenter__(self) -> Self:
        await self.fhir.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.close()
        await self.stop()
        await self.fhir.close()

    def launch(self, base_url: str = "") -> None:
        """Start the agent; returns at once."""
        self._stop = asyncio.Event()
        start = bootstrap(self.fhir, self.state_dir, self._agent_id)
        start = replace(start, client_secret=self._secret, client_secret_file=self._secret_file)
        if base_url:
            start = replace(start, base_url=base_url)
        plugins = self._plugins if isinstance(self._plugins, Plugins) else plugins_with(*self._plugins)
        self._agent = asyncio.ensure_future(Agent(start, plugins).run(self._stop))

    async def start(self) -> Self:
        """Start the agent, and wait until its channels listen and the server has accepted it."""
        self.launch()
        await self.until(ready)
        return self

    async def stop(self) -> None:
        """Have the agent stop in order. Raises what ended it, if anything did."""
        self._stop.set()
        if self._agent is not None:
            await self._agent
            self._agent = None

    @property
    def running(self) -> bool:
        """The agent has not ended."""
        return self._agent is not None and not self._agent.done()

    async def status(self) -> Status:
        """What `medagent status` shows. Raises `NotReady`."""
        shown: Status = await asyncio.to_thread(call, self.state_dir, "status")
        return shown

    async def until(self, reached: Callable[[Status], object], timeout: float = 20.0) -> Status:
        """Wait until the status is as wished, and return it. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout):
            while True:
                with contextlib.suppress(NotReady):
                    if reached(shown := await self.status()):
                        return shown
                if self._agent is not None and self._agent.done():
                    self._agent.result()
                # the agent tells its status only when asked
                await asyncio.sleep(0.01)

    def process(self, *, failpoint: str = "", environ: Mapping[str, str] | None = None) -> AgentProcess:
        """The next life of a stopped agent, as a child process that is started by `async with`.

        `failpoint`: where it is killed, such as `after_commit:3` (`medagent.failpoints`).
        """
        environ = SERVER_ENVIRON | {"MEDAGENT_CLIENT_SECRET": self._secret, VARIABLE: failpoint} | dict(environ or {})
        if isinstance(self._plugins, Plugins):
            raise TypeError("a process loads its plugins by itself: give the site modules")
        environ |= environ_with(self._plugins, self.state_dir / "plugins")
        return AgentProcess(*server_arguments(self.fhir.base_url, self._agent_id, self.state_dir), environ=environ)

    async def address(self, channel: str) -> tuple[str, int]:
        """Where a channel listens, as soon as it does. Raises `TimeoutError`."""

        def addresses(shown: Status) -> dict[str, str]:
            return {each["name"]: each["address"] for each in shown["channels"]}

        host, _, port = addresses(await self.until(lambda shown: addresses(shown).get(channel)))[channel].rpartition(":")
        return host.strip("[]"), int(port)

    async def device(self, channel: str = "adt", local_port: int | None = None) -> MllpClient:
        """A new MLLP connection to a channel that listens; it is closed in the end."""
        client = await MllpClient.connect(*await self.address(channel), local_port=local_port)
        self._clients.append(client)
        return client

    async def exchange(self, *bodies: bytes, channel: str = "adt", answers: int | None = None) -> list[Acknowledged]:
        """Send messages over a connection of their own, and take as many answers, or `answers`."""
        device = await self.device(channel)
        await device.send(*bodies)
        return [read_ack(await device.receive()) for _ in range(len(bodies) if answers is None else answers)]

    async def drained(self) -> None:
        """Wait until every message has ended."""
        await self.until(lambda shown: shown["queue"]["depth"] == 0)

    def rows(self) -> list[StoredMessage]:
        """The messages in the queue of a stopped agent."""
        return read_messages(self.state_dir / QUEUE_NAME)

    async def queue(self) -> list[StoredMessage]:
        """The messages in the queue, whether the agent runs or not: of a copy that `medagent queue backup` makes."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / QUEUE_NAME
            finished = await run_command("queue", "backup", str(copy), "--state-dir", str(self.state_dir))
            if finished.exit_code:
                raise QueueError(finished.stderr)
            return read_messages(copy)


def ready(shown: Status) -> bool:
    """Every channel that is not off listens, and the server has accepted the agent."""
    return bool(
        shown.get("uplink", {}).get("state") == "connected"
        and all(channel["state"] in ("listening", "off") for channel in shown["channels"])
    )
