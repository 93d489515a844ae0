"""The listener, over real sockets, with a core that records."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from medagent.channel import Channel, ChannelContext
from medagent.config.model import ChannelConfig, Value
from medagent.errors import BindFailed
from medagent.types import Answer, Delivery, InboundMessage, Refusal, RefusalKind
from medagent_hl7 import plugin
from medagent_hl7.framing import encode_frame
from medagent_hl7.message import Header, msa

MAX_BODY = 20_000


class Core:
    """What hosts the channel: keeps what it is given, and wakes who waits for it."""

    def __init__(self) -> None:
        self.reads: list[list[InboundMessage]] = []
        self.outcomes: list[tuple[InboundMessage, Delivery]] = []
        self.fail = False
        self._changed = asyncio.Event()

    @property
    def messages(self) -> list[InboundMessage]:
        return [message for read in self.reads for message in read]

    def accept(self, messages: list[InboundMessage]) -> None:
        if self.fail:
            raise ValueError(messages[0].control_id)
        self.reads.append(messages)
        self._changed.set()

    def delivered(self, outcomes: list[tuple[InboundMessage, Delivery]]) -> None:
        self.outcomes += outcomes
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def accepted(self, count: int) -> list[InboundMessage]:
        await self.until(lambda: len(self.messages) >= count)
        return self.messages


class Device:
    """The other end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *bodies: bytes) -> None:
        self.writer.write(b"".join(map(encode_frame, bodies)))

    async def receive(self) -> bytes:
        async with asyncio.timeout(10):
            frame = await self.reader.readuntil(b"\x1c\r")
        assert frame.startswith(b"\x0b")
        return frame[1:-2]

    async def acknowledgment(self) -> tuple[str, str] | None:
        return msa(await self.receive())

    async def is_closed(self) -> bool:
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True

    @property
    def address(self) -> str:
        host, port = self.writer.get_extra_info("sockname")[:2]
        return f"{host}:{port}"


def context(
    core: Core, host: str = "127.0.0.1", port: int = 0, *, bind_any: bool = False, **parameters: Value
) -> ChannelContext:
    return ChannelContext(
        config=ChannelConfig("lab", "mllp", host, port, "", parameters=parameters),
        bind_any=bind_any,
        max_body_bytes=MAX_BODY,
        log=logging.getLogger("medagent.channel.lab"),
        accept=core.accept,
        delivered=core.delivered,
        spawn=lambda coroutine, _: coroutine.close(),
    )


def make(channel_context: ChannelContext) -> Channel:
    factories = {}
    plugin.medagent_register_channel_types(factories.__setitem__)
    return factories["mllp"](channel_context)


@contextlib.asynccontextmanager
async def listening(core: Core, **parameters: Value) -> AsyncIterator[Channel]:
    channel = make(context(core, **parameters))
    await channel.start()
    try:
        yield channel
    finally:
        await channel.close()


@contextlib.asynccontextmanager
async def connected(channel: Channel) -> AsyncIterator[Device]:
    host, _, port = channel.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        yield Device(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def connections(channel: Channel, count: int) -> None:
    """Let the loop turn until the channel has noticed."""
    async with asyncio.timeout(10):
        while channel.connections != count:  # noqa: ASYNC110 a channel does not announce its connections
            await asyncio.sleep(0)


@pytest.fixture
def core() -> Core:
    return Core()


def message(control_id: str, charset: str = "", message_type: str = "ADT^A01^ADT_A01") -> bytes:
    msh = f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||{message_type}|{control_id}|P|2.5.1||||||{charset}"
    return f"{msh}\rPID|1||4711||Muster^Erika\r".encode()


def server_acknowledgment(control_id: str, code: str = "AA", text: str = "OK") -> str:
    return f"MSH|^~\\&|EHR|MAIN|LAB|NORTH|20260105||ACK^A01|900{control_id}|P|2.5.1\rMSA|{code}|{control_id}|{text}"


async def test_messages_reach_the_core_as_sent(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        body = b"\xef\xbb\xbf" + message("1").replace(b"\r", b"\r\n") + b"\xff"
        device.send(body)
        [accepted] = await core.accepted(1)
        assert accepted.body == body
        assert accepted.control_id == "1"
        assert accepted.remote == device.address
        assert accepted.link
        assert channel.connections == 1
        assert channel.content_type == "x-application/hl7-v2+er7"
        forwarded = channel.forward(accepted)
        assert forwarded.startswith("MSH|")
        assert "\n" not in forwarded
        assert forwarded.endswith("ÿ")


async def test_frames_of_one_read_come_in_order_and_together(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        bodies = [message(str(number)) for number in range(20)]
        device.send(*bodies)
        assert [accepted.body for accepted in await core.accepted(20)] == bodies
        assert len(core.reads) < 20


async def test_enhanced_mode(core: Core) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        device.send(message("1"), message("2"))
        accepted = await core.accepted(2)
        channel.committed(accepted)
        assert [await device.acknowledgment() for _ in accepted] == [("CA", "1"), ("CA", "2")]
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
async def test_app_level_ack(core: Core, level: str, code: str, delivery: Delivery) -> None:
    async with listening(core, enhanced="true", appLevelAck=level) as channel, connected(channel) as device:
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        channel.committed([accepted])
        assert await device.acknowledgment() == ("CA", "1")
        assert channel.answer([(accepted, Answer(True, server_acknowledgment("1", code)))]) == [delivery]
        if delivery is Delivery.SENT:
            assert await device.acknowledgment() == (code, "1")


async def test_aa_mode(core: Core) -> None:
    async with listening(core, enhanced="aa") as channel, connected(channel) as device:
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        channel.committed([accepted])
        assert await device.acknowledgment() == ("AA", "1")
        assert channel.answer([(accepted, Answer(False, ""))]) == [Delivery.NOT_OWED]


async def test_original_mode_is_silent_until_the_server_speaks(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        channel.committed([accepted])
        assert channel.answer([(accepted, Answer(True, server_acknowledgment("1", "AE", "no bed")))]) == [Delivery.SENT]
        # the first bytes the device gets
        assert await device.receive() == server_acknowledgment("1", "AE", "no bed").encode()


@pytest.mark.parametrize("body", ["", "Bot execution logs:\n", '{"resourceType":"Bundle"}', "MSH|^~\\&|\x1c\rMSA|AA|9"])
async def test_server_took_it_but_answered_without_hl7(core: Core, body: str) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        assert channel.answer([(accepted, Answer(True, body))]) == [Delivery.SENT]
        assert await device.acknowledgment() == ("AA", "1")


async def test_answer_in_the_senders_character_set(core: Core) -> None:
    async with listening(core, encoding="cp1252") as channel, connected(channel) as device:
        device.send(message("1", "8859/1"), message("2", "UNICODE UTF-8"), message("3"))
        accepted = await core.accepted(3)
        channel.answer([(each, Answer(True, server_acknowledgment("1", text="Grüße €"))) for each in accepted])
        texts = [(await device.receive()).rpartition(b"|")[2] for _ in accepted]
        assert texts == [b"Gr\xfc\xdfe ?", "Grüße €".encode(), b"Gr\xfc\xdfe \x80"]


@pytest.mark.parametrize(("mode", "codes"), [("true", ["CE", "CR"]), ("aa", ["AE", "AR"]), ("false", ["AE", "AR"])])
async def test_refused_by_the_core(core: Core, mode: str, codes: list[str]) -> None:
    async with listening(core, enhanced=mode) as channel, connected(channel) as device:
        device.send(message("1"), message("2"))
        first, second = await core.accepted(2)
        channel.refused([first], Refusal(RefusalKind.STORAGE, "The disk is full"))
        channel.refused([second], Refusal(RefusalKind.UNACCEPTABLE, "Too long"))
        body = await device.receive()
        assert b"The disk is full" in body
        assert b"\rERR|||207^" in body
        assert [msa(body), await device.acknowledgment()] == [(codes[0], "1"), (codes[1], "2")]


async def test_bad_frames_harm_no_other(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        device.writer.write(
            b"\xff junk"
            + encode_frame(message("1"))
            + encode_frame(b"not HL7: Erika Muster")
            + encode_frame(b"msh|^~\\&|LAB||||||ADT^A01|2|P|2.3\r")
            + encode_frame(message("3", message_type="ACK^A01^ACK"))
            + encode_frame(b"")
            + b"\x0bMSH|^~\\&|cut short"
            + encode_frame(message("4") + b"x" * MAX_BODY)
            + encode_frame(message("5"))
        )
        accepted = await core.accepted(2)
        assert [each.control_id for each in accepted] == ["1", "5"]
        rejections = [await device.receive(), await device.receive()]
        assert [msa(body) for body in rejections] == [("CR", "2"), ("CR", "4")]
        assert b"\rERR|^^^100&" in rejections[0]
        assert b"longer than 20000" in rejections[1]
        channel.committed(accepted)
        assert [await device.acknowledgment() for _ in accepted] == [("CA", "1"), ("CA", "5")]
    assert "frame without an HL7 message" in caplog.text
    assert "Muster" not in caplog.text


async def test_peer_that_does_not_speak_mllp_is_cut_off(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.writer.write(b"x" * 100_000)
        assert await device.is_closed()


async def test_fault_on_one_connection_leaves_the_others(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(core) as channel, connected(channel) as bad, connected(channel) as good:
        core.fail = True
        bad.send(message("4711"))
        assert await bad.is_closed()
        core.fail = False
        good.send(message("1"))
        assert [each.control_id for each in await core.accepted(1)] == ["1"]
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text


async def test_answers_find_their_connection(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as one, connected(channel) as two:
        one.send(message("1"))
        await core.accepted(1)
        two.send(message("2"))
        first, second = await core.accepted(2)
        assert first.link != second.link
        channel.answer([(each, Answer(True, server_acknowledgment(each.control_id))) for each in (second, first)])
        assert [await one.acknowledgment(), await two.acknowledgment()] == [("AA", "1"), ("AA", "2")]
        # the newest connection gets the answer of a message that was sent again
        first.link = second.link
        channel.answer([(first, Answer(True, server_acknowledgment("1")))])
        assert await two.acknowledgment() == ("AA", "1")


async def test_device_gone(core: Core) -> None:
    async with listening(core) as channel:
        async with connected(channel) as device:
            device.send(message("1"))
            [accepted] = await core.accepted(1)
        async with connected(channel) as device:
            device.send(message("2"))
            await core.accepted(2)
            await connections(channel, 1)
            channel.committed([accepted])
            channel.refused([accepted], Refusal(RefusalKind.STORAGE, "The disk is full"))
            assert channel.answer([(accepted, Answer(True, server_acknowledgment("1")))]) == [Delivery.GONE]


async def test_message_read_back_from_disk(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.send(message("1", "8859/1"))
        [accepted] = await core.accepted(1)
        stored = InboundMessage(accepted.body, "1", accepted.remote, accepted.link)
        assert channel.forward(stored) == channel.forward(accepted)
        stored.body = None
        assert channel.answer([(stored, Answer(False, ""))]) == [Delivery.SENT]
        assert await device.acknowledgment() == ("AE", "1")


async def test_slow_device_gets_its_answers_when_it_reads(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.writer.transport.pause_reading()
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        sent = 0
        long = server_acknowledgment("1", text="x" * 500_000)
        frame = encode_frame(long.encode())
        while channel.answer([(accepted, Answer(True, long))]) == [Delivery.SENT]:
            sent += 1
        device.writer.transport.resume_reading()
        async with asyncio.timeout(10):
            received = await device.reader.readexactly((sent + 1) * len(frame))
        assert received == frame * (sent + 1)
        await core.until(lambda: bool(core.outcomes))
        assert core.outcomes == [(accepted, Delivery.SENT)]
        # and the device is read from again
        device.send(message("2"))
        await core.accepted(2)


async def test_slow_device_is_lost(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.writer.transport.pause_reading()
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        answer = Answer(True, server_acknowledgment("1", text="x" * 500_000))
        while channel.answer([(accepted, answer)]) == [Delivery.SENT]:
            pass
        # nothing more is read from a device that does not read
        device.send(message("2"))
        await channel.close()
        assert core.outcomes == [(accepted, Delivery.GONE)]
        assert [each.control_id for each in core.messages] == ["1"]
        assert channel.connections == 0


async def test_paused_reading_includes_new_connections(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as old:
        channel.pause_reading()
        async with connected(channel) as new:
            await connections(channel, 2)
            old.send(message("1"))
            new.send(message("2"))
            await asyncio.gather(old.writer.drain(), new.writer.drain())
            for _ in range(50):
                await asyncio.sleep(0)
            assert core.messages == []
            channel.resume_reading()
            assert {each.control_id for each in await core.accepted(2)} == {"1", "2"}


async def test_stop_accepting_keeps_connections_for_what_is_due(core: Core) -> None:
    async with listening(core) as channel, connected(channel) as device:
        device.send(message("1"))
        [accepted] = await core.accepted(1)
        host, _, port = channel.address.rpartition(":")
        await channel.stop_accepting()
        assert channel.address == ""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))
        device.send(message("2"))
        channel.answer([(accepted, Answer(True, server_acknowledgment("1")))])
        assert await device.acknowledgment() == ("AA", "1")
        await channel.close()
        assert await device.is_closed()
        assert [each.control_id for each in core.messages] == ["1"]


async def test_port_in_use(core: Core) -> None:
    async with listening(core) as channel:
        port = int(channel.address.rpartition(":")[2])
        with pytest.raises(BindFailed, match=rf"127\.0\.0\.1, port {port}: the port is in use; .*Endpoint\.address"):
            await make(context(core, port=port)).start()


async def test_start_again_after_the_port_is_free(core: Core) -> None:
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", 0))
        blocker.listen()
        channel = make(context(core, port=blocker.getsockname()[1]))
        with pytest.raises(BindFailed):
            await channel.start()
    await channel.start()
    async with connected(channel) as device:
        device.send(message("1"))
        await core.accepted(1)
    await channel.close()


@pytest.mark.parametrize(("host", "advice"), [("192.0.2.1", "--bind any"), ("no-such-host.invalid", "cannot be resolved")])
async def test_host_that_is_not_here(core: Core, host: str, advice: str) -> None:
    with pytest.raises(BindFailed, match=advice):
        await make(context(core, host)).start()


@pytest.mark.parametrize(
    ("host", "bind_any", "reached"),
    [
        ("localhost", False, ["127.0.0.1"]),
        ("0.0.0.0", False, ["127.0.0.1"]),  # noqa: S104 the host under test
        ("::1", False, ["::1"]),
        ("::", False, ["::1", "127.0.0.1"]),
        ("192.0.2.1", True, ["127.0.0.1"]),
    ],
)
async def test_hosts(core: Core, host: str, bind_any: bool, reached: list[str]) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    channel = make(context(core, host, bind_any=bind_any))
    await channel.start()
    try:
        port = int(channel.address.rpartition(":")[2])
        assert port
        for number, address in enumerate(reached, 1):
            _, writer = await asyncio.open_connection(address, port)
            writer.write(encode_frame(message(str(number))))
            accepted = await core.accepted(number)
            expected = f"[{address}]:" if ":" in address else f"{address}:"
            assert accepted[-1].remote.startswith(expected)
            writer.close()
            await writer.wait_closed()
    finally:
        await channel.close()


async def test_acknowledgments_have_unique_control_ids(core: Core) -> None:
    async with listening(core, enhanced="true") as channel, connected(channel) as device:
        device.send(*[message(str(number)) for number in range(50)])
        channel.committed(await core.accepted(50))
        control_ids = {Header.parse(await device.receive()).control_id for _ in range(50)}
        assert len(control_ids) == 50
        assert all(0 < len(control_id) <= 20 for control_id in control_ids)
