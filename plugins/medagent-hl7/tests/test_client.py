"""The MLLP sender: which answer belongs to which message, and what happens when none comes."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7 import client as client_module
from medagent_hl7.answers import AnswerTimeout, ConnectFailed, ConnectionLost, Expect, SendFailed
from medagent_hl7.client import CONNECT_TIMEOUT, MOST_ANSWERS, Client, Remote
from medagent_hl7.message import Hl7Error

SHORT = 0.05
"""Seconds, for what is meant to time out."""


def message(control_id: str = "M1") -> bytes:
    return rf"MSH|^~\&|SENDER|NORTH|RECEIVER|SOUTH|20260302||ADT^A01|{control_id}|P|2.5".encode() + b"\rPID|1\r"


def silent(body: bytes) -> list[bytes]:
    return []


async def connect(server: MllpServer) -> Client:
    return await Client.connect(Remote("127.0.0.1", server.port))


def answering(*codes: str) -> MllpServer:
    return MllpServer(lambda body: acknowledge(body, *codes))


async def test_sends_the_body_as_it_is_and_returns_the_answer() -> None:
    body = message() + "ZXX|Zoë|日本\r".encode()
    async with MllpServer() as server, await connect(server) as client:
        [answer] = await client.send(body)
    assert server.received == [body]
    assert answer.code == "AA"
    assert b"\rMSA|AA|M1\r" in answer.body
    assert answer.seconds > 0


async def test_a_commit_acknowledgment_is_not_the_end_where_an_application_acknowledgment_is_due() -> None:
    async with MllpServer() as server, await connect(server) as client:
        server.respond = lambda body: acknowledge(body, "CA")
        waiting = asyncio.ensure_future(client.send(message("M1"), Expect.APPLICATION))
        await server.wait_for(1)
        await client.send(message("M2"))  # its answer comes after the CA of M1
        assert not waiting.done()
        server.connections[0].send(*acknowledge(message("M1"), "AA"))
        assert [answer.code for answer in await waiting] == ["CA", "AA"]


async def test_answers_belong_to_the_message_they_name_in_any_order() -> None:
    async with MllpServer(silent) as server, await connect(server) as client:
        waiting = [asyncio.ensure_future(client.send(message(control_id))) for control_id in ("M1", "M2", "M3")]
        await server.wait_for(3)
        for control_id, code in (("M3", "AR"), ("M1", "AA"), ("M2", "AE")):
            server.connections[0].send(*acknowledge(message(control_id), code))
        assert [[answer.code for answer in answers] for answers in await asyncio.gather(*waiting)] == [["AA"], ["AE"], ["AR"]]
        assert client.unmatched == 0


async def test_an_answer_to_another_control_id_is_never_taken() -> None:
    other = acknowledge(message("OTHER"), "AA")
    async with MllpServer(lambda body: other) as server, await connect(server) as client:
        with pytest.raises(AnswerTimeout, match="1 answers were for other control IDs") as caught:
            await client.send(message(), timeout=SHORT)
        assert caught.value.answers == []
        assert client.unmatched == 1


async def test_an_answer_without_msa_is_never_taken() -> None:
    async with MllpServer(lambda body: [body]) as server, await connect(server) as client:
        with pytest.raises(AnswerTimeout):
            await client.send(message(), timeout=SHORT)
        assert client.unmatched == 1


async def test_a_time_out_tells_what_had_come() -> None:
    async with answering("CA") as server, await connect(server) as client:
        with pytest.raises(AnswerTimeout, match="only CA came") as caught:
            await client.send(message(), Expect.BOTH, timeout=SHORT)
        assert [answer.code for answer in caught.value.answers] == ["CA"]


async def test_lingers_for_an_application_acknowledgment_that_need_not_come() -> None:
    async with answering("CA", "AA") as server, await connect(server) as client:
        assert [answer.code for answer in await client.send(message(), linger=10)] == ["CA", "AA"]
        server.respond = lambda body: acknowledge(body, "CA")
        assert [answer.code for answer in await client.send(message("M2"), linger=SHORT)] == ["CA"]


async def test_a_control_id_that_still_waits_is_not_used_again() -> None:
    async with MllpServer(silent) as server, await connect(server) as client:
        waiting = asyncio.ensure_future(client.send(message()))
        await server.wait_for(1)
        with pytest.raises(SendFailed, match="same control ID"):
            await client.send(message())
        server.connections[0].send(*acknowledge(message(), "AA"))
        await waiting
        server.respond = lambda body: acknowledge(body, "AA")
        with pytest.raises(SendFailed, match="same control ID"):
            await client.send(message())
        assert len(await client.send(message("M2"))) == 1


async def test_a_control_id_whose_answer_did_not_come_is_not_used_again_on_the_connection() -> None:
    async with MllpServer(silent) as server, await connect(server) as client:
        with pytest.raises(AnswerTimeout):
            await client.send(message("M1"), timeout=SHORT)
        assert not client.can_send("M1")
        with pytest.raises(SendFailed, match="same control ID"):
            await client.send(message("M1"))
        assert client.can_send("M2")
        assert len(server.received) == 1


async def test_the_receiver_closes_the_connection() -> None:
    async with MllpServer(lambda body: None) as server, await connect(server) as client:
        with pytest.raises(ConnectionLost, match="no acknowledgment came"):
            await client.send(message())
        with pytest.raises(ConnectionLost):
            await client.send(message())


async def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound and not listening: refused, and nobody else can take the port
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="Connection refused"):
            await Client.connect(Remote("127.0.0.1", taken.getsockname()[1]))


@pytest.mark.parametrize("host", ["..", "x" * 64, "127.0.0.256.1"])
async def test_no_host(host: str) -> None:
    with pytest.raises(ConnectFailed, match="cannot connect to"):
        await Client.connect(Remote(host, 2575))


async def test_what_is_not_hl7_is_not_sent() -> None:
    async with MllpServer() as server, await connect(server) as client:
        with pytest.raises(Hl7Error):
            await client.send(b"PID|1\r")
    assert server.received == []


async def test_closes_although_the_receiver_reads_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = await Client.connect(Remote("127.0.0.1", listener.getsockname()[1]))
        waiting = asyncio.ensure_future(client.send(message() + b"ZXX|" + b"x" * 20_000_000 + b"\r"))
        await asyncio.sleep(0)  # lets it write
        await client.close()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_what_nobody_acknowledges_is_not_done_before_the_receiver_takes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = await Client.connect(Remote("127.0.0.1", listener.getsockname()[1]))
        big = b"ZXX|" + b"x" * 20_000_000 + b"\r"
        assert await client.send(message("M1"), Expect.NONE) == []
        with pytest.raises(AnswerTimeout, match=rf"has not taken all of the message within {SHORT} s"):
            await client.send(message("M2") + big, Expect.NONE, timeout=SHORT)
        waiting = asyncio.ensure_future(client.send(message("M3") + big, Expect.NONE))
        await asyncio.sleep(0)  # lets it write
        client.begin_close()  # nobody waits for it, and it ends nevertheless
        with pytest.raises(ConnectionLost, match="before all of the message was written"):
            await waiting
        assert not client.usable


async def test_a_flood_of_answers_is_not_kept_and_the_last_one_counts() -> None:
    codes = ["CA"] * 50 + [f"X{number}" for number in range(40)]
    async with answering(*codes) as server, await connect(server) as client:
        waiting = asyncio.ensure_future(client.send(message(), Expect.APPLICATION))
        await server.wait_for(1)
        server.connections[0].send(*acknowledge(message(), "AA", "AA"))
        answers = [answer.code for answer in await waiting]
        assert (answers[0], answers[-1]) == ("CA", "AA")
        assert len(answers) <= MOST_ANSWERS + 1
        assert client.unmatched > 50


@pytest.mark.parametrize("flood", [b"\x0b\x0b", b"\x0bx", b"\x0b\x1c\r", b"junk", b"\r"])
async def test_a_flood_outside_frames_fails_the_message_and_ends_the_connection(flood: bytes) -> None:
    async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\x1c\r")
        with contextlib.suppress(OSError):
            while True:
                writer.write(flood * 8192)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(device, "127.0.0.1", 0) as server:
        client = await Client.connect(Remote("127.0.0.1", server.sockets[0].getsockname()[1]))
        with pytest.raises(ConnectionLost, match="more than 65536 bytes outside frames, no acknowledgment came"):
            await client.send(message())
        assert not client.usable


@pytest.mark.parametrize("useless", [acknowledge(message(), "CA")[0], acknowledge(message("X"), "AA")[0], b"x", b"\x06"])
async def test_too_many_answers_to_nothing_fail_the_message_and_end_the_connection(useless: bytes) -> None:
    async with MllpServer(lambda body: [*acknowledge(body, "CA"), *[useless] * 100]) as server, await connect(server) as client:
        waiting = asyncio.ensure_future(client.send(message(), Expect.APPLICATION))
        await server.wait_for(1)
        server.connections[0].send(*acknowledge(message(), "AA"))
        assert [answer.code for answer in await waiting] == ["CA", "AA"]
        server.respond = lambda body: [useless] * 101 + acknowledge(body, "AA")
        with pytest.raises(ConnectionLost, match="more than 100 answers to nothing that waits"):
            await client.send(message("M2"), Expect.APPLICATION)


async def test_a_long_answer_is_no_flood() -> None:
    async with (
        MllpServer(lambda body: [acknowledge(body, "AA")[0] + b"Z" * 900_000]) as server,
        await connect(server) as client,
    ):
        for name in ("M1", "M2", "M3"):
            assert len((await client.send(message(name)))[0].body) > 900_000


async def test_who_does_not_answer_the_connect_is_given_up() -> None:
    assert CONNECT_TIMEOUT == 10.0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as stack:
            # the system takes these without the program; then it answers no more
            for _ in range(8):
                filling = stack.enter_context(socket.socket())
                filling.setblocking(False)
                filling.connect_ex(("127.0.0.1", port))
            with pytest.raises(ConnectFailed, match=f"no answer within {SHORT} s"):
                await Client.connect(Remote("127.0.0.1", port), SHORT)


@pytest.mark.parametrize("expect", [Expect.FIRST, Expect.APPLICATION])
async def test_a_second_copy_of_an_answer_settles_no_other_message(expect: Expect) -> None:
    async with answering("AA", "AA") as server, await connect(server) as client:
        await client.send(message(), expect)
        assert not client.can_send("M1")
        with pytest.raises(SendFailed, match="same control ID"):
            await client.send(message(), expect)
        assert not client.worn


async def test_a_connection_remembers_so_many_control_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_REMEMBERED", 2)
    async with answering("AA") as server, await connect(server) as client:
        for name in ("M1", "M2", "M3"):
            await client.send(message(name))
        assert client.worn
        assert [client.can_send(name) for name in ("M1", "M2", "M3")] == [True, False, False]
