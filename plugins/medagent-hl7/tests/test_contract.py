"""The channel keeps what every channel promises, in each acknowledgment mode."""

from __future__ import annotations

import math
import ssl
from typing import ClassVar

import pytest

from medagent.testing.certificates import Authority
from medagent.testing.contracts.channel import ChannelContract, Device, Reply, What
from medagent.testing.mllp import MllpClient
from medagent.testing.site import adt, read_ack


class Hl7Device:
    """A device that speaks HL7 v2; `codes`: what MSA-1 means in its mode."""

    def __init__(self, client: MllpClient, codes: dict[str, What]) -> None:
        self._client, self._codes = client, codes
        self.close = client.close

    async def send(self, name: str) -> None:
        await self._client.send(adt(name))

    async def receive(self) -> Reply:
        code, name = read_ack(await self._client.receive(timeout=math.inf))
        return Reply(name, self._codes.get(code, What.REFUSED))


class Hl7Contract(ChannelContract):
    message_start = b"\x0bMSH|^~\\&|LAB|"
    addresses_are_senders = False  # MSH-3 and MSH-4 are
    kills = 1  # tests/crash/kills.py does more
    codes: ClassVar[dict[str, What]] = {"CA": What.ACCEPTED, "AA": What.ANSWERED}
    tls: ClassVar[ssl.SSLContext | None] = None

    async def connect(self, host: str, port: int) -> Device:
        return Hl7Device(await MllpClient.connect(host, port, tls=self.tls), self.codes)

    def answer_to(self, text: str) -> str:
        return f"MSH|^~\\&|EHR|HOSP|LAB|HOSP|20260105||ACK^A01|1|P|2.5\rMSA|AA|{self.name_in(text)}\r"


class TestOriginalMode(Hl7Contract):
    address = "mllp://127.0.0.1:0"
    acknowledges = False


class TestEnhancedMode(Hl7Contract):
    address = "mllp://127.0.0.1:0?enhanced=true"


class TestAaMode(Hl7Contract):
    address = "mllp://127.0.0.1:0?enhanced=aa"
    answers = False
    codes: ClassVar[dict[str, What]] = {"AA": What.ACCEPTED}


class TestKeyed(Hl7Contract):
    address = "mllp://127.0.0.1:0?enhanced=true&logicalChannelKey=PID-3.1&maxWorkers=4"
    kills = 0


class TestOverTls(Hl7Contract):
    kills = 0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _certificates(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        authority = Authority(tmp_path_factory.mktemp("authority"))
        chain, key = authority.issue("agent")
        cls.address = f"mllps://127.0.0.1:0?enhanced=true&certFile={chain}&keyFile={key}"
        cls.tls = authority.client_context()
