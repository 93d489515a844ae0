"""The devices and the server of a recording, played against an agent in the place of the recorded one."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from medagent.testing import bots
from medagent.testing.fhir_server import HttpFailure
from medagent.testing.mllp import MllpClient
from medagent.testing.resources import AGENT_ID
from medagent.testing.site import Site, Status, adt
from medagent.testing.transcripts import TO_AGENT, TO_SERVER, Line

CHANNELS = {
    "plain": "",
    "enhanced": "?enhanced=true",
    "aa": "?enhanced=aa",
    "enhancedEr": "?enhanced=true&appLevelAck=ER&assignSeqNo=true",
}
TO_DEVICE, FROM_DEVICE = "agent->device", "device->agent"
REQUEST, RESPONSE = "agent:transmit:request", "agent:transmit:response"
RELOAD, RELOADED = "agent:reloadconfig:request", "agent:reloadconfig:response"
Frame = dict[str, Any]  # as decoded JSON


@dataclass(frozen=True)
class Deviation:
    """Where an agent does, on purpose, something else than the recorded one."""

    why: str
    told: tuple[str, ...] = ()
    """What devices get besides what was recorded, in order: `MSA-1|MSA-2`."""
    sent_again: tuple[str, ...] = ()
    """Control IDs of what the server gets once more."""
    not_sent: tuple[str, ...] = ()
    """Control IDs of what the server gets once less, and the device is told once less."""


def control_id(body: str) -> str:
    """MSH-10; "" of what is no message."""
    return body.split("\r")[0].split("|")[9] if body.startswith("MSH") else ""


def verdict(ack: str) -> str:
    """`MSA-1|MSA-2`."""
    return "|".join(ack.split("\rMSA|")[1].split("|")[:2]).rstrip("\r")


def control_id_of(ack: str) -> str:
    """MSA-2."""
    return verdict(ack).split("|")[1]


class RecordedBot:
    """A bot that gives the recorded answers, in the recorded order."""

    def __init__(self, lines: list[Line], deviation: Deviation) -> None:
        frames = [(line.direction, line.frame) for line in lines if line.channel == "ws" and line.direction]
        requests = [frame for to, frame in frames if to == TO_SERVER and isinstance(frame, dict) and kind(frame) == REQUEST]
        responses = [frame for to, frame in frames if to == TO_AGENT and isinstance(frame, dict) and kind(frame) == RESPONSE]
        asked = {frame["callback"]: frame["body"] for frame in requests}
        self.requests = requests
        self._answers: defaultdict[str, deque[tuple[int, bots.BotResult]]] = defaultdict(deque)
        self._turn = 0
        self._turned = asyncio.Condition()
        self._copied = deviation.not_sent
        self.copies_are_in = asyncio.Event()
        """What is sent twice is answered when both have come: else the second one would have an answer of its own."""
        answered = {frame["callback"] for frame in responses}
        for frame in requests:
            if frame["callback"] not in answered and "Not connected" not in str(frames):
                self._answers[frame["body"]].append((0, bots.NO_ANSWER))
        for gone in deviation.not_sent:
            responses.remove([frame for frame in responses if control_id(asked[frame["callback"]]) == gone][-1])
        for place, frame in enumerate(responses):
            reply = bots.Reply(frame["statusCode"], frame["body"], frame["contentType"])
            self._answers[asked[frame["callback"]]].append((place, reply))

    def __call__(self, request: bots.BotRequest) -> bots.BotResult | Awaitable[bots.BotResult]:
        if not self._answers[request.body]:
            return bots.acknowledge(request)
        place, result = self._answers[request.body].popleft()
        return result if result is bots.NO_ANSWER else self._in_turn(request, place, result)

    async def _in_turn(self, request: bots.BotRequest, place: int, result: bots.BotResult) -> bots.BotResult:
        if control_id(request.body) in self._copied:
            await self.copies_are_in.wait()
        async with self._turned:
            await self._turned.wait_for(lambda: self._turn >= place)
            self._turn += 1
            self._turned.notify_all()
        return result


def channel_of(address: str) -> str:
    """The channel whose Endpoint the recorded agent has read: its parameters tell."""
    query = address[address.index("?") :] if "?" in address else ""
    return next(name for name, own in CHANNELS.items() if own == query)


def listening(shown: Status) -> list[str]:
    """The channels that listen."""
    return [channel["name"] for channel in shown["channels"] if channel["state"] == "listening"]


def _answers(line: Line, request: Line) -> bool:
    frame, asked = line.raw.get("frame"), request.raw["frame"]
    return isinstance(frame, dict) and frame.get("callback") == asked["callback"]


# a frame as decoded JSON, or a text that is none
def kind(frame: Any) -> str:
    return str(frame.get("type", "")) if isinstance(frame, dict) else ""


class Replay:
    """Plays the devices of one recording, and the accidents of its server."""

    def __init__(self, site: Site, lines: list[Line], server: RecordedBot, deviation: Deviation) -> None:
        self.site = site
        self.lines = lines
        self.server = server
        self.deviation = deviation
        self.devices: dict[str, MllpClient] = {}
        self.got: defaultdict[str, list[str]] = defaultdict(list)
        """What each connection has got."""
        self.reloads: list[str] = []
        self.recorded_reloads: list[str] = []
        """What the callers of `$reload-config` are told, and were."""
        self._transmits = 0
        copies = [
            line for line in lines if line.direction == FROM_DEVICE and control_id(line.raw["data"]) in deviation.not_sent
        ]
        self._last_copy = copies[-1] if copies else None

    async def play(self) -> None:
        for line in self.lines:
            if line.channel == "mllp":
                await self._device(line)
            elif line.channel == "ws" and line.event == "close" and line.raw["by"] == "agent-side":
                await self._lose_connection()
            elif line.channel == "ws" and line.direction == TO_SERVER and kind(line.frame) == REQUEST:
                self._transmits += 1
                await self.site.fhir.wait_for(self._transmits - len(self.deviation.not_sent))
            elif line.channel == "ws" and kind(line.raw.get("frame")) == RELOAD:
                await self._reload(line)
            elif line.channel == "note":
                await self._accident(line)
        for name, device in self.devices.items() or [("last", await self.site.device("plain"))]:
            await self._end(name, device)

    def prepare(self) -> None:
        """Bring the server's resources into the state of the recording's begin."""
        for line in self.lines:
            if kind(line.raw.get("frame")) == RELOAD:
                return
            self._take_over(line)

    def _take_over(self, line: Line) -> None:
        """What the recorded agent has read: its status is what differs from recording to recording."""
        if line.channel != "http" or not line.raw["path"].startswith("/fhir/"):
            return
        recorded = json.loads(line.raw["resp_body"])
        identifier = AGENT_ID if recorded["resourceType"] == "Agent" else channel_of(recorded["address"])
        ours = self.site.fhir.get(recorded["resourceType"], identifier) or {}
        self.site.fhir.put(ours | {"status": recorded["status"]})

    async def _reload(self, request: Line) -> None:
        begin = self.lines.index(request)
        answers = [line for line in self.lines[begin:] if line.direction == TO_SERVER and _answers(line, request)]
        for line in self.lines[begin : self.lines.index(answers[0])]:
            self._take_over(line)
        outcome = await self.site.fhir.reload_config(AGENT_ID) or {}
        self.reloads.append(outcome["issue"][0]["details"]["text"])
        self.recorded_reloads.append("All OK" if kind(answers[0].frame) == RELOADED else answers[0].raw["frame"]["body"])

    async def _lose_connection(self) -> None:
        if any(line.raw.get("note") == "server stopped" for line in self.lines):
            await self.site.fhir.close()
        else:
            self.site.fhir.abort_sockets()

    async def _accident(self, line: Line) -> None:
        note = str(line.raw.get("note", ""))
        if "connected" in line.raw:
            connected = line.raw["connected"]
            await self.site.until(lambda shown: ("plain" in listening(shown)) == connected)
        elif isinstance(injected := line.raw.get("inject"), dict):
            self.site.fhir.hub.publish(AGENT_ID, injected)
        elif "upgrades refused" in note:
            self.site.fhir.faults.upgrade_failure = HttpFailure(503)
        elif "upgrades allowed" in note:
            self.site.fhir.faults.upgrade_failure = None
        elif note == "server healthy again":
            await self.site.fhir.start(port=self.site.fhir.port)

    async def _device(self, line: Line) -> None:
        name = line.connection
        if line.direction == FROM_DEVICE:
            if name not in self.devices:
                self.devices[name] = await self.site.device(self._channel(line.raw["data"]))
            await self.devices[name].send(line.raw["data"].encode())
            if line is self._last_copy:
                await self.site.until(lambda shown: shown["queue"]["channels"]["plain"]["since_start"]["duplicates"] == 1)
                self.server.copies_are_in.set()
        elif line.direction == TO_DEVICE and self._owed(name):
            await self._receive(name, self.devices[name])
        elif line.event == "close" and name in self.devices and not self._owed(name):
            await self.devices.pop(name).close()

    async def _receive(self, name: str, device: MllpClient) -> None:
        self.got[name].append((await device.receive()).decode())

    def _owed(self, name: str) -> int:
        """How many answers a connection has still to get."""
        sent = {control_id(line.raw["data"]) for line in self.of(name, FROM_DEVICE)}
        more = sum(told.split("|")[1] in sent for told in self.deviation.told)
        fewer = sum(gone in sent for gone in self.deviation.not_sent)
        return len(self.of(name, TO_DEVICE)) + more - fewer - len(self.got.get(name, []))

    def of(self, name: str, direction: str) -> list[Line]:
        """What a connection has sent or got in the recording."""
        return [
            line for line in self.lines if line.channel == "mllp" and line.connection == name and line.direction == direction
        ]

    async def _end(self, name: str, device: MllpClient) -> None:
        """Take what is still to come, and see that nothing else does: an answer to one message more is the next."""
        while self._owed(name):
            await self._receive(name, device)
        await device.send(adt("LAST"))
        last = (await device.receive()).decode()
        if control_id_of(last) != "LAST":
            self.got[name].append(last)

    def _channel(self, data: str) -> str:
        channels = [frame["channel"] for frame in self.server.requests if control_id(frame["body"]) == control_id(data)]
        return str(channels[0]) if channels else "plain"
