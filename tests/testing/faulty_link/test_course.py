"""Which bytes pass, and where each fault strikes."""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from medagent.testing.faulty_link.course import Course
from medagent.testing.faulty_link.faults import (
    Armed,
    Cut,
    Delay,
    Direction,
    DropMessage,
    DuplicateMessage,
    Fault,
    Inject,
)

UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
ONE, TWO, THREE = (Frame(Opcode.TEXT, text).serialize(mask=False) for text in (b"one", b"two", b"three"))


def armed(fault: Fault) -> Armed:
    return Armed(Direction.TO_CLIENT, fault)


def course_with(*faults: Armed) -> Course:
    course = Course()
    for each in faults:
        course.arm(each)
    return course


def run(course: Course, *reads: bytes) -> list[bytes | Fault]:
    """What comes out, bytes joined; faults strike."""
    out: list[bytes | Fault] = []
    for data in reads:
        for step in course.take(data):
            if isinstance(step, Armed):
                step.struck.set()
                out.append(step.fault)
            elif out and isinstance(out[-1], bytes):
                out[-1] += step
            elif step:
                out.append(step)
    return out


def test_without_faults_all_passes():
    assert run(Course(), b"abc", b"def") == [b"abcdef"]


def test_a_place_in_bytes_is_met_within_and_between_reads():
    for after in range(7):
        fault = Cut(after)
        expected = [part for part in (b"abcdef"[:after], fault, b"abcdef"[after:]) if part != b""]
        assert run(course_with(armed(fault)), b"ab", b"c", b"def") == expected


def test_a_place_counts_from_the_arming():
    course = Course()
    assert run(course, b"abc") == [b"abc"]
    course.arm(armed(Inject(2, b"?")))
    assert run(course, b"defg") == [b"de", Inject(2, b"?"), b"fg"]


def test_several_strike_in_the_order_of_their_places():
    course = course_with(armed(Delay(3, 1.0)), armed(Cut(1)), armed(Cut(9)))
    assert run(course, b"abcdef", b"ghi") == [b"a", Cut(1), b"bc", Delay(3, 1.0), b"defghi", Cut(9)]


def test_what_has_struck_elsewhere_or_was_disarmed_does_not_strike():
    struck, disarmed, late = armed(Cut(1)), armed(Cut(2)), armed(DropMessage(1))
    struck.struck.set()
    disarmed.disarmed = True
    late.disarmed = True
    assert run(course_with(struck, disarmed, late), UPGRADE + ONE) == [UPGRADE + ONE]


def test_a_message_is_doubled():
    fault = DuplicateMessage(2)
    whole = UPGRADE + ONE + TWO + THREE
    for size in (1, 7, len(whole)):
        reads = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert run(course_with(armed(fault)), *reads) == [UPGRADE + ONE, fault, TWO + TWO + THREE]


def test_a_message_is_dropped():
    fault = DropMessage(1)
    assert run(course_with(armed(fault)), UPGRADE, ONE, TWO) == [UPGRADE, fault, TWO]


def test_a_message_that_has_begun_does_not_count():
    course = Course()
    assert run(course, UPGRADE + ONE[:2]) == [UPGRADE + ONE[:2]]
    course.arm(armed(DropMessage(1)))
    assert run(course, ONE[2:] + TWO + THREE) == [ONE[2:], DropMessage(1), THREE]


def test_a_message_passes_if_its_fault_strikes_elsewhere_meanwhile():
    fault = armed(DropMessage(1))
    course = course_with(fault)
    assert run(course, UPGRADE + ONE[:2]) == [UPGRADE]
    fault.struck.set()
    assert run(course, ONE[2:]) == [ONE]
