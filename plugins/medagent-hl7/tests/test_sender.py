"""The sender for pushes: over which connections, in which bytes, and what is said when it fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from pathlib import Path

import pytest

from medagent.errors import DeviceError, Unsendable
from medagent.sender import SenderContext
from medagent.testing.certificates import Authority
from medagent.testing.mllp_server import MllpServer, accept, acknowledge
from medagent_hl7 import sender as sender_module
from medagent_hl7.sender import Hl7Sender

SECONDS = 10.0


def message(control_id: str, rest: str = "|P|2.5") -> str:
    return f"MSH|^~\\&|LAB|HOSP|MONITOR|WARD|20260105120000||ADT^A01|{control_id}{rest}\rPID|1\r"


def at(server: MllpServer, query: str = "") -> str:
    return f"mllp://127.0.0.1:{server.port}{query}"


async def send(sender: Hl7Sender, remote: str, text: str, seconds: float = SECONDS) -> str:
    return await sender.send(remote, sender.prepare(remote, text), seconds)


async def test_segments_end_with_cr_and_everything_else_is_left_alone() -> None:
    sender = Hl7Sender(SenderContext())
    assert sender.prepare("mllp://a:1", "MSH|^~\\&|||||||A|1\r\nPID|\u00e9\n") == "MSH|^~\\&|||||||A|1\rPID|é\r".encode()


async def test_bytes_that_are_not_valid_in_the_encoding_are_still_told() -> None:
    async with MllpServer(lambda body: [b"MSH|^~\\&|\xe9\nMSA|AA|M1\n"]) as server:
        sender = Hl7Sender(SenderContext())
        assert await send(sender, at(server), message("M1")) == "MSH|^~\\&|é\nMSA|AA|M1\n"
        await sender.close()


async def test_no_acknowledgment_where_none_is_due() -> None:
    async with MllpServer(lambda body: []) as server:
        sender = Hl7Sender(SenderContext())
        assert await send(sender, at(server), message("M1", "|P|2.5|||NE|NE")) == ""
        await server.wait_for(1)
        await sender.close()


async def test_a_mute_device_is_given_up_and_may_have_the_message() -> None:
    async with MllpServer(lambda body: []) as server:
        sender = Hl7Sender(SenderContext())
        with pytest.raises(DeviceError, match=r"127\.0\.0\.1:\d+: no acknowledgment came within 0\.05 s") as caught:
            await send(sender, at(server), message("M1"), 0.05)
        assert caught.value.may_have_it
        await sender.close()


async def test_one_that_never_got_a_connection_is_not_in_doubt() -> None:
    async with MllpServer(lambda body: []) as server:
        sender = Hl7Sender(SenderContext(max_clients=1))
        first = asyncio.ensure_future(send(sender, at(server), message("M1")))
        await server.wait_for(1)
        with pytest.raises(DeviceError, match=r"all connections .* were in use") as caught:
            await send(sender, at(server), message("M2"), 0.05)
        assert not caught.value.may_have_it
        server.connections[0].send(*acknowledge(message("M1").encode(), "AA"))
        await first
        await sender.close()


@pytest.mark.parametrize(
    ("before", "after", "connections"),
    [
        (SenderContext(), SenderContext(), 1),
        (SenderContext(keep_alive=True, max_clients=1), SenderContext(keep_alive=True, max_clients=1), 1),
        (SenderContext(), SenderContext(keep_alive=True, max_clients=1), 2),
    ],
)
async def test_a_reload_leaves_connections_alone_unless_their_settings_change(
    before: SenderContext, after: SenderContext, connections: int
) -> None:
    async with MllpServer() as server:
        sender = Hl7Sender(before)
        await send(sender, at(server), message("M1"))
        sender.reconfigure(after)
        await send(sender, at(server), message("M2"))
        assert len(server.connections) == connections
        await sender.close()


async def test_a_reload_that_changes_them_lets_go_on_what_is_in_flight() -> None:
    async with MllpServer(lambda body: []) as server:
        sender = Hl7Sender(SenderContext(max_clients=1))
        sending = [asyncio.ensure_future(send(sender, at(server), message(f"M{number}"))) for number in range(2)]
        await server.wait_for(1)
        sender.reconfigure(SenderContext(keep_alive=True, max_clients=3))
        server.respond = accept
        server.connections[0].send(*acknowledge(message("M0").encode(), "AA"))
        assert ["MSA|AA|M0" in await sending[0], "MSA|AA|M1" in await sending[1]] == [True, True]
        await sender.close()


async def test_tls_with_the_files_that_the_address_names_and_new_ones_when_they_change(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("receiver"))
    shutil.copy(other.ca_file, tmp_path / "ca.pem")
    async with MllpServer(tls=context) as server:
        remote = f"mllps://127.0.0.1:{server.port}?caFile={tmp_path / 'ca.pem'}"
        sender = Hl7Sender(SenderContext(keep_alive=True))
        with pytest.raises(DeviceError, match="its certificate is not accepted") as caught:
            await send(sender, remote, message("M1"))
        assert not caught.value.may_have_it
        shutil.copy(authority.ca_file, tmp_path / "ca.pem")
        os.utime(tmp_path / "ca.pem", ns=(1, 1))
        assert "MSA|AA|M2" in await send(sender, remote, message("M2"))
        assert "MSA|AA|M3" in await send(sender, remote, message("M3"))
        assert server.received == [message("M2").encode(), message("M3").encode()]
        (tmp_path / "ca.pem").unlink()
        with pytest.raises(DeviceError, match=r"ca\.pem cannot be read: No such file"):
            await send(sender, remote, message("M4"))
        (tmp_path / "ca.pem").write_text("nothing")
        with pytest.raises(DeviceError, match=r"the CA certificates in .* cannot be used"):
            await send(sender, remote, message("M5"))
        await sender.close()


async def test_so_many_addresses_with_tls_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "MOST_SECURE", 1)
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("receiver"))
    async with MllpServer(tls=context) as first, MllpServer(tls=context) as second:
        sender = Hl7Sender(SenderContext(keep_alive=True))
        for number, server in enumerate((first, second, second, first)):
            await send(sender, f"mllps://127.0.0.1:{server.port}?caFile={authority.ca_file}", message(f"M{number}"))
        assert (len(first.connections), len(second.connections)) == (2, 1)
        await sender.close()


def test_what_mllp_cannot_carry_is_refused() -> None:
    sender = Hl7Sender(SenderContext())
    for text, why in ((message("M1") + "\x0b", "0x0B"), (message(" "), "MSH-10"), ("PID|1", "no HL7 v2")):
        with pytest.raises(Unsendable, match=why):
            sender.prepare("mllp://a:1", text)
