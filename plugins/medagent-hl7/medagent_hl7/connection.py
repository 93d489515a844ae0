"""One device's connection: frames in, replies out, and waiting when the device does not read. Knows nothing of HL7."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Protocol, cast

from medagent.types import Delivery, InboundMessage
from medagent_hl7.framing import FrameDecoder, FrameEvent
from medagent_hl7.listening import format_address


class ConnectionOwner(Protocol):
    """Who a connection reports to."""

    log: logging.Logger

    @property
    def may_read(self) -> bool:
        """Whether connections read at the moment; `Connection.update_reading` follows a change."""

    def opened(self, connection: Connection) -> None: ...

    def received(self, connection: Connection, events: Sequence[FrameEvent]) -> None:
        """All events of one read."""

    def delivered(self, messages: Sequence[InboundMessage], delivery: Delivery) -> None:
        """How answers ended that `Connection.send` had queued."""

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One accepted TCP connection."""

    def __init__(self, owner: ConnectionOwner, max_frame_bytes: int) -> None:
        self._owner = owner
        self._decoder = FrameDecoder(max_frame_bytes)
        self._transport: asyncio.Transport
        self._reading = True
        self._writing_paused = False
        self._finishing = False
        self._waiting: list[bytes] = []
        self._waiting_messages: list[InboundMessage] = []
        self.link = secrets.token_hex(8)
        """Names this connection, and no other one in any run."""
        self.remote = ""
        """The peer, such as `10.0.0.7:41022`."""
        self.junk_bytes = 0
        """Bytes outside frames since the last frame; the owner counts them."""

    @property
    def pending_size(self) -> int:
        """Bytes of a frame that has not ended."""
        return self._decoder.pending_size

    def send(self, data: bytes, answered: Sequence[InboundMessage] = ()) -> Delivery:
        """Write `data`, which answers these messages; `QUEUED` while the device does not read, `GONE` if it has left."""
        if self._transport.is_closing():
            return Delivery.GONE
        if self._writing_paused:
            self._waiting.append(data)
            self._waiting_messages += answered
            return Delivery.QUEUED
        self._transport.write(data)
        return Delivery.SENT

    def update_reading(self) -> None:
        """Read, or stop reading, as the owner and the device's own reading ask for."""
        wanted = self._owner.may_read and not self._writing_paused
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def finish(self) -> None:
        """Close as soon as everything is written."""
        self._finishing = True
        if not self._writing_paused:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what is not written is lost."""
        self._transport.abort()

    # what follows is called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a TCP server's transports are read-write ones
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.remote = format_address(peer) if peer else "unknown"
        self._owner.opened(self)
        # not at once: uvloop begins to read only after this method
        asyncio.get_running_loop().call_soon(self.update_reading)

    def data_received(self, data: bytes) -> None:
        try:
            self._owner.received(self, self._decoder.feed(data))
        except Exception as error:  # noqa: BLE001 a fault met on one connection may not end the others
            # its type only: a traceback or a text may quote the message
            self._owner.log.error("connection %s closed: %s while handling a read", self.remote, type(error).__name__)
            self.abort()

    def pause_writing(self) -> None:
        self._writing_paused = True
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
        self._owner.closed(self)
        if self._waiting_messages:
            self._owner.delivered(self._waiting_messages, Delivery.GONE)
