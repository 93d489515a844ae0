"""What a channel promises about messages and what it tells of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.testing.contracts.channel.base import ANSWER, CHANNEL, COMMITTED, ChannelBase
from medagent.testing.contracts.channel.device import What
from medagent.testing.contracts.channel.site import SILENCE, ChannelSite, new_names, of_kind
from medagent.testing.contracts.channel.wire import Wire
from medagent.testing.contracts.promise import promised
from medagent.types import Answer, Delivery, InboundMessage

REFUSED = "medagent.channel.Channel.refused"
FORWARD = "medagent.channel.Channel.forward"
LINK = "medagent.types.InboundMessage.link"
POSITIVE = (What.ACCEPTED, What.ANSWERED)


class Acceptance(ChannelBase):
    """Tests with one channel before a real queue."""

    async def test_nothing_positive_leaves_before_the_commit(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            site.queue.store.gate.clear()
            peer = await self.peer(site)
            (name,) = new_names(1)
            await peer.send(name)
            await self._asked_to_commit(site)
            early = await peer.replies()
            site.queue.store.gate.set()
            promised(
                not of_kind(early, *POSITIVE),
                "a device is told that its message is safe only after `committed`",
                "medagent.channel",
                f"while the commit was held back, it was told: {early}",
            )
            late = [reply for _ in range(self.due) if (reply := await peer.receive()) is not None]
            self.told_in_order((name,), [*early, *late])

    async def test_a_refused_message_gets_nothing_positive(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            site.queue.store.refuse = lambda messages, changes: bool(messages)
            peer = await self.peer(site)
            await peer.send(*new_names(1))
            await self._asked_to_commit(site)
            replies = await peer.replies()
            promised(
                not of_kind(replies, *POSITIVE),
                "a message that could not be committed is answered negatively or not at all",
                REFUSED,
                f"it was told: {replies}",
            )
            site.queue.store.refuse = lambda messages, changes: False
            await self.exchange(site, await self.peer(site), *new_names(1))

    async def test_a_message_that_the_server_refuses_gets_no_positive_answer(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path, answered=False) as site:
            peer = await self.peer(site)
            await peer.send(*new_names(1))
            await site.queue.sent(1)
            site.queue.uplink.answer(*site.queue.uplink.transmitted, status_code=400, body="{}")
            replies = await peer.replies()
            promised(
                not of_kind(replies, What.ANSWERED),
                "with `Answer.accepted` False a device is told that the server refused, or nothing",
                "medagent.types.Answer.accepted",
                f"it was told: {replies}",
            )

    async def test_messages_are_handed_over_and_acknowledged_in_the_order_of_sending(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            names = new_names(20)
            await self.exchange(site, await self.peer(site), *names)
            seen = [self.name_in(frame.body) for frame in site.queue.uplink.transmitted]
            promised(seen == names, "messages of one read are handed over in order", "ChannelContext.accept", f"{seen} came")

    async def test_each_device_is_told_of_its_own_messages(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path, answered=False) as site:
            named = [(await self.peer(site), new_names(1)[0]) for _ in range(5)]
            for peer, name in named:
                await peer.send(name)
            await site.queue.sent(5)
            for frame in reversed(site.queue.uplink.transmitted):
                site.queue.uplink.answer(frame, body=self.answer_to(frame.body))
            for peer, name in named:
                replies = await peer.replies() if not self.due else []
                replies += [reply for _ in range(self.due) if (reply := await peer.receive()) is not None]
                self.told_in_order((name,), replies)

    async def test_many_devices_at_once(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            peers = [await self.peer(site) for _ in range(60)]
            await site.until(
                lambda: site.channel.connections == len(peers),
                "`connections` counts the open connections",
                "medagent.channel.Channel.connections",
                f"{len(peers)} devices are connected, and it does not say so",
            )
            names = {peer: new_names(3) for peer in peers}
            async with asyncio.TaskGroup() as group:
                for peer in peers:
                    group.create_task(self.exchange(site, peer, *names[peer]))

    async def test_links_are_never_used_again(self, tmp_path: Path) -> None:
        links: list[str] = []
        for run in ("first", "second"):
            folder = tmp_path / run
            folder.mkdir()
            async with self.listening(folder) as site:
                for _ in range(3):
                    peer = await self.peer(site)
                    await self.exchange(site, peer, *new_names(2))
                    await peer.close()
                    site.peers.remove(peer)
                of_messages = [message.link for message in site.accepted]
                links += dict.fromkeys(of_messages)
                promised(
                    len(set(of_messages)) == 3 and all(of_messages),
                    "each connection has one link, and it is not empty",
                    LINK,
                    f"3 connections have these: {of_messages}",
                )
        promised(
            len(set(links)) == len(links),
            "a link never names another connection, in this run or a later",
            LINK,
            f"connections of two runs have these: {links}",
        )

    async def test_a_message_read_back_from_disk_is_forwarded_and_answered_as_before(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path, answered=False) as site:
            peer = await self.peer(site)
            (name,) = new_names(1)
            await peer.send(name)
            await site.queue.sent(1)
            (frame,) = site.queue.uplink.transmitted
            message = await self._read_back(site)
            text = self._forwarded(site, message)
            promised(
                text == frame.body,
                "`forward` gives the same text for a message read back from disk",
                FORWARD,
                f"first it was {frame.body!r}, and then {text!r}",
            )
            deliveries = self._answered(site, [(message, Answer(accepted=True, body=self.answer_to(text)))])
            told = (Delivery.SENT, Delivery.QUEUED) if self.answers else (Delivery.NOT_OWED,)
            promised(
                deliveries[0] in told, "the device of an open link is told", ANSWER, f"the delivery is {deliveries[0].name}"
            )
            replies = [reply for _ in range(self.due) if (reply := await peer.receive()) is not None]
            self.told_in_order((name,), replies)

    async def test_a_device_that_left_is_gone(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path, answered=False) as site, Wire(*site.address, by_reset=True) as wire:
            stays, leaves = await self.peer(site), await self.peer(site, wire.address)
            await stays.send(*new_names(1))
            await site.queue.sent(1)
            await leaves.send(*new_names(1))
            await site.queue.sent(2)
            wire.cut()
            await site.until(
                lambda: site.channel.connections == 1,
                "a connection that has ended is no longer counted",
                "medagent.channel.Channel.connections",
                f"one of two devices left, and `connections` is {site.channel.connections}",
            )
            first, second = [await self._read_back(site, number) for number in range(2)]
            unknown = InboundMessage(first.body, first.control_id, first.remote, "no link of this name")
            entries = [
                (message, Answer(accepted=True, body=self.answer_to(self._forwarded(site, message))))
                for message in (second, first, unknown)
            ]
            deliveries = self._answered(site, entries)
            gone = (Delivery.GONE,) if self.answers else (Delivery.GONE, Delivery.NOT_OWED)
            for number, whose in ((0, "that has hung up"), (2, "of a link that no connection has")):
                promised(
                    deliveries[number] in gone,
                    "a device whose connection is gone is reported as `Delivery.GONE`",
                    ANSWER,
                    f"for a device {whose} it is {deliveries[number].name}",
                )
            promised(deliveries[1] is not Delivery.GONE, "a device that is there is told", ANSWER, "it is reported as gone")
            promised(self._answered(site, []) == [], "there is one `Delivery` per entry", ANSWER, "for no entry there is one")

    async def _asked_to_commit(self, site: ChannelSite) -> None:
        await site.until(
            lambda: any(names for names, _ in site.queue.store.commits) or site.accepted,
            "what a device has sent is handed over",
            "medagent.channel.ChannelContext.accept",
            "nothing was handed over",
        )
        await asyncio.sleep(SILENCE / 3)

    async def _read_back(self, site: ChannelSite, number: int = 0) -> InboundMessage:
        found = await site.queue.store.fetch(CHANNEL, 0, 100, 1 << 30)
        promised(len(found) > number, "a committed message is in the queue", COMMITTED, f"the queue holds {len(found)}")
        return found[number]

    def _forwarded(self, site: ChannelSite, message: InboundMessage) -> str:
        try:
            return site.channel.forward(message)
        # a plugin may raise anything
        except Exception as error:  # noqa: BLE001  as said above
            promised(False, "`forward` does not raise for a body that was accepted", FORWARD, f"it raised {error!r}")
            raise

    def _answered(self, site: ChannelSite, entries: list[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        try:
            deliveries = site.channel.answer(entries)
        # a plugin may raise anything
        except Exception as error:  # noqa: BLE001  as said above
            promised(False, "`answer` does not raise, also if a device is gone", ANSWER, f"it raised {error!r}")
            raise
        promised(
            len(deliveries) == len(entries),
            "`answer` returns one `Delivery` per entry, in order",
            ANSWER,
            f"for {len(entries)} entries it returned {deliveries}",
        )
        return deliveries
