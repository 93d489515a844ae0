"""Channels that break one promise each, before the suite that has to find it: the channel type of docs/examples, made worse."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import re
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from medagent.channel import Channel, ChannelContext
from medagent.testing.contracts.channel import ChannelContract, Device, Reply, What
from medagent.types import Answer, Delivery, InboundMessage, Refusal

EXAMPLE = Path(__file__).resolve().parents[3] / "docs/examples/medagent-lines/medagent_lines.py"
WHOLE = bool(os.environ.get("MEDAGENT_LONG_TESTS"))
KILLED = "test_what_a_device_was_told_is_safe_survives_a_kill"


# a module of an example has no types of its own here
def load() -> Any:
    spec = importlib.util.spec_from_file_location("medagent_lines", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lines = load()


WORDS = {"stored": What.ACCEPTED, "done": What.ANSWERED}


class LineDevice:
    """A device that speaks `line`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, name: str) -> None:
        self._writer.write(f"{name} value of {name}\n".encode())
        await self._writer.drain()

    async def receive(self) -> Reply:
        word, name = (await self._reader.readuntil(b"\n")).decode().split()
        return Reply(name, WORDS.get(word, What.REFUSED))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class LineContract(ChannelContract):
    address = "line://127.0.0.1:0?encoding=utf-8"
    message_start = b"17 "
    patience = 1.0
    closes_within = 0.5

    async def connect(self, host: str, port: int) -> Device:
        return LineDevice(*await asyncio.open_connection(host, port))


class TellsEarly(lines.LineConnection):
    def _message(self, line: bytes) -> InboundMessage:
        message: InboundMessage = super()._message(line)
        self.transport.write(f"stored {message.control_id}\n".encode())
        return message


class TellsEarlyChannel(lines.LineChannel):
    def committed(self, messages: Sequence[InboundMessage]) -> None:
        pass


class AnswersTheYoungest(lines.LineChannel):
    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        for message, _ in answers:
            if message.link in self._connections:
                message.link = list(self._connections)[-1]
        return super().answer(answers)


class TellsBackwards(lines.LineChannel):
    def committed(self, messages: Sequence[InboundMessage]) -> None:
        super().committed(messages[::-1])


class NobodyIsGone(lines.LineChannel):
    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        super().answer(answers)
        return [Delivery.SENT] * len(answers)


class AcceptsDespiteRefusal(lines.LineChannel):
    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        super().committed(messages)


class AnswersWellDespiteRefusal(lines.LineChannel):
    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        return super().answer([(message, Answer(accepted=True, body="")) for message, _ in answers])


class MixesDevices(lines.LineConnection):
    def _message(self, line: bytes) -> InboundMessage:
        message: InboundMessage = super()._message(line)
        message.sender = 0
        return message


class NumbersItsLinks(lines.LineConnection):
    def __init__(self, channel: Any) -> None:
        super().__init__(channel)
        channel.count = getattr(channel, "count", 0) + 1
        self.link = str(channel.count)


class ForwardsByOrigin(lines.LineChannel):
    def forward(self, message: InboundMessage) -> str:
        text: str = super().forward(message)
        return text if message.seq and message.accepted_at and message.received_at else f"old {text}"


class DecodesStrictly(lines.LineChannel):
    def forward(self, message: InboundMessage) -> str:
        return (message.body or b"").decode("ascii", "strict")


class IgnoresPauses(lines.LineChannel):
    def pause_reading(self) -> None:
        pass


class DropsWhilePaused(lines.LineConnection):
    def data_received(self, data: bytes) -> None:
        if self._channel.may_read:
            super().data_received(data)

    def update_reading(self) -> None:
        pass


class TakesReadsForMessages(lines.LineConnection):
    def data_received(self, data: bytes) -> None:
        super().data_received(data if data.endswith(b"\n") else data + b"\n")


class HandsOverHalfMessages(lines.LineConnection):
    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._channel.context.accept([self._message(self._rest)])
        super().connection_lost(exc)


class KeepsAll(lines.LineConnection):
    def data_received(self, data: bytes) -> None:
        self.all = getattr(self, "all", bytearray())
        if len(self._rest) + len(data) > self._channel.context.max_body_bytes:
            self.all += data
        else:
            super().data_received(data)


class Blocks(lines.LineChannel):
    blocks = True

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        if self.blocks:
            time.sleep(0.25)
        self.blocks = False
        super().refused(messages, refusal)


class RaisesOsError(lines.LineChannel):
    async def start(self) -> None:
        try:
            await super().start()
        except lines.BindFailed as error:
            raise OSError("taken") from error


class HangsInClose(lines.LineChannel):
    async def close(self) -> None:
        await self.stop_accepting()
        self.resume_reading()
        await self._no_connections.wait()


class LeavesConnectionsOpen(lines.LineChannel):
    async def close(self) -> None:
        await self.stop_accepting()


class HangsUpTooEarly(lines.LineChannel):
    async def stop_accepting(self) -> None:
        await super().stop_accepting()
        for connection in self._connections.values():
            connection.transport.close()


class ListensOn(lines.LineChannel):
    async def stop_accepting(self) -> None:
        self.pause_reading()

    async def close(self) -> None:
        await super().close()
        if self._server is not None:
            self._server.close()
            self._server = None


class MiscountsConnections(lines.LineChannel):
    count = 0

    def opened(self, connection: Any) -> None:
        self.count += 1
        super().opened(connection)

    @property
    def connections(self) -> int:
        return self.count


class TellsTheLastEarly(lines.LineChannel):
    """Of several messages in one read."""

    def __init__(self, context: ChannelContext) -> None:
        super().__init__(context)
        self.early: set[str] = set()
        hand_over = context.accept

        def accept(messages: list[InboundMessage]) -> None:
            hand_over(messages)
            if len(messages) > 1:
                self.early.add(messages[-1].control_id)
                self._tell(messages[-1], "stored")

        context.accept = accept

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        super().committed([one for one in messages if one.control_id not in self.early])


class AcceptsWhatIsRefusedLater(lines.LineChannel):
    """Than another message that was committed."""

    goes_well = False

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self.goes_well = True
        super().committed(messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        if self.goes_well:
            super().committed(messages)
        else:
            super().refused(messages, refusal)


BEFORE_COMMIT = "test_nothing_positive_leaves_before_the_commit"
REFUSED = "test_a_refused_message_gets_nothing_positive"
ONE_REFUSED = "test_one_refused_message_among_others_gets_nothing_positive"
SERVER_REFUSES = "test_a_message_that_the_server_refuses_gets_no_positive_answer"
ORDER = "test_messages_are_taken_and_acknowledged_in_the_order_of_sending"
OWN = "test_each_device_is_told_of_its_own_messages"
MANY = "test_many_devices_at_once"
TWO_DEVICES = "test_two_devices_that_send_the_same_have_sent_two_messages"
LINKS = "test_links_are_never_used_again"
READ_BACK = "test_a_message_read_back_from_disk_is_forwarded_and_answered_as_before"
LEFT = "test_a_device_that_left_is_gone"
BYTES = "test_a_message_that_comes_byte_by_byte"
ANY_BYTE = "test_a_connection_that_ends_at_any_byte"
GARBAGE = "test_garbage_disturbs_nobody"
DEAF = "test_a_device_that_does_not_read_disturbs_nobody"
PAUSE = "test_a_pause_holds_reading_back_and_loses_nothing"
TOO_LONG = "test_a_message_that_is_too_long_is_not_acknowledged"
ENDLESS = "test_a_message_without_an_end_takes_no_memory"
TAKEN = "test_a_taken_port_raises_bind_failed_and_is_listened_on_later"
ADDRESS = "test_its_address_is_where_it_listens"
STOPPED = "test_after_stop_accepting_what_is_due_is_still_told"
CLOSED = "test_close_writes_out_what_is_buffered_and_ends_every_connection"
CLOSE_DEAF = "test_close_does_not_wait_for_a_device_that_does_not_read"
BLOCKS = "test_no_method_blocks_the_loop"
AGENT = "test_an_agent_delivers_in_the_order_of_sending"

FAULTS: dict[type, set[str]] = {
    lines.LineChannel: set(),
    AcceptsDespiteRefusal: {REFUSED, ONE_REFUSED, TOO_LONG},
    AcceptsWhatIsRefusedLater: {ONE_REFUSED},
    AnswersTheYoungest: {OWN, MANY, DEAF, GARBAGE, PAUSE, AGENT},
    AnswersWellDespiteRefusal: {SERVER_REFUSES},
    Blocks: {BLOCKS},
    DecodesStrictly: {GARBAGE},
    DropsWhilePaused: {PAUSE},
    ForwardsByOrigin: {READ_BACK},
    HandsOverHalfMessages: {ANY_BYTE},
    HangsInClose: {ADDRESS, CLOSED, CLOSE_DEAF, BLOCKS},
    HangsUpTooEarly: {STOPPED, CLOSED},
    IgnoresPauses: {PAUSE},
    KeepsAll: {ENDLESS},
    LeavesConnectionsOpen: {CLOSED},
    ListensOn: {STOPPED},
    MixesDevices: {TWO_DEVICES},
    MiscountsConnections: {LEFT, ANY_BYTE, CLOSED},
    NobodyIsGone: {LEFT},
    NumbersItsLinks: {LINKS},
    RaisesOsError: {TAKEN},
    TakesReadsForMessages: {BYTES, ANY_BYTE, ENDLESS},
    TellsBackwards: {ORDER},
    TellsEarly: {BEFORE_COMMIT, REFUSED, ONE_REFUSED, TOO_LONG},
    TellsTheLastEarly: {BEFORE_COMMIT, REFUSED, ORDER},
}


def contract(monkeypatch: pytest.MonkeyPatch, fault: type) -> ChannelContract:
    """The suite before the channel type with this fault."""
    made: type[Channel] = fault if issubclass(fault, lines.LineChannel) else lines.LineChannel
    if fault is TellsEarly:
        made = TellsEarlyChannel
    if issubclass(fault, lines.LineConnection):
        monkeypatch.setattr(lines, "LineConnection", fault)
    plugin = types.ModuleType("broken_lines")
    plugin.medagent_register_settings = lines.medagent_register_settings

    @lines.hookimpl
    def medagent_register_channel_types(register: Any) -> None:
        register("line", made)

    plugin.medagent_register_channel_types = medagent_register_channel_types
    return type("TestBroken", (LineContract,), {"plugin": plugin})()


def promises(fault: type) -> Iterator[str]:
    """The tests that run: all on the sound one; only `make broken-plugins` has the others pass those tests that they must."""
    names = (name for name, _ in inspect.getmembers(ChannelContract) if name.startswith("test_") and name != KILLED)
    return (name for name in names if WHOLE or not FAULTS[fault] or name in FAULTS[fault])


# channels that leave sockets open leave them to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_fault_is_found_by_the_tests_of_its_promise(
    fault: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite = contract(monkeypatch, fault)
    failed = {}
    for name in promises(fault):
        folder = tmp_path / name
        folder.mkdir()
        try:
            await getattr(suite, name)(folder)
        except pytest.fail.Exception as failure:
            failed[name] = str(failure)
    assert set(failed) == FAULTS[fault]
    assert all("Promised: " in text and "Written: " in text for text in failed.values())


class CutsNames(LineDevice):
    """Takes the end of a name for all of it."""

    async def receive(self) -> Reply:
        reply = await super().receive()
        return Reply(reply.name[-4:], reply.what)


async def test_a_device_that_returns_other_names_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite: Any = contract(monkeypatch, lines.LineChannel)

    async def connect(host: str, port: int) -> Device:
        return CutsNames(*await asyncio.open_connection(host, port))

    suite.connect = connect
    for name in (BEFORE_COMMIT, OWN, AGENT):
        (tmp_path / name).mkdir()
        with pytest.raises(pytest.fail.Exception, match=r"a name that was never sent: \d{4}; `receive` must return"):
            await getattr(suite, name)(tmp_path / name)


class RaisesWhenCommitted(lines.LineChannel):
    def committed(self, messages: Sequence[InboundMessage]) -> None:
        raise LookupError("in committed")


class RaisesWhenRead(lines.LineConnection):
    def data_received(self, data: bytes) -> None:
        raise LookupError("in data_received")


@pytest.mark.parametrize("fault", [RaisesWhenCommitted, RaisesWhenRead])
async def test_a_failure_shows_what_the_plugin_has_raised(fault: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(LineContract, "patience", 0.3)
    with pytest.raises(pytest.fail.Exception) as caught:
        await getattr(contract(monkeypatch, fault), ORDER)(tmp_path)
    text = str(caught.value)
    assert re.search(r"(?s)Promised: .*Happened: .*Written: .*Raised: .*Traceback", text)
    assert f'File "{__file__}", line ' in text
    assert "LookupError: in " in text


LATE = """
import asyncio

import medagent_lines as lines
from medagent_lines import medagent_register_channel_types, medagent_register_settings


class LateConnection(lines.LineConnection):
    def data_received(self, data):
        for line in data.splitlines():
            self.transport.write(b"stored " + line.split()[0] + b"\\n")
        asyncio.get_running_loop().call_later(0.5, super().data_received, data)


lines.LineConnection = LateConnection
lines.LineChannel.committed = lambda self, messages: None
"""


async def test_a_channel_that_acknowledges_from_memory_does_not_survive_a_kill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "late_lines.py").write_text(LATE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    suite = type("TestLate", (LineContract,), {"plugin": importlib.import_module("late_lines"), "patience": 5.0, "kills": 1})()
    with pytest.raises(pytest.fail.Exception, match=r"messages that were acknowledged, \d+ are lost"):
        await getattr(suite, KILLED)(tmp_path)
