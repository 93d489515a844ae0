"""MLLPS over real sockets: who is let in with which certificate, and certificates that change while devices are connected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import uvloop

from medagent.config.model import AgentConfig, ChannelConfig, Value
from medagent.config.problems import Problem
from medagent.errors import ChannelError
from medagent.testing.certificates import Authority
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient, framed
from medagent_hl7 import accepting, plugin, tls
from medagent_hl7.server import Hl7Channel

MESSAGE = b"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|1|P|2.5\r"
DAY = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_files(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("agent")


def config_of(files: tuple[Path, Path], **parameters: Value) -> ChannelConfig:
    named = {"certFile": str(files[0]), "keyFile": str(files[1])}
    return ChannelConfig("lab", "mllps", "127.0.0.1", 0, "", parameters=named | parameters)


@contextlib.asynccontextmanager
async def listening(
    core: RecordingCore, files: tuple[Path, Path], **parameters: Value
) -> AsyncIterator[tuple[Hl7Channel, tuple[str, int]]]:
    channel = Hl7Channel(core.context(config_of(files, **parameters)))
    async with running(channel) as address:
        yield channel, address


async def refused(address: tuple[str, int], context: ssl.SSLContext) -> None:
    """Connect and find the connection closed: with TLS 1.3 a client learns only then that its certificate was refused."""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        async with await MllpClient.connect(*address, tls=context) as device:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await device.send(MESSAGE)
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await device.closed() == b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def exchange(core: RecordingCore, address: tuple[str, int], context: ssl.SSLContext) -> None:
    async with await MllpClient.connect(*address, tls=context) as device:
        await device.send(MESSAGE)
        await core.accepted(len(core.messages) + 1)


async def test_messages_over_tls(authority: Authority, server_files: tuple[Path, Path]) -> None:
    core = RecordingCore()
    context = authority.client_context()
    async with (
        listening(core, server_files, enhanced="true") as (channel, address),
        await MllpClient.connect(*address, tls=context) as device,
    ):
        bodies = [MESSAGE + b"x" * 50_000 * number for number in range(5)]
        await device.send(*bodies)
        accepted = await core.accepted(5)
        assert [each.body for each in accepted] == bodies
        channel.committed(accepted)
        for _ in accepted:
            assert b"MSA|CA|1" in await device.receive()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_that_are_spoken(authority: Authority, server_files: tuple[Path, Path], version: ssl.TLSVersion) -> None:
    core = RecordingCore()
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    async with listening(core, server_files) as (_, address):
        await exchange(core, address, context)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_version_is_refused(
    authority: Authority, server_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(RecordingCore(), server_files) as (channel, address):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await MllpClient.connect(*address, tls=context)
        await until(lambda: "TLS handshake failed" in caplog.text)
        assert channel.connections == 0
    assert "TLS 1.2 or later is required, from 127.0.0.1" in caplog.text


async def test_plain_text_is_refused(server_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    async with listening(RecordingCore(), server_files) as (_, address):
        async with await MllpClient.connect(*address) as device:
            await device.send(MESSAGE)
            await device.closed()
        await until(lambda: "TLS handshake failed" in caplog.text)
    assert "what it sent is no TLS: the device must use TLS, or an address with mllp" in caplog.text


async def test_client_that_does_not_trust_the_agent(
    server_files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(RecordingCore(), server_files) as (_, address):
        with pytest.raises(ssl.SSLCertVerificationError):
            await MllpClient.connect(*address, tls=Authority(tmp_path).client_context())
        await until(lambda: "TLS handshake failed" in caplog.text)


async def test_silent_handshake_does_not_keep_others_out_nor_the_channel_open(
    authority: Authority, server_files: tuple[Path, Path]
) -> None:
    core = RecordingCore()
    async with (
        listening(core, server_files, maxConnections=2) as (channel, address),
        await MllpClient.connect(*address) as silent,
    ):
        await exchange(core, address, authority.client_context())
        await channel.close()
        assert await silent.closed() == b""


async def test_handshake_that_takes_too_long(
    server_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "HANDSHAKE_SECONDS", 0.05)
    async with listening(RecordingCore(), server_files) as (_, address), await MllpClient.connect(*address) as silent:
        assert await silent.closed() == b""
        await until(lambda: "TLS handshake failed: not finished within" in caplog.text)


async def test_devices_need_a_certificate_of_the_named_authority(
    authority: Authority, server_files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    core = RecordingCore()
    stranger = Authority(tmp_path)
    async with listening(core, server_files, clientCaFile=str(authority.ca_file)) as (_, address):
        await refused(address, authority.client_context())
        await until(lambda: "the device showed no certificate" in caplog.text)
        caplog.clear()
        await refused(address, authority.client_context(stranger.issue("device", "lab1.example")))
        await exchange(core, address, authority.client_context(authority.issue("device", "lab1.example")))
        assert len(core.messages) == 1


@pytest.mark.parametrize("names", ["lab1.example", "other, LAB1.Example", "Analyser"])
async def test_device_whose_name_is_allowed(authority: Authority, server_files: tuple[Path, Path], names: str) -> None:
    core = RecordingCore()
    identity = authority.issue("Analyser", "lab1.example")
    async with listening(core, server_files, clientCaFile=str(authority.ca_file), allowNames=names) as (_, address):
        await exchange(core, address, authority.client_context(identity))


async def name_is_refused(authority: Authority, server_files: tuple[Path, Path]) -> None:
    core = RecordingCore()
    identity = authority.issue("device", "lab1.example")
    parameters = {"clientCaFile": str(authority.ca_file), "allowNames": "lab2.example"}
    async with listening(core, server_files, **parameters) as (channel, address):
        await refused(address, authority.client_context(identity))
        assert core.messages == []
        await until(lambda: channel.connections == 0)


async def test_device_whose_name_is_not_allowed(
    authority: Authority, server_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    await name_is_refused(authority, server_files)
    assert "no name of the certificate is in allowNames" in caplog.text


def test_uvloop(authority: Authority, server_files: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        await name_is_refused(authority, server_files)
        await test_messages_over_tls(authority, server_files)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_new_certificate_serves_new_connections_and_keeps_the_old(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.01)
    core = RecordingCore()
    mine = Authority(tmp_path)
    files = mine.issue("agent")

    def serial(writer: asyncio.StreamWriter) -> str:
        return writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]  # type: ignore[no-any-return]  # of ssl

    async with listening(core, files) as (channel, address):
        context = mine.client_context()
        _, old = await asyncio.open_connection(*address, ssl=context)
        mine.issue("agent")
        await until(lambda: "certificate files loaded again" in caplog.text)
        _, new = await asyncio.open_connection(*address, ssl=context)
        assert serial(old) != serial(new)
        files[1].write_text("no key")
        await until(lambda: "cannot be used, the old remain" in caplog.text)
        [reason] = channel.reasons()
        assert "certificate files not loaded" in reason
        _, newest = await asyncio.open_connection(*address, ssl=context)
        assert serial(newest) == serial(new)
        mine.issue("agent")
        await until(lambda: channel.reasons() == [])
        for writer in (old, new, newest):
            writer.write(framed(MESSAGE))
        await core.accepted(3)
        for writer in (old, new, newest):
            writer.close()
            await writer.wait_closed()
    assert caplog.text.count("cannot be used") == 1


def test_files_that_have_not_changed_are_not_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    files = Authority(tmp_path).issue("agent")
    settings = tls.TlsSettings.from_parameters(config_of(files).parameters)
    certificates = tls.Certificates(settings, logging.getLogger("medagent.channel.lab"), "lab")
    context = certificates.context
    files[0].unlink()
    for _ in range(3):
        certificates.refresh(time.time())
    assert len(caplog.messages) == 1
    assert certificates.context is context
    assert "No such file" in certificates.problem


@pytest.mark.parametrize(
    ("days", "text", "lines"),
    [(40, "", 0), (29.5, "expires on", 1), (0.5, "in 0 days", 1), (-0.5, "has expired on", 1)],
)
def test_end_of_a_certificate_is_told(
    authority: Authority, caplog: pytest.LogCaptureFixture, days: float, text: str, lines: int
) -> None:
    files = authority.issue("ending", days=days)
    settings = tls.TlsSettings.from_parameters(config_of(files).parameters)
    certificates = tls.Certificates(settings, logging.getLogger("medagent.channel.lab"), "lab")
    now = time.time()
    for _ in range(3):
        certificates.refresh(now)
    reasons = certificates.reasons(now)
    assert len(reasons) == len(caplog.messages) == lines
    assert all(text in told for told in reasons + caplog.messages)


def test_warning_at_each_step(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    settings = tls.TlsSettings.from_parameters(config_of(authority.issue("ending", days=40)).parameters)
    certificates = tls.Certificates(settings, logging.getLogger("medagent.channel.lab"), "lab")
    now = time.time()
    for day in range(42):
        certificates.refresh(now + day * DAY)
    # from 30, 7 and 1 days before the end
    assert len(caplog.messages) == 3


def test_files_that_cannot_be_used(authority: Authority, server_files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = server_files
    bad = tmp_path / "bad.pem"
    bad.write_text("no PEM")
    unreadable = tmp_path / "unreadable.pem"
    unreadable.mkdir()
    other_key = authority.issue("other")[1]

    def found_in(scheme: str = "mllps", **parameters: str) -> Sequence[Problem]:
        channel = ChannelConfig("lab", scheme, "127.0.0.1", 2575, "", parameters=parameters)
        return plugin.medagent_validate_config(AgentConfig("1", "agent", channels=(channel,)))

    def problems(scheme: str = "mllps", **parameters: str) -> list[str]:
        return [str(problem) for problem in found_in(scheme, **parameters)]

    good = {"certFile": str(certificate), "keyFile": str(key)}
    assert problems(**good) == problems("mllp") == []
    assert len(problems()) == 2
    assert "certFile: required for mllps" in problems()[0]
    for changed, found in (
        ({"certFile": "agent.pem"}, "certFile: an absolute path is required"),
        ({"certFile": str(tmp_path / "none")}, "none: No such file or directory"),
        ({"certFile": str(unreadable)}, "Is a directory"),
        ({"certFile": str(bad)}, "no usable PEM"),
        ({"keyFile": str(bad)}, "no usable PEM"),
        ({"keyFile": str(other_key)}, "do not belong together"),
        ({"clientCaFile": str(bad)}, "no usable PEM"),
        ({"allowNames": "a"}, "allowNames: needs clientCaFile"),
    ):
        [problem] = problems(**(good | changed))
        assert found in problem
        assert "lab" in problem
    expired = authority.issue("ended", days=-1)
    [problem] = problems(certFile=str(expired[0]), keyFile=str(expired[1]))
    assert "the certificate has expired on" in problem
    [passing] = found_in(certFile=str(expired[0]), keyFile=str(expired[1]))
    assert (passing.passing, passing.channel) == (True, ""), "it listens, and says itself when the certificate is new"
    [missing] = found_in(**(good | {"certFile": str(tmp_path / "none")}))
    assert (missing.passing, missing.channel) == (True, "lab")
    [lasting] = found_in(**(good | {"certFile": "agent.pem"}))
    assert (lasting.passing, lasting.channel) == (False, "lab")
    [nobody] = problems(**(good | {"allowNames": ",", "clientCaFile": str(authority.ca_file)}))
    assert nobody.endswith('"," names nobody; using no entry: nobody can connect')


async def test_channel_without_its_files_does_not_listen(server_files: tuple[Path, Path], tmp_path: Path) -> None:
    channel = Hl7Channel(RecordingCore().context(config_of((tmp_path / "none", server_files[1]))))
    with pytest.raises(ChannelError, match="No such file"):
        await channel.start()
    await channel.close()


def test_encrypted_key_is_refused_and_no_password_asked_for(server_files: tuple[Path, Path], tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = server_files
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x" * 8)
        )
    )
    with pytest.raises(ChannelError, match="the key is encrypted"):
        tls.load(tls.TlsSettings.from_parameters(config_of((certificate, encrypted)).parameters))


async def test_tls_cannot_be_half_closed(
    authority: Authority, server_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    core = RecordingCore()
    async with listening(core, server_files) as (channel, address):
        async with await MllpClient.connect(*address, tls=authority.client_context()) as device:
            await device.send(MESSAGE)
            await core.accepted(1)
        async with asyncio.timeout(10):
            while channel.connections:
                await asyncio.sleep(0)
    assert "eof_received" not in caplog.text


async def test_a_handshake_under_way_counts_as_a_connection(authority: Authority, server_files: tuple[Path, Path]) -> None:
    core = RecordingCore()
    async with listening(core, server_files, maxConnections=1) as (channel, address):
        _, silent = await asyncio.open_connection(*address)
        async with await MllpClient.connect(*address) as refused:
            assert await refused.closed() == b""
        assert channel.connections == 0
        silent.close()
        await silent.wait_closed()
        async with asyncio.timeout(10):
            while not core.messages:
                with contextlib.suppress(OSError, EOFError):
                    async with await MllpClient.connect(*address, tls=authority.client_context()) as device:
                        await device.send(MESSAGE)
                        await core.accepted(1)
