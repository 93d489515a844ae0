"""The local door of a running agent: a Unix socket in its state folder, one JSON object a line each way.

Only the holder of the queue's lock binds it. It is 0600 from birth: who may use it is who may read the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medagent.errors import MedagentError, NotReady

__all__ = ["call"]

log = logging.getLogger(__name__)

SOCKET_NAME = "admin.sock"
_LONGEST_PATH = 107
"""Bytes of sockaddr_un.sun_path, its final NUL left out (unix(7))."""
_LONGEST_LINE = 64 * 1024 * 1024

# what a command takes and gives is JSON of its own shape
Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


class AdminServer:
    """Serves commands to the command line."""

    def __init__(self, state_dir: Path, commands: Mapping[str, Command]) -> None:
        self._state_dir = state_dir
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The caller holds the queue's lock."""
        with _reachable(self._state_dir) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108  a path through /proc is no place for pathlib's resolving
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            umask = os.umask(0o177)
            try:
                listener.bind(path)
            finally:
                os.umask(umask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LONGEST_LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write((await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> str:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _refusal("no such command")
        try:
            return json.dumps({"ok": True, "result": await command(request)})
        except MedagentError as error:
            return _refusal(str(error))
        # a fault of one command must not end the door for the others
        except Exception as error:  # noqa: BLE001  as said above
            log.error("admin command %s failed: %s", request["command"], type(error).__name__)
            return _refusal(type(error).__name__)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                (self._state_dir / SOCKET_NAME).unlink()


def _refusal(reason: str) -> str:
    return json.dumps({"ok": False, "error": reason})


def call(state_dir: Path, command: str, *, timeout: float = 10.0, **arguments: object) -> Any:
    """Ask the agent of the state folder `state_dir`; returns its result as decoded JSON.

    `command` is `status`, `stats`, `config`, `reload` or another that the agent serves, with its `arguments`. Raises `NotReady`
    if no agent answers within `timeout` seconds, and `MedagentError` with the reason if it refuses.
    """
    try:
        with _reachable(state_dir) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}")
    except (OSError, ValueError) as error:
        raise NotReady(f"no agent answers in {state_dir}: is it running, and is this its --state-dir?") from error
    if not answer.get("ok"):
        raise MedagentError(str(answer.get("error", "the agent closed the connection")))
    return answer["result"]


@contextlib.contextmanager
def _reachable(state_dir: Path) -> Iterator[str]:
    """A path of the socket that the kernel takes, however deep the folder lies."""
    path = str(state_dir / SOCKET_NAME)
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)
