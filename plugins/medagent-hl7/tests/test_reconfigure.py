"""Parameters that change while a channel listens: an open connection goes by the new ones, what was read before by the old."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from pathlib import Path

import pytest

from medagent.channel import Reconfigurable
from medagent.config.model import ChannelConfig, Value
from medagent.queue.parts import with_parts
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient, framed
from medagent.types import Answer, InboundMessage, Refusal, RefusalKind
from medagent_hl7.schemes import MLLP
from medagent_hl7.server import Hl7Channel
from medagent_hl7.settings import PARAMETERS

Parameters = dict[str, Value]
FOLDER = Path(__file__).parent

ENHANCED: Parameters = {"enhanced": "true"}
CHANGES: dict[str, tuple[Parameters, Parameters]] = {
    "ackMessageType": (ENHANCED, {"enhanced": "true", "ackMessageType": "short"}),
    "ackMode": (ENHANCED, {"enhanced": "true", "ackMode": "message"}),
    "allowSender": ({}, {"allowSender": "OTHER"}),
    "appLevelAck": (ENHANCED, {"enhanced": "true", "appLevelAck": "ER"}),
    "assignSeqNo": ({}, {"assignSeqNo": True}),
    "batchAck": (ENHANCED, {"enhanced": "true", "batchAck": "batch"}),
    "batchCounts": ({}, {"batchCounts": "reject"}),
    "duplicateBehavior": ({}, {"duplicateBehavior": "reject"}),
    "duplicateWindowSecs": ({}, {"duplicateWindowSecs": 60}),
    "encoding": ({}, {"encoding": "ISO-8859-1"}),
    "enhanced": ({}, {"enhanced": "aa"}),
    "invalidText": ({}, {"invalidText": "reject"}),
    "lenientEnd": ({}, {"lenientEnd": True}),
    "maxBatchMessages": ({}, {"maxBatchMessages": 1}),
    "missingAckType": ({"ackMode": "message"}, {"ackMode": "message", "missingAckType": "AL"}),
    "missingControlId": ({}, {"missingControlId": "reject"}),
    "verifySeqNo": (ENHANCED, {"enhanced": "true", "verifySeqNo": True}),
}
"""Before and after, for each parameter whose effect is in what is read, handed over and answered."""
ELSEWHERE = {
    "allow": "test_reconfigure_limits.py",
    "frameIdleTimeoutMs": "test_reconfigure_limits.py",
    "idleTimeoutMs": "test_reconfigure_limits.py",
    "maxBufferedBytes": "test_reconfigure_limits.py",
    "maxConnections": "test_reconfigure_limits.py",
    "messagesPerMin": "test_reconfigure_limits.py",
    "writeTimeoutMs": "test_reconfigure_limits.py",
    "allowNames": "test_reconfigure_tls.py",
    "certFile": "test_reconfigure_tls.py",
    "keyFile": "test_reconfigure_tls.py",
}
FIXED: dict[str, Value] = {
    "clientCaFile": "/ca.pem",
    "logicalChannelKey": "PID-3",
    "maxWorkers": 5,
    "mllpRelease": 2,
}
"""What restarts the channel."""


def test_every_parameter_is_tried() -> None:
    assert {*CHANGES, *ELSEWHERE, "retryMode"} == {each.name for each in PARAMETERS if each.live}
    assert all(name in (FOLDER / file).read_text() for name, file in ELSEWHERE.items())
    assert set(FIXED) == {each.name for each in PARAMETERS if not each.live}


def config(parameters: Parameters) -> ChannelConfig:
    return ChannelConfig("lab", MLLP, "127.0.0.1", 0, "", parameters=parameters)


def message(
    control_id: str, *, sender: str = "LAB", number: str = "", asks: str = "", kind: str = "ADT^A01", text: bytes = b"x"
) -> bytes:
    msh = f"MSH|^~\\&|{sender}|NORTH|EHR|MAIN|20260105||{kind}|{control_id}|P|2.5.1|{number}||{asks}"
    return msh.encode() + b"\rPID|1||4711||" + text + b"\r"


FIRST, LAST = message("first", sender="OTHER"), message("last", sender="OTHER")
STIMULI = b"".join(
    [
        framed(message("plain")),
        framed(message("umlaut", text="Müller".encode("latin-1"))),
        framed(message("")),
        framed(message("asks", asks="ER|AL")),
        framed(message("half", asks="AL")),
        framed(message("ack", kind="ACK", asks="AL")),
        framed(message("numbered", number="7")),
        framed(b"BHS|^~\\&|LAB|N|EHR|M|20260105||||B1\r" + message("b1") + message("b2", number="8") + b"BTS|3\r"),
        b"\x0b" + message("lenient") + b"\x1c",
        framed(LAST),
    ]
)
"""What shows each parameter of `CHANGES`."""


async def observe(
    start: Parameters, *, before: Parameters | None = None, between: Parameters | None = None
) -> list[tuple[object, ...] | bytes]:
    """All that can be seen of `STIMULI` at a channel that is started with `start`, over a connection that is used already.

    It is reconfigured with `before` ahead of them, and with `between` when they have been read and nothing is decided yet.
    """
    core = RecordingCore()
    channel = Hl7Channel(core.context(config(start)))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(FIRST)
        channel.refused(await core.accepted(1), Refusal(RefusalKind.STORAGE, "no"))
        await device.receive()
        if before is not None:
            assert channel.reconfigure(config(before))
        await device.send_raw(STIMULI)
        await core.until(lambda: core.messages[-1].control_id == "last")
        if between is not None:
            assert channel.reconfigure(config(between))
        messages = with_parts(core.messages[1:])
        seen: list[tuple[object, ...] | bytes] = [
            (each.control_id, each.body, each.rules, each.admission is not None, channel.forward(each)) for each in messages
        ]
        *committed, refused = messages
        channel.committed(committed)
        channel.refused([refused], Refusal(RefusalKind.UNACCEPTABLE, "Größer"))
        answers = [(each, answer_to(each, code)) for each, code in zip(committed, itertools.cycle(("AA", "AE")), strict=False)]
        seen += [(delivery,) for delivery in channel.answer(answers)]
        async with asyncio.TaskGroup() as group:
            group.create_task(channel.close())
            told = await device.closed()
    return [*seen, VARYING.sub(b"-", told)]


def answer_to(message: InboundMessage, code: str) -> Answer:
    return Answer(True, f"MSH|^~\\&|EHR|MAIN|LAB|NORTH|1||ACK|9{message.control_id}|P|2.5\rMSA|{code}|{message.control_id}|ü\r")


VARYING = re.compile(rb"[0-9]{14}[+-][0-9]{4}|[0-9]{16}")
"""Times and control IDs of what is made here."""


@pytest.mark.parametrize("name", CHANGES)
async def test_a_new_message_is_treated_as_by_a_channel_started_with_the_new_value(name: str) -> None:
    old, new = CHANGES[name]
    expected = await observe(new)
    assert expected != await observe(old), "the stimuli do not show this parameter"
    assert await observe(old, before=new) == expected


@pytest.mark.parametrize("name", CHANGES)
async def test_what_was_read_before_is_treated_as_if_nothing_had_changed(name: str) -> None:
    for old, new in (CHANGES[name], CHANGES[name][::-1]):
        assert await observe(old, between=new) == await observe(old)


@pytest.mark.parametrize("seed", range(12))
async def test_any_change_of_several_parameters(seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311  no secret
    old, new, newest = (
        dict(pair for change in choice.sample(list(CHANGES.values()), 6) for pair in choice.choice(change).items())
        for _ in range(3)
    )
    assert await observe(old, before=new, between=newest) == await observe(new)


@pytest.mark.parametrize("name", FIXED)
async def test_what_cannot_change_changes_nothing_else(name: str) -> None:
    core = RecordingCore()
    channel = Hl7Channel(core.context(config(ENHANCED)))
    assert isinstance(channel, Reconfigurable)
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        assert not channel.reconfigure(config({"enhanced": "aa", "allow": "10.0.0.0/8", name: FIXED[name]}))
        await device.send(message("1"))
        channel.committed(await core.accepted(1))
        assert b"\rMSA|CA|1|" in await device.receive()
        # `retryMode` is of the core
        assert channel.reconfigure(config({"enhanced": "aa", "retryMode": "none"}))


async def test_a_channel_that_does_not_listen_yet_starts_with_the_new_parameters() -> None:
    core = RecordingCore()
    channel = Hl7Channel(core.context(config({"maxConnections": 1})))
    assert channel.reconfigure(config({"enhanced": "true", "maxConnections": 2}))
    async with (
        running(channel) as address,
        await MllpClient.connect(*address) as one,
        await MllpClient.connect(*address) as two,
    ):
        for device in (one, two):
            await device.send(FIRST)
        channel.committed(await core.accepted(2))
        for device in (one, two):
            assert b"\rMSA|CA|first|" in await device.receive()
