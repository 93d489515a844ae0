"""`medagent send`, as a process of its own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from medagent.testing.command import run_command
from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7.message import BOM, Header
from medagent_hl7.samples import load


def message(control_id: str, trigger: str = "A01") -> bytes:
    return rf"MSH|^~\&|SENDER|NORTH|RECEIVER|SOUTH|20260302||ADT^{trigger}|{control_id}|P|2.5".encode() + b"\rPID|1|X\r"


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / f"{name}.hl7"
    path.write_bytes(data)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write(tmp_path, "two", message("M1") + message("M2", "A08"))


async def test_sends_every_message_of_every_file_as_it_is(tmp_path: Path) -> None:
    paths = [str(write(tmp_path, sample.name, sample.body)) for sample in load()]
    paths.append(str(write(tmp_path, "bom", BOM + message("M1") + message("M2"))))
    async with MllpServer() as server:
        server.respond = lambda body: acknowledge(body.removeprefix(BOM).replace(b"\n", b"\r"), "AA")
        finished = await run_command("send", f"127.0.0.1:{server.port}", *paths)
        assert finished.exit_code == 0, finished
        assert server.received == [*(sample.body for sample in load()), BOM + message("M1"), message("M2")]
        assert len(server.connections) == 1
    assert f"{len(load()) + 2} sent, all accepted" in finished.stdout


async def test_says_for_each_message_what_was_answered(two: Path) -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA", "AE" if b"M1" in body else "AA")) as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--expect", "both")
    assert finished.exit_code == 1
    first, second, summary = finished.stdout.splitlines()
    assert first.startswith(f"{two}  M1  ADT^A01  CA ")
    assert ", AE " in first
    assert second.startswith(f"{two}  M2  ADT^A08  CA ")
    assert summary == "2 sent, 1 not accepted"
    assert "PID" not in finished.stdout + finished.stderr


async def test_json(two: Path) -> None:
    async with MllpServer(lambda body: acknowledge(body, "CA", "AA")) as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--format", "json")
    assert finished.exit_code == 0
    result = finished.json
    assert (result["sent"], result["failed"]) == (2, 0)
    first = result["messages"][0]
    assert (first["name"], first["control_id"], first["type"], first["ok"]) == (str(two), "M1", "ADT^A01", True)
    assert [answer["code"] for answer in first["acknowledgments"]] == ["CA", "AA"]
    assert all(answer["ms"] > 0 for answer in first["acknowledgments"])


async def test_unique_gives_new_control_ids_and_changes_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, "same", 3 * message("SAME"))
    async with MllpServer() as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(path), str(path), "--unique")
        assert finished.exit_code == 0
        control_ids = [Header.parse(body).control_id for body in server.received]
        assert len(set(control_ids)) == 6
        pairs = zip(server.received, control_ids, strict=True)
        assert all(body.replace(control_id.encode(), b"SAME") == message("SAME") for body, control_id in pairs)


async def test_a_message_without_answer_does_not_stop_those_after_it(two: Path) -> None:
    async with MllpServer(lambda body: [] if b"M1" in body else acknowledge(body, "AA")) as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--timeout", "0.2", "--format", "json")
    assert finished.exit_code == 1
    first, second = finished.json["messages"]
    assert "no acknowledgment came within 0.2 s" in first["failure"]
    assert (second["ok"], second["failure"]) == (True, None)


async def test_a_lost_connection_is_opened_again_for_the_next_message(two: Path) -> None:
    async with MllpServer(lambda body: None if b"M1" in body else acknowledge(body, "AA")) as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--format", "json")
        assert len(server.connections) == 2
    assert finished.exit_code == 1
    first, second = finished.json["messages"]
    assert "closed the connection" in first["failure"]
    assert second["ok"]


async def test_nobody_listens(two: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        finished = await run_command("send", f"127.0.0.1:{taken.getsockname()[1]}", str(two))
    assert finished.exit_code == 1
    assert "Connection refused" in finished.stderr
    assert "Traceback" not in finished.stderr


async def test_batch_segments_are_not_sent_and_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "batch", b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + message("M1") + b"BTS|1\rFTS|1\r")
    async with MllpServer() as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(path))
        assert server.received == [message("M1")]
    assert finished.exit_code == 0
    assert "FHS, BHS, BTS, FTS are not sent" in finished.stderr


async def test_a_file_that_is_no_hl7_is_named_before_anything_is_sent(two: Path, tmp_path: Path) -> None:
    path = write(tmp_path, "other", b"hello")
    async with MllpServer() as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), str(path))
        assert server.received == []
    assert finished.exit_code == 1
    assert str(path) in finished.stderr
    assert "hello" not in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["127.0.0.1:1", "no-such-file"],
        ["h:1", ".", "--expect", "x"],
        ["h:1", __file__, "--expect", "none"],
    ],
)
async def test_wrong_usage(arguments: list[str]) -> None:
    finished = await run_command("send", *arguments)
    assert finished.exit_code == 2
    assert "Usage:" in finished.stderr


async def test_mllp_release_2(two: Path) -> None:
    refused = [b"\x15"]

    def respond(body: bytes) -> list[bytes]:
        if body in (b"\x06", b"\x15"):
            return []
        return [refused.pop()] if refused else [b"\x06", *acknowledge(body, "AA")]

    async with MllpServer(respond) as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--mllp-release", "2")
        assert finished.exit_code == 0, finished
        assert "  M2  ADT^A08  06, AA " in finished.stdout
        sent = [body for body in server.received if len(body) > 1]
        assert [Header.parse(body).control_id for body in sent] == ["M1", "M1", "M2"]
        server.respond = lambda body: [b"\x06"]
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--mllp-release", "2", "--expect", "none")
        assert finished.exit_code == 0, finished
        server.respond = lambda body: [b"\x15"]
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(two), "--mllp-release", "2")
        assert finished.exit_code == 1
        assert "  15, not stored by the receiver: refused by 0x15, 3 attempts" in finished.stdout
        server.respond = lambda body: [b"\x06", *acknowledge(body, "CA")] if len(body) > 1 else []
        finished = await run_command(
            *("send", f"127.0.0.1:{server.port}", str(two), "--mllp-release", "2", "--expect", "first", "--format", "json")
        )
        assert [each["block"] for each in finished.json["messages"]] == ["06", "06"]


async def test_a_message_that_asks_for_no_acknowledgment_is_not_waited_for(tmp_path: Path) -> None:
    asks_for_none = message("M1").replace(b"|2.5\r", b"|2.5|||NE|NE\r")
    path = write(tmp_path, "two", asks_for_none + message("M2"))
    async with MllpServer(lambda body: acknowledge(body, "AA") if b"M2" in body else []) as server:
        arguments = ("send", f"127.0.0.1:{server.port}", str(path), "--timeout", "20")
        finished = await asyncio.wait_for(run_command(*arguments), 15)
        assert finished.exit_code == 0, finished
        first, _, summary = finished.stdout.splitlines()
        assert first.endswith("  M1  ADT^A01  no acknowledgment asked for")
        assert summary == "2 sent, 1 without an acknowledgment"
        assert server.received == [asks_for_none, message("M2")]
        finished = await run_command(*arguments, "--format", "json")
        first, second = finished.json["messages"]
        assert (first["ok"], first["acknowledgments"], first["nothing_due"], second["nothing_due"]) == (True, [], True, False)
        finished = await run_command(*arguments[:3], "--timeout", "0.1", "--expect", "first")
        assert finished.exit_code == 1, "what is asked for on the command line is waited for"


@pytest.mark.parametrize("option", ["--ca-file", "--cert-file", "--key-file"])
async def test_files_of_tls_for_a_plain_target_are_wrong_usage(option: str) -> None:
    finished = await run_command("send", "127.0.0.1:1", __file__, option, __file__)
    assert finished.exit_code == 2
    assert "only for mllps://" in finished.stderr
    assert option in finished.stderr


async def test_a_control_id_used_again_after_its_answer_did_not_come_goes_over_another_connection(tmp_path: Path) -> None:
    path = write(tmp_path, "same", 2 * message("SAME"))
    async with MllpServer(lambda body: []) as server:
        finished = await run_command("send", f"127.0.0.1:{server.port}", str(path), "--timeout", "0.1")
        assert len(server.connections) == 2
    assert finished.stdout.count("no acknowledgment came") == 2
