"""Messages found in texts, however analysers split and end them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_astm.records import Assembly, Header, Unusable, is_complete_header, read_header, records, texts

RESULT = b"H|\\^&|17||Chem^2\rP|1||4711\rO|1|S-17||^^^GLU\rR|1|^^^GLU|93|mg/dL\rL|1|N\r"
QUERY = b"H|\\^&|18||Chem^2\rQ|1|^S-18\rL|1|N\r"


def assembled(*pieces: tuple[bytes, bool], longest: int = 10_000, needs_terminator: bool = True) -> list[bytes]:
    assembly, found = Assembly(longest, needs_terminator=needs_terminator), []
    for text, last in pieces:
        found += assembly.add(text, last=last)
        assembly.confirm()
    return found


@given(st.lists(st.integers(0, len(RESULT + QUERY)), max_size=12))
def test_parts_that_split_records_anywhere(cuts: list[int]) -> None:
    data = RESULT + QUERY
    edges = [0, *sorted(cuts), len(data)]
    parts = [(data[start:stop], stop == len(data)) for start, stop in itertools.pairwise(edges)]
    assert assembled(*parts) == [RESULT, QUERY]


def test_a_long_record_in_small_parts_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = 0

    class Counting:
        def search(self, data: bytearray, start: int) -> None:
            nonlocal searched
            searched += len(data) - start

    monkeypatch.setattr("medagent_astm.records._END", Counting())
    assembly = Assembly(10_000)
    for part in [b"H|\\^&", *[b"x" * 10] * 200]:
        assembly.add(part, last=False)
        assembly.confirm()
    assert searched == assembly.held


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b""])
def test_one_record_a_text_whatever_ends_it(end: bytes) -> None:
    [message] = assembled(*((record + end, True) for record in RESULT.split(b"\r")[:-1]))
    assert records(message.decode()) == records(RESULT.decode())


def test_blank_lines_between_messages_belong_to_none() -> None:
    assert assembled((b"\r\n" + RESULT + b"\n\r" + QUERY, True)) == [RESULT, QUERY]


def test_any_separator_and_small_letters() -> None:
    assert assembled((b"h!~^&!5\rl!1!N\r", True)) == [b"h!~^&!5\rl!1!N\r"]


def test_a_record_that_only_begins_like_a_terminator_ends_nothing() -> None:
    assert assembled((b"H|\\^&\rLX|1\rL|1\r", True)) == [b"H|\\^&\rLX|1\rL|1\r"]


@pytest.mark.parametrize("text", [b"P|1\r", b"Hello\r", b"X", b"H\r"])
def test_what_does_not_begin_with_a_header_is_unusable(text: bytes) -> None:
    assembly = Assembly(100)
    with pytest.raises(Unusable, match="header"):
        assembly.add(text, last=True)
    assert assembly.held == 0


@pytest.mark.parametrize("longest", [len(RESULT) - 1, 20])
def test_a_message_that_is_too_long_is_unusable(longest: int) -> None:
    with pytest.raises(Unusable, match="longer"):
        assembled(*((RESULT[start : start + 10], False) for start in range(0, len(RESULT), 10)), longest=longest)
    assert assembled((RESULT, True), longest=len(RESULT)) == [RESULT]


def test_a_text_that_is_taken_back_comes_again() -> None:
    assembly = Assembly(1000)
    assert assembly.add(RESULT[:40], last=False) == []
    assembly.confirm()
    rest = RESULT[40:] + QUERY[:9]
    assert assembly.add(rest, last=False) == [RESULT]
    assembly.take_back()
    assert assembly.add(rest, last=False) == [RESULT]
    assembly.confirm()
    assert assembly.add(QUERY[9:], last=True) == [QUERY]


@pytest.mark.parametrize("needs_terminator", [True, False])
def test_a_header_record_where_a_terminator_is_missing(needs_terminator: bool) -> None:
    assembly = Assembly(1000, needs_terminator=needs_terminator)
    open_message = RESULT[: -len(b"L|1|N\r")]
    found = assembly.add(open_message + QUERY, last=True)
    assert found == ([QUERY] if needs_terminator else [open_message, QUERY])
    assert assembly.dropped == int(needs_terminator)


def test_what_is_left_over_at_the_end() -> None:
    assembly = Assembly(1000)
    assembly.add(RESULT + QUERY[:20], last=False)
    assembly.confirm()
    assert assembly.left_over() == QUERY[:20] + b"\r"
    assert assembly.left_over() == b""
    assert assembly.add(QUERY, last=True) == [QUERY]


@pytest.mark.parametrize(
    ("message", "header"),
    [
        (RESULT, Header("17", "Chem^2")),
        (b"H!~^&!5!pw!X-1\r", Header("5", "X-1")),
        (b"H|\\^&\rL|1\r", Header("", "")),
        (b"H|\\^&|" + b"9" * 300 + b"\r", Header("9" * 200, "")),
        (b"H|\\^&| 7 ||caf\xe9\r", Header("7", r"caf\xe9")),
        (b"", Header("", "")),
    ],
)
def test_the_header(message: bytes, header: Header) -> None:
    assert read_header(message) == header


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("H|\\^&|||Host\rL|1\r", True),
        ("h!~^&\r", True),
        ("H|\\^&", True),
        ("H&P stored", False),
        ("H|\\^", False),
        ("Hello", False),
        ("H... and so on", False),
        ("H\u00e9", False),
        ("", False),
    ],
)
def test_a_text_that_is_a_message(text: str, complete: bool) -> None:
    assert is_complete_header(text) is complete


@given(st.lists(st.binary(max_size=30), max_size=6), st.booleans())
def test_never_anything_but_unusable(pieces: list[bytes], needs_terminator: bool) -> None:
    assembly = Assembly(60, needs_terminator=needs_terminator)
    for piece in pieces:
        try:
            assembly.add(piece, last=True)
        except Unusable:
            continue
        assembly.confirm()
    read_header(assembly.left_over())


def test_texts_of_an_answer() -> None:
    assert texts("H|\\^&\nO|1|Zoë\r\nL|1", "iso-8859-1", by_record=True) == [b"H|\\^&\r", b"O|1|Zo\xeb\r", b"L|1\r"]
    assert texts("H|\\^&\rL|1\r", "ascii", by_record=False) == [b"H|\\^&\rL|1\r"]
