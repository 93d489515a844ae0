"""What a channel promises of messages, and of what it tells devices about them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from medagent.queue.base import Change
from medagent.testing.contracts.channel.base import ChannelBase
from medagent.testing.contracts.channel.device import Reply, What
from medagent.testing.contracts.channel.site import GONE, ChannelSite, new_names, together, told
from medagent.testing.contracts.channel.wire import Wire
from medagent.testing.contracts.promise import Broken, expect, promise
from medagent.types import Answer, Delivery, InboundMessage

OTHER_DEVICE = "127.0.0.2"
"""The IP address of another one than those that connect to the channel directly."""
POSITIVE = (What.ACCEPTED, What.ANSWERED)


class Acceptance(ChannelBase):
    """With a real queue behind the channel."""

    @promise("medagent.channel.Channel")
    async def test_nothing_positive_leaves_before_the_commit(self, tmp_path: Path) -> None:
        """A device is told that its message is safe only after `committed` was called for it."""
        async with self.listening(tmp_path) as site:
            site.queue.store.gate.clear()
            peer = await self.peer(site)
            names = new_names(self.at_a_time)
            await peer.send(*names)
            await self.handed_over(site)
            early = await peer.rest()
            site.queue.store.gate.set()
            expect(not told(early, *POSITIVE), f"while the commit was held back, the device was told: {early}")
            self.served(tuple(names), [*early, *await peer.receive(self.due * len(names))])

    @promise("medagent.channel.Channel.refused")
    async def test_a_refused_message_gets_nothing_positive(self, tmp_path: Path) -> None:
        """A message that could not be committed is answered negatively or not at all, and the channel goes on."""
        async with self.listening(tmp_path) as site:
            site.queue.store.refuse = lambda messages, changes: bool(messages)
            peer = await self.peer(site)
            await peer.send(*new_names(self.at_a_time))
            await self.handed_over(site)
            replies = await peer.rest()
            expect(not told(replies, *POSITIVE), f"the device was told: {replies}")
            site.queue.store.refuse = lambda messages, changes: False
            await self.exchange(site, await self.peer(site), *new_names(1))

    @promise("medagent.channel.Channel.refused")
    async def test_one_refused_message_among_others_gets_nothing_positive(self, tmp_path: Path) -> None:
        """Of several messages, of which one could not be committed, this one gets nothing positive."""
        async with self.listening(tmp_path) as site:
            second: list[bytes | None] = []

            def refuse(messages: Sequence[InboundMessage], changes: Sequence[Change]) -> bool:
                """A device may send it again by itself."""
                if not second:
                    second.extend(one.body for taken in site.accepted[1:2] for one in messages if one.seq == taken.seq)
                return any(one.body in second for one in messages)

            site.queue.store.refuse = refuse
            peer = await self.peer(site)
            names = new_names(4)
            replies: list[Reply] = []
            for some in [names] if self.sends_ahead else [[name] for name in names]:
                with contextlib.suppress(*GONE):
                    await peer.send(*some)
                replies += await peer.rest()
            expect(names[1] not in told(replies, *POSITIVE), f"{names[1]} was not committed; the device was told: {replies}")

    @promise("medagent.types.Answer.accepted")
    async def test_a_message_that_the_server_refuses_gets_no_positive_answer(self, tmp_path: Path) -> None:
        """With `Answer.accepted` False a device is told that the server refused, or nothing."""
        async with self.listening(tmp_path, answered=False) as site:
            peer = await self.peer(site)
            await peer.send(*new_names(1))
            await self._sent(site, 1)
            site.queue.uplink.answer(*site.queue.uplink.transmitted, status_code=400, body="{}")
            replies = await peer.rest()
            expect(not told(replies, What.ANSWERED), f"the device was told: {replies}")

    @promise("medagent.channel.ChannelContext.accept, medagent.channel.Channel.committed")
    async def test_messages_are_taken_and_acknowledged_in_the_order_of_sending(self, tmp_path: Path) -> None:
        """Messages of one connection are handed over in order, and acknowledged in this order."""
        async with self.listening(tmp_path) as site:
            names = new_names(20)
            replies = await self.exchange(site, await self.peer(site), *names)
            arrived = [self.name_in(frame.body) for frame in site.queue.uplink.transmitted]
            expect(arrived == names, f"sent were {names}, handed over were {arrived}")
            accepted = told(replies, What.ACCEPTED)
            expect(accepted == names * self.acknowledges, f"sent were {names}, acknowledged were {accepted}")

    @promise("medagent.channel.Channel.answer")
    async def test_each_device_is_told_of_its_own_messages(self, tmp_path: Path) -> None:
        """What is told of a message goes to the connection that its `link` names, however late."""
        async with self.listening(tmp_path, answered=False) as site:
            named = [(await self.peer(site), name) for name in new_names(5)]
            for peer, name in named:
                await peer.send(name)
            await self._sent(site, 5)
            for frame in reversed(site.queue.uplink.transmitted):
                site.queue.uplink.answer(frame, body=self.answer_to(frame.body))
            for peer, name in named:
                self.served((name,), await peer.receive(self.due))

    @promise("medagent.types.InboundMessage.sender")
    async def test_two_devices_that_send_the_same_have_sent_two_messages(self, tmp_path: Path) -> None:
        """The same bytes of devices at two addresses are no resend, unless the message itself names its sender."""
        if not self.addresses_are_senders:
            pytest.skip("addresses_are_senders is False")
        async with self.listening(tmp_path) as site, Wire(*site.address, source=OTHER_DEVICE) as wire:
            (name,) = new_names(1)
            for address in (site.address, wire.address):
                await self.exchange(site, await self.peer(site, address), name)
            await self.until(
                lambda: [self.name_in(frame.body) for frame in site.queue.uplink.transmitted] == [name, name],
                lambda: f"two devices sent the same, and the server got {len(site.queue.uplink.transmitted)} of two messages",
            )

    @promise("medagent.channel.Channel.connections")
    async def test_many_devices_at_once(self, tmp_path: Path) -> None:
        """Many devices are served beside each other, and counted."""
        async with self.listening(tmp_path) as site:
            peers = [await self.peer(site) for _ in range(60)]
            await self._connections(site, len(peers))
            await together(*(self.exchange(site, peer, *new_names(3)) for peer in peers))

    @promise("medagent.types.InboundMessage.link")
    async def test_links_are_never_used_again(self, tmp_path: Path) -> None:
        """A link names one connection, and never another, in this run or a later."""
        links: list[str] = []
        for run in ("first", "second"):
            async with self.listening(tmp_path / run) as site:
                for _ in range(3):
                    await self.exchange(site, await self.peer(site), *new_names(2))
                of_messages = [message.link for message in site.accepted]
                links += dict.fromkeys(of_messages)
                expect(
                    all(of_messages) and len(set(of_messages)) == 3,
                    f"two messages on each of three connections came with these links: {of_messages}",
                )
        expect(len(set(links)) == len(links), f"connections of two runs had these links: {links}")

    @promise("medagent.channel.Channel.forward")
    async def test_a_message_read_back_from_disk_is_forwarded_and_answered_as_before(self, tmp_path: Path) -> None:
        """`forward` gives the same text for a message whose `origin` is None, in a later run too, and `answer` serves it."""
        async with self.listening(tmp_path, answered=False) as site:
            peer = await self.peer(site)
            (name,) = new_names(1)
            await peer.send(name)
            await self._sent(site, 1)
            (frame,) = site.queue.uplink.transmitted
            async with self.silent(tmp_path / "later") as later:
                text = later.forward(await self._read_back(site))
                expect(text == frame.body, f"first it was {frame.body!r}, in a later run {text!r}")
            message = await self._read_back(site)
            text = site.forward(message)
            expect(text == frame.body, f"first it was {frame.body!r}, read back {text!r}")
            (delivery,) = self._answered(site, message)
            expect(delivery in self._deliveries_there, f"the delivery to a device that is there is {delivery.name}")
            self.served((name,), await peer.receive(self.due))

    @promise("medagent.channel.Channel.answer, medagent.types.Delivery")
    async def test_a_device_that_left_is_gone(self, tmp_path: Path) -> None:
        """`answer` returns one `Delivery` per entry, in order, and `GONE` for a link that no open connection has."""
        async with self.listening(tmp_path, answered=False) as site, Wire(*site.address, by_reset=True) as wire:
            stays, leaves = await self.peer(site), await self.peer(site, wire.address)
            await stays.send(*new_names(1))
            await self._sent(site, 1)
            await leaves.send(*new_names(1))
            await self._sent(site, 2)
            wire.cut()
            await self._connections(site, 1)
            stayed, left = await self._read_back(site, 0), await self._read_back(site, 1)
            unknown = InboundMessage(left.body, left.control_id, left.remote, "no link of this name")
            deliveries = self._answered(site, left, stayed, unknown)
            gone = (Delivery.GONE,) if self.answers else (Delivery.GONE, Delivery.NOT_OWED)
            expect(deliveries[0] in gone, f"for a device that has left it is {deliveries[0].name}")
            expect(deliveries[1] in self._deliveries_there, f"for a device that is there it is {deliveries[1].name}")
            expect(deliveries[2] in gone, f"for a link that no connection has it is {deliveries[2].name}")
            self._answered(site)

    @property
    def _deliveries_there(self) -> tuple[Delivery, ...]:
        return (Delivery.SENT, Delivery.QUEUED) if self.answers else (Delivery.NOT_OWED,)

    async def _sent(self, site: ChannelSite, count: int) -> None:
        await self.within(site.queue.sent(count), f"of {count} messages not all have reached the server")

    async def _connections(self, site: ChannelSite, count: int) -> None:
        await self.until(
            lambda: site.channel.connections == count,
            lambda: f"{count} devices are connected, and `connections` is {site.channel.connections}",
        )

    async def _read_back(self, site: ChannelSite, number: int = 0) -> InboundMessage:
        message = await site.read_back(site.accepted[number])
        if message is None:
            raise Broken("a message that was committed is not in the queue")
        return message

    def _answered(self, site: ChannelSite, *messages: InboundMessage) -> list[Delivery]:
        entries = [(one, Answer(accepted=True, body=self.answer_to(site.forward(one)))) for one in messages]
        try:
            deliveries = site.channel.answer(entries)
        # a plugin may raise anything
        except Exception as error:
            expect(False, f"`answer` raised {error!r}")
            raise
        expect(len(deliveries) == len(entries), f"for {len(entries)} entries `answer` returned {deliveries!r}")
        return deliveries
