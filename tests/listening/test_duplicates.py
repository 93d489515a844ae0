"""Used control IDs: the parameters, and what a channel and a queue make of them, over real connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.config.settings import Registry
from medagent.listening import TcpChannel, TcpConnection, duplicate_parameters, duplicate_rules, sender_of
from medagent.testing.queue import QueueWorld
from medagent.types import AcceptanceRules, Duplicates, InboundMessage, State

HERE, THERE = "127.0.0.1", "127.0.0.2"
FRAME = b"17 temperature 37.2\n"


class Words(TcpConnection):
    """The first word of a line is its control ID; of a line that begins with `@`, it names the sender instead."""

    def received(self, data: bytes) -> None:
        for line in data.splitlines():
            name = line.split()[0].decode()
            by_itself = sender_of(name) if name.startswith("@") else None
            self.accept([self.message(line, name, sender=by_itself)])


class WordChannel(TcpChannel[Words]):
    content_type = "text/plain"

    def make_connection(self) -> Words:
        return Words(self)

    def forward(self, message: InboundMessage) -> str:
        return (message.body or b"").decode()

    def when_committed(self, message: InboundMessage) -> bytes:
        return f"+{message.control_id}\n".encode()


class Site:
    """A channel before a queue on disk."""

    def __init__(self, queue: QueueWorld, channel: WordChannel) -> None:
        self.queue, self.channel = queue, channel

    async def send(self, source: str, frame: bytes = FRAME) -> bytes:
        """Send this over a connection of its own from an address; returns the acknowledgment."""
        host, port = self.channel.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
        try:
            writer.write(frame)
            return await asyncio.wait_for(reader.readline(), 10)
        finally:
            writer.close()

    async def stored(self) -> int:
        return (await self.queue.states()).get(State.RECEIVED, 0)


@asynccontextmanager
async def listening(folder: Path, **parameters: Value) -> AsyncIterator[Site]:
    config = ChannelConfig("ward", "words", "127.0.0.1", 0, "", parameters=parameters)
    async with QueueWorld(folder, channels=("ward",)) as queue:
        channel = queue.make(WordChannel, config)
        assert isinstance(channel, WordChannel)
        await channel.start()
        yield Site(queue, channel)


async def test_two_devices_with_the_same_frame_are_two_messages_and_a_resend_is_none(tmp_path: Path) -> None:
    async with listening(tmp_path) as site:
        for source, stored in ((HERE, 1), (THERE, 2), (HERE, 2), (THERE, 2)):
            assert await site.send(source) == b"+17\n"
            assert await site.stored() == stored


async def test_a_message_can_name_its_sender(tmp_path: Path) -> None:
    async with listening(tmp_path) as site:
        for source, stored in ((HERE, 1), (THERE, 1)):
            assert await site.send(source, b"@lab 1\n") == b"+@lab\n"
            assert await site.stored() == stored


async def test_the_rules_are_those_of_the_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(tmp_path, duplicateWindowSecs=0, duplicateBehavior="idempotent") as site:
        assert [await site.send(HERE) for _ in range(2)] == [b"+17\n"] * 2
        assert await site.stored() == 2, "a window of 0 seconds"
        config = site.channel.config
        site.channel.reconfigure(ChannelConfig("ward", "words", "127.0.0.1", 0, "", parameters={}))
        assert site.channel.rules == AcceptanceRules()
        assert await site.send(HERE) == b"+17\n"
        assert await site.stored() == 2
        assert config.parameters["duplicateWindowSecs"] == 0


@pytest.mark.parametrize(("parameters", "named"), [({}, False), ({"duplicateBehavior": "idempotent"}, True)])
async def test_the_log_names_the_parameter_if_the_channel_has_it(
    parameters: dict[str, Value], named: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with listening(tmp_path, **parameters) as site:
            await site.send(HERE, b"17 temperature 37.2\n")
            await site.send(HERE, b"17 temperature 37.3\n")
    (line,) = [record.getMessage() for record in caplog.records if "control IDs again" in record.getMessage()]
    assert line.endswith("all are accepted (duplicateBehavior)" if named else "all are accepted")


def test_the_parameters_can_be_declared_and_read_back() -> None:
    registry = Registry()
    for parameter in duplicate_parameters("words", window=600, control_id="a number", sender="bed", refusal="by NAK"):
        registry.add_parameter(parameter)
    declared = registry.parameters("words")
    assert "a number that its sender (bed) has used" in declared["duplicateBehavior"].help
    assert "refuses other bytes by NAK, accept" in declared["duplicateBehavior"].help
    defaults = {name: parameter.default for name, parameter in declared.items() if parameter.default is not None}
    assert duplicate_rules(defaults) == AcceptanceRules(duplicate_window=600.0)
    assert duplicate_rules({}) == AcceptanceRules()
    assert duplicate_rules({"duplicateBehavior": "reject"}) == AcceptanceRules(Duplicates.REJECT)


def test_a_sender_is_a_number_that_tells_nothing() -> None:
    numbers = {sender_of(*names) for names in (("lab", "north"), ("labn", "orth"), ("lab",), ("", "lab"), ("",))}
    assert len(numbers) == 5
    assert all(0 < number < 2**63 for number in numbers)
    assert sender_of("lab", "north") in numbers
