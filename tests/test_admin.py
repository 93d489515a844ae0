"""The local door of a running agent."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from medagent.admin import SOCKET_NAME, AdminServer, call
from medagent.errors import MedagentError, NotReady, QueueError


async def echo(request: Mapping[str, Any]) -> Any:  # JSON of any shape
    return {"given": request.get("given"), "text": "é"}


async def refuse(_request: Mapping[str, Any]) -> None:
    raise QueueError("the queue is closed")


async def fail(_request: Mapping[str, Any]) -> None:
    raise RuntimeError("canary")


async def no_json(_request: Mapping[str, Any]) -> object:
    return object()


COMMANDS = {"echo": echo, "refuse": refuse, "fail": fail, "no_json": no_json}


@pytest.fixture(params=["short", "long"])
async def folder(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Path]:
    folder = tmp_path / "s" if request.param == "short" else tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    server = AdminServer(folder, COMMANDS)
    before = os.umask(0)
    try:
        await server.start()
    finally:
        os.umask(before)
    yield folder
    await server.close()
    assert not (folder / SOCKET_NAME).exists()


async def ask(folder: Path, command: str, **arguments: object) -> Any:
    return await asyncio.to_thread(call, folder, command, timeout=5.0, **arguments)


async def test_a_command_gets_its_arguments_and_gives_json(folder: Path) -> None:
    assert await ask(folder, "echo", given=[1, "ü"]) == {"given": [1, "ü"], "text": "é"}


async def test_the_socket_is_private_from_birth(folder: Path) -> None:
    mode = (folder / SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_an_error_is_told_in_words_and_a_fault_by_its_type(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MedagentError, match="the queue is closed"):
        await ask(folder, "refuse")
    with caplog.at_level(logging.DEBUG), pytest.raises(MedagentError, match=r"^RuntimeError$"):
        await ask(folder, "fail")
    assert "canary" not in caplog.text
    with pytest.raises(MedagentError, match=r"^TypeError$"):
        await ask(folder, "no_json")
    assert await ask(folder, "echo")


async def test_an_unknown_command_is_refused(folder: Path) -> None:
    with pytest.raises(MedagentError, match="no such command"):
        await ask(folder, "explode")


async def dialogue(folder: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Write lines on one connection, read an answer to each."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
    finally:
        os.close(descriptor)
    answers = []
    for line in lines:
        writer.write(line + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return answers


GARBAGE = [b"", b"{", b"[1]", b"null", b'"echo"', b'{"command":["echo"]}', b'{"command":null}', b"\xff\xfe\x00", b"[" * 100_000]


async def test_garbage_is_refused_and_the_connection_lives(folder: Path) -> None:
    *refused, well = await dialogue(folder, *GARBAGE, b'{"command":"echo"}')
    assert refused == [{"ok": False, "error": "no such command"}] * len(GARBAGE)
    assert well["ok"]


async def test_a_client_that_hangs_blocks_no_other_and_no_shutdown(tmp_path: Path) -> None:
    server = AdminServer(tmp_path, COMMANDS)
    await server.start()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.connect(str(tmp_path / SOCKET_NAME))
        hanging.sendall(b'{"command":')
        assert await ask(tmp_path, "echo")
        await server.close()
    with pytest.raises(NotReady):
        await ask(tmp_path, "echo")


async def test_what_a_killed_agent_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(NotReady, match="is it running"):
        await ask(tmp_path, "echo")
    server = AdminServer(tmp_path, COMMANDS)
    await server.start()
    assert await ask(tmp_path, "echo")
    await server.close()


async def test_nobody_answers(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", tmp_path / ("x" * 120)):
        with pytest.raises(NotReady, match=str(folder)):
            await ask(folder, "echo")


@pytest.mark.parametrize("answer", [b"", b"nonsense\n"])
async def test_somebody_else_answers(tmp_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / SOCKET_NAME):
        with pytest.raises(MedagentError):
            await ask(tmp_path, "echo")


async def test_an_agent_that_does_not_answer_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / SOCKET_NAME))
        mute.listen()
        with pytest.raises(NotReady):
            await asyncio.to_thread(call, tmp_path, "echo", timeout=0.01)


async def test_a_server_that_was_never_started_closes(tmp_path: Path) -> None:
    await AdminServer(tmp_path, {}).close()
