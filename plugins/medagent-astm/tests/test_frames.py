"""Frames written and read: the form, the checksum, and what damage does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_astm.frames import (
    Damage,
    EndOfTransmission,
    Frame,
    FrameReader,
    Item,
    checksum,
    encode,
    encode_texts,
)

TEXTS = st.binary(max_size=60).map(lambda data: bytes(byte for byte in data if byte >= 0x20 or byte == 0x0D))


def read(*pieces: bytes, longest: int = 247) -> list[Item]:
    reader, items = FrameReader(longest), []
    for piece in pieces:
        position = 0
        while position < len(piece):
            item, position = reader.take(piece, position)
            items += [item] if item is not None else []
    return items


def test_a_frame_on_the_wire() -> None:
    # 0x31 "1" + 0x41 "A" + 0x0D CR + 0x03 ETX = 0x82
    assert encode(1, b"A\r", last=True) == b"\x021A\r\x0382\r\n"
    assert encode(9, b"A\r", last=False) == b"\x021A\r\x1796\r\n"


def test_the_checksum_is_modulo_256_with_two_digits() -> None:
    assert checksum(b"\xff\xff\x03") == b"01"
    assert checksum(b"\x0a") == b"0A"


def test_numbers_go_from_1_to_7_and_on_with_0() -> None:
    frames = encode_texts([b"A"] * 10)
    assert [frame[1:2] for frame in frames] == [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"0", b"1", b"2"]


@pytest.mark.parametrize(("length", "parts"), [(0, 1), (239, 1), (240, 1), (241, 2), (480, 2), (481, 3)])
def test_a_long_text_is_split(length: int, parts: int) -> None:
    frames = encode_texts([b"x" * length, b"y"])
    assert [frame.last for frame in read(*frames) if isinstance(frame, Frame)] == [False] * (parts - 1) + [True, True]
    assert max(map(len, frames)) <= 247


@pytest.mark.parametrize("byte", [b"\x02", b"\x03", b"\x04", b"\x05", b"\x06", b"\x15", b"\x17", b"\n", b"\x11"])
def test_a_text_cannot_hold_characters_of_the_protocol(byte: bytes) -> None:
    with pytest.raises(ValueError, match="control character"):
        encode_texts([b"A" + byte])


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(8, 247), st.lists(st.integers(0, 400), max_size=8))
def test_what_is_written_is_read_from_any_split(texts: list[bytes], longest: int, cuts: list[int]) -> None:
    data = b"".join(encode_texts(texts, longest)) + b"\x04"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    *frames, end = read(*(data[start:stop] for start, stop in itertools.pairwise(edges)))
    assert end == EndOfTransmission()
    found, text = [], b""
    for number, frame in enumerate(frames, 1):
        assert isinstance(frame, Frame)
        assert frame.good
        assert frame.number == number % 8
        text += frame.text
        if frame.last:
            found.append(text)
            text = b""
    assert found == texts


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_garbage_gives_the_same_in_any_split(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read(*(data[start:stop] for start, stop in itertools.pairwise(edges)), longest=40) == read(data, longest=40)


GOOD = encode(1, b"P|1\r", last=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(GOOD.replace(b"P", b"Q"), [Frame(1, b"Q|1\r", True, good=False)], id="a changed character"),
        pytest.param(GOOD[:-4] + GOOD[-4:].lower(), [Frame(1, b"P|1\r", True)], id="small hexadecimal digits"),
        pytest.param(b"\x02" + GOOD, [Frame(1, b"P|1\r", True)], id="a doubled STX"),
        pytest.param(GOOD[:4] + GOOD, [Frame(1, b"P|1\r", True)], id="a frame cut off, then whole"),
        pytest.param(GOOD[1:], [Damage()], id="no STX"),
        pytest.param(GOOD[:-1] + b"\r\n", [Damage()], id="a doubled CR"),
        pytest.param(GOOD[:-3] + GOOD[-2:], [Damage()], id="a lost digit"),
        pytest.param(GOOD + b"\r\n\n", [Frame(1, b"P|1\r", True)], id="line ends between frames"),
        pytest.param(b"\x02\x0303\r\n", [Damage()], id="nothing in it"),
        pytest.param(b"\x028P\x038B\r\n", [Damage()], id="a number above 7"),
        pytest.param(b"\x021" + b"x" * 500 + b"\x0300\r\n" + GOOD, [Damage(), Frame(1, b"P|1\r", True)], id="too long"),
        pytest.param(GOOD[:4] + b"\x04" + GOOD, [EndOfTransmission(), Frame(1, b"P|1\r", True)], id="EOT inside"),
        pytest.param(GOOD[:-2] + b"\x04", [EndOfTransmission()], id="EOT instead of CR LF"),
    ],
)
def test_damage(data: bytes, expected: list[Item]) -> None:
    assert read(data) == expected
    assert read(*(data[index : index + 1] for index in range(len(data)))) == expected
