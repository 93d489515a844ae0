"""Taking batches apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.batch import Batch, is_batch, split


def message(number: int, segment_end: str = "\r") -> bytes:
    return f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|2026||ADT^A01|{number}|P|2.5{segment_end}PID|1||4711{segment_end}".encode()


ONE, TWO, THREE = (message(number) for number in (1, 2, 3))
FHS = b"FHS|^~\\&|LAB|NORTH|EHR|MAIN|2026||||F1\r"
BHS = b"BHS|^~\\&|LAB|NORTH|EHR|MAIN|2026||||B1\r"


def test_a_whole_file() -> None:
    file = split(FHS + BHS + ONE + TWO + b"BTS|2\r" + BHS + THREE + b"BTS|1|done\rFTS|2\r")
    assert [batch.messages for batch in file.batches] == [[ONE, TWO], [THREE]]
    assert file.messages == [ONE, TWO, THREE]
    assert not (file.fault)
    assert not (file.miscounts)
    assert not (file.missing)
    assert file.header is not None
    assert (file.header.get(3), file.header.get(11), file.header.get(12)) == ("LAB", "F1", "")
    header = file.batches[0].header
    assert header is not None
    assert (header.name, header.get(2), header.get(11)) == ("BHS", "^~\\&", "B1")


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (BHS + ONE + TWO, ["BTS"]),
        (FHS + ONE + TWO, ["FTS"]),
        (FHS + BHS + ONE + TWO, ["BTS", "FTS"]),
        (BHS + ONE + BHS + TWO + b"BTS", ["BTS"]),
        (FHS + ONE + b"BTS|1\r" + TWO + b"FTS|2", []),
        (BHS + ONE + TWO + b"BTS|", []),
    ],
)
def test_trailers_may_be_missing(body: bytes, missing: list[str]) -> None:
    file = split(body)
    assert file.missing == missing
    assert file.messages == [ONE, TWO]
    assert not file.fault
    assert not file.miscounts


@pytest.mark.parametrize(
    ("body", "miscounts"),
    [
        (BHS + ONE + b"BTS|2", ["BTS-1 is wrong: the batch has 1 message"]),
        (BHS + ONE + b"BTS|one", ["BTS-1 is wrong: the batch has 1 message"]),
        (BHS + ONE + b"BTS|" + b"9" * 5000, ["BTS-1 is wrong: the batch has 1 message"]),
        (BHS + ONE + b"BTS|001", []),
        (BHS + b"BTS|0", []),
        (BHS + b"BTS|1", ["BTS-1 is wrong: the batch has 0 messages"]),
        (FHS + BHS + ONE + b"BTS|1\rFTS|2", ["FTS-1 is wrong: the file has 1 batch"]),
    ],
)
def test_counts(body: bytes, miscounts: list[str]) -> None:
    file = split(body)
    assert file.miscounts == miscounts
    assert not file.fault


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (BHS + ONE + FHS + TWO, "FHS is not the first segment"),
        (FHS + FHS + ONE, "FHS is not the first segment"),
        (FHS + ONE + b"FTS\r" + TWO, "FTS is not the last segment"),
        (FHS + b"BTS|0\r" + ONE, "BTS without a batch before it"),
        (BHS + b"NTE|1||secret\r" + ONE, "a segment that does not belong there follows BHS"),
        (BHS + ONE + b"BTS|1\rPID|secret\r", "a segment that does not belong there follows BTS"),
        (b"BHS\r" + ONE, "BHS-1 and BHS-2 do not hold the delimiters"),
        (b"FHS|\r" + ONE, "FHS-1 and FHS-2 do not hold the delimiters"),
    ],
)
def test_what_cannot_be_taken_apart(body: bytes, fault: str) -> None:
    file = split(body)
    assert file.fault == fault
    assert ONE in file.messages, "each message is to be answered"


@pytest.mark.parametrize("segment", [b"MSH|^~\\&\r", b"BHS|^~\\&\r", b"BTS|\r", b"FHS|^~\\&\r", b"FTS|\r"])
def test_reading_ends_at_the_limit(segment: bytes) -> None:
    file = split(BHS + segment * 1000, 10)
    assert file.excess
    assert len(file.messages) + len(file.batches) + len(file.missing) + len(file.miscounts) < 40
    assert not split(BHS + ONE * 10 + b"BTS|10\r", 10).excess


def test_delimiters_of_their_own() -> None:
    file = split(b"FHS#*~\\&#LAB\rBHS$*~\\&$$$$$$$$$B7\r" + ONE + b"BTS$1\rFTS#1\r")
    assert file.header is not None
    assert file.header.get(3) == "LAB"
    assert file.batches[0].header is not None
    assert file.batches[0].header.get(11) == "B7"
    assert not (file.fault)
    assert not (file.miscounts)
    assert not (file.missing)


@pytest.mark.parametrize("line_end", [b"\r", b"\n", b"\r\n"])
def test_messages_without_headers_are_a_batch(line_end: bytes) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        body = mark + (ONE + TWO).replace(b"\r", line_end)
        assert is_batch(body)
        assert split(body).messages == [each.replace(b"\r", line_end) for each in (ONE, TWO)]
    assert split(ONE + TWO + b"BTS|2\r").miscounts == []
    assert split(ONE + TWO + b"BTS|3\r").miscounts == ["BTS-1 is wrong: the batch has 2 messages"]


@pytest.mark.parametrize("further", [b"PID|1||MSH|\r", b"NTE|1||\nMSH clinic\r", b"MSHX|1\r", b"MSH_\r", b"MSH\r"])
def test_what_only_looks_like_a_further_message_is_no_batch(further: bytes) -> None:
    assert not is_batch(ONE + further)
    assert not is_batch(b"PID|1\r" + ONE)


def test_only_headers_or_further_messages_make_a_batch() -> None:
    assert is_batch(BHS)
    assert is_batch(b"\xef\xbb\xbf" + FHS)
    assert not is_batch(ONE)
    assert not is_batch(b"PID|1\rFHS|")
    assert not is_batch(b"")


@pytest.mark.parametrize("segment_end", ["\r", "\n", "\r\n"])
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4), with_file=st.booleans())
def test_messages_come_out_as_they_went_in(segment_end: str, sizes: list[int], with_file: bool) -> None:
    end = segment_end.encode()
    numbers = iter(range(100))
    batches = [Batch(None, [message(next(numbers), segment_end) for _ in range(size)]) for size in sizes]
    parts = [FHS.strip() + end] if with_file else []
    for batch in batches:
        parts += [BHS.strip() + end, *batch.messages, f"BTS|{len(batch.messages)}".encode() + end]
    if with_file:
        parts.append(f"FTS|{len(batches)}".encode() + end)
    file = split(b"".join(parts))
    assert [one.messages for one in file.batches] == [one.messages for one in batches]
    assert not (file.fault)
    assert not (file.miscounts)
    assert not (file.missing)


@given(st.binary(max_size=300).map(BHS.__add__))
def test_nothing_raises(body: bytes) -> None:
    file = split(body)
    for one in file.messages:
        assert one.startswith(b"MSH")
        assert one in body
