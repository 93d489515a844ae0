"""Which parameters hold for a message, by its seq."""

from __future__ import annotations

import logging

from medagent.config.model import Value
from medagent.listening import Notices
from medagent.types import InboundMessage
from medagent_hl7 import in_force
from medagent_hl7.in_force import InForce
from medagent_hl7.workings import Workings


def workings(**parameters: Value) -> Workings:
    return Workings.from_parameters(parameters, Notices(logging.getLogger("medagent.channel.lab"), "lab"))


def message(seq: int, copy_of: int = 0) -> InboundMessage:
    return InboundMessage(b"", "", "", seq=seq, copy_of=copy_of)


def test_a_message_goes_by_what_was_in_force_when_it_was_handed_over() -> None:
    first, second, third = workings(), workings(), workings()
    force = InForce(first)
    force.handed_over([message(11), message(12)])
    force.change(second)
    force.handed_over([InboundMessage(None, "", "", parts=(message(15), message(16)))])
    force.change(third)
    force.handed_over([message(17), message(0)])
    assert [force.at(message(seq)) for seq in (11, 12, 15, 16, 17)] == [first, first, second, second, third]
    # refused at once, so without a seq; not handed over yet; of another channel
    assert [force.at(message(seq)) for seq in (0, 18, 13)] == [third, third, second]


def test_changes_without_a_message_between_leave_nothing() -> None:
    first, last = workings(), workings()
    force = InForce(first)
    force.change(workings())
    force.change(first)
    force.handed_over([message(5)])
    force.change(workings())
    force.change(last)
    assert (force.at(message(5)), force.at(message(6))) == (first, last)


def test_messages_of_an_earlier_run_go_by_what_is_in_force_now() -> None:
    force = InForce(workings())
    assert force.at(message(3)) is force.now
    force.handed_over([message(10)])
    force.change(workings())
    assert force.at(message(3)) is force.now


def test_a_copy_is_owed_what_was_in_force_when_it_came() -> None:
    first, second, third = workings(), workings(), workings()
    force = InForce(first)
    original = message(10)
    force.handed_over([original])
    force.change(second)
    copy = message(11, copy_of=10)
    force.handed_over([copy])
    force.change(third)
    force.resent(copy)
    assert (force.owed(copy), force.owed(original)) == (second, second)
    assert force.at(original) is first, "it is forwarded as before"
    force.answered([original])
    assert force.owed(original) is first


def test_the_oldest_are_forgotten() -> None:
    force = InForce(workings())
    for seq in range(1, in_force.MOST_EARLIER + 3):
        force.handed_over([message(seq)])
        force.change(workings())
    assert force.at(message(1)) is force.at(message(2)) is force.at(message(3))
    assert force.at(message(3)) is not force.at(message(4))
