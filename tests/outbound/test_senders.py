"""The guard between senders and the core."""

from __future__ import annotations

import asyncio
import logging

import pytest

from medagent.errors import DeviceError, Unsendable
from medagent.outbound import senders as senders_module
from medagent.outbound.push import Push
from medagent.outbound.senders import Senders
from medagent.sender import SenderContext

CANARY = "JANE^CANARY"


class Faulty:
    """A sender that goes wrong in every way."""

    content_type = "text/plain"

    def __init__(self, context: SenderContext) -> None:
        self.context = context

    def prepare(self, remote: str, text: str) -> bytes:
        if text == "exit":
            raise SystemExit(CANARY)
        return text.encode()

    async def send(self, remote: str, body: bytes, seconds: float) -> str:
        if body == b"hang":
            await asyncio.Event().wait()
        raise SystemExit(CANARY) if body == b"exit" else RuntimeError(CANARY)

    def reconfigure(self, context: SenderContext) -> None:
        raise RuntimeError(CANARY)

    async def close(self) -> None:
        raise SystemExit(CANARY)


@pytest.fixture
def senders() -> Senders:
    return Senders({"test": Faulty}, SenderContext())


async def test_whatever_a_sender_raises_is_an_error_without_content(senders: Senders) -> None:
    for body in (b"exit", b"raise"):
        with pytest.raises(DeviceError, match="the sender's plugin failed: ") as caught:
            await senders.send("test://a", body, 1.0)
        assert caught.value.may_have_it
        assert CANARY not in str(caught.value)
    with pytest.raises(Unsendable, match="the sender's plugin failed: SystemExit"):
        senders.prepare(Push("test://a", "exit", None))


async def test_what_turns_out_to_be_unsendable_is_not_in_doubt(senders: Senders) -> None:
    with pytest.raises(DeviceError, match="begins with no scheme") as caught:
        await senders.send("what://a", b"m", 1.0)
    assert not caught.value.may_have_it


async def test_a_sender_that_forgets_the_time_is_ended(senders: Senders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders_module, "GRACE_SECONDS", 0.0)
    with pytest.raises(DeviceError, match=r"no answer within 0\.01 s") as caught:
        await senders.send("test://a", b"hang", 0.01)
    assert caught.value.may_have_it


async def test_a_sender_that_fails_harms_nobody_at_a_reload_or_at_the_end(
    senders: Senders, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    senders.prepare(Push("TEST://a", "m", "text/plain"))
    senders.reconfigure(SenderContext(keep_alive=True))
    await senders.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the sender for test:// cannot be reconfigured: RuntimeError",
        "the sender for test:// cannot be closed: SystemExit",
    ]


def test_a_scheme_that_nobody_sends_to_is_named() -> None:
    with pytest.raises(Unsendable, match='"what://a" begins with no scheme that this agent can send to; it knows none'):
        Senders({}, SenderContext()).prepare(Push("what://a", "m", None))
