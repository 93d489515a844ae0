"""What each frame from an agent leads to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.tasks import Tasks
from medagent.testing.bots import HL7, NO_ANSWER, Bot, BotRequest, BotResult, Reply, acknowledge, fail
from medagent.testing.fhir_server.agent_protocol import AgentProtocol
from medagent.testing.fhir_server.faults import Faults
from medagent.testing.fhir_server.hub import Connection, Hub
from medagent.testing.fhir_server.journal import Journal
from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.fhir_server.store import Store
from medagent.testing.fhir_server.tokens import Tokens
from medagent.testing.resources import AGENT_ID, agent_resource

MESSAGE = "MSH|^~\\&|MON|WARD7|HUB|CLINIC|20260301081500||ADT^A08|M1|P|2.5\rPID|1||77\r"


class World:
    """A protocol without a network, one connection, and what was sent on it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.tokens = Tokens("client1", 60.0, lambda: 0.0)
        self.store = Store()
        self.store.put(agent_resource({"adt": "ep1"}))
        self.faults = Faults()
        self.journal = Journal(keep=True)
        self.tasks = Tasks()
        self.protocol = AgentProtocol(
            hub=self.hub,
            tokens=self.tokens,
            store=self.store,
            journal=self.journal,
            faults=self.faults,
            tasks=self.tasks,
            bot=acknowledge,
            version="5.0.10",
        )
        self.token = self.tokens.issue()
        self.sent: list[JsonObject] = []
        self.connection = Connection(self.sent.append)

    def say(self, frame: object) -> list[JsonObject]:
        """What the server sends at once."""
        return self.say_text(json.dumps(frame))

    def say_text(self, text: str) -> list[JsonObject]:
        before = len(self.sent)
        self.protocol.receive(self.connection, text)
        return self.sent[before:]

    def connect(self) -> None:
        frame = {"type": "agent:connect:request", "accessToken": self.token, "agentId": AGENT_ID}
        assert self.say(frame) == [{"type": "agent:connect:response"}]

    # changes of a frame, None to leave a field out
    def transmit(self, bot: Bot | None = None, **changes: object) -> list[JsonObject]:
        self.protocol.bot = bot or self.protocol.bot
        frame = {
            "type": "agent:transmit:request",
            "accessToken": self.token,
            "channel": "adt",
            "remote": "10.1.2.3:4001",
            "contentType": HL7,
            "body": MESSAGE,
            "callback": "cb-1",
        }
        return self.say({name: value for name, value in (frame | changes).items() if value is not None})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.tasks.cancel()


def error(text: str) -> list[JsonObject]:
    return [{"type": "agent:error", "body": text}]


async def test_an_answer_carries_what_the_request_carried(world: World) -> None:
    world.connect()
    [answer] = world.transmit()
    assert answer.pop("body").endswith("\rMSA|AA|M1|OK")
    assert answer == {
        "type": "agent:transmit:response",
        "channel": "adt",
        "remote": "10.1.2.3:4001",
        "contentType": HL7,
        "statusCode": 200,
        "callback": "cb-1",
    }
    [bare] = world.transmit(callback=None, remote=None)
    assert set(bare) == {"type", "channel", "contentType", "statusCode", "body"}


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ({"agentId": AGENT_ID}, "Missing access token"),
        ({}, "Missing access token"),
        ({"accessToken": "x"}, "Missing agent ID"),
        ({"accessToken": "x", "agentId": AGENT_ID}, "Invalid access token"),
        ({"accessToken": "x", "agentId": "nope"}, "Invalid access token"),
    ],
)
async def test_a_connect_is_refused_in_this_order(world: World, frame: JsonObject, text: str) -> None:
    assert world.say({"type": "agent:connect:request"} | frame) == error(text)


async def test_a_refused_connect_counts_as_connected_and_then_fails_as_not_found(world: World) -> None:
    assert world.say({"type": "connect", "accessToken": world.token, "agentId": "nope"}) == error("Not found")
    assert world.transmit() == error("Not found")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"accessToken": None, "channel": None, "body": None}, "Missing access token"),
        ({"channel": None, "body": None, "accessToken": "x"}, "Missing channel"),
        ({"body": "", "accessToken": "x"}, "Missing body"),
        ({"accessToken": "x", "channel": "nope"}, "Invalid access token"),
        ({"channel": "nope", "body": "hello"}, "Channel not found"),
        ({"body": "hello"}, "Invalid HL7 message"),
        ({"contentType": "application/json", "body": "hello"}, "Unexpected token 'h', \"hello\" is not valid JSON"),
    ],
)
async def test_a_transmit_is_refused_in_this_order(world: World, changes: JsonObject, text: str) -> None:
    assert world.transmit(**changes) == error("Not connected")
    world.connect()
    assert world.transmit(**changes) == error(text)
    assert (world.journal.transmit_count, world.journal.executed_count) == (2, 0)


async def test_a_body_without_content_type_is_not_looked_at(world: World) -> None:
    world.connect()
    [answer] = world.transmit(contentType=None, body="hello", bot=lambda request: f"got {request.body}")
    assert "contentType" not in answer
    assert answer["body"] == "got hello"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "Unknown message type: undefined"),
        ("7", "Unknown message type: undefined"),
        ('{"foo": 1}', "Unknown message type: undefined"),
        ('{"type": "agent:stats:request"}', "Unknown message type: agent:stats:request"),
        ("null", "Cannot read properties of null (reading 'type')"),
        ("hello", "Unexpected token 'h', \"hello\" is not valid JSON"),
    ],
)
async def test_odd_texts_are_complained_about(world: World, text: str, complaint: str) -> None:
    assert world.say_text(text) == error(complaint)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_breaks_the_server(text: str) -> None:
    world = World()
    assert len(world.say_text(text)) == 1


async def test_heartbeats_are_answered_before_a_connect(world: World) -> None:
    answer = {"type": "agent:heartbeat:response", "version": "5.0.10"}
    assert world.say({"type": "agent:heartbeat:request"}) == [answer]
    assert world.say({"type": "agent:heartbeat:response", "version": "1"}) == []


def nothing(request: BotRequest) -> BotResult:
    request.log.append("looked at it")
    return None


async def test_what_the_bot_does_decides_the_answer(world: World) -> None:
    world.connect()
    [answer] = world.transmit(fail)
    outcome = json.loads(answer["body"])
    assert (answer["statusCode"], answer["contentType"]) == (400, "application/json")
    assert outcome["issue"][0]["details"]["text"] == "bot failure on purpose"
    [answer] = world.transmit(nothing)
    assert (answer["statusCode"], answer["contentType"], answer["body"]) == (200, HL7, "Bot execution logs:\nlooked at it")
    [answer] = world.transmit(lambda request: Reply(429, "slow down", "text/plain"))
    assert (answer["statusCode"], answer["contentType"], answer["body"]) == (429, "text/plain", "slow down")
    assert world.transmit(lambda request: NO_ANSWER) == []


async def test_answers_leave_in_the_order_the_bots_end(world: World) -> None:
    gates = {"cb-1": asyncio.Event(), "cb-2": asyncio.Event()}

    async def bot(request: BotRequest) -> str:
        await gates[str(request.callback)].wait()
        return str(acknowledge(request))

    world.connect()
    del world.sent[:]
    assert world.transmit(bot, callback="cb-1") == []
    assert world.transmit(bot, callback="cb-2") == []
    gates["cb-2"].set()
    await world.journal.wait_until(lambda: world.journal.response_count == 1, 10)
    gates["cb-1"].set()
    await world.journal.wait_until(lambda: world.journal.response_count == 2, 10)
    assert [frame["callback"] for frame in world.sent] == ["cb-2", "cb-1"]


async def test_an_answer_for_a_closed_connection_is_lost(world: World) -> None:
    gate = asyncio.Event()

    async def bot(request: BotRequest) -> str:
        await gate.wait()
        return "late"

    world.connect()
    world.transmit(bot)
    world.hub.disconnect(world.connection)
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.sent == [{"type": "agent:connect:response"}]
    assert world.journal.executed_count == 1


async def test_faults_of_answers(world: World) -> None:
    world.faults.swallow_connect_response = True
    assert world.say({"type": "agent:connect:request", "accessToken": world.token, "agentId": AGENT_ID}) == []
    assert world.hub.connected == 1
    world.faults.answer_twice = True
    first, second = world.transmit()
    assert first == second
    world.faults.answer_twice = False
    world.faults.unknown_callback = True
    [answer] = world.transmit()
    assert answer["callback"] not in ("cb-1", "")
    world.faults.mute = True
    assert world.transmit() == []
    assert world.say({"type": "agent:heartbeat:request"}) == []


async def test_every_answer_is_told_to_the_observer(world: World) -> None:
    seen: list[tuple[object, object]] = []
    world.protocol.on_transmit = lambda frame, response: seen.append((frame["callback"], response["statusCode"]))
    world.connect()
    world.transmit()
    world.transmit(fail, callback="cb-2")
    assert seen == [("cb-1", 200), ("cb-2", 400)]
