"""Certificates and names that change while an `mllps` channel listens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.certificates import Authority
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient
from medagent_hl7.server import Hl7Channel

MESSAGE = b"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|1|P|2.5\r"
Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def first(authority: Authority) -> Files:
    return authority.issue("first")


@pytest.fixture(scope="module")
def second(authority: Authority) -> Files:
    return authority.issue("second")


def config(files: Files, **parameters: Value) -> ChannelConfig:
    named: dict[str, Value] = {"certFile": str(files[0]), "keyFile": str(files[1])}
    return ChannelConfig("lab", "mllps", "127.0.0.1", 0, "", parameters=named | parameters)


class Site:
    def __init__(self, config: ChannelConfig) -> None:
        self.core = RecordingCore()
        self.channel = Hl7Channel(self.core.context(config))

    @contextlib.asynccontextmanager
    async def device(self, context: ssl.SSLContext) -> AsyncIterator[MllpClient]:
        host, _, port = self.channel.address.rpartition(":")
        async with await MllpClient.connect(host, int(port), tls=context) as device:
            await self.exchange(device)
            yield device

    async def exchange(self, device: MllpClient) -> None:
        await device.send(MESSAGE)
        await self.core.accepted(len(self.core.messages) + 1)

    async def shown(self, context: ssl.SSLContext) -> object:
        """The serial number of the certificate that a new connection is shown."""
        _, writer = await asyncio.open_connection(*self.channel.address.split(":"), ssl=context)
        shown: object = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        writer.close()
        await writer.wait_closed()
        return shown


async def test_other_files_serve_new_connections_and_the_old_stay(authority: Authority, first: Files, second: Files) -> None:
    site, context = Site(config(first)), authority.client_context()
    async with running(site.channel), site.device(context) as device:
        before = await site.shown(context)
        assert site.channel.reconfigure(config(second))
        after = await site.shown(context)
        assert after != before
        await site.exchange(device)
        # with the files as they are only what is said of them is new
        assert site.channel.reconfigure(config(second, enhanced="true"))
        assert await site.shown(context) == after


async def test_files_that_cannot_be_used_change_nothing(
    authority: Authority, first: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site, context = Site(config(first)), authority.client_context()
    async with running(site.channel), site.device(context) as device:
        before = await site.shown(context)
        assert not site.channel.reconfigure(config((tmp_path / "none.pem", first[1]), allow="10.0.0.0/8"))
        assert not site.channel.reconfigure(ChannelConfig("lab", "mllps", "127.0.0.1", 0, ""))
        assert await site.shown(context) == before
        await site.exchange(device)
        assert site.channel.reasons() == []
    assert "the new parameters cannot be used: " in caplog.text
    assert "certFile: required for mllps" in caplog.text


async def test_a_name_that_is_not_allowed_any_more(
    authority: Authority, first: Files, caplog: pytest.LogCaptureFixture
) -> None:
    parameters: dict[str, Value] = {"clientCaFile": str(authority.ca_file)}
    one, two = (authority.client_context(authority.issue(name, f"{name}.example")) for name in ("lab1", "lab2"))
    site = Site(config(first, **parameters))
    async with running(site.channel), site.device(one) as stays, site.device(two) as goes:
        assert site.channel.reconfigure(config(first, allowNames="lab1.example", **parameters))
        with contextlib.suppress(ssl.SSLError):
            assert await goes.closed() == b""
        await site.exchange(stays)
        assert not site.channel.reconfigure(config(first)), "who is connected has shown a certificate of clientCaFile"
    assert caplog.text.count("connection closed: no name of the certificate is in allowNames") == 1


async def test_whoever_is_in_the_handshake_meanwhile(
    authority: Authority, first: Files, caplog: pytest.LogCaptureFixture
) -> None:
    site, context = Site(config(first)), authority.client_context()
    async with running(site.channel) as address:
        with socket.create_connection(address) as early:
            early.setblocking(False)
            # connections are taken in their order, so that one has been taken too
            async with site.device(context):
                assert site.channel.reconfigure(config(first, allow="10.0.0.0/8"))
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                reader, writer = await asyncio.open_connection(sock=early, ssl=context, server_hostname="127.0.0.1")
                writer.write(b"\x0b" + MESSAGE + b"\x1c\r")
                async with asyncio.timeout(10):
                    assert await reader.read() == b""
        assert len(site.core.messages) == 1
        assert "connection refused: not in allow" in caplog.text
