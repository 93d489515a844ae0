"""`FhirServer`: puts the parts together and listens."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from medagent.tasks import Tasks
from medagent.testing.bots import Bot, acknowledge
from medagent.testing.fhir_server.agent_protocol import AgentProtocol
from medagent.testing.fhir_server.agent_socket import MAX_MESSAGE_BYTES, AgentSockets
from medagent.testing.fhir_server.faults import Faults
from medagent.testing.fhir_server.http import HttpApi
from medagent.testing.fhir_server.hub import Hub
from medagent.testing.fhir_server.journal import Exchange, Journal
from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.fhir_server.operations import Operations
from medagent.testing.fhir_server.store import Store
from medagent.testing.fhir_server.tokens import Tokens


class FhirServer:
    """A FHIR server for agents, answering as a Medplum server 5.0.10 does, on one loopback port.

    It can be started again after `close`, on the same port if asked to; resources, tokens and the journal stay.
    """

    def __init__(
        self,
        # resources as decoded JSON; a test may hand in faulty ones on purpose
        agent: Mapping[str, Any],
        endpoints: Sequence[Mapping[str, Any]] = (),
        *,
        client_id: str = "client1",
        client_secret: str = "secret",  # noqa: S107  the secret of a test server
        bot: Bot = acknowledge,
        devices: Sequence[Mapping[str, Any]] = (),
        heartbeat_interval: float | None = 10.0,
        expires_in: float = 3600.0,
        operation_timeout: float = 5.0,
        upgrade_timeout: float = 45.0,
        push_timeout: float = 10.0,
        version: str = "5.0.10-embedded",
        keep_journal: bool = True,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Times are in seconds; `heartbeat_interval` None sends none. `keep_journal` False keeps counters only, no frames.
        A frame of more than `max_message_bytes` ends the connection (1009).

        With `tls` it speaks HTTPS and wss.
        """
        self.client_id = client_id
        self.heartbeat_interval = heartbeat_interval
        self.faults = Faults()
        self.journal = Journal(keep=keep_journal)
        self.tokens = Tokens(client_id, expires_in, clock)
        self.port = 0
        self._tls = tls
        self._store = Store()
        self._tasks = Tasks()
        self._runner: web.AppRunner | None = None
        for resource in (agent, *endpoints, *devices):
            self._store.put(resource)
        self.hub = Hub()
        self._protocol = AgentProtocol(
            hub=self.hub,
            tokens=self.tokens,
            store=self._store,
            journal=self.journal,
            faults=self.faults,
            tasks=self._tasks,
            bot=bot,
            version=version,
        )
        self._sockets = AgentSockets(
            protocol=self._protocol,
            hub=self.hub,
            journal=self.journal,
            faults=self.faults,
            tasks=self._tasks,
            max_message_bytes=max_message_bytes,
        )
        self.operations = Operations(
            self.hub, self._store, timeout=operation_timeout, upgrade_timeout=upgrade_timeout, push_timeout=push_timeout
        )
        self._api = HttpApi(
            tokens=self.tokens,
            store=self._store,
            operations=self.operations,
            sockets=self._sockets,
            journal=self.journal,
            faults=self.faults,
            tasks=self._tasks,
            client_id=client_id,
            client_secret=client_secret,
        )

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises `OSError` if the port is taken."""
        runner = web.AppRunner(self._api.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=self._tls).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]
        self._api.base_url = f"{'https' if self._tls else 'http'}://{host}:{self.port}/"
        if self.heartbeat_interval is not None:
            self._tasks.spawn(self._beat(self.heartbeat_interval), "heartbeat")

    async def close(self) -> None:
        """Cut every connection and stop listening; nothing is left running. Does nothing if it is not started."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        for site in list(runner.sites):
            await site.stop()
        self._sockets.abort()
        await self._tasks.cancel()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _beat(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.hub.send_heartbeats()

    @property
    def base_url(self) -> str:
        """Such as `http://127.0.0.1:8103/`; "" before the first start."""
        return self._api.base_url

    @property
    def client_secret(self) -> str:
        """Of the only client; can be replaced at any time."""
        return self._api.client_secret

    @client_secret.setter
    def client_secret(self, secret: str) -> None:
        self._api.client_secret = secret

    @property
    def bot(self) -> Bot:
        """What answers messages; can be replaced at any time."""
        return self._protocol.bot

    @bot.setter
    def bot(self, bot: Bot) -> None:
        self._protocol.bot = bot

    @property
    def on_transmit(self) -> Callable[[JsonObject, JsonObject], None] | None:
        """Called with the frame and the response after each transmit response."""
        return self._protocol.on_transmit

    @on_transmit.setter
    def on_transmit(self, callback: Callable[[JsonObject, JsonObject], None] | None) -> None:
        self._protocol.on_transmit = callback

    @property
    def transmits(self) -> list[JsonObject]:
        """The transmit requests in the order of arrival, refused ones too."""
        return self.journal.transmits

    @property
    def frames(self) -> list[Exchange]:
        """Every frame, both directions."""
        return self.journal.frames

    @property
    def sockets(self) -> int:
        """Open WebSockets, and upgrade requests left hanging."""
        return self._sockets.open

    @property
    def running_jobs(self) -> int:
        """Operations asked for with `Prefer: respond-async` that have not ended."""
        return self._api.running_jobs

    # resources as decoded JSON
    def put(self, resource: Mapping[str, Any]) -> JsonObject:
        """Create or replace a resource, as `PUT` does; returns it as stored."""
        return self._store.put(resource)

    def get(self, kind: str, identifier: str) -> JsonObject | None:
        """A stored resource; not to be changed in place."""
        return self._store.get(kind, identifier)

    def delete(self, kind: str, identifier: str) -> None:
        self._store.delete(kind, identifier)

    async def reload_config(self, agent_id: str) -> JsonObject | None:
        """What `GET Agent/{id}/$reload-config` does; returns its OperationOutcome."""
        return (await self.operations.get(agent_id, "$reload-config", {})).resource

    def forget_tokens(self) -> None:
        """Refuse every token issued so far."""
        self.tokens.forget()

    def abort_sockets(self) -> None:
        """Cut the WebSockets' TCP connections without a close frame."""
        self._sockets.abort()

    async def wait_for(self, reached: int | Callable[[FhirServer], bool], timeout: float = 10.0) -> None:
        """Wait until so many transmit requests have arrived, or until `reached(server)` is true.

        The condition is asked after every frame, request and opened or closed connection. Raises `TimeoutError`.
        """
        if isinstance(reached, int):
            count = reached
            await self.journal.wait_until(lambda: self.journal.transmit_count >= count, timeout)
        else:
            condition = reached
            await self.journal.wait_until(lambda: condition(self), timeout)
