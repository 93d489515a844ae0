"""The embedded FHIR server answers as the recorded real one did.

The agent's side of each recording (frames, HTTP requests) and the lab's (REST operations) is played again; every answer of
the server must be the recorded one, times, versions and control IDs of acknowledgments aside.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from medagent.testing.agent_client import AgentClient
from medagent.testing.bots import HL7, BotError, BotRequest, acknowledgment
from medagent.testing.fhir_server import FhirServer
from medagent.testing.resources import agent_resource, device_resource
from medagent.testing.shared import transcripts
from medagent.testing.transcripts import TO_AGENT, TO_SERVER, Line, load

# decoded JSON
Json = dict[str, Any]

pytestmark = pytest.mark.skipif(transcripts() is None, reason="the recordings are not beside this checkout")

REPLAYED = [
    *("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "12b", "13", "14", "15", "16", "17", "18", "19"),
    *("20", "30", "31", "32", "33", "34", "36", "37", "38", "39", "40", "41", "45", "46", "47", "48", "49b", "49c"),
]
"""Not 35 (rates only), 42 and 43 (the recording proxy or the server itself was down), 49a (the token endpoint's rate limit)."""

AGENT = "3a3ca02e-9d73-423c-b23c-a2003556a4c6"
NEVER_CONNECTED = "6913a7b6-c129-4cf4-a267-93cf130aa1e6"
CLIENT = "b229c31a-e3b5-4f52-94c9-9eb7f2992e7f"
VERSION = "5.0.10-6a4145c"
DEVICES = [
    device_resource("eaed71cd-2026-4d46-89e2-7d38106cfb7b", "mllp://127.0.0.1:56100"),
    device_resource("3a71ddaa-df0f-48c9-bedd-0abf1675a37f", "mllp://127.0.0.1:56199"),
]
SHORT_S = 0.2
"""A time-out that is recorded as having struck; the others never may."""
PATIENCE_S = 10.0


def normal(body: object) -> object:
    """An acknowledgment's time (MSH-7) and control ID (MSH-10) masked; anything else as it is."""
    if not isinstance(body, str) or not body.startswith("MSH|") or "\rMSA|" not in body:
        return body
    segments = body.split("\r")
    fields = segments[0].split("|")
    if fields[8].startswith("ACK^"):
        fields[6] = fields[9] = "*"
    return "\r".join(["|".join(fields), *segments[1:]])


# any JSON value
def stripped(value: Any) -> Any:
    """A JSON answer without what differs from call to call."""
    if isinstance(value, list):
        return [stripped(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("name") == "lastUpdated":
        return {"name": "lastUpdated", "valueInstant": "*"}
    changing = {"meta", "diagnostics", "extension", "requestTime", "transactionTime", "request"}
    if value.get("resourceType") == "AsyncJob":
        changing |= {"id"}
    kept = {name: stripped(item) for name, item in value.items() if name not in changing}
    if str(value.get("diagnostics", "")).startswith("Error: "):
        kept["diagnostics"] = value["diagnostics"]
    return kept


class Socket:
    """One WebSocket of the agent, with the frames that have come and are not accounted for."""

    def __init__(self, client: AgentClient) -> None:
        self.client = client
        self.inbox: list[Json] = []

    async def take(self, expected: Json, *, any_callback: bool = False) -> Json:
        """The first frame that equals `expected`, with `any_callback` whatever its callback."""

        def same(frame: Json) -> bool:
            return any_callback and "callback" in frame and frame | {"callback": expected["callback"]} == expected

        while True:
            for index, frame in enumerate(self.inbox):
                if frame == expected or same(frame):
                    return self.inbox.pop(index)
            try:
                frame = await self.client.receive(PATIENCE_S)
            except (TimeoutError, ConnectionClosed):
                raise AssertionError(f"expected {expected}, got {self.inbox}") from None
            self.inbox.append(frame | {"body": normal(frame["body"])} if "body" in frame else frame)


class Replay:
    """Plays one recording."""

    def __init__(self, server: FhirServer, http: httpx2.AsyncClient, lines: list[Line]) -> None:
        self.server = server
        self.http = http
        self.lines = lines
        self.token = ""
        self.sockets: dict[str, Socket] = {}
        self.callbacks: dict[str, str] = {}
        self.jobs: dict[str, str] = {}
        self.running: dict[int, asyncio.Task[httpx2.Response]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.checked = 0
        server.bot = self.bot

    def gate(self, control_id: str) -> asyncio.Event:
        return self.gates.setdefault(control_id, asyncio.Event())

    async def bot(self, request: BotRequest) -> str | None:
        """The bot of the recordings; a slow message ends when the replay has reached its answer."""
        if request.content_type != HL7:
            return f"non-hl7 {request.content_type or 'undefined'}"
        control_id = request.body.split("\r")[0].split("|")[9]
        request.log.append(f"bot got {control_id}")
        if control_id.startswith("FAIL"):
            raise BotError(f"bot failure on purpose: {control_id}")
        if control_id.startswith("NONE"):
            return None
        if control_id.startswith("STR"):
            return "just a string"
        if control_id.startswith("SLOW"):
            await self.gate(control_id).wait()
        return acknowledgment(request.body, "AE" if control_id.startswith("AE-") else "AA")

    async def play(self) -> None:
        async with asyncio.TaskGroup() as group:
            self.group = group
            self.token = await self.new_token()
            await self.connect_agent()
            if self.begins_anew():
                await self.close("")
            events = [(line.t_ms, index, line) for index, line in enumerate(self.lines)]
            events += [(line.t_ms - line.raw["took_ms"], -1, line) for line in self.lines if line.channel == "rest"]
            for _, index, line in sorted(events, key=lambda event: event[:2]):
                await self.step(line, ended=index >= 0)
            await self.finish()

    def begins_anew(self) -> bool:
        """Whether the recording begins without a WebSocket of the reference agent."""
        own = [line for line in self.lines if line.channel == "ws" and not line.connection]
        return not own or own[0].event == "upgrade-request"

    async def step(self, line: Line, *, ended: bool) -> None:
        if line.channel == "rest" and not ended:
            self.prepare(line)
            self.running[id(line)] = self.group.create_task(self.call(line))
        elif line.channel == "rest":
            self.check_call(line, await self.running.pop(id(line)))
        elif line.channel == "http":
            await (self.token_case(line) if "case" in line.raw else self.request(line))
        elif line.channel == "ws":
            await self.websocket_step(line)
        elif line.raw.get("note") == "token expired now":
            self.server.forget_tokens()

    async def new_token(self) -> str:
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "<secret>"}
        answer = await self.http.post("oauth2/token", data=form)
        token: str = answer.json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        return token

    # WebSocket

    async def open(self, name: str) -> Socket:
        self.sockets[name] = Socket(await AgentClient.open(self.server.base_url))
        return self.sockets[name]

    async def close(self, name: str) -> None:
        socket = self.sockets.pop(name)
        await socket.client.close()
        await self.server.wait_for(lambda server: server.sockets == len(self.sockets))

    async def connect_agent(self) -> None:
        socket = await self.open("")
        await socket.client.connect(self.token, AGENT)
        await socket.client.send({"type": "agent:heartbeat:response", "version": VERSION})

    async def websocket_step(self, line: Line) -> None:
        name = line.connection
        if line.event == "upgrade-request":
            await self.open(name)
        elif line.event == "unexpected-response":
            with pytest.raises(InvalidStatus) as refused:
                await AgentClient.open(self.server.base_url, "ws/other")
            assert refused.value.response.status_code == line.raw["status"]
        elif line.event == "close" and name in self.sockets:
            if line.raw["code"] == 1009:
                await self.sockets[name].client.wait_closed()
                assert self.sockets[name].client.close_code == 1009
            await self.close(name)
        elif line.direction == TO_SERVER:
            socket = self.sockets.get(name) or await self.open(name)
            text = self.spoken(line)
            await socket.client.send_text(text.encode() if line.raw.get("binary") else text)
        elif line.direction == TO_AGENT:
            await self.expect(self.sockets[name], line.frame)
            if isinstance(line.frame, dict) and line.frame.get("body") == "Invalid access token":
                self.token = await self.new_token()

    def spoken(self, line: Line) -> str:
        """What the agent sends: the recorded frame with a token and callbacks of today."""
        frame = line.frame
        if isinstance(frame, str):
            return self.long_text(line) if frame.endswith("…") else frame
        frame = dict(frame)
        if frame.get("accessToken") == "<token>":
            frame["accessToken"] = self.token + ("x" if line.connection == "tampered jwt" else "")
        if frame.get("callback") in self.callbacks:
            frame["callback"] = self.callbacks[frame["callback"]]
        return json.dumps(frame, ensure_ascii=False)

    def long_text(self, line: Line) -> str:
        """A text that the recording abbreviates: two frames in an array, or one frame of a known size."""
        control_id = f"BIG{line.connection.removeprefix('size-').removesuffix('k')}"
        frame = {
            "type": "agent:transmit:request",
            "accessToken": self.token,
            "channel": "plain",
            "remote": "10.0.0.9:1234",
            "contentType": HL7,
            "body": f"MSH|^~\\&|LAB|HOSP|MEDPLUM|CLOUD|20260105120000||ADT^A01|{control_id}|P|2.5\rOBX|1|TX|||",
            "callback": f"cb-{control_id}",
        }
        if line.raw["frame"].startswith("["):
            return json.dumps([frame, frame])
        padding = line.raw["bytes"] - len(json.dumps(frame))
        frame["body"] += "x" * padding
        return json.dumps(frame)

    async def expect(self, socket: Socket, recorded: Json | str) -> None:
        assert isinstance(recorded, dict)
        expected = dict(recorded)
        if recorded["type"] == "agent:heartbeat:request":
            self.server.hub.send_heartbeats()
        if "body" in expected:
            expected["body"] = normal(expected["body"])
            if "\rMSA|" in str(expected["body"]):
                self.gate(expected["body"].split("\r")[1].split("|")[2]).set()
        asked = expected["type"].endswith(":request") and "callback" in expected
        if asked and expected["callback"] not in self.callbacks:
            taken = await socket.take(expected, any_callback=True)
            self.callbacks[expected["callback"]] = taken["callback"]
            assert taken["callback"].startswith(f"Agent/{AGENT}-")
        else:
            await socket.take(expected | {"callback": self.callbacks[expected["callback"]]} if asked else expected)
        self.checked += 1

    async def finish(self) -> None:
        """Nothing has come that was not recorded."""
        for socket in self.sockets.values():
            assert socket.inbox + await socket.client.settle() == []
        for name in list(self.sockets):
            await self.close(name)

    # HTTP

    def prepare(self, line: Line) -> None:
        """Bring the server's resources into the state that the recorded answer shows."""
        answer, body = line.raw["resp"], json.dumps(line.raw.get("body"))
        disabled = "Agent is currently disabled" in json.dumps(answer)
        if disabled or ("$push" in line.raw["path"] and "Device/" in body):
            agent = self.server.get("Agent", AGENT)
            assert agent is not None
            self.server.put(agent | {"status": "off" if disabled else "active"})
        if isinstance(answer, dict) and answer.get("resourceType") == "Bundle":
            for entry in answer["entry"]:
                self.server.put(entry["resource"]["parameter"][0]["resource"])

    async def call(self, line: Line) -> httpx2.Response:
        path, body = line.raw["path"], line.raw.get("body")
        if path.startswith("http"):
            path = self.jobs[path]
            await self.server.wait_for(lambda server: server.running_jobs == 0)
        if body is not None and "waitTimeout" in body and body["waitTimeout"] <= 55_000:
            body = body | {"waitTimeout": 1000 * (SHORT_S if "Timeout" in json.dumps(line.raw["resp"]) else PATIENCE_S)}
            if line.raw.get("prefer"):
                body |= {"waitTimeout": 1000 * SHORT_S}
        headers = {"Prefer": line.raw["prefer"]} if "prefer" in line.raw else {}
        return await self.http.request(line.raw["method"], path, json=body, headers=headers)

    def check_call(self, line: Line, answer: httpx2.Response) -> None:
        recorded = line.raw["resp"]
        assert answer.status_code == line.raw["status"], answer.text
        assert answer.headers["content-type"] == line.raw["resp_type"]
        if "location" in line.raw:
            self.jobs[line.raw["location"]] = answer.headers["content-location"]
        if isinstance(recorded, str):
            assert answer.text == recorded
        elif recorded.get("resourceType") == "Bundle":
            ours = {entry["resource"]["parameter"][0]["resource"]["id"]: stripped(entry) for entry in answer.json()["entry"]}
            theirs = {entry["resource"]["parameter"][0]["resource"]["id"]: stripped(entry) for entry in recorded["entry"]}
            assert {name: entry for name, entry in ours.items() if name in theirs} == theirs
        else:
            assert stripped(answer.json()) == stripped(recorded)
        self.checked += 1

    async def request(self, line: Line) -> None:
        """A request of the reference agent."""
        path, recorded = line.raw["path"].removeprefix("/"), json.loads(line.raw["resp_body"])
        if line.raw["method"] == "POST":
            secret = "wrong" if "Invalid secret" in line.raw["resp_body"] else "<secret>"
            form = line.raw["req_body"].replace("<secret>", secret)
            answer = await self.http.post(path, content=form, headers=line.raw["req_headers"])
            if answer.status_code == 200:
                self.token = answer.json()["access_token"]
                self.http.headers["Authorization"] = f"Bearer {self.token}"
        else:
            if line.raw["status"] == 200 and path.startswith("fhir/"):
                self.server.put(recorded)
            answer = await self.http.get(path, headers={"Accept": line.raw["req_headers"]["accept"]})
        assert answer.status_code == line.raw["status"]
        assert answer.headers["content-type"] == line.raw["resp_headers"]["content-type"]
        assert ("etag" in answer.headers) == ("etag" in line.raw["resp_headers"])
        if path.startswith("fhir/"):
            assert stripped(answer.json()) == stripped(recorded)
            assert set(answer.json().get("meta", {})) == set(recorded.get("meta", {}))
        elif path == "oauth2/token":
            check_token(answer.json(), recorded)
        else:
            assert set(answer.json()) <= set(recorded)
            assert answer.json()["membership"]["profile"] == recorded["membership"]["profile"]
        self.checked += 1

    async def token_case(self, line: Line) -> None:
        """One of the ways to ask for a token; the recording has only its name."""
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "<secret>"}
        basic = base64.b64encode(f"{CLIENT}:<secret>".encode()).decode()
        # what httpx2 takes
        requests: dict[str, Any] = {
            "ok body credentials": {"data": form},
            "ok basic auth": {"data": {"grant_type": form["grant_type"]}, "headers": {"Authorization": f"Basic {basic}"}},
            "wrong secret": {"data": form | {"client_secret": "wrong"}},
            "unknown client": {"data": form | {"client_id": NEVER_CONNECTED}},
            "no secret": {"data": {"grant_type": form["grant_type"], "client_id": CLIENT}},
            "bad grant": {"data": form | {"grant_type": "password"}},
            "json body": {"json": form},
        }
        self.http.headers.pop("Authorization", None)
        answer = await self.http.post("oauth2/token", **requests[line.raw["case"]])
        assert answer.status_code == line.raw["status"]
        if line.raw["case"] == "json body":  # recorded are the indexes of the text's characters
            assert [str(index) for index in range(len(answer.text))] == line.raw["resp"]
        else:
            check_token(answer.json(), line.raw["resp"])
        self.checked += 1


def check_token(answer: Json, recorded: Json) -> None:
    changing = ("access_token", "id_token", "expires_in", "project", "smart_style_url")
    assert set(answer) == set(recorded)
    assert all(answer[name] == recorded[name] for name in recorded if name not in changing)


def server_for(lines: list[Line]) -> FhirServer:
    """The recorded lab."""
    agent = next(
        json.loads(line.raw["resp_body"])
        for line in load("01")
        if line.channel == "http" and line.raw["path"] == f"/fhir/R4/Agent/{AGENT}"
    )
    timed_out = any(line.channel == "rest" and line.raw["method"] == "GET" and line.raw["status"] == 400 for line in lines)
    server = FhirServer(
        agent,
        client_id=CLIENT,
        client_secret="<secret>",
        devices=DEVICES,
        heartbeat_interval=None,
        version=VERSION,
        operation_timeout=SHORT_S if timed_out else PATIENCE_S,
        push_timeout=PATIENCE_S,
    )
    server.put(agent_resource(id=NEVER_CONNECTED))
    return server


@pytest.mark.parametrize("prefix", REPLAYED)
async def test_the_server_answers_as_recorded(prefix: str) -> None:
    lines = load(prefix)
    async with server_for(lines) as server, httpx2.AsyncClient(base_url=server.base_url) as http:
        replay = Replay(server, http, lines)
        await replay.play()
    assert replay.checked == sum(
        line.channel in ("rest", "http") or (line.channel == "ws" and line.direction == TO_AGENT) for line in lines
    )
