"""Who is let in, how many, and what happens when the system has no room for more."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from medagent.config.model import ChannelConfig, Value
from medagent.listening import Notices, open_sockets
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent.types import Refusal, RefusalKind
from medagent_hl7 import server
from medagent_hl7.accepting import Acceptor
from medagent_hl7.connection import Connection
from medagent_hl7.server import Hl7Channel

MESSAGE = b"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|1|P|2.5\r"


def channel_of(core: RecordingCore, **parameters: Value) -> Hl7Channel:
    return Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)))


@pytest.mark.parametrize(("allow", "allowed"), [("127.0.0.0/8", True), ("10.0.0.0/8,192.0.2.1", False)])
async def test_address_that_is_not_allowed_is_refused(caplog: pytest.LogCaptureFixture, allow: str, allowed: bool) -> None:
    core = RecordingCore()
    async with running(channel_of(core, allow=allow)) as address, await MllpClient.connect(*address) as device:
        if allowed:
            await device.send(MESSAGE)
            await core.accepted(1)
        else:
            assert await device.closed() == b""
            assert "connection refused: not in allow, from 127.0.0.1" in caplog.text
    assert len(core.messages) == int(allowed)


async def test_connection_above_the_most_is_refused_until_another_ends(caplog: pytest.LogCaptureFixture) -> None:
    core = RecordingCore()
    channel = channel_of(core, maxConnections=2)
    async with running(channel) as address, await MllpClient.connect(*address) as first:
        async with await MllpClient.connect(*address) as second:
            async with await MllpClient.connect(*address) as third:
                assert await third.closed() == b""
            for device in (first, second):
                await device.send(MESSAGE)
            channel.refused(await core.accepted(2), Refusal(RefusalKind.STORAGE, "no"))
        async with asyncio.timeout(10):
            while channel.connections == 2:
                await asyncio.sleep(0)
        async with await MllpClient.connect(*address) as fourth:
            await fourth.send(MESSAGE)
            await core.accepted(3)
    assert "connection refused: 2 connections are open (maxConnections)" in caplog.text


async def test_sender_that_is_not_allowed_is_answered() -> None:
    core = RecordingCore()
    channel = channel_of(core, enhanced="true", allowSender="LAB^NORTH,PACS")
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(MESSAGE.replace(b"NORTH", b"SOUTH"), MESSAGE)
        assert b"\rMSA|CR|1|This sender is not allowed here" in await device.receive()
        assert [each.body for each in await core.accepted(1)] == [MESSAGE]


def test_uvloop_accepts_refuses_and_closes() -> None:
    async def scenario() -> None:
        await test_sender_that_is_not_allowed_is_answered()
        core = RecordingCore()
        async with running(channel_of(core, maxConnections=1)) as address, await MllpClient.connect(*address) as first:
            async with await MllpClient.connect(*address) as second:
                assert await second.closed() == b""
            await first.send(MESSAGE)
            await core.accepted(1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_refusals_of_the_system_are_not_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", refuse)
    notices = Notices(logging.getLogger("medagent.channel.lab"), "lab")
    acceptor = Acceptor(lambda: pytest.fail("accepted"), max_connections=1, peers=None, certificates=None, notices=notices)
    acceptor.start(await open_sockets("127.0.0.1", 0))
    for _ in range(200):
        await asyncio.sleep(0)
    await acceptor.stop()
    assert notices.counts["accepting paused"] == 1


async def test_without_free_file_descriptors_accepting_pauses_and_the_others_go_on(tmp_path: Path) -> None:
    bundle = tmp_path / "agent.json"
    resources = [agent_resource({"lab": "lab"}), endpoint_resource("lab", "mllp://127.0.0.1:0?enhanced=true")]
    entries = [{"resource": each} for each in resources]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    async with AgentProcess("--agent", str(bundle), "--state-dir", str(tmp_path / "state")) as process:
        await process.listening("lab")
        address = process.addresses["lab"]
        used = len(os.listdir(f"/proc/{process.pid}/fd"))  # noqa: PTH208 names are enough
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
        devices = [await MllpClient.connect(*address) for _ in range(8)]
        await process.logged("accepting paused: no free file descriptor")
        # who is in goes on
        for device in devices[:5]:
            await device.send(MESSAGE)
            assert b"MSA|CA|1" in await device.receive()
        for device in devices[:5]:
            await device.close()
        # who waited is let in as soon as there is room
        for device in devices[5:]:
            await device.send(MESSAGE)
            assert b"MSA|CA|1" in await device.receive()
            await device.close()
        assert len([line for line in process.log if "accepting paused" in line]) < 3
        assert not [line for line in process.log if "Traceback" in line]
        assert await process.stop() == 0


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_small_answers_are_not_held_back(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    options: list[int] = []

    class Seen(Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            opened = transport.get_extra_info("socket")
            options.extend(opened.getsockopt(socket.IPPROTO_TCP, each) for each in (socket.TCP_NODELAY, socket.TCP_KEEPIDLE))

    async def scenario(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "Connection", Seen)
        core = RecordingCore()
        async with running(channel_of(core)) as address, await MllpClient.connect(*address) as device:
            await device.send(MESSAGE)
            await core.accepted(1)

    with pytest.MonkeyPatch.context() as monkeypatch, asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario(monkeypatch))
    assert options[0] != 0
    assert options[1] == 60
