"""A server that does TLS handshakes and nothing more, and says with an alert when it refuses a client, as most servers do.

Those of asyncio drop the connection without sending the alert.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def handshake_server(context: ssl.SSLContext) -> Iterator[int]:
    """Runs in a thread; gives its port on loopback. A connection is closed once its handshake has succeeded or failed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context), name="handshakes")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(5)
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
            with contextlib.suppress(OSError):
                secured.do_handshake()
            # closed with unread data the connection would be reset, and the alert lost with it
            with contextlib.suppress(OSError):
                socket.socket.shutdown(secured, socket.SHUT_WR)
                while socket.socket.recv(secured, 65536):
                    pass
