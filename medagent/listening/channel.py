"""A channel that listens on TCP, without its protocol."""

from __future__ import annotations

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar, cast

from medagent.channel import ChannelContext
from medagent.config.model import ChannelConfig
from medagent.listening.accepting import accept
from medagent.listening.connection import TcpConnection
from medagent.listening.duplicates import duplicate_rules
from medagent.listening.limits import Limits
from medagent.listening.notices import Notices
from medagent.listening.sockets import format_address, open_sockets
from medagent.tasks import Tasks
from medagent.types import Answer, Delivery, InboundMessage, Refusal

CLOSE_SECONDS = 2.0
"""How long devices have to take what waits for them when the channel closes."""

ConnectionT = TypeVar("ConnectionT", bound=TcpConnection)


class TcpChannel(ABC, Generic[ConnectionT]):
    """A `medagent.channel.Channel`, `Reconfigurable` and `Noticing`, whose protocol a subclass adds.

    A subclass sets `content_type`, makes its connections and says what goes to the server; what devices are told, it says
    in `when_committed`, `when_refused` and `when_answered`.
    """

    content_type: str
    """As of `Channel`."""

    def __init__(self, context: ChannelContext) -> None:
        self.context = context
        """What the core gives it."""
        self.config = context.config
        """In force: its parameters are typed."""
        self.limits = Limits.from_parameters(context.config.parameters)
        """In force: those of `limit_parameters`."""
        self.rules = duplicate_rules(context.config.parameters)
        """In force: those of `duplicate_parameters`; for a channel without them those of `AcceptanceRules`."""
        self.notes = Notices(context.log, context.config.name)
        """Where to tell what is wrong with devices."""
        self.connected: dict[str, ConnectionT] = {}
        """The open connections, by link."""
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._taken: set[TcpConnection] = set()
        """Every accepted connection until it has ended, those too that are not open yet."""
        self._held = 0
        self._accepting = Tasks()
        self._tasks = Tasks()
        self._sockets: list[socket.socket] = []
        self._paused = False
        self._stopping = False

    # what a subclass implements

    @abstractmethod
    def make_connection(self) -> ConnectionT:
        """For a device that has just connected."""

    @abstractmethod
    def forward(self, message: InboundMessage) -> str:
        """As of `Channel`: the text that the server gets for `message`."""

    def when_committed(self, message: InboundMessage) -> bytes:
        """What tells the device that `message` is on disk; b"" for nothing."""
        return b""

    def when_refused(self, message: InboundMessage, refusal: Refusal) -> bytes:
        """What tells the device that `message` is not accepted, by `refusal`; b"" for nothing."""
        return b""

    def when_answered(self, message: InboundMessage, answer: Answer) -> bytes:
        """What tells the device the server's verdict on `message`, which `answer` is; b"" for nothing."""
        return b""

    # `medagent.channel.Channel` and its companions

    async def start(self) -> None:
        self._sockets = await open_sockets(None if self.context.bind_any else self.config.host, self.config.port)
        for listener in self._sockets:
            self._accepting.spawn(accept(listener, self._take, self.notes), f"accepting of channel {self.config.name}")
        self._tasks.spawn(self._watch(), f"time-outs of channel {self.config.name}")

    async def stop_accepting(self) -> None:
        self._stopping = True
        await self._accepting.cancel()
        for listener in self._sockets:
            listener.close()
        self._sockets = []
        self._update_reading()

    async def close(self) -> None:
        await self.stop_accepting()
        for connection in list(self.connected.values()):
            connection.finish()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._none_open.wait()
        except TimeoutError:
            for connection in list(self.connected.values()):
                connection.abort()
            await self._none_open.wait()
        await self._tasks.cancel()

    def reconfigure(self, config: ChannelConfig) -> bool:
        """As of `Reconfigurable`; a subclass that cannot take a change of `config` returns False before it calls this."""
        self.config = config
        self.limits = Limits.from_parameters(config.parameters)
        self.rules = duplicate_rules(config.parameters)
        return True

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._tell([(message.link, self.when_committed(message)) for message in messages])

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._tell([(message.link, self.when_refused(message, refusal)) for message in messages])
        self._settle(messages)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        deliveries = [Delivery.NOT_OWED] * len(answers)
        due: dict[str, list[tuple[int, bytes]]] = {}
        for place, (message, answer) in enumerate(answers):
            if data := self.when_answered(message, answer):
                due.setdefault(message.link, []).append((place, data))
        for link, replies in due.items():
            connection = self.connected.get(link)
            delivery = Delivery.GONE
            if connection is not None:
                delivery = connection.send(b"".join(data for _, data in replies), [answers[place][0] for place, _ in replies])
            for place, _ in replies:
                deliveries[place] = delivery
        self._settle([message for message, _ in answers])
        return deliveries

    def pause_reading(self) -> None:
        self._paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._update_reading()

    @property
    def connections(self) -> int:
        return len(self.connected)

    @property
    def address(self) -> str:
        return format_address(self._sockets[0].getsockname()) if self._sockets else ""

    @property
    def notices(self) -> Mapping[str, int]:
        return self.notes.counts

    # what follows is called by the connections

    @property
    def may_read(self) -> bool:
        return not (self._paused or self._stopping)

    def opened(self, connection: TcpConnection) -> None:
        # what `make_connection` has made
        self.connected[connection.link] = cast("ConnectionT", connection)
        self._none_open.clear()

    def held_changed(self, connection: TcpConnection, change: int) -> None:
        self._held += change
        if change > 0 and self._held > self.limits.max_buffered_bytes:
            largest = max(self.connected.values(), key=lambda each: each.held_in_all)
            largest.drop("connection closed", f"{self._held} bytes of unfinished frames are above maxBufferedBytes")

    def closed(self, connection: TcpConnection) -> None:
        del self.connected[connection.link]
        self._taken.discard(connection)
        if not self.connected:
            self._none_open.set()

    # inner workings

    def _take(self, client: socket.socket, address: tuple[str, int]) -> None:
        if len(self._taken) >= self.limits.max_connections:
            self._make_room()
        if len(self._taken) >= self.limits.max_connections:
            reason = f"{self.limits.max_connections} connections are open (maxConnections)"
            self.notes.add("connection refused", f"{reason}, from {format_address(address)}")
            client.close()
            return
        try:
            connection = self.make_connection()
        # a fault met with one device may not keep the next one out; its type only: a text may tell of devices
        except Exception as error:  # noqa: BLE001  as said above
            self.notes.add("connection refused", f"{type(error).__name__} while taking it, from {format_address(address)}")
            client.close()
            return
        self._taken.add(connection)
        task = self._accepting.spawn(self._open(client, connection), "opening a connection")
        # a task that is cancelled before its first step closes nothing by itself
        task.add_done_callback(lambda opened: client.close() if opened.cancelled() else None)

    async def _open(self, client: socket.socket, connection: TcpConnection) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, client)
        except OSError:  # gone already
            self._taken.discard(connection)
            client.close()

    def _make_room(self) -> None:
        """A device that has left looks like one that still reads: it may not keep another one out, or itself."""
        leaving = next((connection for connection in self._taken if connection.half_closed), None)
        if leaving is not None:
            self._taken.discard(leaving)
            leaving.abort()

    def _tell(self, told: Sequence[tuple[str, bytes]]) -> None:
        """Write once for each connection."""
        by_link: dict[str, list[bytes]] = {}
        for link, data in told:
            if data:
                by_link.setdefault(link, []).append(data)
        for link, pieces in by_link.items():
            if (connection := self.connected.get(link)) is not None:
                connection.send(b"".join(pieces))

    def _settle(self, messages: Sequence[InboundMessage]) -> None:
        for link, count in Counter(message.link for message in messages).items():
            if (connection := self.connected.get(link)) is not None:
                connection.settled(count)

    def _update_reading(self) -> None:
        for connection in list(self.connected.values()):
            connection.update_reading()

    async def _watch(self) -> None:
        """Close connections on which something takes too long."""
        while True:
            await asyncio.sleep(self.limits.sweep_seconds)
            now = time.monotonic()
            for connection in list(self.connected.values()):
                if (overdue := connection.overdue(now)) is not None:
                    connection.drop("connection closed", overdue.value)
