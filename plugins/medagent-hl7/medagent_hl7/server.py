"""The `mllp` channel: a listener for HL7 v2 over MLLP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from medagent.channel import ChannelContext
from medagent.config.model import ChannelConfig
from medagent.errors import ChannelError
from medagent.listening import Notices, format_address, open_sockets
from medagent.tasks import Tasks
from medagent.types import Answer, Delivery, InboundMessage, Refusal
from medagent_hl7 import tls
from medagent_hl7.accepting import Acceptor
from medagent_hl7.connection import Connection
from medagent_hl7.framing import FrameEvent
from medagent_hl7.guarding import Guard
from medagent_hl7.in_force import InForce
from medagent_hl7.keys import workers
from medagent_hl7.numbering import WIDEST, with_sequence_number
from medagent_hl7.origin import Tracked, header_of
from medagent_hl7.reception import Reception
from medagent_hl7.schemes import CONTENT_TYPE, MLLPS
from medagent_hl7.settings import needs_restart
from medagent_hl7.telling import Teller
from medagent_hl7.tracking import Tracking
from medagent_hl7.workings import Workings

_CLOSE_SECONDS = 2.0


class Hl7Channel:
    """One listener. Implements `medagent.channel.Channel` and its companions, whose docstrings hold."""

    content_type = CONTENT_TYPE

    def __init__(self, context: ChannelContext) -> None:
        self.log = context.log
        self._context = context
        self._config = context.config
        self._notices = Notices(context.log, context.config.name)
        self._in_force = InForce(self._make_workings(context.config))
        self.max_workers = workers(context.config.parameters)
        self._acceptor: Acceptor | None = None
        self._certificates: tls.Certificates | None = None
        self._tasks = Tasks()
        self._address = ""
        self._connections: dict[str, Connection] = {}
        """By link."""
        self._no_connections = asyncio.Event()
        self._no_connections.set()
        self._paused = False
        self._stopping = False
        self._closing = False
        self._guard = Guard(self._connections, self._in_force.now.limits, self._notices)
        self._tracking = Tracking(
            self._in_force,
            context.registers,
            notices=self._notices,
            channel=context.config.name,
            is_open=self._connections.__contains__,
        )
        self._teller = Teller(self._in_force, self._tracking, self._connections, self.delivered)
        self._reception = Reception(self._in_force, self._tracking, self._notices, context)

    async def start(self) -> None:
        config = self._config
        if config.scheme == MLLPS:
            settings = tls.TlsSettings.from_parameters(config.parameters)
            self._certificates = tls.Certificates(settings, self.log, config.name)
        sockets = await open_sockets(None if self._context.bind_any else config.host, config.port)
        self._acceptor = Acceptor(
            self._make_connection,
            max_connections=self._in_force.now.limits.max_connections,
            peers=self._in_force.now.peers,
            certificates=self._certificates,
            notices=self._notices,
        )
        self._acceptor.start(sockets)
        self._tasks.spawn(self._guard.run(), f"guard of channel {config.name}")
        if self._certificates is not None:
            self._tasks.spawn(self._certificates.follow(), f"certificates of channel {config.name}")
        self._address = format_address(sockets[0].getsockname())

    def reconfigure(self, config: ChannelConfig) -> bool:
        """As of `medagent.channel.Reconfigurable`. What was read before goes by the parameters of that time to its end.

        Connections that are no longer allowed are closed. False for parameters that are not `live`, and for certificate
        files that cannot be used.
        """
        if needs_restart(self._config.parameters, config.parameters):
            return False
        workings = self._make_workings(config)
        if self._certificates is not None:
            try:
                self._certificates.use(tls.TlsSettings.from_parameters(config.parameters))
            except ChannelError as error:
                self.log.error("channel %s: the new parameters cannot be used: %s", config.name, error)
                return False
        self._config = config
        if workings.verify and not self._in_force.now.verify:
            self._tracking.verification.begin()
        self._in_force.change(workings)
        self._guard.use(workings.limits)
        if self._acceptor is not None:
            self._acceptor.max_connections, self._acceptor.peers = workings.limits.max_connections, workings.peers
        for connection in list(self._connections.values()):
            if reason := self._reason_against(connection):
                self._notices.add("connection closed", f"{reason}, from {connection.remote}")
                connection.abort()
            else:
                connection.use(workings.limits, self._context.max_body_bytes)
        return True

    async def stop_accepting(self) -> None:
        if self._acceptor is not None:
            await self._acceptor.stop()
        self._address = ""
        self._stopping = True
        self._update_reading()

    async def close(self) -> None:
        await self.stop_accepting()
        self._closing = True
        for connection in list(self._connections.values()):
            connection.finish()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._no_connections.wait()
        except TimeoutError:
            for connection in list(self._connections.values()):
                connection.abort()
            await self._no_connections.wait()
        await self._tasks.cancel()

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._teller.committed(messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._teller.refused(messages, refusal)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        return self._teller.answer(answers)

    def forward(self, message: InboundMessage) -> str:
        header = header_of(message)
        if not isinstance(message.origin, Tracked):
            message.origin = header
        text = self._in_force.at(message).reader.read(header, message.body or b"", message.remote)
        if message.number is not None:
            return with_sequence_number(text, message.number)
        # not stored yet: whether it is too long is asked before it has its number
        return with_sequence_number(text, WIDEST) if message.rules.numbered else text

    def key(self, message: InboundMessage) -> str:
        path = self._in_force.now.key_path
        return "" if path is None else path.value(message.body or b"", header_of(message))

    def pause_reading(self) -> None:
        self._paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._update_reading()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def address(self) -> str:
        return self._address

    @property
    def notices(self) -> Mapping[str, int]:
        return self._notices.counts

    def reasons(self) -> list[str]:
        """Why the channel is not well although it listens, for `medagent status`."""
        certificates = [] if self._certificates is None else self._certificates.reasons(time.time())
        return certificates + self._tracking.reasons()

    async def resync(self, expected: int | None, link: str) -> None:
        """Release links that `verifySeqNo` has frozen, once that is on disk; all of them, or the one of this key.

        They expect `expected` next, or with None whatever number comes. Raises `ChannelError`.
        """
        done = asyncio.get_running_loop().create_future()
        note = self._tracking.release(expected, link, lambda count: None if done.done() else done.set_result(count))
        if note is not None:
            self._context.accept([note])
            if (released := await done) is None:
                raise ChannelError("the queue could not be written; try again")
            if released:
                return
        raise ChannelError(f"channel {self._config.name} has no {'link ' + link if link else 'frozen link'}")

    # what follows is called by the connections

    @property
    def may_read(self) -> bool:
        return not (self._paused or self._stopping)

    def opened(self, connection: Connection) -> None:
        self._connections[connection.link] = connection
        self._no_connections.clear()
        if self._closing:
            connection.abort()
        elif reason := self._reason_against(connection):
            self._notices.add("connection refused", f"{reason}, from {connection.remote}")
            connection.abort()
        else:
            # its TLS handshake may have begun under others
            connection.use(self._in_force.now.limits, self._context.max_body_bytes)

    def failed(self, connection: Connection, error: Exception) -> None:
        self._context.fault("received", error, connection.remote.rpartition(":")[0])

    def received(self, connection: Connection, events: Sequence[FrameEvent]) -> None:
        accepted = self._reception.take(connection, events)
        if accepted:
            self._context.accept(accepted)
            self._in_force.handed_over(accepted)
        if due := connection.order.due():
            connection.send(b"".join(due))

    def held_changed(self, change: int) -> None:
        self._guard.held_changed(change)

    def watch(self, connection: Connection) -> None:
        self._guard.watch(connection)

    def delivered(self, messages: Sequence[InboundMessage], delivery: Delivery) -> None:
        self._context.delivered([(message, delivery) for message in messages])

    def closed(self, connection: Connection) -> None:
        del self._connections[connection.link]
        if unanswered := self._tracking.batches.closed(connection.link):
            self.delivered(unanswered, Delivery.GONE)
        self._guard.ended(connection)
        if self._acceptor is not None:
            self._acceptor.ended(connection)
        if not self._connections:
            self._no_connections.set()
        if connection.inside_frame and not connection.aborted:
            text = f"dropped {connection.describe_pending()}, from {connection.remote}"
            self._notices.add("connection lost in a frame", text)

    # inner workings

    def _make_workings(self, config: ChannelConfig) -> Workings:
        return Workings.from_parameters(config.parameters, self._notices, self._keeps_answer)

    def _keeps_answer(self, link: str, of_copy: str) -> bool:
        """As of `medagent.types.AcceptanceRules`: an open connection beats a closed one, and then the younger the older.

        It is called on the store's thread, so it takes nothing but single looks at what changes.
        """
        first, second = self._connections.get(link), self._connections.get(of_copy)
        return first is not None and (second is None or first.number > second.number)

    def _make_connection(self) -> Connection:
        return Connection(self, self._context.max_body_bytes, self._in_force.now.limits)

    def _reason_against(self, connection: Connection) -> str:
        """Why this connection may not be open; "" if it may."""
        peers = self._in_force.now.peers
        if peers is not None and not (connection.host and connection.host in peers):
            return "not in allow"
        if self._certificates is not None and not self._certificates.admit(connection.peer_certificate):
            return "no name of the certificate is in allowNames"
        return ""

    def _update_reading(self) -> None:
        for connection in self._connections.values():
            connection.update_reading()
