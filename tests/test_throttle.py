from __future__ import annotations

from medagent.throttle import MOST_KINDS, Throttle


def test_one_of_a_kind_passes_until_its_time_is_over() -> None:
    throttle = Throttle(10.0)
    assert [throttle.passes("disk", now) for now in (0.0, 9.9, 10.0, 19.9, 20.0)] == [True, False, True, False, True]


def test_kinds_do_not_hold_each_other_back() -> None:
    throttle = Throttle(10.0)
    assert throttle.passes("disk", 0.0)
    assert throttle.passes(("adt", "full"), 1.0)
    assert not throttle.passes("disk", 2.0)


def test_so_many_kinds_are_remembered() -> None:
    throttle = Throttle(10.0)
    assert all(throttle.passes(kind, 0.0) for kind in range(MOST_KINDS))
    assert not throttle.passes(0, 1.0)
    assert throttle.passes(1, 11.0)
    assert throttle.passes("another", 12.0)
    assert throttle.passes(0, 9.0)  # the oldest, and forgotten
    assert not throttle.passes(1, 12.0)
