"""Sending over MLLPS: whom the sender trusts, and what it shows."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medagent.errors import ConfigError
from medagent.testing.certificates import Authority
from medagent.testing.command import run_command
from medagent.testing.mllp_server import MllpServer
from medagent_hl7.answers import ConnectFailed
from medagent_hl7.client import Remote
from medagent_hl7.client_tls import client_context
from medagent_hl7.pool import Pool

MESSAGE = b"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|1|P|2.5\rPID|1\r"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def server_context(authority: Authority, name: str = "receiver", *hosts: str, ask: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue(name, *hosts))
    if ask:
        context.load_verify_locations(authority.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def send(server: MllpServer, tls: ssl.SSLContext | None) -> list[str]:
    pool = Pool(Remote("127.0.0.1", server.port, tls))
    try:
        return [answer.code for answer in await pool.send(MESSAGE, timeout=5)]
    finally:
        await pool.close()


async def test_sends_over_tls(authority: Authority) -> None:
    async with MllpServer(tls=server_context(authority)) as server:
        assert await send(server, client_context(authority.ca_file)) == ["AA"]
        assert server.received == [MESSAGE]


async def test_shows_its_own_certificate(authority: Authority) -> None:
    chain, key = authority.issue("sender")
    async with MllpServer(tls=server_context(authority, ask=True)) as server:
        assert await send(server, client_context(authority.ca_file, chain, key)) == ["AA"]


async def test_a_certificate_of_another_authority_or_for_another_host_is_not_accepted(
    authority: Authority, tmp_path: Path
) -> None:
    async with MllpServer(tls=server_context(authority)) as server:
        with pytest.raises(ConnectFailed, match="its certificate is not accepted"):
            await send(server, client_context(Authority(tmp_path).ca_file))
    async with MllpServer(tls=server_context(authority, "other", "other.example.org")) as server:
        with pytest.raises(ConnectFailed, match="its certificate is not accepted: IP address mismatch"):
            await send(server, client_context(authority.ca_file))
        assert server.received == []


async def test_a_receiver_that_does_not_speak_tls(authority: Authority) -> None:
    async with MllpServer() as server:
        pool = Pool(Remote("127.0.0.1", server.port, client_context(authority.ca_file)), connect_timeout=0.2)
        with pytest.raises(ConnectFailed, match="cannot connect"):
            await pool.send(MESSAGE)
        assert server.received == []


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    with pytest.raises(ConfigError, match=f"CA certificates in {broken} cannot be used"):
        client_context(broken)
    with pytest.raises(ConfigError, match=r"none\.pem cannot be used: No such file"):
        client_context(tmp_path / "none.pem")
    with pytest.raises(ConfigError, match=f"certificate {broken} or its key"):
        client_context(authority.ca_file, broken)
    chain, key = authority.issue("sender")
    with pytest.raises(ConfigError, match=f"{chain} holds a certificate and no key: give the key's file too \\(--key-file\\)"):
        client_context(authority.ca_file, chain)
    both = tmp_path / "both.pem"
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    client_context(authority.ca_file, both)


@contextlib.contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[int]:
    """A TLS server that sends its alerts, as asyncio's does not; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with contextlib.suppress(ssl.SSLError):
                secured.do_handshake()
            # closed with bytes unread it would be reset, and the alert could be lost
            with socket.socket(fileno=secured.detach()) as rest, contextlib.suppress(OSError):
                rest.shutdown(socket.SHUT_WR)
                while rest.recv(4096):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


async def test_the_receivers_alert_is_the_reason(authority: Authority, tmp_path: Path) -> None:
    # with TLS 1.3 it comes after the handshake
    path = tmp_path / "one.hl7"
    path.write_bytes(MESSAGE)
    chain, key = Authority(tmp_path / "stranger").issue("sender")
    with refusing(server_context(authority, ask=True)) as port:
        for identity, alert in (
            ((), "certificate required"),
            (("--cert-file", str(chain), "--key-file", str(key)), "unknown ca"),
        ):
            target = f"mllps://127.0.0.1:{port}"
            finished = await run_command("send", target, str(path), "--ca-file", str(authority.ca_file), *identity)
            assert finished.exit_code == 1
            assert f"the receiver closed the connection (TLS failed: the receiver says: {alert})" in finished.stdout


async def test_the_command(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "one.hl7"
    path.write_bytes(MESSAGE)
    chain, key = authority.issue("sender")
    async with MllpServer(tls=server_context(authority, ask=True)) as server:
        where = f"mllps://127.0.0.1:{server.port}"
        identity = ("--cert-file", str(chain), "--key-file", str(key))
        finished = await run_command("send", where, str(path), "--ca-file", str(authority.ca_file), *identity)
        assert finished.exit_code == 0, finished
        finished = await run_command("send", where, str(path))
        assert finished.exit_code == 1
        assert "certificate is not accepted" in finished.stderr
        assert server.received == [MESSAGE]
