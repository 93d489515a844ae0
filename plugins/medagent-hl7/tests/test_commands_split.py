"""Files of several messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.commands.split import split
from medagent_hl7.message import BOM, Hl7Error
from medagent_hl7.samples import Sample, load

ONE = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\rPID|1||MSH\r"
TWO = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|2|P|2.5\rPID|2\r"


@pytest.mark.parametrize("sample", load(), ids=lambda sample: sample.name)
def test_a_file_of_one_message_is_that_message(sample: Sample) -> None:
    assert split(sample.body).messages == [sample.body]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_cuts_where_a_line_begins_with_msh(end: bytes) -> None:
    bodies = [body.replace(b"\r", end) for body in (ONE, TWO, ONE)]
    assert split(b"".join(bodies)).messages == bodies


def test_blank_lines_between_messages_and_at_the_ends_go() -> None:
    assert split(b"\n\r\n" + ONE + b"\n \r\n" + TWO + b"\n\n").messages == [ONE + b"\n", TWO + b"\n"]


def test_a_blank_line_inside_a_message_stays() -> None:
    body = b"MSH|^~\\&|A\r\n\r\nPID|1\r\n"
    assert split(body).messages == [body]


def test_a_byte_order_mark_stays() -> None:
    assert split(BOM + ONE + TWO).messages == [BOM + ONE, TWO]


def test_a_missing_last_line_end_stays_missing() -> None:
    assert split(ONE + TWO[:-1]).messages == [ONE, TWO[:-1]]


def test_mllp_blocks_go() -> None:
    assert split(b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r").messages == [ONE, TWO]


def test_batch_segments_are_left_out_and_named() -> None:
    found = split(b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + TWO + b"BTS|2\rFTS|1\r")
    assert found.messages == [ONE, TWO]
    assert found.batch_segments == ["FHS", "BHS", "BTS", "FTS"]


@pytest.mark.parametrize("data", [b"", b"\r\n", b"PID|1\r" + ONE, b"hello", b"FHS|^~\\&|A\rFTS|0\r"])
def test_a_file_without_message_or_with_something_else_before_it(data: bytes) -> None:
    with pytest.raises(Hl7Error):
        split(data)


@given(st.lists(st.sampled_from([sample.body for sample in load() if sample.body.endswith((b"\r", b"\n"))]), min_size=1))
def test_joined_messages_are_found_again(bodies: list[bytes]) -> None:
    assert split(b"".join(bodies)).messages == bodies
