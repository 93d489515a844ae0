"""The whole agent in the place of the recorded one: the same devices send the same, the server answers the same.

What it sends and what devices get must be what was recorded, but for `BETTER`, where the recorded agent is at fault.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from medagent.testing.replay import (
    CHANNELS,
    TO_DEVICE,
    Deviation,
    Frame,
    RecordedBot,
    Replay,
    control_id,
    control_id_of,
    verdict,
)
from medagent.testing.shared import transcripts
from medagent.testing.site import Site
from medagent.testing.transcripts import TO_AGENT, load

pytestmark = pytest.mark.skipif(transcripts() is None, reason="the recordings of a real server are not beside this checkout")

NOTHING = Deviation("")
BETTER = {
    "02": Deviation("a copy joins its message: it is worked on and answered once", not_sent=("DUP0001",)),
    "03": Deviation("a bot's failure is told", told=("AE|FAIL-ENH1",)),
    "06": Deviation(
        "a bot's failure, an empty answer and one that is no HL7 are told", told=("AE|FAIL0001", "AA|NONE0001", "AA|STR0001")
    ),
    "40": Deviation(
        "what was in flight when the connection was lost is sent again and answered",
        told=("AA|SLOW-LOST",),
        sent_again=("SLOW-LOST",),
    ),
    "41": Deviation("nothing is sent before the connect request, so nothing is lost", told=("AA|AFTER1000",)),
    "42": Deviation("as in 40", told=("AA|SLOW-RST",), sent_again=("SLOW-RST",)),
    "47": Deviation("answers reach the devices though somebody has set Agent.status to error", told=("AA|STERR1",)),
}
RELOADS = ["09", "16", "17", "47"]
REPLAYED = [
    *("02", "03", "04", "05", "06", "07", "08", "40", "41", "42", "49c"),
    *RELOADS,
]
"""Those in which devices send. Not here: 10 to 15 (pushes), 18 and 37 (addresses and ports of the recorded machine; see
tests/traps/test_reload.py), 38 (what the device sent is in words; see tests/traps/test_framing.py), 39 and 43 (they last as
long as the time-outs; see tests/uplink/test_recordings.py), 30 to 34 and 49b (frames made by hand)."""


def masked(ack: str) -> str:
    """An acknowledgment without its time and its own control ID, which are made up anew.

    Version 2.5 wants a third component in MSH-9 (HL7 v2.5.1, 2.15.9.9), which the recorded agent leaves out.
    """
    head, _, rest = ack.rstrip("\r").partition("\r")
    fields = head.split("|")
    fields[6] = fields[9] = "*"
    fields[8] = fields[8].removesuffix("^ACK")
    return "\r".join(("|".join(fields), rest))


@pytest.mark.parametrize("recording", REPLAYED)
async def test_devices_and_server_see_what_was_recorded_or_better(tmp_path: Path, recording: str) -> None:
    lines = load(recording)
    deviation = BETTER.get(recording, NOTHING)
    server = RecordedBot(lines, deviation)
    async with Site(tmp_path, CHANNELS, bot=server) as site:
        replay = Replay(site, lines, server, deviation)
        replay.prepare()
        await site.start()
        await replay.play()
        sent = [frame for frame in site.fhir.transmits if "|LAST|" not in frame["body"]]
    check_transmits(sent, server.requests, deviation)
    assert replay.reloads == replay.recorded_reloads
    told = list(deviation.told)
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
        assert [control_id_of(ack) for ack in recorded] == list(deviation.not_sent)
    assert told == []


def check_transmits(sent: list[Frame], recorded: list[Frame], deviation: Deviation) -> None:
    """The same messages, field for field, in the same order; what is sent again comes after a reconnect."""
    fields = ("type", "channel", "contentType", "body")
    expected = [{field: frame[field] for field in fields} for frame in recorded]
    for gone in deviation.not_sent:
        expected.remove([frame for frame in expected if control_id(frame["body"]) == gone][-1])
    ours = [{field: frame[field] for field in fields} for frame in sent]
    for again in deviation.sent_again:
        ours.remove([frame for frame in ours if control_id(frame["body"]) == again][-1])
    assert ours == expected
    assert all(set(frame) == set(recorded[0]) for frame in sent)
