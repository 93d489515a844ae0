"""A lane against a naive model: nothing is lost, nothing overtakes, nothing is too much."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from medagent.queue import lane as lane_module
from medagent.queue.lane import PAGE_MESSAGES, READY_MESSAGES, Lane
from medagent.types import InboundMessage


def loaded(*seqs: int, size: int = 10) -> list[InboundMessage]:
    return [InboundMessage(b"x" * size, str(seq), "", seq=seq) for seq in seqs]


def taken(lane: Lane) -> list[int]:
    seqs = []
    while (one := lane.take()) is not None:
        seqs.append(one.seq)
        lane.in_flight += 1
    return seqs


def test_messages_go_in_order_as_far_as_the_window_reaches() -> None:
    lane = Lane("adt", max_in_flight=3)
    lane.committed(loaded(1, 2))
    lane.committed(loaded(5, 6))
    assert taken(lane) == [1, 2, 5]
    assert lane.room == 0
    lane.in_flight -= 1
    assert taken(lane) == [6]


def test_what_the_uplink_did_not_take_comes_first_again() -> None:
    lane = Lane("adt", max_in_flight=10)
    lane.committed(loaded(1, 2, 3))
    batch = [lane.take(), lane.take()]
    lane.put_back([one for one in batch if one is not None])
    assert taken(lane) == [1, 2, 3]


@pytest.mark.parametrize("limit", ["messages", "bytes"])
def test_beyond_its_share_of_memory_messages_wait_on_disk(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "READY_BYTES", 10_000 if limit == "bytes" else 10**9)
    count = READY_MESSAGES if limit == "messages" else 100
    lane = Lane("adt", max_in_flight=10**6)
    lane.committed(loaded(*range(1, count + 1), size=100))
    late = loaded(count + 1)
    lane.committed(late)
    assert late[0].body is None
    assert lane.behind
    assert lane.waiting == count
    newer = loaded(count + 2)
    assert len(taken(lane)) == count
    lane.committed(newer)
    assert newer[0].body is None, "it may not overtake what is on disk"
    assert taken(lane) == []
    lane.page(loaded(count + 1, count + 2), count + 2)
    assert taken(lane) == [count + 1, count + 2]
    assert not lane.behind


def test_a_page_is_wanted_before_the_memory_is_used_up_and_only_once() -> None:
    lane = Lane("adt", max_in_flight=10**6, newest=10_000)
    wants = [lane.wants_page]
    lane.reading = True
    wants.append(lane.wants_page)
    lane.reading = False
    lane.page(loaded(*range(1, PAGE_MESSAGES + 1)), PAGE_MESSAGES)
    wants.append(lane.wants_page)
    lane.take()
    wants.append(lane.wants_page)
    assert wants == [True, False, False, True]


def test_an_empty_page_says_that_there_is_no_more() -> None:
    lane = Lane("adt", max_in_flight=10, newest=7)
    lane.page([], 7)
    assert not lane.behind
    lane.committed(loaded(8))
    assert taken(lane) == [8]


def test_strictly_serial_a_retry_blocks_the_others() -> None:
    serial, parallel = Lane("adt", max_in_flight=1), Lane("adt", max_in_flight=2)
    for lane in (serial, parallel):
        lane.committed(loaded(1, 2))
        assert lane.take() is not None
        lane.retry(1, due=50.0)
    assert taken(parallel) == [2]
    assert taken(serial) == []
    assert serial.take_retry(49.9) is None
    assert serial.take_retry(50.0) == 1
    serial.in_flight += 1
    assert taken(serial) == []
    serial.in_flight -= 1
    assert taken(serial) == [2]


def test_retries_are_due_in_time_and_need_room() -> None:
    lane = Lane("adt", max_in_flight=2)
    for seq, due in ((3, 30.0), (1, 10.0), (2, 10.0)):
        lane.retry(seq, due)
    assert lane.next_retry == 10.0
    assert lane.take_retry(9.0) is None
    assert [lane.take_retry(20.0), lane.take_retry(20.0), lane.take_retry(20.0)] == [1, 2, None]
    lane.in_flight = 2
    assert lane.take_retry(40.0) is None


def test_what_waits_in_memory_is_not_forgotten_when_a_newer_one_is_sent_again() -> None:
    lane = Lane("adt", max_in_flight=2)
    lane.committed(loaded(1, 2))
    assert taken(lane) == [1, 2]
    lane.in_flight -= 1
    lane.retry(2, due=0.0)
    lane.in_flight -= 1
    lane.rewind([1])
    assert lane.take_retry(0.0) == 2
    lane.page(loaded(1), 1)
    lane.rewind([2])
    assert (lane.behind, lane.cursor) == (True, 0)


def test_a_resend_moves_the_answer_of_a_waiting_message_to_the_newest_connection() -> None:
    lane = Lane("adt", max_in_flight=10)
    lane.committed(loaded(1, 2))
    copy = InboundMessage(b"", "2", "10.0.0.9:1", "c9", "handle")
    lane.join(2, copy)
    lane.join(77, copy)
    one, two = lane.take(), lane.take()
    assert one is not None
    assert two is not None
    assert (two.link, two.remote, two.origin) == ("c9", "10.0.0.9:1", "handle")
    assert one.link == ""


def test_a_rewind_to_a_retry_forgets_none_that_wait_before_it() -> None:
    lane = Lane("adt", max_in_flight=1)
    lane.committed(loaded(1, 2, 3))
    taken(lane)
    lane.in_flight -= 1
    lane.rewind([1])
    lane.page(loaded(1, 2, 3), 3)
    lane.rewind([3])  # it had failed before, and its retry was sent while 1 and 2 waited
    assert lane.cursor == 0
    assert lane.behind


class Model(RuleBasedStateMachine):
    """A queue whose store is a set of seqs, worked off by a lane."""

    @initialize(window=st.integers(1, 5), backlog=st.integers(0, 20))
    def set_up(self, window: int, backlog: int) -> None:
        self.newest = backlog
        self.unsent = set(range(1, backlog + 1))
        """On disk as `received`."""
        self.flights: list[int] = []
        self.retries: dict[int, int] = {}
        self.now = 0
        self.page: tuple[int, int, list[int]] | None = None
        self.first_attempts: list[int] = []
        self.lane = Lane("adt", window, newest=backlog)

    @rule(count=st.integers(1, 5))
    def commit(self, count: int) -> None:
        seqs = range(self.newest + 1, self.newest + count + 1)
        self.newest += count
        self.unsent |= set(seqs)
        self.lane.committed(loaded(*seqs))

    @precondition(lambda self: self.lane.wants_page)
    @rule(limit=st.integers(1, 6))
    def ask_for_a_page(self, limit: int) -> None:
        self.lane.reading = True
        found = sorted(seq for seq in self.unsent if seq > self.lane.cursor)[:limit]
        self.page = (self.lane.rewinds, found[-1] if found else self.newest, found)

    @precondition(lambda self: self.page is not None)
    @rule()
    def get_the_page(self) -> None:
        assert self.page is not None
        rewinds, up_to, found = self.page
        self.page = None
        self.lane.reading = False
        if rewinds == self.lane.rewinds:
            self.lane.page(loaded(*found), up_to)

    @rule(wanted=st.integers(1, 6), fits=st.integers(0, 6))
    def send(self, wanted: int, fits: int) -> None:
        batch: list[InboundMessage] = []
        while len(batch) < wanted and (one := self.lane.take()) is not None:
            batch.append(one)
            self.lane.in_flight += 1
        left = batch[fits:]
        self.lane.in_flight -= len(left)
        self.lane.put_back(left)
        for one in batch[:fits]:
            assert one.seq in self.unsent, "sent once only"
            assert one.seq == min(self.unsent), "nothing overtakes"
            if self.lane.strictly_serial:
                assert not self.retries
                assert not self.flights
            self.unsent.remove(one.seq)
            self.flights.append(one.seq)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), again_in=st.integers(0, 3) | st.none())
    def answer(self, data: st.DataObject, again_in: int | None) -> None:
        seq = data.draw(st.sampled_from(self.flights))
        self.flights.remove(seq)
        self.lane.in_flight -= 1
        if again_in is not None:
            self.retries[seq] = self.now + again_in
            self.lane.retry(seq, self.retries[seq])

    @rule()
    def tick(self) -> None:
        self.now += 1
        while (seq := self.lane.take_retry(self.now)) is not None:
            assert self.retries.pop(seq) <= self.now
            self.lane.in_flight += 1
            self.flights.append(seq)

    @rule()
    def disconnect(self) -> None:
        self.unsent |= set(self.flights)
        self.lane.in_flight -= len(self.flights)
        self.lane.rewind(self.flights)
        self.flights = []

    @invariant()
    def the_window_is_kept(self) -> None:
        assert self.lane.in_flight == len(self.flights) <= self.lane.max_in_flight
        assert (self.lane.next_retry is None) == (not self.retries)

    def teardown(self) -> None:
        """Worked off in peace, everything leaves."""
        if not hasattr(self, "lane"):
            return
        for _ in range(10 * (self.newest + 10)):
            if not self.unsent and not self.retries and not self.flights:
                break
            if self.page is not None:
                self.get_the_page()
            if self.lane.wants_page:
                self.ask_for_a_page(5)
                self.get_the_page()
            self.send(5, 5)
            self.tick()
            self.lane.in_flight -= len(self.flights)
            self.flights = []
        assert not self.unsent
        assert not self.retries


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_where_order_counts_the_oldest_is_retried_first() -> None:
    # they have failed in a run with a wider window, so their times are not in order
    lane = Lane("adt", 1)
    lane.retry(2, 10.0)
    lane.retry(1, 20.0)
    lane.retry(3, 5.0)
    assert lane.take_retry(15.0) is None
    assert lane.next_retry == 20.0
    assert [lane.take_retry(30.0) for _ in range(4)] == [1, 2, 3, None]
