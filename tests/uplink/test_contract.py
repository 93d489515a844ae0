"""The uplink to a Medplum server keeps what every uplink promises."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager

import pytest

from medagent.testing.contracts.uplink import UplinkContract
from medagent.testing.contracts.uplink.medplum import MedplumControl, medplum_server
from medagent.uplink.backoff import Backoff
from medagent.uplink.base import UplinkContext
from medagent.uplink.websocket import WebSocketUplink

HASTE = 10.0
"""So many seconds of the uplink are one: its time-outs are for servers far away."""


class TestWebSocket(UplinkContract[MedplumControl]):
    @pytest.fixture(autouse=True)
    def short_close(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("medagent.uplink.link.CLOSE_TIMEOUT", 0.1)

    def server(self) -> AbstractAsyncContextManager[MedplumControl]:
        return medplum_server()

    def make(self, server: MedplumControl, context: UplinkContext) -> WebSocketUplink:
        assert context.tokens is not None
        return WebSocketUplink(
            server.base_url,
            context.agent_id,
            context.tokens,
            context,
            clock=lambda: time.monotonic() * HASTE,
            sleep=lambda seconds: asyncio.sleep(min(seconds, 0.01)),
            backoff=Backoff(0.01, 0.01),
            tick=0.01,
        )
