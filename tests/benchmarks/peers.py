"""The peers' processes: started with the interpreter of this program, told what to do by JSON, answering by lines."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from generator import Load
from server import Spec

# the figures of a peer, as decoded JSON
Answer = dict[str, Any]
ENDS_WITHIN = 10.0
"""Seconds after a signal."""


@contextlib.contextmanager
def started(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program of this folder as a child process, ended at the end."""
    command = [sys.executable, str(Path(__file__).with_name(program)), *arguments]
    # in a group of its own: Ctrl-C is for the benchmark, which ends it
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        yield process
    finally:
        with process:
            end(process)


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """In order, or else at once."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that a peer prints. Raises `RuntimeError` if there is none."""
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise RuntimeError(f"a peer has ended: {process.args!r:.200}")
    return line


@contextlib.contextmanager
def devices(addresses: Sequence[tuple[str, int]], load: Load, prefix: str) -> Iterator[subprocess.Popen[str]]:
    """Devices that are connected and have all messages, and wait for `go`."""
    request = {"addresses": addresses, "load": dataclasses.asdict(load), "prefix": prefix}
    with started("generator.py", json.dumps(request)) as process:
        if line_of(process) != "ready\n":
            raise RuntimeError("the load generator did not get ready")
        yield process


def go(process: subprocess.Popen[str]) -> Answer:
    """Have the devices send; their figures."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    answer: Answer = json.loads(line_of(process))
    return answer


class Listener:
    """A running peer that listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self.port = int(line_of(process))


class ServerPeer(Listener):
    """A running server."""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, what: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"/bench/{what}")
            answer: Answer = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


@contextlib.contextmanager
def server(spec: Spec) -> Iterator[ServerPeer]:
    with started("server.py", json.dumps(dataclasses.asdict(spec))) as process:
        yield ServerPeer(process)


@contextlib.contextmanager
def edge() -> Iterator[Listener]:
    """A listener that only acknowledges."""
    with started("edge.py") as process:
        yield Listener(process)
