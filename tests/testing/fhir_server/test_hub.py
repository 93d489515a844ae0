"""Where connections and REST calls meet."""

from __future__ import annotations

import asyncio

import pytest

from medagent.testing.fhir_server.hub import Connection, Hub
from medagent.testing.fhir_server.jsontext import JsonObject


def connected(hub: Hub, agent_id: str) -> tuple[Connection, list[JsonObject]]:
    sent: list[JsonObject] = []
    connection = Connection(sent.append)
    connection.agent_id = agent_id
    hub.connect(connection)
    return connection, sent


def test_a_request_goes_to_every_connection_of_the_agent_and_no_other() -> None:
    hub = Hub()
    (_, first), (_, second), (_, other) = connected(hub, "a"), connected(hub, "a"), connected(hub, "b")
    hub.publish("a", {"type": "x"})
    assert (first, second, other) == ([{"type": "x"}], [{"type": "x"}], [])


def test_a_second_connect_doubles_what_is_sent() -> None:
    hub = Hub()
    connection, sent = connected(hub, "a")
    hub.connect(connection)
    hub.send_heartbeats()
    assert sent == [{"type": "agent:heartbeat:request"}] * 2
    hub.disconnect(connection)
    hub.send_heartbeats()
    assert len(sent) == 2
    assert hub.connected == 0


def test_status_follows_connects_closes_and_heartbeat_answers() -> None:
    hub = Hub()
    assert (hub.info("a").status, hub.info("a").version, hub.info("a").last_updated) == ("unknown", "unknown", None)
    (one, _), (two, _) = connected(hub, "a"), connected(hub, "a")
    assert (hub.info("a").status, hub.info("a").version) == ("connected", "unknown")
    hub.disconnect(two)
    assert hub.info("a").status == "disconnected"
    hub.heartbeat_answered(one, "9.9")
    assert (hub.info("a").status, hub.info("a").version) == ("connected", "9.9")
    assert hub.info("a").last_updated is not None


async def test_the_first_answer_with_the_callback_wins_and_later_ones_are_dropped() -> None:
    hub = Hub()
    _, sent = connected(hub, "a")
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(hub.request("a", {"type": "q"}, 10))
        await asyncio.sleep(0)
        callback = sent[0]["callback"]
        assert callback.startswith("Agent/a-")
        hub.answered({"type": "other", "callback": "unknown"})
        hub.answered({"type": "none"})
        hub.answered({"type": "first", "callback": callback})
        hub.answered({"type": "second", "callback": callback})
    assert asked.result()["type"] == "first"
    hub.answered({"type": "late", "callback": callback})


async def test_without_an_answer_the_request_times_out() -> None:
    with pytest.raises(TimeoutError):
        await Hub().request("a", {"type": "q"}, 0.01)
