"""`medagent loadtest`, as a process of its own, against receivers that are right and that are not."""

from __future__ import annotations

import itertools
import signal
import socket

import pytest

from medagent.testing.command import Finished, finish_command, run_command, start_command
from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7.message import Header


def number_of(body: bytes) -> int:
    """Of a generated message, from 0 on."""
    return int(Header.parse(body).control_id[-9:])


async def loadtest(server: MllpServer, *arguments: str) -> Finished:
    return await run_command("loadtest", f"127.0.0.1:{server.port}", "--format", "json", *arguments)


async def test_sends_on_schedule_over_several_connections_and_counts_every_answer() -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA", "AA")) as server:
        finished = await loadtest(server, "--rate", "500", "--count", "100", "--connections", "3", "--expect", "both")
        assert finished.exit_code == 0, finished
        assert sorted(map(number_of, server.received)) == list(range(100))
        assert len(server.connections) == 3
    result = finished.json
    assert result["ok"]
    assert (result["sent"], result["answered"], result["missing"]) == (100, 100, 0)
    assert (result["wrong"], result["duplicate"], result["negative"]) == (0, 0, {})
    assert result["rate_asked"] == 500
    assert result["rate"] > 0
    for kind in ("commit", "application"):
        figures = result[kind]
        assert figures["count"] == 100
        assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["p99_9"] <= figures["max"]


async def test_duration() -> None:
    async with MllpServer() as server:
        finished = await loadtest(server, "--rate", "200", "--duration", "0.5")
    assert finished.exit_code == 0
    assert finished.json["sent"] == 100


async def test_as_fast_as_it_goes_within_the_window() -> None:
    waiting: list[bytes] = []

    def in_tens(body: bytes) -> list[bytes]:
        """Answer only when the window must be full."""
        waiting.append(body)
        if len(waiting) < 10:
            return []
        answers = [answer for held in waiting for answer in acknowledge(held, "AA")]
        waiting.clear()
        return answers

    async with MllpServer(in_tens) as server:
        finished = await loadtest(server, "--rate", "0", "--window", "10", "--connections", "1", "--count", "1000")
    assert finished.exit_code == 0, finished
    assert finished.json["answered"] == 1000


async def test_as_fast_as_it_goes_for_a_time() -> None:
    async with MllpServer() as server:
        finished = await loadtest(server, "--rate", "0", "--window", "2", "--connections", "2", "--duration", "0.3")
        assert finished.json["sent"] == len(server.received) > 4
    assert finished.exit_code == 0


@pytest.mark.parametrize(
    ("fault", "answers", "found"),
    [
        ("missing", lambda body: [], {"missing": 1, "answered": 19}),
        ("AE", lambda body: acknowledge(body, "AE"), {"negative": {"AE": 1}}),
        ("CR", lambda body: acknowledge(body, "CR"), {"negative": {"CR": 1}}),
        ("twice", lambda body: acknowledge(body, "AA", "AA"), {"duplicate": 1}),
        ("no MSA", lambda body: [body, *acknowledge(body, "AA")], {"wrong": 1, "answered": 20}),
        ("unknown ID", lambda body: [*acknowledge(body, "AA"), b"MSH|^~\\&|\rMSA|AA|OTHER\r"], {"wrong": 1, "answered": 20}),
        ("unknown code", lambda body: [acknowledge(body, "AA")[0].replace(b"MSA|AA", b"MSA|ZZ")], {"wrong": 1, "missing": 1}),
        ("empty frame", lambda body: [b"", *acknowledge(body, "AA")], {"wrong": 1, "answered": 20}),
    ],
)
async def test_one_fault_among_many_answers_is_found(fault: str, answers, found: dict[str, object]) -> None:
    async with MllpServer(lambda body: answers(body) if number_of(body) == 7 else acknowledge(body, "AA")) as server:
        finished = await loadtest(server, "--rate", "1000", "--count", "20", "--timeout", "0.3")
    assert finished.exit_code == 1, fault
    result = finished.json
    assert not result["ok"]
    assert {name: result[name] for name in found} == found


async def test_an_answer_on_another_connection_is_wrong() -> None:
    async with MllpServer(lambda body: []) as server:
        process = await start_command(
            *(
                "loadtest",
                f"127.0.0.1:{server.port}",
                "--count",
                "2",
                "--connections",
                "2",
                "--timeout",
                "0.3",
                "--format",
                "json",
            )
        )
        await server.wait_for(2)
        for body in server.received:  # both on the first connection: one is right
            server.connections[0].send(*acknowledge(body, "AA"))
        finished = await finish_command(process)
    assert finished.exit_code == 1
    assert (finished.json["answered"], finished.json["wrong"], finished.json["missing"]) == (1, 1, 1)


async def test_a_commit_acknowledgment_alone_is_not_enough_where_both_are_asked() -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA")) as server:
        enough = await loadtest(server, "--count", "5")
        assert enough.exit_code == 0
        assert enough.json["commit"]["count"] == 5
        finished = await loadtest(server, "--count", "5", "--expect", "both", "--timeout", "0.3")
    assert finished.exit_code == 1
    assert finished.json["missing"] == 5


async def test_a_lost_connection_fails_the_test_and_the_others_go_on() -> None:
    async with MllpServer(lambda body: None if number_of(body) == 3 else acknowledge(body, "AA")) as server:
        finished = await loadtest(server, "--count", "50", "--connections", "5")
    assert finished.exit_code == 1
    result = finished.json
    assert result["lost_connections"] == 1
    assert (result["sent"], result["answered"], result["missing"]) == (50, 49, 1)


async def test_ends_when_every_connection_is_lost() -> None:
    async with MllpServer(lambda body: None) as server:
        finished = await loadtest(server, "--count", "1000", "--connections", "2", "--rate", "100")
    assert finished.exit_code == 1
    assert finished.json["lost_connections"] == 2
    assert finished.json["sent"] < 1000


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
    "arguments", [["nowhere"], ["--rate", "-1"], ["--count", "0"], ["--connections", "0"], ["--expect", "all"]]
)
async def test_wrong_usage(arguments: list[str]) -> None:
    assert (await run_command("loadtest", *arguments)).exit_code == 2
