"""`medagent loadtest`, as a process of its own, against receivers that are right and that are not."""

from __future__ import annotations

import itertools
import signal
import socket

import pytest

from medagent.testing.command import finish_command, run_command, start_command
from medagent.testing.mllp_server import MllpServer, acknowledge


async def test_json_has_every_figure() -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA", "AA")) as server:
        finished = await run_command(
            *("loadtest", f"127.0.0.1:{server.port}", "--rate", "500", "--duration", "0.2", "--connections", "3"),
            *("--expect", "both", "--format", "json"),
        )
        assert len(server.connections) == 3
    assert finished.exit_code == 0, finished
    assert finished.stderr == ""
    result = finished.json
    assert result["target"] == f"127.0.0.1:{server.port}"
    assert (result["connections"], result["expect"], result["rate_asked"]) == (3, "both", 500)
    assert (result["sent"], result["answered"], result["missing"]) == (100, 100, 0)
    assert (result["wrong"], result["duplicate"], result["negative"]) == (0, 0, {})
    assert (result["ok"], result["stopped"], result["lost_connections"]) == (True, False, 0)
    assert result["rate"] > 0
    for kind in ("commit", "application", "lateness"):
        figures = result[kind]
        assert figures["count"] == 100
        assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["p99_9"] <= figures["max"]


async def test_help_says_what_works() -> None:
    finished = await run_command("loadtest", "--help")
    assert "[default: 127.0.0.1:2575]" in " ".join(finished.stdout.split())
    assert "mllps" not in finished.stdout
    assert (await run_command("loadtest", "mllps://127.0.0.1:1")).exit_code == 2


async def test_a_lost_connection_fails_the_test() -> None:
    async with MllpServer(lambda body: None) as server:
        finished = await run_command("loadtest", f"127.0.0.1:{server.port}", "--rate", "0", "--count", "1000000")
    assert finished.exit_code == 1
    assert "10 connections lost" in finished.stdout
    assert "not sent" in finished.stdout


async def test_ctrl_c_shows_what_there_is() -> None:
    async with MllpServer() as server:
        process = await start_command("loadtest", f"127.0.0.1:{server.port}", "--rate", "200", "--count", "100000")
        await server.wait_for(20)
        process.send_signal(signal.SIGINT)
        finished = await finish_command(process)
    assert finished.exit_code == 0, finished
    assert "Stopped early." in finished.stdout
    assert "OK: every answer came once and was right." in finished.stdout
    assert finished.stderr == ""


async def test_the_text_says_what_was_wrong() -> None:
    turn = itertools.count()
    async with MllpServer(lambda body: acknowledge(body, "AE" if next(turn) % 2 else "AA")) as server:
        finished = await run_command("loadtest", f"127.0.0.1:{server.port}", "--count", "10")
    assert finished.exit_code == 1
    assert "FAILED: 5 negative." in finished.stdout
    assert "5 AE" in finished.stdout
    assert "p99.9" in finished.stdout


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        finished = await run_command("loadtest", f"127.0.0.1:{taken.getsockname()[1]}", "--count", "1")
    assert finished.exit_code == 1
    assert "Connection refused" in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["--rate", "-1"],
        ["--count", "0"],
        ["--connections", "0"],
        ["--expect", "all"],
        ["--expect", "none"],
        ["mllps://127.0.0.1:1"],
    ],
)
async def test_wrong_usage(arguments: list[str]) -> None:
    assert (await run_command("loadtest", *arguments)).exit_code == 2
