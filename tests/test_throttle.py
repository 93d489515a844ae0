from __future__ import annotations

from medagent.throttle import Throttle


def test_one_of_a_kind_passes_until_its_time_is_over() -> None:
    throttle = Throttle(10.0)
    assert [throttle.passes("disk", now) for now in (0.0, 9.9, 10.0, 19.9, 20.0)] == [True, False, True, False, True]


def test_kinds_do_not_hold_each_other_back() -> None:
    throttle = Throttle(10.0)
    assert throttle.passes("disk", 0.0)
    assert throttle.passes(("adt", "full"), 1.0)
    assert not throttle.passes("disk", 2.0)
