"""One guard: what a plugin's code raises, gives or never ends stays with the plugin, is counted and is named."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable

import pytest

from medagent.errors import NotReady, PluginError, PluginTimeout
from medagent.guard import Guard, StoppedPlugin
from medagent.guard.breaker import FAULTS_IN_A_ROW, FIRST_COOL_DOWN
from medagent.tasks import Tasks
from medagent.testing.doubles import Clock

CANARY = "CANARY"


def guard(**options: bool) -> Guard:
    return Guard("lab", "channel adt", clock=Clock(), **options)


def fail() -> None:
    raise ValueError(CANARY)


async def never() -> None:
    await asyncio.Event().wait()


def test_what_goes_well_passes() -> None:
    one = guard()
    assert one.attempt("key", lambda a, b: a + b, 1, 2) == 3
    assert (one.faults, one.last_fault, one.stopped) == (0, "", "")


def test_a_fault_is_raised_counted_and_named_by_its_type_only(caplog: pytest.LogCaptureFixture) -> None:
    one = guard()
    with pytest.raises(ValueError, match=CANARY):
        one.attempt("key", fail)
    assert one.call("key", fail, otherwise="instead") == "instead"
    assert (one.faults, one.last_fault) == (2, "key: ValueError")
    assert [record.getMessage() for record in caplog.records] == ["plugin lab failed in key of channel adt: ValueError"]
    assert CANARY not in caplog.text


def test_a_line_in_ten_seconds_for_each_method(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    one = Guard("lab", "medagent_health", clock=clock, stoppable=False)
    for _ in range(30):
        one.call("", fail, otherwise=None)
        clock.now += 1
    assert [record.getMessage().rpartition(":")[2] for record in caplog.records] == [
        " ValueError",
        " ValueError (11 faults so far)",
        " ValueError (21 faults so far)",
    ]


class Odd(BaseException):
    """No `Exception`, as some libraries have."""


def give_up(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [SystemExit(CANARY), asyncio.CancelledError(CANARY), GeneratorExit(CANARY), Odd(CANARY)])
def test_what_would_end_more_than_the_plugin_is_a_fault(error: BaseException) -> None:
    one = guard()
    with pytest.raises(PluginError, match="it ") as raised:
        one.attempt("put", give_up, error)
    assert CANARY not in str(raised.value)
    assert one.last_fault == f"put: {type(error).__name__}"


def test_ctrl_c_is_the_users() -> None:
    one = guard()
    with pytest.raises(KeyboardInterrupt):
        one.attempt("put", give_up, KeyboardInterrupt())
    assert one.faults == 0


def test_a_plugin_s_own_words_are_not_told_whatever_type_they_come_in(caplog: pytest.LogCaptureFixture) -> None:
    one = guard()
    with pytest.raises(PluginError):
        one.attempt("put", give_up, PluginError(CANARY))
    assert one.last_fault == "put: PluginError"
    assert CANARY not in caplog.text


def test_a_coroutine_is_no_value_and_a_wrong_type_is_none() -> None:
    one = guard()
    with pytest.raises(PluginError, match="coroutine"):
        one.attempt("key", never)
    with pytest.raises(TypeError):
        one.attempt("key", lambda: 17, kinds=(str,))
    assert one.faults == 2


def test_what_is_expected_is_no_fault() -> None:
    def away() -> None:
        raise NotReady

    one = guard()
    with pytest.raises(NotReady):
        one.attempt("load", away, expected=(NotReady,))
    assert one.faults == 0


def test_after_faults_in_a_row_nothing_is_called_until_the_cool_down_is_over(caplog: pytest.LogCaptureFixture) -> None:
    clock, calls, opened = Clock(), [], []
    one = Guard("lab", "medagent_health", clock=clock)
    one.opened = lambda: opened.append(one.last_fault)
    for _ in range(FAULTS_IN_A_ROW):
        one.call("", fail, otherwise=None)
    assert opened == ["ValueError"]
    assert one.stopped == "ValueError; stopped for 5 s"
    with pytest.raises(StoppedPlugin) as stopped:
        one.attempt("", calls.append, 1)
    assert stopped.value.seconds == FIRST_COOL_DOWN
    assert not calls
    assert one.faults == FAULTS_IN_A_ROW, "not to be called is no fault"
    clock.now += FIRST_COOL_DOWN
    one.attempt("", calls.append, 1)
    assert (calls, one.stopped) == ([1], "")
    assert "plugin lab, medagent_health: ValueError; stopped for 5 s" in caplog.text


def test_what_is_not_stoppable_is_counted_and_called() -> None:
    one = guard(stoppable=False)
    for _ in range(3 * FAULTS_IN_A_ROW):
        with pytest.raises(ValueError, match=CANARY):
            one.attempt("", fail)
    one.block("")
    assert one.faults == 3 * FAULTS_IN_A_ROW + 1


async def test_a_wait_has_an_end() -> None:
    one = guard()
    with pytest.raises(PluginTimeout):
        await one.wait("start", never, seconds=0.01)
    assert one.last_fault == "start: PluginTimeout"


async def test_a_wait_takes_values_and_awaitables() -> None:
    async def value() -> int:
        return 7

    def future() -> Awaitable[int]:
        return asyncio.ensure_future(value())

    one = guard()
    assert [await one.wait("", function, seconds=5) for function in (lambda: 7, value, future)] == [7, 7, 7]


async def test_a_coroutine_that_exits_or_cancels_itself_ends_nobody_else() -> None:
    async def leave() -> None:
        sys.exit(3)

    async def cancel() -> None:
        raise asyncio.CancelledError

    async def odd() -> None:
        raise Odd

    one = guard()
    for bad in (leave, cancel, odd):
        with pytest.raises(PluginError):
            await one.wait("run", bad)
    assert one.faults == 3


async def test_a_wait_that_is_cancelled_at_once_leaves_nothing_behind() -> None:
    waiting = asyncio.ensure_future(guard().wait("start", never))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("reason", ["ValueError", "SystemExit", "Odd"])
async def test_a_task_that_a_plugin_spawns_ends_alone(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        if reason == "SystemExit":
            sys.exit(3)
        if reason == "Odd":
            raise Odd
        fail()

    one, tasks = guard(), Tasks()
    one.spawner(tasks)(work(), "work")
    one.spawner(tasks)(never(), "for ever")
    while not one.faults:
        await asyncio.sleep(0)
    await tasks.cancel()
    assert one.last_fault == f"a task: {reason}"
    assert f"plugin lab failed in task work of channel adt: {reason}" in caplog.text


async def test_a_task_that_is_cancelled_before_its_first_step_leaves_nothing_behind() -> None:
    tasks = Tasks()
    guard().spawner(tasks)(never(), "for ever")
    await tasks.cancel()
