"""The devices and the server of the benchmark find what is wrong with an agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from medagent.testing.mllp import END_BLOCK, framed

HERE = Path(__file__).parent
Answers = Callable[[str, list[str]], list[str]]
"""What to answer to a message, by its control ID and those before it: codes and control IDs, or the end of the connection."""
CLOSE: list[str] = []


@contextlib.asynccontextmanager
async def listener(answers: Answers) -> AsyncIterator[int]:
    """An MLLP listener; its port."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while frame := await reader.readuntil(END_BLOCK):
                control_id = frame.decode().split("|", 10)[9]
                said = answers(control_id, seen)
                seen.append(control_id)
                if said == CLOSE:
                    return
                # in one write, so that all of it comes before the devices go
                writer.write(
                    b"".join(framed(f"MSH|^~\\&|EHR||||20260105||ACK|1|P|2.5\rMSA|{each}\r".encode()) for each in said)
                )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


# the figures: plain JSON
async def sent(port: int, **load: int) -> dict[str, Any]:
    """What the devices say of three messages, one after the other on one connection."""
    whole = {"count": 3, "connections": 1, "window": 1} | load
    request = {"addresses": [["127.0.0.1", port]], "load": whole, "prefix": "T-"}
    command = (sys.executable, str(HERE / "generator.py"), json.dumps(request))
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdout, _ = await process.communicate(b"go\n")
    figures: dict[str, Any] = json.loads(stdout.splitlines()[1])
    return figures


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (lambda now, seen: [f"AA|{now}"], {}),
        (lambda now, seen: [f"AA|{now}"] * 2, {"duplicate": 3}),
        (lambda now, seen: [f"AE|{now}", f"AA|{now}"], {"negative": 3}),
        (lambda now, seen: ["AA|OTHER", f"AA|{now}"], {"wrong": 3}),
        (lambda now, seen: ["AA|T-000000002", f"AA|{now}"], {"wrong": 2, "duplicate": 1}),
        (lambda now, seen: [f"AA|{now}"] if len(seen) < 2 else CLOSE, {"missing": 1}),
    ],
    ids=["sound", "twice", "refused", "unknown", "not sent yet", "none"],
)
async def test_devices_find_acknowledgments_that_should_not_be(answers: Answers, found: dict[str, int]) -> None:
    async with listener(answers) as port:
        figures = await sent(port)
    for name in ("missing", "wrong", "duplicate", "negative"):
        assert figures[name] == found.get(name, 0), (name, figures)


async def test_acknowledgments_must_come_on_the_connection_of_their_message() -> None:
    def crossed(now: str, seen: list[str]) -> list[str]:
        return CLOSE if seen else ["AA|T-000000000" if now.endswith("1") else "AA|T-000000001"]

    async with listener(crossed) as port:
        figures = await sent(port, count=2, connections=2)
    assert figures["missing"] == 2
    assert figures["wrong"] == 1


async def test_the_server_finds_what_comes_out_of_order_or_twice() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "server.py"), json.dumps({"resources": {}})), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        async with connect(f"ws://127.0.0.1:{port}/ws/agent") as socket:
            for remote, number in (("a", 0), ("a", 2), ("b", 0), ("a", 1), ("b", 0), ("a", 3)):
                body = f"MSH|^~\\&|A|B|C|D|20260105||ADT^A01|T-{number:09d}|P|2.5\r"
                frame = {"type": "agent:transmit:request", "remote": remote, "callback": "x", "channel": "c", "body": body}
                await socket.send(json.dumps(frame))
                answer = json.loads(await socket.recv())
                assert f"MSA|AA|T-{number:09d}" in answer["body"]
        url = f"http://127.0.0.1:{port}/bench/figures"
        with await asyncio.to_thread(urllib.request.urlopen, url) as response:
            figures = json.load(response)
    finally:
        process.terminate()
        await process.wait()
    assert figures["transmits"] == 6
    assert figures["out_of_order"] == 2
