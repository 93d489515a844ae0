"""The states of a message, whose numbers are in queue files."""

from __future__ import annotations

from medagent.types import Delivery, State


def test_the_numbers_of_states_never_change() -> None:
    assert {state.name: state.value for state in State} == {
        "RECEIVED": 0,
        "SENT": 1,
        "RESPONSE_QUEUED": 2,
        "ERROR": 3,
        "RESPONSE_SENT": 10,
        "PROCESSED": 11,
        "RESPONSE_UNDELIVERED": 12,
        "REJECTED": 13,
        "DEAD_LETTER": 14,
        "FILTERED": 15,
    }


def test_a_message_that_will_be_worked_on_has_not_ended() -> None:
    assert [state for state in State if not state.ended] == [State.RECEIVED, State.SENT, State.RESPONSE_QUEUED, State.ERROR]


def test_only_an_answer_that_waits_for_its_device_keeps_a_message_alive() -> None:
    assert [delivery for delivery in Delivery if not State(delivery.value).ended] == [Delivery.QUEUED]
