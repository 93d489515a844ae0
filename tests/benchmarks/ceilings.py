"""What this machine allows, whatever the agent does: its disk, SQLite, and the two ends of an agent with nothing between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import peers
import uvloop
from agent import Figures, Setup
from generator import Load
from messages import TYPICAL_BYTES, build
from server import TOKEN
from steps import Steps
from websockets.asyncio.client import connect

from medagent.testing.usage import cpu_seconds
from medagent.uplink.connection import BatchConnection

MESSAGES, LOCK_STEP_MESSAGES = 200_000, 5000
WINDOW = 1000
"""Frames without an answer, at most: as many as an agent has for a channel."""
COMMITS = 1000
SYNCS = 500
BLOCK = 4096


def fdatasync(scale: float) -> Figures:
    """Append 4 KB to a file and wait until the disk has it, again and again."""
    took = []
    with tempfile.TemporaryFile(prefix="medagent-bench-", buffering=0) as file:
        cpu = time.process_time()
        for _ in range(max(10, round(SYNCS * scale))):
            began_at = time.perf_counter()
            file.write(bytes(BLOCK))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began_at)
        cpu = time.process_time() - cpu
    took.sort()
    return {
        **_rate(len(took), sum(took), cpu),
        "p50_ms": round(took[len(took) // 2] * 1000, 3),
        "p99_ms": round(took[len(took) * 99 // 100] * 1000, 3),
    }


def sqlite(rows: int, scale: float) -> Figures:
    """Insert rows as long as a message, so many a transaction, each of which waits for the disk."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="medagent-bench-"))
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(Path(folder) / "queue.db", isolation_level=None)))
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE message (seq INTEGER PRIMARY KEY, channel TEXT, state INTEGER, body BLOB)")
        batch = [("adt", 0, bytes(TYPICAL_BYTES))] * rows
        commits = max(5, round(COMMITS * scale))
        cpu, began_at = time.process_time(), time.perf_counter()
        for _ in range(commits):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO message (channel, state, body) VALUES (?, ?, ?)", batch)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began_at
        return _rate(commits * rows, seconds, time.process_time() - cpu)


def mllp(connections: int, window: int, scale: float) -> Figures:
    """Devices with a listener that only answers; CPU of the listener."""
    load = Load(_count(window, scale), connections, window)
    with peers.edge() as edge, peers.devices([("127.0.0.1", edge.port)], load, "M-") as devices:
        cpu = cpu_seconds(edge.pid)
        figures = peers.go(devices)
        return _rate(load.count, figures["seconds"], cpu_seconds(edge.pid) - cpu)


def websocket(window: int, scale: float) -> Figures:
    """Transmits to the server and its answers, by the connection that the agent uses; CPU of this end."""
    with peers.server(Setup().spec()) as server:
        return uvloop.run(_echo(server.base_url, _transmits(_count(window, scale)), window))


def _count(window: int, scale: float) -> int:
    return max(100, round((LOCK_STEP_MESSAGES if window == 1 else MESSAGES) * scale))


def _transmits(count: int) -> list[bytes]:
    shared = {
        "type": "agent:transmit:request",
        "accessToken": TOKEN,
        "channel": "c0",
        "remote": "127.0.0.1:50000",
        "contentType": "x-application/hl7-v2+er7",
        "callback": "Agent/2f6f7c1e-7a0b-4c55-9d5e-6f1f0b7c9a01-5b0f3a52-0f8f-4d7a-8c4f-000000000001",
    }
    return [json.dumps(shared | {"body": body.decode()}).encode() for body in build(b"W-", range(count))]


class _Echo:
    """Keeps a window of frames under way."""

    def __init__(self, connection: BatchConnection, frames: Sequence[bytes], window: int) -> None:
        self._connection = connection
        self._frames = frames
        self._window = window
        self._at_once = max(1, window // 10)
        """Frames a write."""
        self._sent = self._answered = 0
        self.ended = asyncio.Event()

    def received(self, payloads: Sequence[bytes | bytearray]) -> None:
        self._answered += len(payloads)
        if self._answered == len(self._frames):
            self.ended.set()
        self.writable()

    def writable(self) -> None:
        while self._connection.writable and self._sent < len(self._frames):
            if self._sent - self._answered > self._window - self._at_once:
                return
            frames = self._frames[self._sent : self._sent + self._at_once]
            self._sent += len(frames)
            self._connection.write(frames)

    def lost(self) -> None:
        self.ended.set()

    @property
    def missing(self) -> int:
        return len(self._frames) - self._answered


async def _echo(base_url: str, frames: Sequence[bytes], window: int) -> Figures:
    url = base_url.replace("http:", "ws:") + "ws/agent"
    async with connect(url, create_connection=BatchConnection, compression=None, ping_interval=None) as connection:
        assert isinstance(connection, BatchConnection)
        echo = _Echo(connection, frames, window)
        cpu, began_at = time.process_time(), time.perf_counter()
        connection.listen(echo)
        echo.writable()
        await echo.ended.wait()
        seconds, cpu = time.perf_counter() - began_at, time.process_time() - cpu
    if echo.missing:
        raise RuntimeError(f"{echo.missing} frames have no answer")
    return _rate(len(frames), seconds, cpu)


def _rate(count: int, seconds: float, cpu: float) -> Figures:
    return {"rate": round(count / seconds, 1), "cpu_s_per_10k": round(cpu / count * 10_000, 4)}


CEILINGS: dict[str, Callable[[float], Figures]] = {
    "fdatasync": fdatasync,
    **{f"sqlite_{rows}": partial(sqlite, rows) for rows in (1, 10, 50, 100, 500)},
    "mllp": partial(mllp, 10, 0),
    "mllp_lockstep1": partial(mllp, 1, 1),
    "websocket": partial(websocket, WINDOW),
    "websocket_lockstep1": partial(websocket, 1),
}
"""By name; each takes the scale of its counts."""
WHAT = {
    "fdatasync": "4 KB appended to a file and flushed to the disk",
    **{f"sqlite_{rows}": f"rows as long as a message, {rows} in each durable transaction" for rows in (1, 10, 50, 100, 500)},
    "mllp": "10 devices and a listener that only acknowledges, as many messages as they can",
    "mllp_lockstep1": "the same with one device that waits for each acknowledgment",
    "websocket": f"transmit requests to the server and its answers, {WINDOW} under way",
    "websocket_lockstep1": "the same, each after the answer to the one before",
}
"""What each of them does."""
SECONDS = 1.5
"""That each of them takes, about."""


def measure(name: str, rounds: int, scale: float, steps: Steps) -> Figures:
    """Medians of the rounds."""
    found = []
    for number in range(1, rounds + 1):
        with steps.step(f"{name} {number}", SECONDS):
            found.append(CEILINGS[name](scale))
    return {key: statistics.median(each[key] for each in found) for key in found[0]}
