"""The answer to a request for log lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from medagent.logs import recent_lines
from medagent.requests.logs import answer_logs
from medagent.uplink.base import ServerRequest

log = logging.getLogger("medagent.test_logs")


@pytest.fixture(autouse=True)
def thirty_lines() -> Iterator[None]:
    log.addHandler(recent_lines)
    for number in range(30):
        log.warning("line %d", number)
    yield
    log.removeHandler(recent_lines)


def request(**fields: object) -> ServerRequest:
    return ServerRequest("agent:logs:request", "c1", {"type": "agent:logs:request", "callback": "c1", **fields})


@pytest.mark.parametrize(("fields", "count"), [({}, 20), ({"limit": 3}, 3), ({"limit": 25.0}, 25)])
def test_so_many_lines_the_newest_first(fields: dict[str, object], count: int) -> None:
    frame = answer_logs(request(**fields))
    assert {name: value for name, value in frame.items() if name != "logs"} == {
        "type": "agent:logs:response",
        "statusCode": 200,
        "callback": "c1",
    }
    assert [line["msg"] for line in frame["logs"]] == [f"line {29 - number}" for number in range(count)]
    assert set(frame["logs"][0]) == {"level", "msg", "timestamp"}
    assert frame["logs"][0]["level"] == "WARN"


@pytest.mark.parametrize("limit", [0, -1, 1001, 1.5, "20", True, None, [20]])
def test_another_limit_is_an_error_that_names_the_rule(limit: object) -> None:
    frame = answer_logs(request(limit=limit))
    assert frame["type"] == "agent:error"
    assert frame["callback"] == "c1"
    assert frame["body"].startswith("the limit must be a whole number from 1 to 1000, found ")


def test_the_most_lines_may_be_asked_for() -> None:
    assert len(answer_logs(request(limit=1000))["logs"]) >= 30
