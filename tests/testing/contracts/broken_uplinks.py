"""Uplinks that each break a promise, for test_suites_can_fail.py to run pytest on; `fails` is what must fail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar

from medagent.testing.contracts.uplink import UplinkContract
from medagent.testing.contracts.uplink.medplum import MedplumControl, medplum_server
from medagent.uplink import link
from medagent.uplink.backoff import Backoff
from medagent.uplink.base import Response, Transmit, UplinkContext, UplinkHandler, UplinkStatus
from medagent.uplink.websocket import WebSocketUplink

link.CLOSE_TIMEOUT = 0.1
HASTE = 40.0
AWAY = {"it_takes_nothing_while_the_connection_is_away"}
FULL = {"a_full_buffer_takes_a_part_and_says_when_there_is_room"}
AGAIN = {"what_was_not_answered_is_not_sent_again"}
ANSWERS = {"answers_come_with_the_callback_they_belong_to"}
KEPT = {"replies_are_kept_while_the_connection_is_away"}
LOST = {"each_connection_is_lost_once"}
ENDS = {"it_ends_by_cancellation_and_leaves_nothing_behind"}
STATUS = {"its_status_says_how_it_stands"}
REFUSED = {"it_connects_when_the_server_takes_it_at_last"}
TOO_BIG = {"a_message_too_long_for_the_server_is_told"}
BEFORE = {"it_takes_nothing_before_the_server_has_accepted"}
AT_ONCE = {"it_takes_messages_from_the_moment_it_is_connected"}
RECONNECT = {"reconnect_makes_a_new_connection"}
SILENT = {"it_leaves_a_server_that_says_nothing"}
TOKEN = {"it_goes_on_without_a_token"}
LATER = {"on_a_new_connection_answers_belong_to_its_own_messages"}
REQUESTS = {"requests_are_handed_over_and_answered"}
CUT = {"it_connects_again_after_a_cut"}
ORDER = {"messages_arrive_in_order"}
FAULT = {"a_core_that_fails_does_not_end_it"}
OVERHEAD = {"the_overhead_is_a_number"}

STUCK = {"it_ends_while_the_server_is_stuck"}
LONGEST = SILENT | FULL | STUCK


class Sound(WebSocketUplink):
    """The built-in one, in haste."""

    def __init__(self, server: MedplumControl, context: UplinkContext) -> None:
        assert context.tokens is not None
        super().__init__(
            server.base_url,
            context.agent_id,
            context.tokens,
            context,
            clock=lambda: time.monotonic() * HASTE,
            sleep=lambda seconds: asyncio.sleep(min(seconds, 0.01)),
            backoff=Backoff(0.01, 0.01),
            tick=0.01,
        )


class Handler:
    """Passes on what it is told; the broken ones have their fault in it."""

    def __init__(self, handler: UplinkHandler) -> None:
        self.handler = handler

    def connected(self) -> None:
        self.handler.connected()

    def disconnected(self) -> None:
        self.handler.disconnected()

    def writable(self) -> None:
        self.handler.writable()

    def answered(self, responses: Sequence[Response]) -> None:
        self.handler.answered(responses)

    def failed(self, text: str) -> None:
        self.handler.failed(text)


def replace_body(message: Transmit, body: str) -> Transmit:
    return Transmit(message.channel, message.remote, message.content_type, body, message.callback)


class Whole(UplinkContract[MedplumControl]):
    patience = float(os.environ.get("PATIENCE", "0.5"))
    uplink: ClassVar[type[Sound]] = Sound
    handler: ClassVar[type[Handler]] = Handler
    fails: ClassVar[set[str]]

    def server(self) -> AbstractAsyncContextManager[MedplumControl]:
        return medplum_server()

    def make(self, server: MedplumControl, context: UplinkContext) -> Sound:
        return self.uplink(server, replace(context, handler=self.handler(context.handler)))


class Suite(Whole):
    """The tests that take longest are for those that must fail in them."""

    def __init_subclass__(cls) -> None:
        for test in LONGEST - cls.fails:
            setattr(cls, f"test_{test}", None)


class TestSound(Whole):
    fails: ClassVar[set[str]] = set()


class TestSendsAgain(Suite):
    class uplink(Sound):  # noqa: N801
        def __init__(self, server: MedplumControl, context: UplinkContext) -> None:
            super().__init__(server, context)
            self.sent: list[Transmit] = []

        def transmit(self, messages: Sequence[Transmit]) -> int:
            taken = super().transmit(messages)
            self.sent += messages[:taken]
            return taken

        def _up(self) -> None:
            super()._up()
            super().transmit(self.sent)

    fails = AGAIN | AT_ONCE | LATER


class TestTakesAnything(Suite):
    """And loses what it cannot send."""

    class uplink(Sound):  # noqa: N801
        def transmit(self, messages: Sequence[Transmit]) -> int:
            super().transmit(messages)
            return len(messages)

    fails = BEFORE | AWAY | FULL | AT_ONCE | ENDS


class TestBlocksUntilAllIsTaken(Suite):
    class uplink(Sound):  # noqa: N801
        def transmit(self, messages: Sequence[Transmit]) -> int:
            taken = super().transmit(messages)
            while self._link is not None and taken < len(messages):
                time.sleep(0.01)
                taken += super().transmit(messages[taken:])
            return taken

    fails = FULL | BEFORE | STUCK


class TestReverses(Suite):
    class uplink(Sound):  # noqa: N801
        def transmit(self, messages: Sequence[Transmit]) -> int:
            return super().transmit(messages[::-1])

    fails = ORDER | AT_ONCE | AWAY | ANSWERS | AGAIN | LATER


class TestMixesAnswersUp(Suite):
    class handler(Handler):  # noqa: N801
        def answered(self, responses: Sequence[Response]) -> None:
            self.handler.answered([Response("Agent/a-1-0", 200, one.content_type, one.body) for one in responses])

    fails = ANSWERS | LATER


class TestNeverSaysThatThereIsRoom(Suite):
    class handler(Handler):  # noqa: N801
        def writable(self) -> None: ...

    fails = FULL


class TestLosesTwice(Suite):
    class handler(Handler):  # noqa: N801
        def disconnected(self) -> None:
            self.handler.disconnected()
            self.handler.disconnected()

    fails = LOST | RECONNECT | ENDS | TOO_BIG | STATUS


class TestDoesNotTellOfSizes(Suite):
    class handler(Handler):  # noqa: N801
        def failed(self, text: str) -> None: ...

    fails = TOO_BIG


class TestGivesUp(Suite):
    """It ends with its first connection."""

    class uplink(Sound):  # noqa: N801
        async def run(self) -> None:
            await self._connect_once()

    fails = CUT | REFUSED | LOST | AWAY | AGAIN | KEPT | RECONNECT | TOKEN | STATUS | TOO_BIG | FAULT | LATER | REQUESTS


class TestWaitsForEver(Suite):
    """For a server that says nothing."""

    class uplink(Sound):  # noqa: N801
        def __init__(self, server: MedplumControl, context: UplinkContext) -> None:
            super().__init__(server, context)
            self._clock = lambda: 1000.0

    fails = SILENT


class TestForgetsReplies(Suite):
    class uplink(Sound):  # noqa: N801
        # as `Uplink.reply`
        def reply(self, frame: dict[str, Any]) -> None:
            if self._link is not None:
                super().reply(frame)

    fails = KEPT


class TestIsAlwaysConnected(Suite):
    class uplink(Sound):  # noqa: N801
        @property
        def status(self) -> UplinkStatus:
            return UplinkStatus("connected", "to the server", super().status.reconnects)

    fails = STATUS | REFUSED


class TestSwallowsItsCancellation(Suite):
    class uplink(Sound):  # noqa: N801
        async def run(self) -> None:
            try:
                await super().run()
            except asyncio.CancelledError:
                return

    fails = ENDS


class TestLeavesATask(Suite):
    class uplink(Sound):  # noqa: N801
        async def run(self) -> None:
            self.left = asyncio.ensure_future(asyncio.Event().wait())
            await super().run()

    fails = ENDS


class TestDoesNotReconnectOnDemand(Suite):
    class uplink(Sound):  # noqa: N801
        def reconnect(self, reason: str) -> None: ...

    fails = RECONNECT


class TestHasNoOverhead(Suite):
    class uplink(Sound):  # noqa: N801
        @property
        def overhead_bytes(self) -> int:
            return -1

    fails = OVERHEAD


class TestHearsNoAnswersOnANewConnection(Suite):
    class handler(Handler):  # noqa: N801
        connects = 0

        def connected(self) -> None:
            self.connects += 1
            self.handler.connected()

        def answered(self, responses: Sequence[Response]) -> None:
            if self.connects == 1:
                self.handler.answered(responses)

    fails = LATER


class TestSaysThatAllIsWell(Suite):
    class handler(Handler):  # noqa: N801
        def answered(self, responses: Sequence[Response]) -> None:
            self.handler.answered([Response(one.callback, 200, one.content_type, one.body) for one in responses])

    fails = ANSWERS | LATER


class TestSendsAscii(Suite):
    class uplink(Sound):  # noqa: N801
        def transmit(self, messages: Sequence[Transmit]) -> int:
            return super().transmit([replace_body(one, one.body.encode("ascii", "replace").decode()) for one in messages])

    fails = ORDER | AT_ONCE | AWAY | ANSWERS | AGAIN | LATER | CUT | REFUSED | TOKEN | RECONNECT | ENDS | FAULT
