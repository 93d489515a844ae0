"""Taking connections from listening sockets: who is let in, how many, and over TLS or not.

The event loop's own servers are not used: they keep one TLS context for ever, and cannot refuse by address.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

from medagent.listening import Notices, accept, format_address
from medagent.tasks import Tasks
from medagent_hl7.allow import AllowedPeers
from medagent_hl7.connection import Connection
from medagent_hl7.tls import HANDSHAKE_SECONDS, Certificates

_SHUTDOWN_SECONDS = 2.0
_HANDSHAKE_ADVICE = {
    "HTTP_REQUEST": "an HTTP client without TLS",
    "WRONG_VERSION_NUMBER": "what it sent is no TLS: the device must use TLS, or an address with mllp",
    "UNSUPPORTED_PROTOCOL": "TLS 1.2 or later is required",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the device showed no certificate",
    "CERTIFICATE_VERIFY_FAILED": "the device's certificate does not come from clientCaFile, or is not valid now",
    "NO_SHARED_CIPHER": "no cipher in common",
}


class Acceptor:
    """Accepts on the sockets of one channel."""

    def __init__(
        self,
        make_connection: Callable[[], Connection],
        *,
        max_connections: int,
        peers: AllowedPeers | None,
        certificates: Certificates | None,
        notices: Notices,
    ) -> None:
        """`peers`: None for all; `certificates`: None for no TLS."""
        self._make_connection = make_connection
        self.max_connections = max_connections
        self.peers = peers
        self._certificates = certificates
        self._notices = notices
        self._taken: set[Connection] = set()
        """Every accepted connection until it has ended, those in their TLS handshake too."""
        self._sockets: list[socket.socket] = []
        self._tasks = Tasks()

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from these listening sockets, which are closed by `stop`."""
        self._sockets = list(sockets)
        for listener in sockets:
            self._tasks.spawn(
                accept(listener, self._take, self._notices), f"accepting on {format_address(listener.getsockname())}"
            )

    async def stop(self) -> None:
        """Accept nothing more, and give up handshakes under way."""
        await self._tasks.cancel()
        for listener in self._sockets:
            listener.close()
        self._sockets = []

    def ended(self, connection: Connection) -> None:
        """A connection was lost: its place is free."""
        self._taken.discard(connection)

    def _take(self, client: socket.socket, address: tuple[str, int]) -> None:
        if len(self._taken) >= self.max_connections:
            self._make_room()
        refusal = ""
        if self.peers is not None and address[0] not in self.peers:
            refusal = "not in allow"
        elif len(self._taken) >= self.max_connections:
            refusal = f"{self.max_connections} connections are open (maxConnections)"
        if refusal:
            self._notices.add("connection refused", f"{refusal}, from {format_address(address)}")
            client.close()
            return
        connection = self._make_connection()
        self._taken.add(connection)
        task = self._tasks.spawn(self._open(client, connection, format_address(address)), "opening a connection")
        # a task that is cancelled before its first step closes nothing by itself
        task.add_done_callback(lambda opened: client.close() if opened.cancelled() else None)

    def _make_room(self) -> None:
        """A device that has left looks like one that still reads: it may not keep another one out, or itself."""
        leaving = next((connection for connection in self._taken if connection.half_closed), None)
        if leaving is not None:
            self._taken.discard(leaving)
            leaving.abort()

    async def _open(self, client: socket.socket, connection: Connection, remote: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._certificates is None:
                await loop.connect_accepted_socket(lambda: connection, client)
            else:
                await loop.connect_accepted_socket(
                    lambda: connection,
                    client,
                    ssl=self._certificates.context,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS,
                    ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                )
        except OSError as error:
            self._taken.discard(connection)
            client.close()
            self._notices.add("TLS handshake failed", f"{_explain(error)}, from {remote}")


def _explain(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "no reason given"
        return _HANDSHAKE_ADVICE.get(reason, reason.replace("_", " ").lower())
    if isinstance(error, ConnectionResetError):
        return "the device hung up"
    return f"not finished within {HANDSHAKE_SECONDS:.0f} seconds, or the device hung up"
