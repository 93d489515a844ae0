"""One device's connection: what it sends, what waits for it, and how long that may take."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Protocol, cast

from medagent.channel import ChannelContext
from medagent.listening.limits import Limits, Overdue
from medagent.listening.notices import Notices
from medagent.listening.senders import sender_of
from medagent.listening.sockets import format_address
from medagent.types import AcceptanceRules, Delivery, InboundMessage

HALF_CLOSED_SECONDS = 30.0
"""How long a connection stays open at most for what a device that sends no more is owed; `writeTimeoutMs` may be less."""

MOST_AT_ONCE = 16 * 1024
"""Bytes of a read that are dealt with in one turn of the event loop: a device that floods the agent may not stop the others."""


class Host(Protocol):
    """What a connection needs of its channel; `medagent.listening.TcpChannel` is one."""

    context: ChannelContext
    limits: Limits
    rules: AcceptanceRules
    notes: Notices

    @property
    def may_read(self) -> bool:
        """Whether connections read at the moment; `TcpConnection.update_reading` follows a change."""

    def opened(self, connection: TcpConnection) -> None: ...

    def held_changed(self, connection: TcpConnection, change: int) -> None:
        """It holds so many bytes more or, negative, less."""

    def closed(self, connection: TcpConnection) -> None: ...


class TcpConnection(asyncio.Protocol):
    """One accepted connection. Subclass it, and implement `received`; `held` and `inside` too if it keeps unfinished frames.

    It reads only while the core and the device keep up. A device that sends no more is still told what it is owed.
    """

    def __init__(self, channel: Host) -> None:
        self.context = channel.context
        self.link = secrets.token_hex(8)
        """Names this connection, and no other one in any run: for `InboundMessage.link`."""
        self.remote = "unknown"
        """The peer, such as `10.0.0.7:41022`."""
        self.host = "unknown"
        """The peer's IP address, such as `10.0.0.7`."""
        self.owed = 0
        """Messages handed over that the device may still be told something of."""
        self.half_closed = False
        """The device sends no more, and may still read."""
        self._peer = 0
        self._channel = channel
        self._transport: asyncio.Transport
        self._reading = True
        self._unhandled = b""
        """What was read and not dealt with yet."""
        self._next: asyncio.Handle | None = None
        """Will deal with some of it."""
        self._held = 0
        self._active_at = time.monotonic()
        """When something was last read or written, or reading went on after a pause."""
        self._queued: list[InboundMessage] | None = None
        """Messages whose answers a device that does not read has not taken yet; None while it reads."""
        self._unwritten = 0
        """Bytes that would wait for it if it had taken nothing since `_blocked_at`."""
        self._blocked_at = 0.0
        """When the device last took some of what waits for it."""
        self._half_closed_timer: asyncio.TimerHandle | None = None
        self._aborted = False

    # what a subclass implements

    def received(self, data: bytes) -> None:
        """The device has sent `data`: hand whole messages over with `accept`.

        What it raises closes the connection, and is a fault of the plugin (`ChannelContext.fault`).
        """
        raise NotImplementedError

    @property
    def held(self) -> int:
        """Bytes kept of an unfinished frame, for `maxBufferedBytes`."""
        return 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended, for `frameIdleTimeoutMs`."""
        return self.held > 0

    def ended(self) -> None:
        """The connection is gone; an unfinished frame is lost."""

    # what a subclass uses

    def message(
        self, body: bytes, control_id: str = "", *, sender: int | None = None, rules: AcceptanceRules | None = None
    ) -> InboundMessage:
        """A message of this device: its `body`, and its `control_id` if the protocol has one.

        The same bytes under the same control ID of the same sender are a resend, and are not stored again. `sender` comes from
        `sender_of`; None stands for the peer's IP address. `rules`: None for those of the channel (`TcpChannel.rules`).
        """
        return InboundMessage(
            body,
            control_id,
            self.remote,
            self.link,
            rules=self._channel.rules if rules is None else rules,
            sender=self._peer if sender is None else sender,
        )

    def accept(self, messages: list[InboundMessage]) -> None:
        """Hand over `messages`, those of one read, in order."""
        if messages:
            self.owed += len(messages)
            self.context.accept(messages)

    def send(self, data: bytes, answered: Sequence[InboundMessage] = ()) -> Delivery:
        """Write `data`, which answers the messages `answered`; `QUEUED` if the device does not read, `GONE` if it has left."""
        if self._transport.is_closing():
            return Delivery.GONE
        self._active_at = time.monotonic()
        if self._queued is not None:
            self._note_taken(self._active_at)
            self._unwritten += len(data)
        self._transport.write(data)
        if self._queued is None:
            return Delivery.SENT
        self._queued += answered
        return Delivery.QUEUED

    def count_held(self) -> None:
        """`held` may have changed otherwise than in `received`, which is looked after."""
        if self._transport.is_closing():
            return  # what was counted is taken off when it is gone
        held = self.held + (0 if self._keeps_up else len(self._unhandled))
        if held != self._held:
            change, self._held = held - self._held, held
            self._channel.held_changed(self, change)

    def drop(self, kind: str, text: str = "") -> None:
        """Close at once, and note why: `kind` is counted, and `text` holds nothing of a message."""
        self.note(kind, text)
        self.abort()

    def note(self, kind: str, text: str = "") -> None:
        """Count what is wrong with the device, by `kind`, and log it at a limited rate; `text` holds nothing of a message."""
        self._channel.notes.add(kind, f"{text}, from {self.remote}" if text else f"from {self.remote}")

    # what the channel uses

    def settled(self, count: int) -> None:
        """The device is owed nothing more for `count` messages."""
        self.owed = max(0, self.owed - count)
        if self.half_closed and not self.owed:
            self.finish()

    def update_reading(self) -> None:
        """Read, or stop reading, as the channel and the device's own reading ask for."""
        if self._unhandled and self._keeps_up and self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._go_on)
        self.count_held()
        wanted = self._keeps_up and not self._unhandled
        if self.half_closed or wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._active_at = time.monotonic()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def overdue(self, now: float) -> Overdue | None:
        """What has taken too long at `now`, monotonic seconds."""
        silent = now - self._active_at if self._reading else 0.0
        return self._channel.limits.overdue(inside=self.inside, silent=silent, blocked=self._blocked_for(now))

    def finish(self) -> None:
        """Close as soon as everything that was sent is written; nothing more is handed over."""
        self._transport.close()

    def abort(self) -> None:
        """Close now; what is not written is lost, and nothing more is handed over."""
        self._aborted = True
        self._transport.abort()
        self._release()

    # what follows is called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a TCP server's transports are read-write ones
        self._transport = cast(asyncio.Transport, transport)
        if peer := transport.get_extra_info("peername"):
            self.remote = format_address(peer)
            self.host = self.remote.rpartition(":")[0].strip("[]")
            self._peer = sender_of(self.host)
        self._channel.opened(self)
        # not at once: uvloop begins to read only after this method
        asyncio.get_running_loop().call_soon(self.update_reading)

    def data_received(self, data: bytes) -> None:
        self._active_at = time.monotonic()
        # a new connection's first read comes before it can be told not to read
        self._unhandled += data
        if self._next is None:
            self._go_on()

    def eof_received(self) -> bool:
        """The device sends no more: stay open for what it is owed, for a limited time."""
        if not self.owed:
            return False
        self.half_closed = True
        self._reading = False
        seconds = min(HALF_CLOSED_SECONDS, self._channel.limits.write)
        self._half_closed_timer = asyncio.get_running_loop().call_later(seconds, self.finish)
        return True

    def pause_writing(self) -> None:
        self._queued = []
        self._blocked_at = time.monotonic()
        self._unwritten = self._transport.get_write_buffer_size()
        self.update_reading()

    def resume_writing(self) -> None:
        self._report(Delivery.SENT)
        self.update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._half_closed_timer is not None:
            self._half_closed_timer.cancel()
        self._release()
        self._report(Delivery.GONE)
        self._channel.closed(self)
        if self.inside and not self._aborted:
            self.note("connection lost in a frame")
        self.ended()

    # inner workings

    @property
    def _keeps_up(self) -> bool:
        return self._channel.may_read and self._queued is None

    def _go_on(self) -> None:
        """Deal with some of what was read, and with the rest later."""
        self._next = None
        if self._transport.is_closing():
            self._unhandled = b""
        elif self._keeps_up:
            part, self._unhandled = self._unhandled[:MOST_AT_ONCE], self._unhandled[MOST_AT_ONCE:]
            self._handle(part)
        self.update_reading()

    def _handle(self, data: bytes) -> None:
        try:
            self.received(data)
        # a fault met on one connection may not end the others; its type only: a text may quote the message
        except Exception as error:  # noqa: BLE001  as said above
            self.context.fault("received", error, self.remote.rpartition(":")[0])
            self.drop("connection closed", f"{type(error).__name__} while handling a read")

    def _release(self) -> None:
        """Nothing is held any more."""
        held, self._held = self._held, 0
        self._channel.held_changed(self, -held)

    @property
    def held_in_all(self) -> int:
        """Bytes kept: of an unfinished frame, and of what was read and may not be dealt with."""
        return self._held

    def _report(self, delivery: Delivery) -> None:
        queued, self._queued = self._queued, None
        if queued:
            self.context.delivered([(message, delivery) for message in queued])

    def _blocked_for(self, now: float) -> float:
        """Seconds since the device took some of the bytes that wait for it; 0.0 if none wait."""
        if self._queued is None:
            return 0.0
        self._note_taken(now)
        return now - self._blocked_at

    def _note_taken(self, now: float) -> None:
        unwritten = self._transport.get_write_buffer_size()
        if unwritten < self._unwritten:
            self._unwritten, self._blocked_at = unwritten, now
