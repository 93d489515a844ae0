"""The uplink against a real WebSocket server that behaves as each test scripts it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve

from medagent.errors import AuthenticationFailed, ConfigError, MedagentError, NotReady
from medagent.testing.uplink import UplinkWorld, answer_to, messages, port_of
from medagent.uplink.base import Response
from medagent.uplink.websocket import VERSION, websocket_url

TIMEOUT = 20.0


@pytest.fixture
async def world() -> AsyncIterator[UplinkWorld]:
    world = UplinkWorld()
    async with asyncio.timeout(TIMEOUT), serve(world.server, "127.0.0.1", 0, max_size=None, compression=None) as server:
        world.server.base_url = f"http://127.0.0.1:{port_of(server)}/some/path/"
        yield world
        await world.stop()


async def test_connects_transmits_and_hands_over_the_answer(world: UplinkWorld) -> None:
    uplink = await world.connected()
    assert uplink.transmit(messages(1)) == 1
    await world.core.until(lambda: world.core.batches)
    assert world.core.batches == [[Response("k0", 200, "x-application/hl7-v2+er7", "MSA|AA")]]
    connect, transmit = world.server.frames
    assert connect == {"type": "agent:connect:request", "accessToken": "token-1", "agentId": "a-1"}
    assert (transmit["accessToken"], transmit["body"]) == ("token-1", messages(1)[0].body)
    assert uplink.status.state == "connected"
    request = world.server.latest.request
    assert request is not None
    assert request.path == "/ws/agent"


async def test_nothing_is_taken_before_the_server_has_accepted(world: UplinkWorld) -> None:
    world.server.every = world.server.listen_only
    world.start()
    await world.server.until(lambda: world.server.frames)
    assert world.uplink.transmit(messages(1)) == 0
    assert world.uplink.status.state == "connecting"


async def test_many_answers_of_one_read_come_as_one_list(world: UplinkWorld) -> None:
    async def all_at_once(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        answers = [answer_to(await world.server.receive(connection)) for _ in range(100)]
        for answer in answers:
            connection.protocol.send_text(json.dumps(answer).encode())
        connection.transport.write(b"".join(connection.protocol.data_to_send()))
        await connection.wait_closed()

    world.server.every = all_at_once
    uplink = await world.connected()
    assert uplink.transmit(messages(100)) == 100
    await world.core.until(lambda: world.core.batches)
    assert [response.callback for response in world.core.batches[0]] == [f"k{number}" for number in range(100)]


async def test_answers_may_be_binary_or_in_fragments_and_unknown_frames_do_no_harm(world: UplinkWorld) -> None:
    async def odd(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        first, second = [json.dumps(answer_to(await world.server.receive(connection))) for _ in range(2)]
        for noise in ("hello", "[]", b"\xff", '{"type":"agent:new:response"}', '{"type":"agent:transmit:response"}'):
            await connection.send(noise)
        await connection.send(first.encode())
        await connection.send([second[:20], second[20:60], second[60:]])
        await connection.wait_closed()

    world.server.every = odd
    uplink = await world.connected()
    uplink.transmit(messages(2))
    await world.core.until(lambda: "k1" in [response.callback for batch in world.core.batches for response in batch])
    assert [response.callback for batch in world.core.batches for response in batch] == ["", "k0", "k1"]
    assert world.core.calls.count("disconnected") == 0


@pytest.mark.parametrize("accepting", [False, True])
async def test_a_server_that_accepts_and_closes_is_not_hammered(world: UplinkWorld, accepting: bool) -> None:
    async def close(connection: ServerConnection) -> None:
        if accepting:
            await world.server.accept(connection)
        await connection.close()

    world.server.every = close
    world.start()
    await world.core.until(lambda: len(world.delays) == 12)
    assert world.delays[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert world.core.calls.count("connected") == world.core.calls.count("disconnected")


@pytest.mark.parametrize(("up", "next_delay"), [(9.9, 4.0), (10.0, 0.5)])
async def test_only_a_connection_that_lasted_resets_the_delay(world: UplinkWorld, up: float, next_delay: float) -> None:
    world.tokens.failures = [NotReady(), NotReady(), NotReady()]
    await world.connected()
    world.now += up
    world.server.latest.transport.abort()
    await world.core.until(lambda: len(world.delays) == 4)
    assert world.delays == [0.5, 1.0, 2.0, next_delay]


async def test_a_swallowed_connect_response_leads_to_a_new_connection(world: UplinkWorld) -> None:
    world.server.scripts = [world.server.listen_only]
    world.start()
    await world.server.until(lambda: world.server.frames)
    world.now += 10.0
    await world.core.until(lambda: world.core.calls == ["connected"])
    assert world.server.connects == 2


async def test_a_silent_server_is_left_after_two_heartbeats(world: UplinkWorld) -> None:
    world.server.scripts = [world.server.mute]
    await world.connected()
    for sent in (1, 2):
        world.now += 10.0
        await world.server.heard("agent:heartbeat:request", sent)
    await world.core.until(lambda: world.core.calls.count("connected") == 2)


async def test_heartbeats_go_both_ways(world: UplinkWorld) -> None:
    await world.connected()
    await world.server.latest.send('{"type":"agent:heartbeat:request"}')
    assert await world.server.heard("agent:heartbeat:response", 1) == [{"type": "agent:heartbeat:response", "version": VERSION}]
    for sent in range(1, 6):
        world.now += 10.0
        await world.server.heard("agent:heartbeat:request", sent)
    assert world.server.connects == 1


async def test_an_upgrade_that_hangs_is_given_up(world: UplinkWorld) -> None:
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    released = asyncio.Event()
    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        world.start(f"http://127.0.0.1:{port_of(server)}", open_timeout=0.05)
        await world.core.until(lambda: len(world.delays) == 2)
        assert world.uplink.status.detail == "the server does not answer in time"
        await world.stop()
        released.set()


async def test_a_refused_token_is_replaced(world: UplinkWorld) -> None:
    async def refuse(connection: ServerConnection) -> None:
        await world.server.receive(connection)
        await connection.send('{"type":"agent:error","body":"Invalid access token"}')
        await connection.wait_closed()

    world.server.scripts = [refuse]
    await world.connected()
    assert [frame["accessToken"] for frame in world.server.frames] == ["token-1", "token-2"]


async def test_a_token_refused_in_a_transmit_is_replaced(world: UplinkWorld) -> None:
    uplink = await world.connected()
    world.tokens.number = 2
    await world.tokens.get()
    assert uplink.transmit(messages(1)) == 1
    await world.server.latest.send('{"type":"agent:error","body":"Invalid access token"}')
    await world.core.until(lambda: world.core.calls.count("connected") == 2)
    assert world.server.frames[-1]["accessToken"] == "token-3"


async def test_a_token_that_no_frame_can_carry_does_not_end_the_uplink(
    world: UplinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def odd() -> str:
        monkeypatch.undo()
        return "\ud800"

    monkeypatch.setattr(world.tokens, "get", odd)
    await world.connected()
    assert [frame["accessToken"] for frame in world.server.frames] == ["token-1"]
    assert world.delays == [0.5]


async def test_transmits_carry_the_token_of_the_moment(world: UplinkWorld) -> None:
    uplink = await world.connected()
    world.tokens.number = 2
    await world.tokens.get()
    uplink.transmit(messages(1))
    await world.core.until(lambda: world.core.batches)
    assert world.server.frames[-1]["accessToken"] == "token-2"
    assert world.server.connects == 1


async def test_the_token_is_renewed_beside_the_connection(world: UplinkWorld) -> None:
    uplink = await world.connected()
    world.tokens.current = None
    assert uplink.transmit(messages(1)) == 0
    await world.core.until(lambda: "writable" in world.core.calls)
    assert uplink.transmit(messages(1)) == 1
    assert world.server.connects == 1


async def test_a_connection_without_a_token_is_kept_and_says_so(world: UplinkWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    uplink = await world.connected()
    world.tokens.failures = [NotReady("the token server is away")] * 3
    world.tokens.current = None
    assert uplink.transmit(messages(1)) == 0
    await world.core.until(lambda: "writable" in world.core.calls)
    assert uplink.status.state == "connected"
    ours = [record.getMessage() for record in caplog.records if record.name == "medagent.uplink.websocket"]
    assert [line.split(";")[0] for line in ours[1:]] == [
        "there is no access token: the token server is away",
        "there is an access token again",
    ]
    assert world.server.connects == 1


async def test_a_connection_without_a_token_is_not_called_connected(world: UplinkWorld) -> None:
    uplink = await world.connected()
    world.tokens.failures = [NotReady("the token server is away")] * 1000
    world.tokens.current = None
    async with asyncio.timeout(10):
        while "is away" not in uplink.status.detail:
            await asyncio.sleep(0)
    assert (uplink.status.state, uplink.status.detail) == ("waiting", "there is no access token: the token server is away")


async def test_a_token_that_ends_while_the_next_is_asked_for_is_told(
    world: UplinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    uplink = await world.connected()
    assert uplink.status.state == "connected"
    asked = asyncio.Event()

    async def never() -> str:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(world.tokens, "get", never)
    world.tokens.current = None
    await asked.wait()
    assert (uplink.status.state, uplink.status.detail) == ("waiting", "there is no access token: one has been asked for")


@pytest.mark.parametrize("failure", [AuthenticationFailed("the server refuses the client"), NotReady("429")])
async def test_without_a_token_it_keeps_trying_and_says_why(world: UplinkWorld, failure: MedagentError) -> None:
    if isinstance(failure, NotReady):
        failure.retry_after = 77.0
    world.tokens.failures = [failure] * 8
    await world.connected()
    assert world.delays == [77.0] * 8 if isinstance(failure, NotReady) else [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


async def test_a_frame_too_long_for_us_ends_the_connection(world: UplinkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medagent.uplink.websocket.MAX_FRAME_BYTES", 1000)
    await world.connected()
    await world.server.latest.send("x" * 1001)
    await world.core.until(lambda: world.core.calls.count("connected") == 2)
    assert world.core.calls == ["connected", "disconnected", "connected"]


async def test_replies_to_a_server_that_does_not_read_are_limited_and_given_when_it_reads(
    world: UplinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_on = asyncio.Event()

    async def slow(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        await read_on.wait()
        await world.server.listen_only(connection)

    monkeypatch.setattr("medagent.uplink.replies.MAX_BYTES", 2_000_000)
    world.server.every = slow
    uplink = await world.connected()
    for number in range(100):
        uplink.reply({"type": "agent:error", "body": "x" * 500_000, "number": number})
    read_on.set()
    await world.server.until(lambda: world.server.frames[-1].get("number") == 99)
    numbers = [frame["number"] for frame in world.server.frames[1:]]
    assert numbers == sorted(numbers)
    assert len(numbers) < 50
    assert world.server.connects == 1


async def test_requests_of_the_server_and_replies(world: UplinkWorld) -> None:
    uplink = await world.connected()
    await world.server.latest.send('{"type":"agent:reloadconfig:request","callback":"Agent/a-1-9"}')
    await world.core.until(lambda: world.core.requests)
    reply = {"type": "agent:reloadconfig:response", "statusCode": 200, "callback": world.core.requests[0].callback}
    uplink.reply(reply)
    await world.server.until(lambda: len(world.server.frames) == 2)
    assert world.server.frames[1] == reply


async def test_reconnect_takes_a_new_token(world: UplinkWorld) -> None:
    uplink = await world.connected()
    uplink.reconnect("the dispatcher has its reasons")
    assert uplink.transmit(messages(1)) == 0
    await world.core.until(lambda: world.core.calls.count("connected") == 2)
    assert world.server.frames[-1]["accessToken"] == "token-2"


async def test_a_receiver_that_fails_costs_the_connection_and_its_text_stays_out_of_the_log(
    world: UplinkWorld, caplog: pytest.LogCaptureFixture
) -> None:
    uplink = await world.connected()
    world.core.fail_on_answer = ValueError("DOE^JOHN")
    uplink.transmit(messages(1))
    await world.core.until(lambda: world.core.calls.count("connected") == 2)
    assert "ValueError" in caplog.text
    assert "DOE" not in caplog.text


async def test_changes_of_state_are_logged_once_without_secrets(world: UplinkWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.tokens.failures = [NotReady("the server is away")] * 5
    uplink = await world.connected()
    uplink.transmit(messages(1))
    await world.core.until(lambda: world.core.batches)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("medagent")]
    assert [line.split(";")[0] for line in lines] == [
        "WebSocket worker error: the server is away",
        f"WebSocket worker connected to {websocket_url(world.server.base_url)} as Agent/a-1",
    ]
    ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert not [line for line in ours if "token-1" in line or "MSH" in line]


async def test_cancelling_closes_cleanly(world: UplinkWorld) -> None:
    uplink = await world.connected()
    connection = world.server.latest
    await world.stop()
    await connection.wait_closed()
    assert connection.close_code == 1000
    assert world.core.calls == ["connected", "disconnected"]
    assert uplink.status.state == "off"
    assert uplink.transmit(messages(1)) == 0
    uplink.reply({"type": "agent:error", "body": "late"})


async def test_cancelling_does_not_wait_for_a_server_that_is_stuck(world: UplinkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medagent.uplink.link.CLOSE_TIMEOUT", 0.05)
    await world.connected()
    world.server.latest.transport.pause_reading()
    await world.stop()
    assert world.core.calls == ["connected", "disconnected"]
    world.server.latest.transport.abort()


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://127.0.0.1:8103/", "ws://127.0.0.1:8103/ws/agent"),
        ("https://api.example.com", "wss://api.example.com/ws/agent"),
        ("https://user:pw@[::1]:8443/base/fhir/R4?x=1", "wss://[::1]:8443/ws/agent"),
    ],
)
def test_the_socket_lies_at_the_root_of_the_server(base_url: str, url: str) -> None:
    assert websocket_url(base_url) == url


@pytest.mark.parametrize("base_url", ["", "api.example.com", "ftp://api.example.com", "http://", "http://[::1"])
def test_a_base_url_that_is_none(base_url: str) -> None:
    with pytest.raises(ConfigError):
        websocket_url(base_url)
