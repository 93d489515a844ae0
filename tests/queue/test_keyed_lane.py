"""A lane by key against a naive model: one of a key at a time, in order, and never idle when something may go."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from medagent.queue import keyed_lane as keyed_lane_module
from medagent.queue.keyed_lane import LONGEST_KEY, KeyedLane, make_lane
from medagent.queue.lane import Lane
from medagent.testing.doubles import RecordingChannel
from medagent.types import InboundMessage


def loaded(*named: tuple[int, str]) -> list[InboundMessage]:
    return [InboundMessage(f"{key}/{seq}".encode(), str(seq), "", seq=seq) for seq, key in named]


def key_of(message: InboundMessage) -> str:
    assert message.body is not None
    return message.body.decode().partition("/")[0]


def made(workers: int = 10, newest: int = 0) -> KeyedLane:
    return KeyedLane("adt", workers, key_of, newest=newest)


def sent(lane: Lane, now: float = 0.0) -> list[int]:
    """Everything that may go, in the order in which the dispatcher asks."""
    seqs = []
    while True:
        before = len(seqs)
        while (seq := lane.take_retry(now)) is not None:
            seqs.append(seq)
            lane.in_flight += 1
        while (one := lane.take()) is not None:
            seqs.append(one.seq)
            lane.in_flight += 1
        if len(seqs) == before:
            return seqs


def end(lane: Lane, *seqs: int) -> None:
    for seq in seqs:
        lane.in_flight -= 1
        lane.ended(seq)


def test_of_each_key_one_goes_and_the_next_when_it_has_ended() -> None:
    lane = made()
    lane.committed(loaded((1, "x"), (2, "x"), (3, "y"), (4, ""), (5, "")))
    assert sent(lane) == [1, 3, 4]
    end(lane, 3)
    assert sent(lane) == []
    end(lane, 1, 4)
    assert sent(lane) == [2, 5]
    end(lane, 2, 5)
    assert lane.idle


def test_no_more_keys_at_a_time_than_workers() -> None:
    lane = made(workers=2)
    lane.committed(loaded((1, "x"), (2, "y"), (3, "z")))
    assert sent(lane) == [1, 2]
    end(lane, 2)
    assert sent(lane) == [3]


def test_a_failure_holds_its_key_only() -> None:
    lane = made(workers=1)
    lane.committed(loaded((1, "x"), (2, "x"), (3, "y")))
    assert sent(lane) == [1]
    lane.in_flight -= 1
    lane.retry(1, due=50.0)
    assert sent(lane) == [3]
    end(lane, 3)
    assert sent(lane, now=49.0) == []
    assert sent(lane, now=50.0) == [1]
    end(lane, 1)
    assert sent(lane) == [2]


def test_a_retry_that_is_due_goes_before_an_older_one_of_another_key() -> None:
    lane = made(workers=1)
    lane.committed(loaded((1, "x"), (2, "y")))
    assert sent(lane) == [1]
    lane.in_flight -= 1
    lane.retry(1, due=50.0)
    assert sent(lane) == [2]
    lane.in_flight -= 1
    lane.retry(2, due=5.0)
    assert sent(lane, now=5.0) == [2]


def test_a_lost_connection_sends_the_heads_again_before_anything_else_of_their_keys() -> None:
    lane = made(workers=2)
    lane.committed(loaded((1, "x"), (2, "x"), (3, "y"), (4, "z")))
    assert sent(lane) == [1, 3]
    lane.in_flight = 0
    lane.rewind([3, 1])
    assert sent(lane) == [1, 3]


def test_the_oldest_head_goes_first_whether_its_body_is_in_memory_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_lane_module, "READY_MESSAGES", 2)
    lane = made(workers=1)
    messages = loaded((1, "x"), (2, "y"), (3, "z"), (4, "z"))
    lane.committed(messages)
    assert [one.body is not None for one in messages] == [True, True, False, False]
    assert sent(lane) == [1]
    lane.in_flight = 0
    lane.rewind([1])
    lane.committed(loaded((5, "v")))
    order = []
    while batch := sent(lane):
        order += batch
        end(lane, *batch)
    assert order == [1, 2, 3, 4, 5]


def test_the_oldest_head_goes_first_within_one_batch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = made(workers=2)
    lane.committed(
        loaded(
            (1, "x"),
        )
    )
    monkeypatch.setattr(keyed_lane_module, "READY_MESSAGES", 1)
    lane.committed(
        loaded(
            (2, "y"),
        )
    )
    monkeypatch.setattr(keyed_lane_module, "READY_MESSAGES", 10)
    lane.committed(
        loaded(
            (3, "z"),
        )
    )
    assert sent(lane) == [1, 2]


def test_others_are_found_behind_thousands_of_one_key() -> None:
    lane = made(newest=5001)
    lane.page(loaded(*((seq, "x") for seq in range(1, 5001))), 5000)
    assert sent(lane) == [1]
    assert lane.wants_page
    lane.page(loaded((5001, "y")), 5001)
    assert sent(lane) == [5001]
    assert lane.waiting <= keyed_lane_module.READY_MESSAGES


@pytest.mark.parametrize(("limit", "keys"), [("WINDOW_MESSAGES", "xxx"), ("WINDOW_KEYS", "xvw")])
def test_beyond_the_window_messages_wait_on_disk(limit: str, keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_lane_module, limit, 3)
    lane = made()
    messages = loaded(*enumerate(keys, 1), (4, "y"))
    lane.committed(messages)
    assert messages[3].body is None
    assert (lane.behind, lane.wants_page) == (True, False)
    first = sent(lane)
    assert first[0] == 1
    assert not lane.wants_page
    end(lane, 1)
    assert lane.wants_page
    lane.page(loaded((4, "y")), 4)
    assert [*first, *sent(lane)][-2:] == ([2, 4] if keys == "xxx" else [3, 4])


def test_no_page_is_wanted_while_enough_keys_are_known() -> None:
    lane = made(workers=2, newest=10)
    lane.page(loaded((1, "x"), (2, "y")), 2)
    assert not lane.wants_page
    assert sent(lane) == [1, 2]
    assert lane.wants_page


def test_what_had_failed_before_the_start_keeps_its_place_in_its_key() -> None:
    lane = made(newest=4)
    lane.retry(2, due=10.0)
    lane.retry(4, due=0.0)
    assert sent(lane, now=99.0) == [], "what is older may not be known yet"
    assert lane.failed_before(3, 10) == [2]
    assert lane.failed_before(4, 1) == [2]
    lane.page(loaded((1, "x"), (2, "x"), (3, "y"), (4, "y")), 4)
    assert sent(lane, now=0.0) == [1, 3]
    end(lane, 1, 3)
    assert sent(lane, now=9.0) == [4]
    assert sent(lane, now=10.0) == [2]


def test_a_resend_moves_the_answer_of_a_waiting_message_to_the_newest_connection() -> None:
    lane = made()
    lane.committed(loaded((1, "x"), (2, "x")))
    copy = InboundMessage(b"", "2", "10.0.0.9:1", "c9", "handle")
    lane.join(2, copy)
    lane.join(77, copy)
    sent(lane)
    end(lane, 1)
    two = lane.take()
    assert two is not None
    assert (two.link, two.remote, two.origin) == ("c9", "10.0.0.9:1", "handle")


def test_with_one_worker_a_failed_message_holds_up_no_other_key() -> None:
    lane = made(1, 2)
    lane.retry(1, 60.0)
    lane.page(loaded((1, "x"), (2, "y")), 2)
    assert sent(lane) == [2]
    lane.in_flight -= 1
    lane.retry(2, 5.0)
    assert lane.take_retry(5.0) == 2


def test_long_keys_are_told_apart_and_not_kept() -> None:
    lane = made()
    stem = "k" * 100_000
    lane.committed(loaded((1, stem + "1"), (2, stem + "2"), (3, stem + "1")))
    assert sent(lane) == [1, 2]
    assert max(map(len, lane._lines)) <= 2 * LONGEST_KEY


def test_which_channels_have_such_a_lane() -> None:
    keyed, plain = RecordingChannel(max_workers=5), RecordingChannel()
    assert isinstance(make_lane("adt", keyed, 1000, 0), KeyedLane)
    assert make_lane("adt", keyed, 3, 0).max_in_flight == 3
    assert make_lane("adt", keyed, 1000, 0).max_in_flight == 5
    assert type(make_lane("adt", keyed, 1, 0)) is Lane
    assert type(make_lane("adt", plain, 1000, 0)) is Lane


class Model(RuleBasedStateMachine):
    """A queue whose store is a list of (seq, key), worked off by a lane that may end and be made anew."""

    @initialize(workers=st.integers(1, 4), window=st.integers(1, 8), keys=st.integers(1, 4), bodies=st.integers(0, 4))
    def set_up(self, workers: int, window: int, keys: int, bodies: int) -> None:
        self.limits = pytest.MonkeyPatch()
        for name, limit in (("WINDOW_MESSAGES", window), ("WINDOW_KEYS", keys), ("READY_MESSAGES", bodies)):
            self.limits.setattr(keyed_lane_module, name, limit)
        self.workers = workers
        self.newest = 0
        self.live: dict[int, str] = {}
        """Keys of what has not ended, by seq."""
        self.flights: set[int] = set()
        self.due: dict[int, int] = {}
        """Of what is in state `error`."""
        self.ended_of: dict[str, int] = {}
        """The newest that has ended, by key."""
        self.now = 0
        self.page: tuple[int, list[tuple[int, str]]] | None = None
        self.restart()

    @rule()
    def restart(self) -> None:
        self.flights = set()
        self.page = None
        self.lane = made(self.workers, self.newest)
        for seq, due in self.due.items():
            self.lane.retry(seq, float(due))

    @rule(keys=st.lists(st.sampled_from("xxxyz"), min_size=1, max_size=6))
    def commit(self, keys: list[str]) -> None:
        seqs = range(self.newest + 1, self.newest + len(keys) + 1)
        self.newest += len(keys)
        some = list(zip(seqs, keys, strict=True))
        self.live |= dict(some)
        self.lane.committed(loaded(*some))

    @precondition(lambda self: self.lane.wants_page)
    @rule(limit=st.integers(1, 4))
    def ask_for_a_page(self, limit: int) -> None:
        self.lane.reading = True
        found = [seq for seq in sorted(self.live) if seq > self.lane.cursor and seq not in self.due][:limit]
        up_to = found[-1] if found else self.newest
        failed = self.lane.failed_before(up_to, limit)
        up_to = failed[-1] if len(failed) == limit else up_to
        self.page = (up_to, [(seq, self.live[seq]) for seq in sorted([*found, *failed]) if seq <= up_to])

    @precondition(lambda self: self.page is not None)
    @rule()
    def get_the_page(self) -> None:
        assert self.page is not None
        up_to, found = self.page
        self.page = None
        self.lane.reading = False
        self.lane.page(loaded(*found), up_to)

    @rule(fits=st.integers(0, 4))
    def send(self, fits: int) -> None:
        for _ in range(fits):
            if (seq := self.lane.take_retry(self.now)) is None:
                break
            self.leaves(seq)
        batch = []
        while (one := self.lane.take()) is not None:
            assert one.body is not None
            self.lane.in_flight += 1
            batch.append(one)
        self.lane.in_flight -= len(batch[fits:])
        self.lane.put_back(batch[fits:])
        for one in batch[:fits]:
            self.lane.in_flight -= 1
            self.leaves(one.seq)

    def leaves(self, seq: int) -> None:
        self.lane.in_flight += 1
        key = self.live[seq]
        assert seq == min(one for one in self.live if self.live[one] == key), "in order of acceptance within a key"
        assert seq not in self.flights, "once at a time"
        assert self.due.pop(seq, 0) <= self.now
        self.flights.add(seq)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), again_in=st.integers(0, 3) | st.none())
    def answer(self, data: st.DataObject, again_in: int | None) -> None:
        seq = data.draw(st.sampled_from(sorted(self.flights)))
        self.flights.remove(seq)
        self.lane.in_flight -= 1
        if again_in is None:
            assert self.ended_of.get(self.live[seq], 0) < seq
            self.ended_of[self.live.pop(seq)] = seq
            self.lane.ended(seq)
        else:
            self.due[seq] = self.now + again_in
            self.lane.retry(seq, float(self.due[seq]))

    @rule()
    def tick(self) -> None:
        self.now += 1

    @rule()
    def disconnect(self) -> None:
        self.lane.in_flight -= len(self.flights)
        self.lane.rewind(self.flights)
        self.flights = set()

    @invariant()
    def the_window_is_kept(self) -> None:
        assert self.lane.in_flight == len(self.flights) <= self.workers
        assert len({self.live[seq] for seq in self.flights}) == len(self.flights), "one of a key"
        assert self.lane.waiting <= max(keyed_lane_module.READY_MESSAGES, 1) + 4

    @rule()
    def never_idle_when_something_may_go(self) -> None:
        while self.lane.wants_page or self.page is not None:
            if self.page is None:
                self.ask_for_a_page(4)
            self.get_the_page()
        self.send(0)
        for _ in range(self.workers):
            self.send(1)
        heads = {key: min(seq for seq in self.live if self.live[seq] == key) for key in self.live.values()}
        may_go = [
            seq
            for seq in heads.values()
            if seq <= self.lane.cursor and seq not in self.flights and self.due.get(seq, 0) <= self.now
        ]
        assert not may_go or len(self.flights) == self.workers

    def teardown(self) -> None:
        """Worked off in peace, everything ends."""
        if not hasattr(self, "lane"):
            return
        try:
            self.work_off()
        finally:
            self.limits.undo()

    def work_off(self) -> None:
        for _ in range(20 * (self.newest + 10)):
            if not self.live:
                break
            self.never_idle_when_something_may_go()
            self.now += 1
            for seq in sorted(self.flights):
                self.flights.remove(seq)
                self.lane.in_flight -= 1
                del self.live[seq]
                self.lane.ended(seq)
        assert not self.live
        while self.lane.behind:
            self.never_idle_when_something_may_go()
        assert self.lane.idle


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
