"""Pings, with a `ping` of the test's own on the path."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.requests import ping as ping_module
from medagent.requests.ping import MOST_AT_ONCE, MOST_WAITING, PingFailed, Pings, ping

ECHO = 'echo "args: $@"'


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shell script that stands for `ping`; the test may write another."""
    script = tmp_path / "ping"
    script.write_text(f"#!/bin/sh\n{ECHO}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return script


@pytest.mark.parametrize(
    ("host", "body", "arguments"),
    [
        ("127.0.0.1", "PING", "-c 1 -W 2 127.0.0.1"),
        ("127.0.0.1", "ping 3", "-c 3 -W 2 127.0.0.1"),
        ("::1", "PING 10", "-c 10 -W 2 ::1"),
        ("fe80::1%eth0", "PING", "-c 1 -W 2 fe80::1%eth0"),
        ("lab-1.hospital.example", "PING ", "-c 1 -W 2 lab-1.hospital.example"),
    ],
)
async def test_the_program_is_run_without_a_shell(program: Path, host: str, body: str, arguments: str) -> None:
    assert await ping(host, body) == f"args: {arguments}"


@pytest.mark.parametrize(
    "body", ["PING 0", "PING 11", "PING x", "PING -1", "PING 1 2", "hello", "", None, 3, "PING 999999999999"]
)
async def test_another_body_is_refused_with_the_rule(program: Path, body: object) -> None:
    with pytest.raises(PingFailed, match="PING and a number from 1 to 10; found "):
        await ping("127.0.0.1", body)


@pytest.mark.parametrize(
    "host",
    [
        "-f",
        "--help",
        "a b",
        "a;b",
        "$(reboot)",
        "a\nb",
        "mllp://127.0.0.1:2575",
        "",
        "1.2.3.4 -f",
        "a..b",
        "x" * 254,
        "fe80::1%;b",
        None,
    ],
)
async def test_what_is_no_host_is_never_run(program: Path, host: object) -> None:
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(PingFailed, match="is no IP address and no host name"):
        await ping(host, "PING")


async def test_a_host_that_does_not_answer(program: Path) -> None:
    program.write_text("#!/bin/sh\necho 100% packet loss\nexit 1\n")
    with pytest.raises(PingFailed, match=r"ping -c 1 -W 2 10\.0\.0\.7 failed with exit code 1: 100% packet loss"):
        await ping("10.0.0.7", "PING")


async def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PingFailed, match=r"ping cannot be run on .*: No such file or directory; install it \(.*iputils-ping\)"):
        await ping("127.0.0.1", "PING")


async def test_a_program_that_hangs_is_ended(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping_module, "REPLY_SECONDS", 0)
    monkeypatch.setattr(ping_module, "SPARE_SECONDS", 0.3)
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    with pytest.raises(PingFailed, match=r"did not end within 0\.3 s"):
        await ping("127.0.0.1", "PING")
    pid = (await asyncio.to_thread((tmp_path / "pid").read_text)).strip()
    assert not Path(f"/proc/{pid}").exists()


async def test_a_few_run_at_once_and_too_many_are_refused(program: Path, tmp_path: Path) -> None:
    program.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/started\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\necho done\n"
    )
    started = tmp_path / "started"
    started.touch()
    pings = Pings()
    asked = [asyncio.ensure_future(pings.ping("10.0.0.7", "PING")) for _ in range(MOST_AT_ONCE + MOST_WAITING)]
    while started.stat().st_size < 2 * MOST_AT_ONCE:
        await asyncio.sleep(0)
    with pytest.raises(PingFailed, match="25 pings have not ended yet"):
        await pings.ping("10.0.0.7", "PING")
    assert started.stat().st_size == 2 * MOST_AT_ONCE
    (tmp_path / "go").touch()
    assert await asyncio.gather(*asked) == ["done"] * 25
    assert await pings.ping("10.0.0.7", "PING") == "done"
