"""Where resources are validated: in a child process the same is found as in this one, and none is left unvalidated."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from medagent.fhir import validation
from medagent.fhir.validation import AGENT, CHANNEL, ENDPOINT, SETTING, rest, validate, work_apart
from medagent.testing.resources import agent_resource, endpoint_resource

FAULTY: list[tuple[str, dict[str, Any]]] = [  # decoded JSON
    (AGENT, agent_resource({"adt": "adt"})),
    (AGENT, {"resourceType": "Agent", "status": 7, "meta": {"author": {}, "versionId": []}}),
    (AGENT, agent_resource() | {"name": "\ud83d"}),
    (AGENT, agent_resource() | {"extension": [{"url": "x", "valueDecimal": float("nan")}]}),
    (SETTING, {"name": "maxInFlight", "valueInteger": 3, "contained": []}),
    (SETTING, {"name": "maxInFlight", "valueInteger": 10**30}),
    (CHANNEL, {"name": "adt", "endpoint": "Endpoint/adt", "targetUrl": "http://x"}),
    (ENDPOINT, endpoint_resource("adt", "mllp://127.0.0.1:2575")),
    (ENDPOINT, {"resourceType": "Endpoint", "status": "active"}),
]


@pytest.fixture(autouse=True)
def _in_this_process_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(validation, "_place", validation._Place())
    yield
    rest()


def child() -> int:
    """Its process id."""
    assert validation._place.child is not None
    return validation._place.child._process.pid


def test_a_child_process_finds_the_same() -> None:
    here = [validate(kind, raw) for kind, raw in FAULTY]
    work_apart()
    assert [validate(kind, raw) for kind, raw in FAULTY] == here
    assert [bool(findings) for findings in here] == [False, True, True, True, True, True, True, False, True]
    assert child()


def test_what_cannot_be_told_to_it_is_validated_here() -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"extension": [nested]}
    here = validate(AGENT, agent_resource() | nested)
    work_apart()
    assert validate(AGENT, agent_resource() | nested) == here != []


def test_it_ends_when_there_is_nothing_more_to_validate_and_begins_again() -> None:
    work_apart()
    first = child()
    rest()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert validate(*FAULTY[-1]) != []
    assert child() != first


def test_one_that_fails_costs_no_validation(caplog: pytest.LogCaptureFixture) -> None:
    here = validate(*FAULTY[-1])
    work_apart()
    os.kill(child(), signal.SIGKILL)
    assert validate(*FAULTY[-1]) == here
    assert "they are validated in this one" in caplog.text
    assert validate(*FAULTY[-1]) == here
    assert validation._place.child is None


def test_one_that_cannot_begin_costs_no_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    here = validate(*FAULTY[-1])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    work_apart()
    assert validate(*FAULTY[-1]) == here


def test_it_does_not_survive_its_agent() -> None:
    script = "import medagent.fhir.validation as v; v.work_apart(); print(v._place.child._process.pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        descriptor = os.pidfd_open(int(agent.stdout.readline()))
        agent.kill()
    try:
        assert select.select([descriptor], [], [], 20)[0]  # readable once it has ended
    finally:
        os.close(descriptor)
