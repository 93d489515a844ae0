"""The whole agent in the place of the recorded one: the same devices send the same, the server answers the same.

What it sends and what devices get must be what was recorded, but for `BETTER`, where the recorded agent is at fault.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medagent.testing import bots
from medagent.testing.fhir_server import HttpFailure
from medagent.testing.mllp import MllpClient
from medagent.testing.shared import transcripts
from medagent.testing.site import Site, adt
from medagent.testing.transcripts import TO_AGENT, TO_SERVER, Line, load

pytestmark = pytest.mark.skipif(transcripts() is None, reason="the recordings of a real server are not beside this checkout")

CHANNELS = {
    "plain": "",
    "enhanced": "?enhanced=true",
    "aa": "?enhanced=aa",
    "enhancedEr": "?enhanced=true&appLevelAck=ER&assignSeqNo=true",
}
TO_DEVICE, FROM_DEVICE = "agent->device", "device->agent"
REQUEST, RESPONSE = "agent:transmit:request", "agent:transmit:response"
Frame = dict[str, Any]  # as decoded JSON


@dataclass(frozen=True)
class Better:
    """Where medagent does something else than the recorded agent."""

    why: str
    told: tuple[str, ...] = ()
    """What devices get besides what was recorded, in order: `MSA-1|MSA-2`."""
    sent_again: tuple[str, ...] = ()
    """Control IDs of what the server gets once more."""
    not_sent: tuple[str, ...] = ()
    """Control IDs of what the server gets once less, and the device is told once less."""


NOTHING = Better("")
BETTER = {
    "02": Better("a copy joins its message: it is worked on and answered once", not_sent=("DUP0001",)),
    "03": Better("a bot's failure is told", told=("AE|FAIL-ENH1",)),
    "06": Better(
        "a bot's failure, an empty answer and one that is no HL7 are told", told=("AE|FAIL0001", "AA|NONE0001", "AA|STR0001")
    ),
    "08": Better("a frame that is no message harms no other"),
    "40": Better(
        "what was in flight when the connection was lost is sent again and answered",
        told=("AA|SLOW-LOST",),
        sent_again=("SLOW-LOST",),
    ),
    "41": Better("nothing is sent before the connect request, so nothing is lost", told=("AA|AFTER1000",)),
    "42": Better("as in 40", told=("AA|SLOW-RST",), sent_again=("SLOW-RST",)),
}
REPLAYED = ["02", "03", "04", "05", "06", "07", "08", "40", "41", "42", "49c"]


def control_id(body: str) -> str:
    return body.split("\r")[0].split("|")[9]


def verdict(ack: str) -> str:
    """`MSA-1|MSA-2`."""
    return "|".join(ack.split("\rMSA|")[1].split("|")[:2]).rstrip("\r")


def control_id_of(ack: str) -> str:
    """MSA-2."""
    return verdict(ack).split("|")[1]


def masked(ack: str) -> str:
    """An acknowledgment without its time and its own control ID, which are made up anew.

    Version 2.5 wants a third component in MSH-9 (HL7 v2.5.1, 2.15.9.9), which the recorded agent leaves out.
    """
    head, _, rest = ack.rstrip("\r").partition("\r")
    fields = head.split("|")
    fields[6] = fields[9] = "*"
    fields[8] = fields[8].removesuffix("^ACK")
    return "\r".join(("|".join(fields), rest))


class Server:
    """A bot that gives the recorded answers, in the recorded order."""

    def __init__(self, lines: list[Line], better: Better) -> None:
        frames = [(line.direction, line.frame) for line in lines if line.channel == "ws" and line.direction]
        requests: list[Frame] = [frame for to, frame in frames if to == TO_SERVER and kind(frame) == REQUEST]
        responses: list[Frame] = [frame for to, frame in frames if to == TO_AGENT and kind(frame) == RESPONSE]
        asked = {frame["callback"]: frame["body"] for frame in requests}
        self.requests = requests
        self._answers: defaultdict[str, deque[tuple[int, bots.BotResult]]] = defaultdict(deque)
        self._turn = 0
        self._turned = asyncio.Condition()
        answered = {frame["callback"] for frame in responses}
        for frame in requests:
            if frame["callback"] not in answered and "Not connected" not in str(frames):
                self._answers[frame["body"]].append((0, bots.NO_ANSWER))
        for gone in better.not_sent:
            responses.remove([frame for frame in responses if control_id(asked[frame["callback"]]) == gone][-1])
        for place, frame in enumerate(responses):
            reply = bots.Reply(frame["statusCode"], frame["body"], frame["contentType"])
            self._answers[asked[frame["callback"]]].append((place, reply))

    def __call__(self, request: bots.BotRequest) -> bots.BotResult | Awaitable[bots.BotResult]:
        if not self._answers[request.body]:
            return bots.acknowledge(request)
        place, result = self._answers[request.body].popleft()
        return result if result is bots.NO_ANSWER else self._in_turn(place, result)

    async def _in_turn(self, place: int, result: bots.BotResult) -> bots.BotResult:
        async with self._turned:
            await self._turned.wait_for(lambda: self._turn >= place)
            self._turn += 1
            self._turned.notify_all()
        return result


# a frame as decoded JSON, or a text that is none
def kind(frame: Any) -> str:
    return str(frame.get("type", "")) if isinstance(frame, dict) else ""


class Replay:
    """Plays the devices of one recording, and the accidents of its server."""

    def __init__(self, site: Site, lines: list[Line], server: Server, better: Better) -> None:
        self.site = site
        self.lines = lines
        self.server = server
        self.better = better
        self.devices: dict[str, MllpClient] = {}
        self.got: defaultdict[str, list[str]] = defaultdict(list)
        self.transmits = 0

    async def play(self) -> None:
        for line in self.lines:
            if line.channel == "mllp":
                await self._device(line)
            elif line.channel == "ws" and line.event == "close" and line.raw["by"] == "agent-side":
                await self._lose_connection()
            elif line.channel == "ws" and line.direction == TO_SERVER and kind(line.frame) == REQUEST:
                self.transmits += 1
                await self.site.fhir.wait_for(self.transmits - len(self.better.not_sent))
            elif line.channel == "note":
                await self._accident(str(line.raw.get("note", "")))
        for name, device in self.devices.items():
            await self._end(name, device)

    async def _lose_connection(self) -> None:
        if any(line.raw.get("note") == "server stopped" for line in self.lines):
            await self.site.fhir.close()
        else:
            self.site.fhir.abort_sockets()

    async def _accident(self, note: str) -> None:
        if "upgrades refused" in note:
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
        elif line.direction == TO_DEVICE and self._owed(name):
            await self._receive(name, self.devices[name])
        elif line.event == "close" and name in self.devices and not self._owed(name):
            await self.devices.pop(name).close()

    async def _receive(self, name: str, device: MllpClient) -> None:
        self.got[name].append((await device.receive()).decode())

    def _owed(self, name: str) -> int:
        """How many answers a connection has still to get."""
        sent = {control_id(line.raw["data"]) for line in self.of(name, FROM_DEVICE) if line.raw["data"].startswith("MSH")}
        more = sum(told.split("|")[1] in sent for told in self.better.told)
        fewer = sum(gone in sent for gone in self.better.not_sent)
        return len(self.of(name, TO_DEVICE)) + more - fewer - len(self.got[name])

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
        assert verdict((await device.receive()).decode()).endswith("|LAST")

    def _channel(self, data: str) -> str:
        sent = [
            frame for frame in self.server.requests if data.startswith("MSH") and control_id(frame["body"]) == control_id(data)
        ]
        return str(sent[0]["channel"]) if sent else "plain"


@pytest.mark.parametrize("recording", REPLAYED)
async def test_devices_and_server_see_what_was_recorded_or_better(tmp_path: Path, recording: str) -> None:
    lines = load(recording)
    better = BETTER.get(recording, NOTHING)
    server = Server(lines, better)
    async with Site(tmp_path, CHANNELS, bot=server) as site:
        await site.start()
        replay = Replay(site, lines, server, better)
        await replay.play()
        sent = [frame for frame in site.fhir.transmits if "|LAST|" not in frame["body"]]
    check_transmits(sent, server.requests, better)
    told = list(better.told)
    answers = {
        frame["body"]
        for frame in (line.frame for line in lines if line.channel == "ws" and line.direction == TO_AGENT)
        if isinstance(frame, dict) and "body" in frame
    }
    for name, got in replay.got.items():
        recorded = deque(line.raw["data"] for line in replay.of(name, TO_DEVICE))
        for ack in got:
            if recorded and verdict(ack) == verdict(recorded[0]):
                expected = recorded.popleft()
                if expected in answers:
                    assert ack == expected, "the server's answer, byte for byte"
                else:
                    assert masked(ack) == masked(expected)
            else:
                told.remove(verdict(ack))
        assert [control_id_of(ack) for ack in recorded] == list(better.not_sent)
    assert told == []


def check_transmits(sent: list[Frame], recorded: list[Frame], better: Better) -> None:
    """The same messages, field for field, in the same order; what is sent again comes after a reconnect."""
    fields = ("type", "channel", "contentType", "body")
    expected = [{field: frame[field] for field in fields} for frame in recorded]
    for gone in better.not_sent:
        expected.remove([frame for frame in expected if control_id(frame["body"]) == gone][-1])
    ours = [{field: frame[field] for field in fields} for frame in sent]
    for again in better.sent_again:
        ours.remove([frame for frame in ours if control_id(frame["body"]) == again][-1])
    assert ours == expected
    assert all(set(frame) == set(recorded[0]) for frame in sent)
