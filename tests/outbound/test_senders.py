"""The guard between senders and the core."""

from __future__ import annotations

import asyncio
import logging

import pytest

from medagent.errors import DeviceError, Unsendable
from medagent.guard import Guard
from medagent.guard.breaker import FAULTS_IN_A_ROW
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
    guard = Guard("lab", "sender for test://")
    return Senders({"test": Faulty}, SenderContext(), lambda _scheme: guard)


async def test_whatever_a_sender_raises_is_an_error_without_content(senders: Senders) -> None:
    for body in (b"exit", b"raise"):
        with pytest.raises(DeviceError, match="the sender's plugin failed: ") as caught:
            await senders.send("test://a", body, 1.0)
        assert caught.value.may_have_it
        assert CANARY not in str(caught.value)
    with pytest.raises(Unsendable, match=r"the sender's plugin failed: it called sys\.exit"):
        senders.prepare(Push("test://a", "exit", None))


async def test_one_that_goes_on_failing_is_left_alone_for_a_while(senders: Senders) -> None:
    for _ in range(FAULTS_IN_A_ROW):
        with pytest.raises(DeviceError):
            await senders.send("test://a", b"raise", 1.0)
    with pytest.raises(DeviceError, match="stopped for 5 s") as caught:
        await senders.send("test://a", b"raise", 1.0)
    assert not caught.value.may_have_it, "it was not asked"


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
        "plugin lab failed in reconfigure of sender for test://: RuntimeError",
        "plugin lab failed in close of sender for test://: it called sys.exit (2 faults so far)",
    ]


def test_a_scheme_that_nobody_sends_to_is_named() -> None:
    with pytest.raises(Unsendable, match='"what://a" begins with no scheme that this agent can send to; it knows none'):
        Senders({}, SenderContext()).prepare(Push("what://a", "m", None))
