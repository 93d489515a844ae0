"""An outbound MLLP connection: it moves frames and knows nothing of their content."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import cast

from medagent.listening import format_address
from medagent_hl7.answers import ConnectFailed
from medagent_hl7.framing import Frame, FrameDecoder, Oversize, encode_frame
from medagent_hl7.resolving import addresses

MAX_ANSWER_BYTES = 1_048_576
MAX_OUTSIDE_BYTES = 65_536
"""Taken without a whole frame among them, before the peer is given up."""
_SLICE_BYTES = 16_384
"""Of one read, worked on together: a flood is noticed before all of it has cost its time."""
CLOSE_TIMEOUT = 1.0
"""Seconds that a peer has to read what was written before the connection is cut."""


class Connection(asyncio.Protocol):
    """An MLLP connection: bodies in, bodies out. Made by `connect`."""

    def __init__(self, received: Callable[[list[bytes]], None], lost: Callable[[str], None]) -> None:
        """`received` gets the frames of one read together; `lost` is called once, also after `close`, and told how it ended."""
        self._received = received
        self._lost = lost
        self._decoder = FrameDecoder(MAX_ANSWER_BYTES)
        self._transport: asyncio.WriteTransport | None = None
        self._ended = asyncio.get_running_loop().create_future()
        self._closing: asyncio.TimerHandle | None = None
        self._all_written = asyncio.Event()
        self._all_written.set()
        self._given_up = ""
        """Why, once the peer is not listened to any more."""
        self._outside = 0
        """Bytes since the last whole frame, those of an unfinished one included."""
        self.faults = 0
        """How often something came in that was no MLLP frame with data."""

    def write(self, bodies: Iterable[bytes]) -> None:
        """Send bodies, each in a frame, in one write. Does nothing after the connection has ended."""
        if self._transport is not None:
            self._transport.write(b"".join(map(encode_frame, bodies)))

    async def written(self) -> None:
        """Wait until the system has taken everything that was written, or the connection has ended.

        Over TLS one write may still be buffered, since asyncio does not tell; the next one is not.
        """
        await self._all_written.wait()

    def begin_close(self) -> None:
        """Write out what is buffered, for `CLOSE_TIMEOUT` at most, and close; returns at once."""
        if self._transport is not None and self._closing is None:
            self._transport.close()
            self._closing = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close now; what is not written is lost."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """As `begin_close`, and wait until that is done."""
        self.begin_close()
        await asyncio.shield(self._ended)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # create_connection makes no other kind
        # so that writing is paused while anything is buffered: above the mark in plain, from the mark on over TLS
        over_tls = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=int(over_tls), low=0)

    def pause_writing(self) -> None:
        self._all_written.clear()

    def resume_writing(self) -> None:
        self._all_written.set()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE_BYTES):
            if self._given_up:
                return
            self._take(data[start : start + _SLICE_BYTES])

    def give_up(self, reason: str) -> None:
        """Close now, and tell this as the reason; what has come in and is not handed over yet is dropped."""
        self._given_up = self._given_up or reason
        self.abort()

    def _take(self, data: bytes) -> None:
        bodies = []
        self._outside += len(data)
        for event in self._decoder.feed(data):
            if isinstance(event, Frame):
                bodies.append(event.body)
                continue
            self.faults += 1
            if isinstance(event, Oversize):  # whose answer it would have been is not known
                self.give_up(f"the receiver's answer is longer than {MAX_ANSWER_BYTES} bytes")
        if bodies:
            self._outside = 0
            self._received(bodies)
        if self._outside - self._decoder.pending_size > MAX_OUTSIDE_BYTES:
            self.give_up(f"the receiver sent more than {MAX_OUTSIDE_BYTES} bytes outside frames")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._closing is not None:
            self._closing.cancel()
        self._all_written.set()
        self._ended.set_result(None)
        if self._given_up:
            self._lost(self._given_up)
        elif isinstance(error, ssl.SSLError):
            self._lost(f"the receiver closed the connection ({_tls_fault(error)})")
        else:
            self._lost("the receiver closed the connection")


async def connect(
    host: str,
    port: int,
    received: Callable[[list[bytes]], None],
    lost: Callable[[str], None],
    timeout: float,
    tls: ssl.SSLContext | None = None,
) -> Connection:
    """Open a connection, over TLS if a context is given. Raises `ConnectFailed`, at the latest after `timeout` seconds."""
    where = format_address((host, port))
    try:
        async with asyncio.timeout(timeout):
            *others, last = await addresses(host)
            for address in others:
                with suppress(OSError):
                    return await _connect(host, address, port, received, lost, tls)
            return await _connect(host, last, port, received, lost, tls)
    except TimeoutError:
        raise ConnectFailed(f"cannot connect to {where}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise ConnectFailed(f"cannot connect to {where}: {_reason(error, tls is not None)}") from None
    except ValueError:  # from the encoding of host names, or a NUL in one
        raise ConnectFailed(f"cannot connect to {where}: that is no host name") from None


async def _connect(
    host: str,
    address: str,
    port: int,
    received: Callable[[list[bytes]], None],
    lost: Callable[[str], None],
    tls: ssl.SSLContext | None,
) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(received, lost),
        address,
        port,
        ssl=tls,
        server_hostname=host if tls is not None else None,
        ssl_shutdown_timeout=CLOSE_TIMEOUT if tls is not None else None,
    )
    return connection


def _reason(error: OSError, over_tls: bool) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return _tls_fault(error)
    if over_tls and isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return "it hung up during the TLS handshake; it may not speak TLS, or want a client certificate"
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _tls_fault(error: ssl.SSLError) -> str:
    """The alert that the peer has sent, such as `certificate required`, or what else went wrong.

    With TLS 1.3 a client hears only after the handshake, on its first read, that its certificate was refused.
    """
    reason = (error.reason or "no reason given").replace("_", " ").lower()
    _, alert, told = reason.partition(" alert ")
    return f"TLS failed: the receiver says: {told}" if alert else f"TLS failed: {reason}"
