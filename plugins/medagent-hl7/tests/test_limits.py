"""What an MLLP channel allows its devices, besides what every TCP channel does."""

from __future__ import annotations

from medagent_hl7.limits import LENIENT_END_SECONDS, PARAMETERS, Limits


def test_defaults() -> None:
    declared = {item.name: item.default for item in PARAMETERS if item.default is not None}
    assert Limits.from_parameters(declared) == Limits.from_parameters({}) == Limits()


def test_times_are_seconds() -> None:
    limits = Limits.from_parameters({"frameIdleTimeoutMs": 1500, "messagesPerMin": 120})
    assert (limits.frame_idle, limits.spacing) == (1.5, 0.5)


def test_lenient_ends_are_looked_for_in_time() -> None:
    assert Limits(lenient_end=True).sweep_seconds == LENIENT_END_SECONDS / 4
    assert Limits(lenient_end=True, frame_idle=0.1).sweep_seconds == 0.025
