"""`medagent demo`: server, agent and sender, all real."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import stat
import tempfile
from pathlib import Path

import httpx2
import pytest

from medagent.admin import call
from medagent.errors import MedagentError
from medagent.testing.command import finish_command, run_command, start_command
from medagent.testing.resources import AGENT_ID
from medagent_hl7.commands import demo_site, demo_view
from medagent_hl7.commands.demo_site import DemoSite
from medagent_hl7.samples import load


def mode(path: str) -> int | None:
    """Permissions of a file or folder; None if there is none."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except FileNotFoundError:
        return None


async def test_once_shows_every_sample_answered() -> None:
    finished = await run_command("demo", "--once", "--port", "0")
    assert finished.exit_code == 0, finished
    for sample in load():
        assert sample.name in finished.stdout
    assert f"All {len(load())} messages were answered AA." in finished.stdout


async def test_once_as_json_with_more_messages_than_samples() -> None:
    finished = await run_command("demo", "--once", "--port", "0", "--count", "30", "--format", "json")
    assert finished.exit_code == 0, finished
    result = finished.json
    assert len({message["control_id"] for message in result["messages"]}) == 30
    assert all([answer["code"] for answer in message["acknowledgments"]] == ["CA", "AA"] for message in result["messages"])
    assert result["queue"]["accepted"] == 30
    assert result["queue"]["states"]["response_sent"] == 30
    assert result["latencies_ms"]["application"]["count"] == 30


async def test_stays_up_for_more_until_it_is_stopped(tmp_path: Path) -> None:
    process = await start_command("demo", "--port", "0", "--count", "1")
    assert process.stdout is not None
    shown = b""
    async with asyncio.timeout(60):
        while b"Ctrl-C stops everything." not in shown:
            shown += await process.stdout.readline()
    text = shown.decode()
    found = re.search(r"medagent send (\S+) file.hl7", text)
    state_dir = re.search(r"--state-dir (\S+)", text)
    assert found is not None
    assert state_dir is not None
    path = tmp_path / "more.hl7"
    path.write_bytes(b"MSH|^~\\&|A|B|C|D|20260302||ADT^A04|MORE-1|P|2.5\rPID|1||NOBODY\r")
    assert mode(state_dir[1]) == 0o700
    assert mode(f"{state_dir[1]}/agent.log") == 0o600
    assert (await run_command("send", found[1], str(path))).exit_code == 0
    async with asyncio.timeout(60):
        while b"MORE-1" not in (line := await process.stdout.readline()):
            assert line
    assert line.split()[1:] == [b"ADT^A04", b"MORE-1", b"AA"]
    await edit_as_invited(text)
    in_force = await asyncio.to_thread(call, Path(state_dir[1]), "config")
    encoding = next(each for each in in_force["agent"]["channels"][0]["parameters"] if each["name"] == "encoding")
    assert (encoding["value"], encoding["origin"]) == ("ISO-8859-1", "Endpoint")
    process.send_signal(signal.SIGINT)
    finished = await finish_command(process)
    assert finished.exit_code == 0, finished
    assert "Traceback" not in finished.stderr
    assert mode(state_dir[1]) is None
    assert (await run_command("send", found[1], str(path))).exit_code == 1


async def edit_as_invited(text: str) -> None:
    """Do what the printed lines of `curl` would do, and what is to be done between them."""
    token = re.search(r"TOKEN=(\S+)", text)
    assert token is not None
    headers = {"Authorization": f"Bearer {token[1]}"}
    commands = [shlex.split(line, comments=True) for line in text.splitlines() if line.strip().startswith("curl ")]
    assert [command[:4] for command in commands] == [["curl", "-s", "-H", "Authorization: Bearer $TOKEN"]] * 3
    read, write, reload = (next(word for word in command if word.startswith("http:")) for command in commands)
    async with httpx2.AsyncClient(headers=headers) as http:
        endpoint = (await http.get(read)).json()
        endpoint["address"] += "&encoding=ISO-8859-1"
        assert (await http.put(write, json=endpoint)).status_code == 200
        assert (await http.get(reload)).status_code == 200


async def test_the_invitation_names_what_an_agent_needs(capsys: pytest.CaptureFixture[str]) -> None:
    async with DemoSite(0) as site:
        demo_view.print_invitation(site)
        (line,) = [each for each in capsys.readouterr().out.splitlines() if "--client-secret" in each]
        words = shlex.split(line)
        assert dict(zip(words[::2], words[1::2], strict=True)) == {
            "--base-url": site.server.base_url,
            "--client-id": site.server.client_id,
            "--client-secret": site.server.client_secret,
            "--agent-id": AGENT_ID,
        }


async def test_a_taken_port_is_refused_if_it_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = await run_command("demo", "--once", "--port", str(port))
    assert finished.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in finished.stderr


async def test_an_agent_that_does_not_get_ready_leaves_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_site, "START_TIMEOUT", 3.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site = DemoSite(taken.getsockname()[1])
        with pytest.raises(MedagentError, match=r"not ready after 3 s: channel demo .*agent\.log"):
            await site.__aenter__()
    assert site.log_path.read_text()
    assert not is_running(site.agent_pid)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_json_needs_once() -> None:
    assert (await run_command("demo", "--format", "json")).exit_code == 2
