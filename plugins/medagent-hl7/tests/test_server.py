"""The listener, over real sockets, with a core that records."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import uvloop

from medagent.channel import Channel
from medagent.config.model import ChannelConfig, Value
from medagent.errors import BindFailed
from medagent.testing.channel import RecordingCore
from medagent.testing.mllp import MllpClient, framed
from medagent.types import Answer, Delivery, InboundMessage, Refusal, RefusalKind
from medagent_hl7 import plugin
from medagent_hl7.message import Header, msa

MAX_BODY = 20_000


def make(
    core: RecordingCore, host: str = "127.0.0.1", port: int = 0, *, bind_any: bool = False, **parameters: Value
) -> Channel:
    factories = {}
    plugin.medagent_register_channel_types(factories.__setitem__)
    config = ChannelConfig("lab", "mllp", host, port, "", parameters=parameters)
    return factories["mllp"](core.context(config, bind_any=bind_any, max_body_bytes=MAX_BODY))


@contextlib.asynccontextmanager
async def listening(core: RecordingCore, **parameters: Value) -> AsyncIterator[Channel]:
    channel = make(core, **parameters)
    await channel.start()
    try:
        yield channel
    finally:
        await channel.close()


@contextlib.asynccontextmanager
async def connected(channel: Channel) -> AsyncIterator[MllpClient]:
    port = int(channel.address.rpartition(":")[2])
    async with await MllpClient.connect("127.0.0.1", port) as device:
        yield device


async def acknowledgment(device: MllpClient) -> tuple[str, str] | None:
    return msa(await device.receive())


async def connections(channel: Channel, count: int) -> None:
    """Let the loop turn until the channel has noticed."""
    async with asyncio.timeout(10):
        while channel.connections != count:
            await asyncio.sleep(0)


@pytest.fixture
def core() -> RecordingCore:
    return RecordingCore()


def message(control_id: str, charset: str = "", message_type: str = "ADT^A01^ADT_A01") -> bytes:
    msh = f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||{message_type}|{control_id}|P|2.5.1||||||{charset}"
    return f"{msh}\rPID|1||4711||Muster^Erika\r".encode()


def server_acknowledgment(control_id: str, code: str = "AA", text: str = "OK") -> str:
    return f"MSH|^~\\&|EHR|MAIN|LAB|NORTH|20260105||ACK^A01|900{control_id}|P|2.5.1\rMSA|{code}|{control_id}|{text}"


async def test_messages_reach_the_core_as_sent(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as device:
        body = b"\xef\xbb\xbf" + message("1").replace(b"\r", b"\r\n") + b"\xff"
        await device.send(body)
        [accepted] = await core.accepted(1)
        assert accepted.body == body
        assert accepted.control_id == "1"
        assert accepted.remote == device.remote
        assert accepted.link
        assert channel.connections == 1
        assert channel.content_type == "x-application/hl7-v2+er7"
        forwarded = channel.forward(accepted)
        assert forwarded.startswith("MSH|")
        assert "\n" not in forwarded
        assert forwarded.endswith("ÿ")


async def test_frames_of_one_read_come_in_order_and_together(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as device:
        bodies = [message(str(number)) for number in range(20)]
        await device.send(*bodies)
        assert [accepted.body for accepted in await core.accepted(20)] == bodies
        assert len(core.reads) < 20


async def test_enhanced_mode(core: RecordingCore) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        await device.send(message("1"), message("2"))
        accepted = await core.accepted(2)
        channel.committed(accepted)
        assert [await acknowledgment(device) for _ in accepted] == [("CA", "1"), ("CA", "2")]
        answers = [(accepted[1], Answer(True, server_acknowledgment("2"))), (accepted[0], Answer(False, "", "secret"))]
        assert channel.answer(answers) == [Delivery.SENT, Delivery.SENT]
        assert await device.receive() == server_acknowledgment("2").encode()
        refused = await device.receive()
        assert msa(refused) == ("AE", "1")
        assert b"The server refused the message" in refused
        assert b"secret" not in refused


@pytest.mark.parametrize(
    ("level", "code", "delivery"),
    [
        ("NE", "AA", Delivery.NOT_OWED),
        ("ER", "AA", Delivery.NOT_OWED),
        ("ER", "AE", Delivery.SENT),
        ("SU", "AA", Delivery.SENT),
        ("SU", "AR", Delivery.NOT_OWED),
    ],
)
async def test_app_level_ack(core: RecordingCore, level: str, code: str, delivery: Delivery) -> None:
    async with listening(core, enhanced="true", appLevelAck=level) as channel, connected(channel) as device:
        await device.send(message("1"))
        [accepted] = await core.accepted(1)
        channel.committed([accepted])
        assert await acknowledgment(device) == ("CA", "1")
        assert channel.answer([(accepted, Answer(True, server_acknowledgment("1", code)))]) == [delivery]
        if delivery is Delivery.SENT:
            assert await acknowledgment(device) == (code, "1")


async def test_aa_mode(core: RecordingCore) -> None:
    async with listening(core, enhanced="aa") as channel, connected(channel) as device:
        await device.send(message("1"))
        [accepted] = await core.accepted(1)
        channel.committed([accepted])
        assert await acknowledgment(device) == ("AA", "1")
        assert channel.answer([(accepted, Answer(False, ""))]) == [Delivery.NOT_OWED]


async def test_original_mode_is_silent_until_the_server_speaks(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as device:
        await device.send(message("1"))
        [accepted] = await core.accepted(1)
        channel.committed([accepted])
        assert channel.answer([(accepted, Answer(True, server_acknowledgment("1", "AE", "no bed")))]) == [Delivery.SENT]
        # the first bytes the device gets
        assert await device.receive() == server_acknowledgment("1", "AE", "no bed").encode()


@pytest.mark.parametrize("body", ["", "Bot execution logs:\n", '{"resourceType":"Bundle"}', "MSH|^~\\&|\x1c\rMSA|AA|9"])
async def test_server_took_it_but_answered_without_hl7(core: RecordingCore, body: str) -> None:
    async with listening(core) as channel, connected(channel) as device:
        await device.send(message("1"))
        [accepted] = await core.accepted(1)
        assert channel.answer([(accepted, Answer(True, body))]) == [Delivery.SENT]
        assert await acknowledgment(device) == ("AA", "1")


async def test_answer_in_the_senders_character_set(core: RecordingCore) -> None:
    async with listening(core, encoding="cp1252") as channel, connected(channel) as device:
        await device.send(message("1", "8859/1"), message("2", "UNICODE UTF-8"), message("3"))
        accepted = await core.accepted(3)
        channel.answer([(each, Answer(True, server_acknowledgment("1", text="Grüße €"))) for each in accepted])
        texts = [(await device.receive()).rpartition(b"|")[2] for _ in accepted]
        assert texts == [b"Gr\xfc\xdfe ?", "Grüße €".encode(), b"Gr\xfc\xdfe \x80"]


@pytest.mark.parametrize(("mode", "codes"), [("true", ["CE", "CR"]), ("aa", ["AE", "AR"]), ("false", ["AE", "AR"])])
async def test_refused_by_the_core(core: RecordingCore, mode: str, codes: list[str]) -> None:
    async with listening(core, enhanced=mode) as channel, connected(channel) as device:
        await device.send(message("1"), message("2"))
        first, second = await core.accepted(2)
        channel.refused([first], Refusal(RefusalKind.STORAGE, "The disk is full"))
        channel.refused([second], Refusal(RefusalKind.UNACCEPTABLE, "Too long"))
        body = await device.receive()
        assert b"The disk is full" in body
        assert b"\rERR|||207^" in body
        assert [msa(body), await acknowledgment(device)] == [(codes[0], "1"), (codes[1], "2")]


async def test_bad_frames_harm_no_other(core: RecordingCore, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        await device.send_raw(
            b"\xff junk"
            + framed(message("1"))
            + framed(b"not HL7: Erika Muster")
            + framed(b"msh|^~\\&|LAB||||||ADT^A01|2|P|2.3\r")
            + framed(message("3", message_type="ACK^A01^ACK"))
            + framed(b"")
            + b"\x0bMSH|^~\\&|cut short"
            + framed(message("4") + b"x" * MAX_BODY)
            + framed(message("5"))
        )
        accepted = await core.accepted(2)
        assert [each.control_id for each in accepted] == ["1", "5"]
        channel.committed(accepted)
        answers = [await device.receive() for _ in range(4)]
        assert [msa(body) for body in answers] == [("CA", "1"), ("CR", "2"), ("CR", "4"), ("CA", "5")]
        assert b"\rERR|^^^100&" in answers[1]
        assert b"longer than 20000" in answers[2]
    assert "frame without an HL7 message" in caplog.text
    assert "Muster" not in caplog.text


async def test_peer_that_does_not_speak_mllp_is_cut_off(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as device:
        await device.send_raw(b"x" * 100_000)
        assert await device.closed() == b""


async def test_fault_on_one_connection_leaves_the_others(core: RecordingCore, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(core) as channel, connected(channel) as bad, connected(channel) as good:
        core.fault = ValueError("4711")
        await bad.send(message("4711"))
        assert await bad.closed() == b""
        core.fault = None
        await good.send(message("1"))
        assert [each.control_id for each in await core.accepted(1)] == ["1"]
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text


async def test_answers_find_their_connection(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as one, connected(channel) as two:
        await one.send(message("1"))
        await core.accepted(1)
        await two.send(message("2"))
        first, second = await core.accepted(2)
        assert first.link != second.link
        channel.answer([(each, Answer(True, server_acknowledgment(each.control_id))) for each in (second, first)])
        assert [await acknowledgment(one), await acknowledgment(two)] == [("AA", "1"), ("AA", "2")]
        # the newest connection gets the answer of a message that was sent again
        first.link = second.link
        channel.answer([(first, Answer(True, server_acknowledgment("1")))])
        assert await acknowledgment(two) == ("AA", "1")


async def test_device_gone(core: RecordingCore) -> None:
    async with listening(core) as channel:
        _, leaving = await asyncio.open_connection(*channel.address.split(":"))
        leaving.write(framed(message("1")))
        [accepted] = await core.accepted(1)
        # a reset: an orderly end leaves open whether the device still reads
        leaving.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.transport.abort()
        async with connected(channel) as device:
            await device.send(message("2"))
            await core.accepted(2)
            await connections(channel, 1)
            channel.committed([accepted])
            channel.refused([accepted], Refusal(RefusalKind.STORAGE, "The disk is full"))
            assert channel.answer([(accepted, Answer(True, server_acknowledgment("1")))]) == [Delivery.GONE]


async def test_message_read_back_from_disk(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as device:
        await device.send(message("1", "8859/1"))
        [accepted] = await core.accepted(1)
        stored = InboundMessage(accepted.body, "1", accepted.remote, accepted.link)
        assert channel.forward(stored) == channel.forward(accepted)
        stored.body = None
        assert channel.answer([(stored, Answer(False, ""))]) == [Delivery.SENT]
        assert await acknowledgment(device) == ("AE", "1")


async def test_paused_reading_includes_new_connections(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as old:
        channel.pause_reading()
        async with connected(channel) as new:
            await connections(channel, 2)
            await old.send(message("1"))
            await new.send(message("2"))
            for _ in range(50):
                await asyncio.sleep(0)
            assert core.messages == []
            channel.resume_reading()
            assert {each.control_id for each in await core.accepted(2)} == {"1", "2"}


def test_with_uvloop_a_new_connection_hands_nothing_over_while_reading_is_paused() -> None:
    async def send_while_paused() -> None:
        core = RecordingCore()
        async with listening(core) as channel, contextlib.AsyncExitStack() as stack:
            channel.pause_reading()
            for number in range(20):
                # what comes with the connection is read before the connection can be told not to read
                device = await stack.enter_async_context(connected(channel))
                await device.send(message(f"{number}-first"), message(f"{number}-second"))
            await connections(channel, 20)
            await asyncio.sleep(0.05)
            assert core.messages == []
            channel.resume_reading()
            ids = [each.control_id for each in await core.accepted(40)]
            assert sorted(ids) == sorted(f"{number}-{which}" for number in range(20) for which in ("first", "second"))
            assert all(ids.index(f"{number}-first") < ids.index(f"{number}-second") for number in range(20))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_while_paused())


async def test_stop_accepting_keeps_connections_for_what_is_due(core: RecordingCore) -> None:
    async with listening(core) as channel, connected(channel) as device:
        await device.send(message("1"))
        [accepted] = await core.accepted(1)
        host, _, port = channel.address.rpartition(":")
        await channel.stop_accepting()
        assert channel.address == ""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))
        await device.send(message("2"))
        channel.answer([(accepted, Answer(True, server_acknowledgment("1")))])
        assert await acknowledgment(device) == ("AA", "1")
        await channel.close()
        assert await device.closed() == b""
        assert [each.control_id for each in core.messages] == ["1"]


async def test_start_again_after_the_port_is_free(core: RecordingCore) -> None:
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", 0))
        blocker.listen()
        channel = make(core, port=blocker.getsockname()[1])
        with pytest.raises(BindFailed):
            await channel.start()
    await channel.start()
    async with connected(channel) as device:
        await device.send(message("1"))
        await core.accepted(1)
    await channel.close()


async def test_bind_any_reaches_beyond_the_endpoints_host(core: RecordingCore) -> None:
    channel = make(core, "192.0.2.1", bind_any=True)
    await channel.start()
    async with connected(channel) as device:
        await device.send(message("1"))
        await core.accepted(1)
    await channel.close()


async def test_acknowledgments_have_unique_control_ids(core: RecordingCore) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        await device.send(*[message(str(number)) for number in range(50)])
        channel.committed(await core.accepted(50))
        control_ids = {Header.parse(await device.receive()).control_id for _ in range(50)}
        assert len(control_ids) == 50
        assert all(0 < len(control_id) <= 20 for control_id in control_ids)


async def test_message_mode(core: RecordingCore) -> None:
    async with listening(core, ackMode="message") as channel, connected(channel) as device:
        kinds = {"1": "", "2": "|||AL|NE", "3": "|||NE|AL", "4": "|||AL|SU", "5": "|||ER|ER"}
        await device.send(*(f"MSH|^~\\&|LAB||EHR||2026||ADT^A01|{name}|P|2.5{tail}\r".encode() for name, tail in kinds.items()))
        accepted = await core.accepted(5)
        channel.committed(accepted)
        assert [await acknowledgment(device) for _ in range(2)] == [("CA", "2"), ("CA", "4")]
        # as after a restart
        stored = [InboundMessage(each.body, each.control_id, each.remote, each.link) for each in accepted]
        for each in stored:
            channel.forward(each)
            each.body = None
        deliveries = channel.answer([(each, Answer(True, server_acknowledgment(each.control_id))) for each in stored])
        sent, silent = Delivery.SENT, Delivery.NOT_OWED
        assert deliveries == [sent, silent, sent, sent, silent]
        assert [await acknowledgment(device) for _ in range(3)] == [("AA", "1"), ("AA", "3"), ("AA", "4")]


async def test_an_ack_is_taken_if_it_asks_for_a_commit_acknowledgment(core: RecordingCore) -> None:
    async with listening(core, ackMode="message") as channel, connected(channel) as device:
        acks = [f"MSH|^~\\&|LAB||EHR||2026||ACK^A01^ACK|{name}|P|2.5|||{accept}|\rMSA|AA|7\r".encode()
                for name, accept in (("1", ""), ("2", "NE"), ("3", "AL"))]  # fmt: skip
        commit = message("4", message_type="ADT^A01") + b"MSA|CA|7\r"
        await device.send(*acks, commit, message("5"))
        accepted = await core.accepted(2)
        assert [each.control_id for each in accepted] == ["3", "5"]
        channel.committed(accepted)
        assert await acknowledgment(device) == ("CA", "3")
        answers = [(each, Answer(True, server_acknowledgment(each.control_id))) for each in accepted]
        assert channel.answer(answers) == [Delivery.NOT_OWED, Delivery.SENT]


async def test_what_the_channel_objects_to_is_answered(core: RecordingCore, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        listening(core, invalidText="reject", missingControlId="reject") as channel,
        connected(channel) as device,
    ):
        await device.send(message("1", "8859/1"), message("2", "UNICODE UTF-8") + b"\xff", message(""), message("3"))
        accepted = await core.accepted(2)
        assert [each.control_id for each in accepted] == ["1", "3"]
        channel.committed(accepted)
        invalid, nameless = await device.receive(), await device.receive()
        assert (msa(invalid), msa(nameless)) == (("AR", "2"), ("AE", ""))
        assert b"\rERR||MSH^1^18|102^" in invalid
        assert b"\rERR||MSH^1^10|101^" in nameless
    assert "message not accepted: The message is not valid in its character set (utf-8 expected), from" in caplog.text
    assert b"expected" not in invalid
    assert channel.notices == {"message not accepted": 2}
    assert "Muster" not in caplog.text


async def test_wide_messages(core: RecordingCore) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        text = message("1", "UNICODE UTF-16").decode().replace("Muster", "Łęcka")
        broken = message("2").decode().encode("utf-16-le") + b"\0"
        await device.send(f"\ufeff{text}".encode("utf-16-le"), broken, message("3", "UNICODE UTF-16") + b"\xff")
        [accepted] = await core.accepted(1)
        assert channel.forward(accepted) == text
        channel.committed([accepted])
        assert "\rMSA|CA|1|" in (await device.receive()).decode("utf-16-le")
        refused = (await device.receive()).decode("utf-16-le")
        assert "\rMSA|CR|2|" in refused
        assert "|102^" in refused
        assert msa(await device.receive()) == ("CR", "3")
