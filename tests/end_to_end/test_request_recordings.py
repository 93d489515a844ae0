"""A real server's requests, as recorded, served by this agent: its frames are the reference agent's, or better ones.

`BETTER` names every difference: what the reference agent left without an answer, and errors that are said in other words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medagent.outbound import outbound
from medagent.testing.fhir_server import FhirServer
from medagent.testing.fhir_server.journal import TO_SERVER as SENT
from medagent.testing.in_process import connected
from medagent.testing.mllp_server import MllpServer
from medagent.testing.resources import agent_resource
from medagent.testing.shared import transcripts
from medagent.testing.transcripts import TO_AGENT, TO_SERVER, Line, load

pytestmark = pytest.mark.skipif(transcripts() is None, reason="the recordings of a real server are not beside this checkout")

Frame = dict[str, Any]  # as decoded JSON

AGENT = "3a3ca02e-9d73-423c-b23c-a2003556a4c6"
PEER, DOWN = "127.0.0.1:56100", "127.0.0.1:56199"
"""The devices of the recordings; nobody listens on the second."""
NO_ANSWER = {"CONLY001", "WRONG001", *(f"MUTE{number}" for number in ("0001", *range(101, 108), "201"))}
"""Pushes that a device never answers, so that this agent has said nothing when the recording ends.

The reference agent fails WRONG001 at once: the device acknowledges something else; here its own answer is waited for.
"""
BETTER = {
    # (recording, what is asked): what this agent says instead
    ("12", "DOWN0001"): "cannot connect to 127.0.0.1:{down}: Connection refused",
    ("13", "ASYNC003"): "cannot connect to 127.0.0.1:{down}: Connection refused",
    # without MSH-10 the reference agent also fails the other pushes on the connection
    ("12", "MSH without MSH-10"): "the message has no control ID (MSH-10), so no acknowledgment could be told to be its own",
    # to these it does not answer at all
    ("12", "MSH cut short"): "the message has no control ID (MSH-10), so no acknowledgment could be told to be its own",
    ("12", "not hl7"): "the message is no HL7 v2: The message does not begin with MSH",
    ("12", "free text"): 'content of type "text/plain" cannot be sent, only x-application/hl7-v2+er7',
    ("14", "PING 127.0.0.1"): "the program ping cannot be run on the agent's machine: No such file or directory",
    ("14", "PING x 127.0.0.1"): "the body of a ping is PING, or PING and a number from 1 to 10; found 6 characters",
    ("14", "PING mllp"): '"mllp://127.0.0.1:{peer}" is no IP address and no host name',
    ("14", "hello localhost"): "the body of a ping is PING, or PING and a number from 1 to 10; found 5 characters",
    ("16", "PING 127.0.0.1"): "the program ping cannot be run on the agent's machine: No such file or directory",
    ("15", "limit 0"): "the limit must be a whole number from 1 to 1000, found 0",
    ("15", "limit 5000"): "the limit must be a whole number from 1 to 1000, found 5000",
    ("15", "agent:upgrade:request"): "medagent is upgraded on its machine and not by the server",
}
RECORDINGS = ["10", "11", "12", "12b", "13", "14", "15", "16"]


def asked(frame: Frame) -> str:
    """A short name of a request."""
    if frame["type"] != "agent:transmit:request":
        return f"limit {frame['limit']}" if "limit" in frame else str(frame["type"])
    body: str = frame["body"]
    if not body.startswith("MSH|"):
        host = "mllp" if "://" in frame["remote"] else frame["remote"]
        return f"{body} {host}" if "ping" in frame["contentType"] else body
    fields = body.split("\r")[0].split("|")
    return (fields[9] or "MSH without MSH-10") if len(fields) > 9 else "MSH cut short"


def requests(lines: list[Line]) -> list[tuple[int, Frame]]:
    """What the server asks for, with its place in the recording."""
    return [
        (index, line.frame)
        for index, line in enumerate(lines)
        if line.channel == "ws" and line.direction == TO_AGENT and isinstance(line.frame, dict)
        if line.frame["type"].endswith(":request") and line.frame["type"] != "agent:heartbeat:request"
    ]


def recorded_answer(lines: list[Line], index: int, request: Frame) -> Frame | None:
    """What the reference agent has answered, if anything."""
    for line in lines[index:]:
        if line.channel != "ws" or line.direction != TO_SERVER or not isinstance(line.frame, dict):
            continue
        frame = line.frame
        if frame["type"] in ("agent:transmit:request", "agent:heartbeat:request", "agent:heartbeat:response"):
            continue
        if frame.get("callback") == request.get("callback"):
            return frame
    return None


def peer_answers(lines: list[Line]) -> dict[bytes, list[bytes]]:
    """What the device answers to each message."""
    answers: dict[bytes, list[bytes]] = {}
    last = b""
    for line in lines:
        if line.channel == "peer" and line.direction == "agent->peer":
            last = line.raw["data"].encode()
            answers.setdefault(last, [])
        elif line.channel == "peer" and line.direction == "peer->agent":
            answer = line.raw["data"].encode()
            control_id = answer.split(b"MSA|")[1].split(b"|")[1]
            own = [body for body in answers if body.split(b"|")[9] == control_id]
            answers[own[0] if own else last].append(answer)
    return answers


def statuses(lines: list[Line]) -> list[str]:
    """Agent.status as each reload finds it."""
    read = [line.raw["resp_body"] for line in lines if line.channel == "http" and "/Agent/" in line.raw.get("path", "")]
    return [json.loads(text)["status"] for text in read]


class Replay:
    """One recording, played to this agent."""

    def __init__(self, recording: str, server: FhirServer, peer: MllpServer, down: int, ping: Path) -> None:
        self.recording = recording
        self.lines = load(recording)
        self.server = server
        self.ports = {"peer": peer.port, "down": down}
        self.ping = ping
        self.used: set[tuple[str, str]] = set()
        self.statuses = statuses(self.lines)
        answers = peer_answers(self.lines)
        peer.respond = lambda body: answers.get(body, [])

    def here(self, frame: Frame) -> Frame:
        """A recorded frame with the ports of this test."""
        moved = json.dumps(frame).replace(PEER, f"127.0.0.1:{self.ports['peer']}")
        loaded: Frame = json.loads(moved.replace(DOWN, f"127.0.0.1:{self.ports['down']}"))
        return loaded

    def said(self) -> list[Frame]:
        """What this agent has answered so far."""
        frames = [exchange.frame for exchange in self.server.frames if exchange.direction == SENT]
        return [
            frame for frame in frames if frame["type"].endswith((":response", ":error")) and "heartbeat" not in frame["type"]
        ]

    async def play(self) -> None:
        expected = 0
        for index, request in requests(self.lines):
            theirs = recorded_answer(self.lines, index, request)
            name = asked(request)
            if theirs is not None and theirs.get("statusCode") == 200 and "ping" in theirs.get("contentType", ""):
                self.put_ping()
            if request["type"] == "agent:reloadconfig:request":
                self.server.put(agent_resource(id=AGENT, status=self.statuses.pop(0) if self.statuses else "active"))
            self.server.hub.publish(AGENT, self.here(request))
            if name in NO_ANSWER:
                continue
            expected += 1
            await self.server.wait_for(lambda _, count=expected: len(self.said()) >= count)  # type: ignore[misc]  # of a default
            [ours] = [frame for frame in self.said() if frame.get("callback") == request.get("callback")][-1:]
            self.compare(name, ours, theirs)
        assert len(self.said()) == expected

    def put_ping(self) -> None:
        """The stub that the recording was made with, before this agent gave it `-W`."""
        self.ping.write_text(
            '#!/bin/sh\necho "PING stub args: $1 $2 $5\n1 packets transmitted, 1 received, 0% packet loss, time 0ms"\n'
        )
        self.ping.chmod(0o755)

    def compare(self, name: str, ours: Frame, theirs: Frame | None) -> None:
        better = BETTER.get((self.recording, name))
        if better is not None and not (theirs is not None and self.here(theirs) == ours):
            self.used.add((self.recording, name))
            assert better.format(**self.ports) in ours["body"]
            assert theirs is None or name.startswith("hello") or shape(ours) == shape(self.here(theirs))
        elif ours["type"] == "agent:logs:response":
            assert theirs is not None
            assert list(ours) == list(theirs)
            assert [set(line) for line in ours["logs"]] <= [{"level", "msg", "timestamp"}] * len(ours["logs"])
        else:
            assert theirs is not None
            assert ours == self.here(theirs)


def shape(frame: Frame) -> Frame:
    return {name: value for name, value in frame.items() if name != "body"}


@pytest.mark.parametrize("recording", RECORDINGS)
async def test_each_request_is_answered_as_recorded_or_better(
    recording: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(outbound, "STOP_SECONDS", 0.0)  # mute devices stay mute
    async with (
        MllpServer() as peer,
        FhirServer(agent_resource(id=AGENT)) as server,
        connected(server, tmp_path / "state", agent_id=AGENT),
    ):
        replay = Replay(recording, server, peer, unused_tcp_port, tmp_path / "bin" / "ping")
        await replay.play()
    assert replay.used == {key for key in BETTER if key[0] == recording}
