"""One device's connection: frames in, replies out, and waiting when the device does not read. Knows nothing of HL7."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from medagent.listening import Overdue, format_address
from medagent.types import Delivery, InboundMessage
from medagent_hl7.framing import FrameDecoder, FrameEvent
from medagent_hl7.limits import LENIENT_END_SECONDS, Limits
from medagent_hl7.ordering import Order
from medagent_hl7.pacing import Pacer

HALF_CLOSED_SECONDS = 30.0
"""How long a connection stays open at most for what a device that sends no more is owed; `writeTimeoutMs` may be less."""
_numbers = itertools.count(1)


class ConnectionOwner(Protocol):
    """Who a connection reports to."""

    log: logging.Logger

    @property
    def may_read(self) -> bool:
        """Whether connections read at the moment; `Connection.update_reading` follows a change."""

    def opened(self, connection: Connection) -> None: ...

    def received(self, connection: Connection, events: Sequence[FrameEvent]) -> None:
        """All events of one read."""

    def failed(self, connection: Connection, error: Exception) -> None:
        """It is closed, since handling a read of it has raised this."""

    def held_changed(self, change: int) -> None:
        """The bytes held of the unfinished frame have become more or, negative, less."""

    def watch(self, connection: Connection) -> None:
        """It is inside a frame, or its device does not read: `Connection.overdue` may say so after a while."""

    def delivered(self, messages: Sequence[InboundMessage], delivery: Delivery) -> None:
        """How answers ended that `Connection.send` had queued."""

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One accepted TCP connection."""

    def __init__(self, owner: ConnectionOwner, max_frame_bytes: int, limits: Limits) -> None:
        self._owner = owner
        self._limits = limits
        self._decoder = FrameDecoder(max_frame_bytes, lenient=limits.lenient_end)
        self._pacer = Pacer(limits.spacing) if limits.spacing else None
        self._release_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._reading = True
        self._early = b""
        """What was read although nothing was to be read."""
        self._active_at = time.monotonic()
        """When something was last read or written, or reading went on after a pause."""
        self._writing_paused = False
        self._blocked_at = 0.0
        """When the device last took some of what waits for it."""
        self._unwritten = 0
        self._finishing = False
        self._aborted = False
        self._half_closed = False
        """The device sends no more, and may still read."""
        self._half_closed_timer: asyncio.TimerHandle | None = None
        self._waiting: list[bytes] = []
        self._waiting_messages: list[InboundMessage] = []
        self.link = secrets.token_hex(8)
        """Names this connection, and no other one in any run."""
        self.number = next(_numbers)
        """Its place among all connections, in the order in which they were accepted."""
        self.remote = ""
        """The peer, such as `10.0.0.7:41022`."""
        self.host = ""
        """Its IP address; "" if it is not known."""
        self.held = 0
        """Bytes kept: of an unfinished frame, and of what was read too early."""
        self.junk_bytes = 0
        """Bytes outside frames since the last frame; the owner counts them."""
        self.useless_frames = 0
        """Frames in a row that held no message; the owner counts them."""
        self.order = Order()

    @property
    def inside_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._decoder.inside

    @property
    def half_closed(self) -> bool:
        """Whether the device sends no more, or has left: it is only waited for what it is owed."""
        return self._half_closed

    @property
    def needs_watch(self) -> bool:
        """Whether something has begun that may take too long."""
        return self._decoder.inside or self._writing_paused

    def describe_pending(self) -> str:
        """The unfinished frame in words, without its content."""
        return self._decoder.describe_pending()

    # the ssl module's own shape, see `SSLSocket.getpeercert`
    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """The device's certificate, checked; empty if it showed none."""
        return self._transport.get_extra_info("peercert") or {}

    def send(self, data: bytes, answered: Sequence[InboundMessage] = ()) -> Delivery:
        """Write `data`, which answers these messages; `QUEUED` while the device does not read, `GONE` if it has left."""
        if self._transport.is_closing():
            return Delivery.GONE
        if self._writing_paused:
            self._waiting.append(data)
            self._waiting_messages += answered
            return Delivery.QUEUED
        self._active_at = time.monotonic()
        self._transport.write(data)
        return Delivery.SENT

    def tell(self, frames: Sequence[bytes]) -> None:
        """Write frames that are due; a connection that the device has half closed ends with the last one."""
        if frames:
            self.send(b"".join(frames))
        self._finish_if_done()

    def answered(self, count: int) -> None:
        """The server's answers to so many of its messages have been dealt with."""
        self.order.answered(count)
        self._finish_if_done()

    def use(self, limits: Limits, max_body_bytes: int) -> None:
        """Go by other limits from now on, inside a frame too; by the length from the next frame on."""
        self._limits = limits
        self._decoder.limit(max_body_bytes)
        self._decoder.lenient = limits.lenient_end
        if self._pacer is not None:
            self._pacer.spacing = limits.spacing
        elif limits.spacing:
            self._pacer = Pacer(limits.spacing)
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release()

    def update_reading(self) -> None:
        """Read, or stop reading, as the owner, the device's own reading and its pace ask for."""
        if self._early and self._may_handle and not self._aborted:
            early, self._early = self._early, b""
            self._handle(self._decoder.feed(early))
        wanted = self._may_handle
        if self._pacer is not None and self._pacer.holds:
            if wanted and self._release_timer is None:
                delay = self._pacer.delay(time.monotonic())
                self._release_timer = asyncio.get_running_loop().call_later(delay, self._release)
            wanted = False
        if self._half_closed or wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._active_at = time.monotonic()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def overdue(self, now: float) -> Overdue | None:
        """What has taken too long at `now`, monotonic seconds. Ends an idle frame first, if the channel is lenient."""
        silent = now - self._active_at if self._reading else 0.0
        if silent >= LENIENT_END_SECONDS and self._decoder.inside:
            self._handle(self._decoder.end_idle())
        return self._limits.overdue(inside=self._decoder.inside, silent=silent, blocked=self._blocked_for(now))

    def finish(self) -> None:
        """Close as soon as everything is written."""
        self._finishing = True
        if not self._writing_paused:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what is not written is lost, and nothing more is handed over."""
        self._aborted = True
        self._transport.abort()

    @property
    def aborted(self) -> bool:
        return self._aborted

    # what follows is called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a TCP server's transports are read-write ones
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer:
            self.remote, self.host = format_address(peer), peer[0]
        else:
            self.remote = "unknown"
        self._owner.opened(self)
        # not at once: uvloop begins to read only after this method
        asyncio.get_running_loop().call_soon(self.update_reading)

    def data_received(self, data: bytes) -> None:
        self._active_at = time.monotonic()
        if self._may_handle:
            self._handle(self._decoder.feed(data))
            return
        # a new connection's first read comes before it can be told not to read
        self._early += data
        self._count_held()
        self.update_reading()

    def eof_received(self) -> bool:
        """The device sends no more: stay open for what it is owed, for a limited time. TLS cannot be half closed."""
        if self._transport.get_extra_info("sslcontext") is not None or not self.order.owes:
            return False
        self._half_closed = True
        self._reading = False
        seconds = min(HALF_CLOSED_SECONDS, self._limits.write)
        self._half_closed_timer = asyncio.get_running_loop().call_later(seconds, self.finish)
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._blocked_at = time.monotonic()
        self._unwritten = self._transport.get_write_buffer_size()
        self._owner.watch(self)
        self.update_reading()

    def resume_writing(self) -> None:
        self._writing_paused = False
        waiting, messages = self._waiting, self._waiting_messages
        self._waiting, self._waiting_messages = [], []
        if waiting:
            # may pause writing again at once
            self._transport.write(b"".join(waiting))
        if messages:
            self._owner.delivered(messages, Delivery.SENT)
        self.update_reading()
        if self._finishing:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._release_timer, self._half_closed_timer):
            if timer is not None:
                timer.cancel()
        self._owner.held_changed(-self.held)
        self._owner.closed(self)
        if self._waiting_messages:
            self._owner.delivered(self._waiting_messages, Delivery.GONE)

    # inner workings

    def _finish_if_done(self) -> None:
        if self._half_closed and not self.order.owes:
            self.finish()

    @property
    def _may_handle(self) -> bool:
        return self._owner.may_read and not self._writing_paused

    def _handle(self, events: list[FrameEvent]) -> None:
        """Hand over what one read, or a pause, has completed."""
        try:
            self._count_held()
            if self._decoder.inside:
                self._owner.watch(self)
            if self._pacer is not None:
                self._pacer.hold(events)
                events = self._pacer.release(time.monotonic())
                self.update_reading()
            if events:
                self._owner.received(self, events)
        except Exception as error:  # noqa: BLE001 a fault met on one connection may not end the others
            # its type only: a traceback or a text may quote the message
            self._owner.log.error("connection %s closed: %s while handling a read", self.remote, type(error).__name__)
            self._owner.failed(self, error)
            self.abort()

    def _count_held(self) -> None:
        held = self._decoder.held + len(self._early)
        if held != self.held:
            change, self.held = held - self.held, held
            self._owner.held_changed(change)

    def _release(self) -> None:
        """The next held frame may pass."""
        self._release_timer = None
        if self._may_handle and not self._aborted:
            self._handle([])
        self.update_reading()

    def _blocked_for(self, now: float) -> float:
        """Seconds since the device took some of the bytes that wait for it; 0.0 if none wait."""
        if not self._writing_paused:
            return 0.0
        unwritten = self._transport.get_write_buffer_size()
        if unwritten < self._unwritten:
            self._unwritten, self._blocked_at = unwritten, now
        return now - self._blocked_at
