"""What analysers are told, and when: over real sockets, before a core that only records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore
from medagent.types import Answer, Delivery, Duplicates, InboundMessage, Refusal, RefusalKind
from medagent_astm import unterminated
from medagent_astm.channel import AstmChannel
from medagent_astm.testing import ACK, ENQ, EOT, NAK, Analyser, frame, frames

RESULT = b"H|\\^&|17||Chem^2\rP|1||4711\rR|1|^^^GLU|93\rL|1|N\r"
OPEN = RESULT[: -len(b"L|1|N\r")]
"""Without its L record."""
FIRST, SECOND, THIRD, LAST = frames(RESULT)
ORDER = "H|\\^&|||Host\rO|1|S-18||^^^GLU\rL|1|N\r"
FULL = Refusal(RefusalKind.STORAGE, "the disk is full")
NEVER = Refusal(RefusalKind.UNACCEPTABLE, "too long for the server")


def config(**parameters: Value) -> ChannelConfig:
    return ChannelConfig("lab", "astm", "127.0.0.1", 0, "", parameters=parameters)


class World:
    """A channel, a core that records, and an analyser."""

    def __init__(self, channel: AstmChannel, core: RecordingCore, analyser: Analyser) -> None:
        self.channel = channel
        self.core = core
        self.analyser = analyser

    async def handed_over(self, count: int = 1) -> InboundMessage:
        """The newest message, once there are so many."""
        return (await self.core.accepted(count))[-1]

    async def stored(self, count: int = 1) -> None:
        self.channel.committed([await self.handed_over(count)])

    async def sent(self) -> InboundMessage:
        """A message of the analyser that is stored and acknowledged."""
        before = len(self.core.messages)
        await self.analyser.begin([FIRST, SECOND, THIRD, LAST])
        await self.stored(before + 1)
        assert await self.analyser.finish()
        return self.core.messages[-1]

    async def noted(self, kind: str, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.channel.notices.get(kind) != count:
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def world(max_body: int = 10_000, **parameters: Value) -> AsyncIterator[World]:
    core = RecordingCore()
    channel = AstmChannel(core.context(config(**parameters), max_body_bytes=max_body))
    await channel.start()
    try:
        host, _, port = channel.address.rpartition(":")
        async with asyncio.timeout(20), await Analyser.connect(host, int(port)) as analyser:
            yield World(channel, core, analyser)
    finally:
        await channel.close()


def accepted(text: str = ORDER) -> Answer:
    return Answer(accepted=True, body=text)


# messages of the analyser


async def test_the_frame_that_completes_a_message_is_acknowledged_when_that_is_stored() -> None:
    async with world() as each:
        assert [await each.analyser.say(data) for data in (ENQ, FIRST, SECOND, THIRD)] == [ACK] * 4
        assert each.core.messages == []
        reply = asyncio.ensure_future(each.analyser.say(LAST))
        message = await each.handed_over()
        assert not reply.done()
        each.channel.committed([message])
        assert await reply == ACK
    assert (message.body, message.control_id) == (RESULT, "17")


async def test_an_analyser_that_sends_no_more_gets_the_acknowledgment_that_is_due() -> None:
    async with world() as each:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(each.channel.address.rpartition(":")[2]))
        writer.write(ENQ + FIRST + SECOND + THIRD + LAST)
        writer.write_eof()
        message = await each.handed_over()
        while not any(connection.half_closed for connection in each.channel.connected.values()):
            await asyncio.sleep(0)
        each.channel.committed([message])
        assert await reader.read() == ACK * 5
        writer.close()


async def test_a_message_that_cannot_be_stored_is_taken_again_when_its_frame_comes_again() -> None:
    async with world(refusalWaitMs=1) as each:
        assert await each.analyser.begin([FIRST, SECOND, THIRD, LAST])
        finish = asyncio.ensure_future(each.analyser.finish())
        each.channel.refused([await each.handed_over()], FULL)
        second = await each.handed_over(2)
        assert second.body == RESULT
        each.channel.committed([second])
        assert await finish
        assert each.analyser.heard.count(NAK) == 1


async def test_a_message_refused_for_good_is_not_asked_about_again() -> None:
    async with world() as each:
        assert await each.analyser.begin([FIRST, SECOND, THIRD, LAST])
        finish = asyncio.ensure_future(each.analyser.finish())
        each.channel.refused([await each.handed_over()], NEVER)
        assert not await finish
        assert each.analyser.heard.count(NAK) == 6
        assert len(each.core.messages) == 1
        await each.sent()


async def test_messages_that_one_frame_completes_are_stored_together_or_not_at_all() -> None:
    async with world(refusalWaitMs=1) as each:
        assert await each.analyser.begin(frames(RESULT + RESULT, by_record=False))
        finish = asyncio.ensure_future(each.analyser.finish())
        whole = await each.handed_over()
        assert [part.body for part in whole.parts] == [RESULT, RESULT]
        each.channel.committed(whole.parts[:1])
        each.channel.refused(whole.parts[1:], FULL)
        whole = await each.handed_over(2)
        each.channel.committed(whole.parts)
        assert await finish
        assert each.analyser.heard.count(NAK) == 1


async def test_several_messages_in_one_transmission() -> None:
    async with world() as each:
        sending = asyncio.ensure_future(each.analyser.send(RESULT + RESULT))
        await each.stored(1)
        await each.stored(2)
        assert await sending


async def test_a_connection_that_ends_inside_a_message_leaves_nothing() -> None:
    async with world() as each:
        assert [await each.analyser.say(data) for data in (ENQ, FIRST, SECOND)] == [ACK] * 3
        await each.analyser.close()
        await each.noted("transmission broken off")
        assert each.core.messages == []


async def test_an_analyser_that_gives_up_waiting_gets_no_late_acknowledgment() -> None:
    async with world() as each:
        await each.analyser.begin([FIRST, SECOND, THIRD, LAST])
        message = await each.handed_over()
        assert await each.analyser.say(EOT + ENQ) == ACK
        each.channel.committed([message])
        assert [await each.analyser.say(data) for data in (FIRST, SECOND)] == [ACK] * 2
        assert bytes(each.analyser.heard) == ACK * 7
        assert each.channel.notices["acknowledgment too late"] == 1


async def test_a_late_commit_is_no_word_on_a_frame_that_waits() -> None:
    async with world() as each:
        await each.analyser.begin([FIRST, SECOND, THIRD, LAST])
        message = await each.handed_over()
        assert await each.analyser.say(EOT + ENQ) == ACK
        each.channel.pause_reading()
        reply = asyncio.ensure_future(each.analyser.say(FIRST + FIRST))
        await each.noted("frame repeated")
        each.channel.committed([message])
        each.channel.resume_reading()
        assert await reply == ACK
        assert [await each.analyser.say(data) for data in (SECOND, THIRD)] == [ACK] * 2
        each.analyser.write(LAST)
        assert (await each.handed_over(2)).body == RESULT
        assert bytes(each.analyser.heard) == ACK * 8


@pytest.mark.parametrize(
    ("text", "max_body"),
    [pytest.param(b"P|1\rL|1\r", 10_000, id="no header"), pytest.param(RESULT, 40, id="too long")],
)
async def test_what_can_never_be_accepted_is_refused(text: bytes, max_body: int) -> None:
    async with world(max_body) as each:
        assert not await each.analyser.send(text)
        assert each.core.messages == []
        assert each.channel.notices["message refused"] == 1


async def test_a_wrong_checksum() -> None:
    wrong = LAST.replace(b"N", b"F")
    async with world() as each:
        assert [await each.analyser.say(data) for data in (ENQ, FIRST, SECOND, THIRD, wrong)] == [ACK] * 4 + [NAK]
        assert each.core.messages == []
    async with world(checksum="lenient") as each:
        assert [await each.analyser.say(data) for data in (ENQ, FIRST, SECOND, THIRD)] == [ACK] * 4
        each.analyser.write(wrong)
        assert (await each.handed_over()).body == RESULT.replace(b"N", b"F")
        assert each.channel.notices == {"wrong checksum": 1}


async def test_who_has_sent_a_message_and_what_is_asked_of_the_store() -> None:
    async with world(duplicateBehavior="reject") as each:
        first = await each.sent()
        second = await each.sent()
        await each.analyser.begin(frames(RESULT.replace(b"Chem", b"Haem")))
        other = await each.handed_over(3)
    assert first.sender == second.sender != other.sender
    assert 0 <= other.sender < 1 << 63
    assert (first.link, first.remote) == (second.link, second.remote)
    assert first.rules.duplicates is Duplicates.REJECT


# messages without an L record


async def test_without_its_l_record_a_message_is_dropped_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as each:
        assert await each.analyser.send(OPEN)
        await each.noted("message without L record")
        sending = asyncio.ensure_future(each.analyser.send(OPEN + RESULT))
        await each.stored()
        assert await sending
        assert each.core.messages[0].body == RESULT
        assert each.channel.notices == {"message without L record": 2}
    assert "messageEnd=transmission" in caplog.text


async def test_the_end_of_a_transmission_may_end_a_message_and_no_other_is_taken_until_it_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unterminated, "SECONDS_BETWEEN_TRIES", 0.001)
    async with world(messageEnd="transmission") as each:
        assert await each.analyser.send(OPEN)
        message = await each.handed_over()
        assert message.body == OPEN
        asking = asyncio.ensure_future(each.analyser.ask())
        each.channel.refused([message], FULL)
        again = await each.handed_over(2)
        assert (again.body, again.control_id, again.sender) == (OPEN, "17", message.sender)
        [connection] = each.channel.connected.values()
        assert not each.channel.may_take(connection)
        assert not asking.done()
        each.channel.committed([again])
        await asking


async def test_with_its_l_record_a_message_waits_for_no_end() -> None:
    async with world(messageEnd="transmission") as each:
        await each.sent()
        assert len(each.core.messages) == 1


async def test_a_transmission_that_its_sender_gives_up_ends_no_message() -> None:
    async with world(messageEnd="transmission") as each:
        wrong = SECOND.replace(b"P", b"Q")
        assert [await each.analyser.say(data) for data in (ENQ, FIRST, wrong)] == [ACK, ACK, NAK]
        each.analyser.write(EOT)
        await each.noted("transmission broken off")
        assert each.core.messages == []


async def test_an_acknowledged_message_that_is_refused_for_good_is_noted() -> None:
    async with world(messageEnd="transmission") as each:
        assert await each.analyser.send(OPEN)
        each.channel.refused([await each.handed_over()], NEVER)
        assert each.channel.notices == {"acknowledged message lost": 1}
        await each.sent()


async def test_an_acknowledged_message_that_is_not_stored_when_the_channel_is_closed_is_noted() -> None:
    async with world(messageEnd="transmission") as each:
        assert await each.analyser.send(OPEN)
        each.channel.refused([await each.handed_over()], FULL)
        await each.channel.close()
        assert each.channel.notices == {"acknowledged message lost": 1}


# answers


async def test_an_answer_that_is_a_message_is_sent_and_reported() -> None:
    async with world() as each:
        message = await each.sent()
        assert each.channel.answer([(message, accepted())]) == [Delivery.QUEUED]
        assert await each.analyser.received.get() == ORDER.encode()
        await each.core.until(lambda: each.core.outcomes == [(message, Delivery.SENT)])


async def test_answers_keep_their_order_and_wait_for_the_line() -> None:
    async with world() as each:
        messages = [await each.sent(), await each.sent()]
        await each.analyser.ask()
        texts = [ORDER.replace("S-18", name) for name in ("S-1", "S-2")]
        each.channel.answer([(message, accepted(text)) for message, text in zip(messages, texts, strict=True)])
        assert each.analyser.received.empty()
        each.analyser.write(EOT)
        assert [await each.analyser.received.get() for _ in texts] == [text.encode() for text in texts]
        await each.core.until(lambda: each.core.outcomes == [(message, Delivery.SENT) for message in messages])


@pytest.mark.parametrize(
    "answer",
    [
        accepted("just a text"),
        accepted(""),
        accepted("Hello\r"),
        accepted("H&P stored"),
        Answer(accepted=False, body="", reason="no such bot"),
    ],
)
async def test_other_answers_are_not_for_the_analyser(answer: Answer) -> None:
    async with world() as each:
        message = await each.sent()
        assert each.channel.answer([(message, answer)]) == [Delivery.NOT_OWED]


async def test_an_answer_whose_header_lacks_a_delimiter_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as each:
        message = await each.sent()
        assert each.channel.answer([(message, accepted("H|^&|SMITH\rL|1\r"))]) == [Delivery.NOT_OWED]
        assert each.channel.notices == {"answer is no message": 1}
    assert "SMITH" not in caplog.text


async def test_an_answer_that_the_protocol_cannot_carry() -> None:
    async with world() as each:
        message = await each.sent()
        assert each.channel.answer([(message, accepted("H|\\^&\rC|1|a\x03b\rL|1\r"))]) == [Delivery.GONE]
        assert each.channel.notices == {"answer cannot be sent": 1}


async def test_an_analyser_that_has_left_is_gone() -> None:
    async with world() as each:
        message = await each.sent()
        await each.analyser.ask()
        assert each.channel.answer([(message, accepted())]) == [Delivery.QUEUED]
        await each.analyser.close()
        await each.core.until(lambda: each.core.outcomes == [(message, Delivery.GONE)])
        assert each.channel.answer([(message, accepted())]) == [Delivery.GONE]


async def test_an_analyser_that_takes_a_frame_only_after_some_tries() -> None:
    async with world() as each:
        message = await each.sent()
        each.analyser.refusals = 5
        each.channel.answer([(message, accepted())])
        assert await each.analyser.received.get() == ORDER.encode()


async def test_an_answer_that_is_refused_six_times_is_given_up_and_the_next_goes() -> None:
    async with world() as each:
        messages = [await each.sent(), await each.sent()]
        each.analyser.refusals = 6
        each.channel.answer([(message, accepted()) for message in messages])
        assert await each.analyser.received.get() == ORDER.encode()
        await each.core.until(lambda: len(each.core.outcomes) == 2)
        assert each.core.outcomes == [(messages[0], Delivery.GONE), (messages[1], Delivery.SENT)]
        assert each.channel.notices == {"answer not taken": 1}


async def test_a_busy_analyser_is_asked_again() -> None:
    async with world(busyWaitMs=5) as each:
        message = await each.sent()
        each.analyser.busy = 2
        each.channel.answer([(message, accepted())])
        assert await each.analyser.received.get() == ORDER.encode()
        assert each.channel.notices == {"line not granted": 2}


async def test_an_answer_does_not_wait_for_ever() -> None:
    async with world(busyWaitMs=5, answerTimeoutMs=20) as each:
        message = await each.sent()
        each.analyser.busy = 1000
        each.channel.answer([(message, accepted())])
        await each.core.until(lambda: each.core.outcomes == [(message, Delivery.GONE)])


async def test_in_contention_the_analyser_has_its_turn_first() -> None:
    async with world() as each:
        message = await each.sent()
        each.analyser.crossings = 1
        each.channel.answer([(message, accepted())])
        await each.noted("contention")
        await each.sent()
        assert await each.analyser.received.get() == ORDER.encode()
        await each.core.until(lambda: each.core.outcomes == [(message, Delivery.SENT)])


async def test_frames_of_an_answer_and_its_encoding() -> None:
    text = "H|\\^&\rC|1|I|" + "ä" * 300 + "\rL|1\r"
    async with world(frameLength=107, encoding="utf-8", answerFrames="message") as each:
        message = await each.sent()
        each.channel.answer([(message, accepted(text))])
        assert await each.analyser.received.get() == text.encode()


# its life


async def test_the_text_that_is_forwarded() -> None:
    message = InboundMessage(b"H|\\^&\r\nC|1|I|M\xfcller\n\rL|1", "", "10.0.0.7:41022")
    async with world() as each:
        assert each.channel.forward(message) == "H|\\^&\rC|1|I|Müller\rL|1\r"
        assert each.channel.reconfigure(config(encoding="utf-8"))
        assert each.channel.forward(message) == "H|\\^&\rC|1|I|M\ufffdller\rL|1\r"


async def test_while_reading_is_paused_an_analyser_hears_that_the_agent_is_busy() -> None:
    async with world(busyWaitMs=5) as each:
        each.channel.pause_reading()
        assert await each.analyser.say(ENQ) == NAK
        assert each.channel.notices == {"busy when asked for the line": 1}
        each.channel.resume_reading()
        await each.sent()


async def test_while_reading_is_paused_a_frame_waits() -> None:
    async with world() as each:
        assert [await each.analyser.say(data) for data in (ENQ, FIRST, SECOND, THIRD)] == [ACK] * 4
        each.channel.pause_reading()
        reply = asyncio.ensure_future(each.analyser.say(LAST))
        async with await Analyser.connect("127.0.0.1", int(each.channel.address.rpartition(":")[2])) as other:
            asking = asyncio.ensure_future(other.ask())
            while each.channel.connections < 2:
                await asyncio.sleep(0)
            assert each.core.messages == []
            each.channel.resume_reading()
            await asking
        await each.stored()
        assert await reply == ACK


async def test_a_channel_that_stops_takes_the_rest_of_a_message_and_grants_no_line() -> None:
    async with world() as each:
        assert [await each.analyser.say(data) for data in (ENQ, FIRST)] == [ACK] * 2
        stopping = asyncio.ensure_future(each.channel.stop_accepting())
        assert [await each.analyser.say(data) for data in (SECOND, THIRD)] == [ACK] * 2
        reply = asyncio.ensure_future(each.analyser.say(LAST))
        message = await each.handed_over()
        await stopping
        each.channel.committed([message])
        assert await reply == ACK
        asking = asyncio.ensure_future(each.analyser.say(EOT + ENQ))
        await each.channel.close()
        with pytest.raises(EOFError):
            await asking


async def test_a_channel_that_waits_for_the_rest_of_one_message_takes_no_other() -> None:
    async with world() as each, await Analyser.connect("127.0.0.1", int(each.channel.address.rpartition(":")[2])) as other:
        for analyser in (each.analyser, other):
            assert [await analyser.say(data) for data in (ENQ, FIRST, SECOND, THIRD)] == [ACK] * 4
        stopping = asyncio.ensure_future(each.channel.stop_accepting())
        while each.channel.address:
            await asyncio.sleep(0)
        reply = asyncio.ensure_future(other.say(LAST))
        await each.stored()
        assert await reply == ACK
        other.write(EOT)
        asking = asyncio.ensure_future(other.say(ENQ))
        assert await each.analyser.say(LAST[:3] + THIRD) == ACK
        assert not asking.done()
        assert not stopping.done()
        each.analyser.write(LAST)
        await each.handed_over(2)
        await stopping
        assert not asking.done()
        asking.cancel()


async def test_a_silent_analyser_loses_the_line_and_parameters_change_while_it_is_connected() -> None:
    async with world() as each:
        assert await each.analyser.say(ENQ) == ACK
        assert each.channel.reconfigure(config(receiveTimeoutMs=1))
        assert await each.analyser.say(FIRST) == ACK
        await each.noted("sender silent in a transmission")
        assert await each.analyser.say(ENQ) == ACK


async def test_what_a_silent_analyser_has_left_behind_is_not_counted_against_the_others() -> None:
    half = frame(1, b"H|\\^&\rC|1|I|" + b"x" * 3000, last=False)
    async with world(maxBufferedBytes=8000, receiveTimeoutMs=200) as each:
        assert [await each.analyser.say(data) for data in (ENQ, half)] == [ACK] * 2
        await each.noted("sender silent in a transmission")
        assert each.channel.reconfigure(config(maxBufferedBytes=8000))
        async with await Analyser.connect("127.0.0.1", int(each.channel.address.rpartition(":")[2])) as other:
            assert [await other.say(data) for data in (ENQ, half)] == [ACK] * 2
            assert each.channel.connections == 2
    assert "connection closed" not in each.channel.notices


async def test_a_sender_of_nonsense_holds_nothing() -> None:
    async with world() as each:
        assert await each.analyser.say(ENQ) == ACK
        assert await each.analyser.say(frame(5, b"x") + frame(1, b"H|\\^&\r")[1:]) == NAK
        assert each.core.messages == []
        assert each.channel.notices["wrong frame number"] == 1
