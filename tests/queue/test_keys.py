"""Messages with keys through the whole queue: one of a key at a time, in order, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medagent.config.model import RetryConfig
from medagent.queue import keyed_lane as keyed_lane_module
from medagent.queue.caution import GRACE
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage, State
from medagent.uplink.base import Transmit


def keyed(*bodies: str) -> list[InboundMessage]:
    """Bodies such as `x/1`: the key, and the number of the message."""
    return [message(body, body) for body in bodies]


async def later(world: QueueWorld, seconds: float) -> None:
    world.clock.now += seconds
    world.dispatcher.tick()
    await world.quiet()


async def test_of_each_key_one_is_unanswered(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_workers=10) as world:
        world.uplink.connect()
        await world.accept(*keyed("x/1", "x/2", "y/1", "", "", "z/1"))
        assert world.uplink.bodies == ["x/1", "y/1", "", "z/1"], "no key is a key too"
        world.uplink.answer(*world.uplink.transmitted[1:3])
        assert world.uplink.bodies[4:] == [""]
        world.uplink.answer(world.uplink.transmitted[0], status_code=422)
        assert world.uplink.bodies[5:] == ["x/2"]


@pytest.mark.parametrize("retry", [RetryConfig(), RetryConfig(max_attempts=2)])
async def test_a_message_in_back_off_holds_its_key_only(tmp_path: Path, retry: RetryConfig) -> None:
    async with QueueWorld(tmp_path, max_workers=1, retry=retry) as world:
        world.uplink.connect()
        await world.accept(*keyed("x/1", "x/2", "y/1"))
        world.uplink.answer(world.uplink.transmitted[0], status_code=503)
        assert world.uplink.bodies == ["x/1", "y/1"]
        world.uplink.answer(world.uplink.transmitted[1])
        assert world.uplink.bodies == ["x/1", "y/1"]
        await later(world, 1.0)
        assert world.uplink.bodies == ["x/1", "y/1", "x/1"]
        world.uplink.answer(world.uplink.transmitted[2], status_code=200 if retry.max_attempts == 0 else 503)
        await world.quiet()
        assert world.uplink.bodies[3:] == ["x/2"], "it was answered, or given up"


async def test_after_a_restart_what_had_failed_comes_before_the_others_of_its_key(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_workers=5) as world:
        world.uplink.connect()
        await world.accept(*keyed("x/1", "x/2", "y/1"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        await world.committer.flush_changes()
    async with QueueWorld(tmp_path, max_workers=5) as world:
        world.uplink.connect()
        await world.accept(*keyed("x/3", "z/1"))
        await world.quiet()
        assert world.uplink.bodies == ["z/1"]
        await later(world, 1.0)
        assert world.uplink.bodies == ["z/1", "x/1", "y/1"]
        world.uplink.answer(*world.uplink.transmitted)
        await world.quiet()
        assert world.uplink.bodies[3:] == ["x/2"]


async def test_what_a_channel_without_keys_has_left_behind_is_put_in_order(tmp_path: Path) -> None:
    count = 120
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(*keyed(*(f"x/{number}" for number in range(count))))
        world.uplink.answer(*world.uplink.transmitted[1::2], status_code=503)
        await world.committer.flush_changes()
    async with QueueWorld(tmp_path, max_workers=5) as world:
        world.uplink.connect()
        for answered in range(count):
            await later(world, 30.0)
            assert len(world.uplink.transmitted) == answered + 1
            world.uplink.answer(world.uplink.transmitted[-1])
        assert world.uplink.bodies == [f"x/{number}" for number in range(count)]
        assert await world.states() == {State.RESPONSE_SENT: count}


async def test_after_a_time_out_the_key_waits_for_the_same_message(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_workers=5) as world:
        world.uplink.connect()
        await world.accept(*keyed("x/1", "x/2"))
        await later(world, 60.1)
        assert world.uplink.bodies == ["x/1", "x/1"]
        world.uplink.disconnect()
        world.uplink.connect()
        await world.quiet()
        assert world.uplink.bodies == ["x/1", "x/1", "x/1"]
        world.uplink.answer(world.uplink.transmitted[-1])
        assert world.uplink.bodies[3:] == ["x/2"]


async def test_the_search_for_a_guilty_message_keeps_the_order_of_its_key(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_workers=5) as world:
        world.uplink.connect()
        await world.accept(*keyed("x/bad", "x/2", "y/1", "y/2"))
        assert world.uplink.bodies == ["x/bad", "y/1"]
        world.dispatcher.failed("no")
        await later(world, GRACE)
        assert world.uplink.bodies[2:] == ["x/bad"]
        world.dispatcher.failed("no")
        await world.quiet()
        assert world.uplink.bodies[2:] == ["x/bad", "x/bad"]
        world.dispatcher.failed("no")
        await world.quiet()
        assert world.settled == [("x/bad", State.REJECTED)]
        assert world.uplink.bodies[4:] == ["x/2"], "the oldest head, alone"
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.quiet()
        assert world.uplink.bodies[5:] == ["y/1"]
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.quiet()
        assert world.uplink.bodies[6:] == ["y/2"]


async def test_a_key_that_the_plugin_fails_on_is_no_key(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_workers=5) as world:
        world.channel.failing = {"key"}
        world.uplink.connect()
        await world.accept(*keyed("x/1", "y/1"))
        assert world.uplink.bodies == ["x/1"], "safe rather than quick"
        world.uplink.answer(world.uplink.transmitted[0])
        assert world.uplink.bodies == ["x/1", "y/1"]


async def test_others_are_found_behind_thousands_of_one_key_and_all_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed_lane_module, "READY_MESSAGES", 100)
    async with QueueWorld(tmp_path) as world:
        await world.accept(*keyed(*(f"x/{number}" for number in range(3000)), "y/1", "z/1"))
    async with QueueWorld(tmp_path, max_workers=3) as world:
        world.uplink.connect()
        await world.quiet()
        assert sorted(world.uplink.bodies) == ["x/0", "y/1", "z/1"]
        answered = 0
        while answered < 3002:
            await world.quiet()
            waiting = world.uplink.transmitted[answered:]
            assert waiting
            answered += len(waiting)
            world.uplink.answer(*waiting)
        assert [body for body in world.uplink.bodies if body[0] == "x"] == [f"x/{number}" for number in range(3000)]
        assert await world.states() == {State.RESPONSE_SENT: 3002}


class Watch:
    """Sees to it that no message leaves before all that came before it under its key have ended, in this run or one before."""

    def __init__(self) -> None:
        self.accepted: dict[str, list[str]] = {}
        """Bodies by key."""
        self.ended: set[str] = set()

    def name(self, key: str) -> str:
        of_key = self.accepted.setdefault(key, [])
        of_key.append(f"{key}/{len(of_key)}" if key else f"#{len(of_key)}")
        return of_key[-1]

    def over(self, world: QueueWorld) -> None:
        transmit = world.uplink.transmit

        def watched(frames: Sequence[Transmit]) -> int:
            taken = transmit(frames)
            self.note(world)
            for frame in frames[:taken]:
                key = frame.body.partition("/")[0] if "/" in frame.body else ""
                of_key = self.accepted[key]
                before = set(of_key[: of_key.index(frame.body)])
                assert before <= self.ended, f"{frame.body} before {sorted(before - self.ended)}"
            return taken

        world.uplink.transmit = watched  # type: ignore[method-assign]

    def note(self, world: QueueWorld) -> None:
        self.ended |= {name for name, _ in world.settled}

    @property
    def live_keys(self) -> int:
        return sum(bool(set(of_key) - self.ended) for of_key in self.accepted.values())


EVENTS = ["accept", "answer", "answer", "busy", "refuse", "lose", "error", "wait", "moment", "restart", "crash"]


@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 99)), max_size=40),
    st.integers(1, 3),
    st.sampled_from([RetryConfig(), RetryConfig(max_attempts=2), RetryConfig(guaranteed=False, max_attempts=3)]),
)
@settings(max_examples=80, deadline=None)
@example([("accept", 0), ("busy", 0), ("crash", 0), ("accept", 0), ("restart", 0)], 2, RetryConfig())
@example([("accept", 5), ("lose", 0), ("lose", 0), ("error", 0), ("answer", 1), ("wait", 0)], 3, RetryConfig(guaranteed=False))
async def test_whatever_happens_the_order_within_a_key_holds(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]], workers: int, retry: RetryConfig
) -> None:
    folder, watch = tmp_path_factory.mktemp("queue"), Watch()
    remaining = [*events, ("end", 0)]
    while remaining:
        async with QueueWorld(folder, max_workers=workers, retry=retry, change_delay=3600) as world:
            watch.over(world)
            world.uplink.connect()
            await world.quiet()
            while remaining:
                event, number = remaining.pop(0)
                await happen(world, watch, event, number)
                assert world.dispatcher.in_flight <= workers
                if event in ("restart", "crash"):
                    break
            watch.note(world)
    assert watch.live_keys == 0


async def happen(world: QueueWorld, watch: Watch, event: str, number: int) -> None:
    waiting = [frame for frame in dict.fromkeys(world.uplink.transmitted) if frame.body not in watch.ended]
    if event == "accept":
        names = [watch.name("xyz "[(number + offset * offset) % 4].strip()) for offset in range(1 + number % 6)]
        await world.accept(*keyed(*names))
    elif event == "lose":
        world.uplink.disconnect()
        world.uplink.connect()
    elif event == "error":
        world.dispatcher.failed("no")
    elif event in ("wait", "moment"):
        await later(world, 61.0 if event == "wait" else 0.6)
    elif event == "crash":
        world.store.refuse = lambda messages, changes: True
    elif event == "end":
        await work_off(world, watch)
    elif event in ("answer", "busy", "refuse") and waiting:
        status_code = {"answer": 200, "busy": 503, "refuse": 422}[event]
        world.uplink.answer(waiting[number % len(waiting)], status_code=status_code)
    await world.quiet()
    watch.note(world)


async def work_off(world: QueueWorld, watch: Watch) -> None:
    """Everything is answered in the end, and meanwhile no worker is idle while a key could go."""
    for _ in range(400):
        await later(world, 0.6)
        if not world.dispatcher.in_flight:
            await later(world, 61.0)
        watch.note(world)
        if not watch.live_keys and not world.dispatcher.in_flight:
            break
        world.uplink.answer(*dict.fromkeys(world.uplink.transmitted))
        await world.quiet()
    states = await world.states()
    assert all(state.ended for state in states), states
    assert sum(states.values()) == sum(map(len, watch.accepted.values()))


@given(st.lists(st.sampled_from("vwxyz"), min_size=1, max_size=30), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
async def test_no_worker_is_idle_while_a_key_could_go(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], workers: int
) -> None:
    watch = Watch()
    async with QueueWorld(tmp_path_factory.mktemp("queue"), max_workers=workers) as world:
        watch.over(world)
        world.uplink.connect()
        await world.accept(*keyed(*(watch.name(key) for key in keys)))
        while watch.live_keys:
            await world.quiet()
            assert world.dispatcher.in_flight == min(workers, watch.live_keys)
            world.uplink.answer(next(frame for frame in world.uplink.transmitted if frame.body not in watch.ended))
            watch.note(world)
