"""Character sets of messages and of what answers them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.charset import InvalidText, Unusable, codec, codec_of, declared, decode, encode, is_valid
from medagent_hl7.message import Header


def header(character_set: str) -> Header:
    return Header.parse(f"MSH|^~\\&|LAB||EHR||20260105||ADT^A01|1|P|2.5||||||{character_set}\r".encode("latin-1"))


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("ASCII", "Muller", b"Muller"),
        ("8859/1", "Müller", b"M\xfcller"),
        ("8859/2", "Łódź", b"\xa3\xf3d\xbc"),
        ("8859/15", "5 €", b"5 \xa4"),
        ("ISO-8859-1", "Müller", b"M\xfcller"),
        ("ISO8859/1", "Müller", b"M\xfcller"),
        ("8859-1", "Müller", b"M\xfcller"),
        ("WINDOWS-1252", "5 €", b"5 \x80"),
        ("CP1252", "5 €", b"5 \x80"),
        ("win1252", "5 €", b"5 \x80"),
        ("UNICODE UTF-8", "Müller", b"M\xc3\xbcller"),
        ("utf-8", "Müller", b"M\xc3\xbcller"),
        ("UTF8", "Müller", b"M\xc3\xbcller"),
        ("GB 18030-2000", "王", b"\xcd\xf5"),
        ("BIG-5", "王", b"\xa4\xfd"),
        ("KS X 1001", "김", b"\xb1\xe8"),
        ("ISO IR87", "山田", b"\x1b$B;3ED\x1b(B"),
        ("ISO IR14", "ﾔﾏﾀﾞ", b"\xd4\xcf\xc0\xde"),
        ("ISO IR6", "Muller", b"Muller"),
    ],
)
def test_declared_character_set(name: str, text: str, data: bytes) -> None:
    found = codec_of(header(name), "utf-8")
    assert decode(data, found) == (text, True)
    assert encode(text, found) == data


@pytest.mark.parametrize(
    "name",
    ["UNICODE", "UNICODE UTF-16", "UNICODE UTF-32", "UTF-16LE", "klingon", "hex", "zip", "base64", "rot13",
     "punycode", "idna", "unicode_escape", "undefined", "utf-7", "cp037", "aliases", "os.path", "\0", "é", ""],
)  # fmt: skip
def test_unusable_character_set_counts_as_none(name: str) -> None:
    assert codec(name) is None
    assert codec_of(header(name.replace("\0", "")), "iso8859_1") == "iso8859_1"


@pytest.mark.parametrize("name", ["UNICODE", "UNICODE UTF-16", "UNICODE UTF-32", "UTF-16LE", "utf_32_be"])
def test_wide_character_sets(name: str) -> None:
    assert declared(header(name)) is Unusable.WIDE


@pytest.mark.parametrize("name", ["klingon", "hex", "idna", "X" * 5000])
def test_unknown_character_sets(name: str) -> None:
    assert declared(header(name)) is Unusable.UNKNOWN


def test_no_character_set() -> None:
    assert declared(header("")) is None
    assert declared(header("~8859/2")) is None


@pytest.mark.parametrize("name", ["CNS 11643-1992", "EUC-TW"])
def test_set_without_a_codec_is_read_as_far_as_it_is_ascii(name: str) -> None:
    found = codec_of(header(name), "iso8859_1")
    assert decode(b"MSH|A", found) == ("MSH|A", True)
    assert decode(b"MSH|\xa4\xfd", found) == ("MSH|¤ý", False)
    assert decode(b"MSH|\xa4\xfd|1", found, InvalidText.REPLACE) == ("MSH|\ufffd\ufffd|1", False)
    assert not is_valid(b"MSH|\xa4\xfd", found)


def test_first_bytes_decide_over_msh_18() -> None:
    text = "MSH|^~\\&|LAB||EHR||20260105||ADT^A01|1|P|2.5||||||8859/1\rPID|Müller"
    marked = b"\xef\xbb\xbf" + text.encode()
    assert decode(marked, codec_of(Header.parse(marked), "cp1252")) == (text, True)
    for wide in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        for body in (text.encode(wide), f"\ufeff{text}".encode(wide)):
            assert decode(body, codec_of(Header.parse(body), "cp1252")) == (text, True)


def test_first_repetition_decides() -> None:
    assert codec_of(header("8859/1~UNICODE UTF-8"), "utf-8") == "iso8859_1"
    assert codec_of(header("~8859/2"), "cp1252") == "cp1252"


@pytest.mark.parametrize("names", ["~ISO IR87", "ASCII~ISO IR87", "ISO IR6~ISO IR87~ISO IR159"])
def test_japanese_sets_reached_by_escapes(names: str) -> None:
    assert decode(b"YAMADA^\x1b$B;3ED\x1b(B", codec_of(header(names), "utf-8")) == ("YAMADA^山田", True)


@pytest.mark.parametrize(
    ("body", "codec_name", "text"),
    [
        (b"M\xc3\xbcller", "ascii", "Müller"),
        (b"M\xfcller", "utf-8", "Müller"),
        (b"\x80 5", "utf-8", "€ 5"),
        (b"\x81M\xfcller", "utf-8", "\x81Müller"),
        (b"\xff\xff", "gb18030", "ÿÿ"),
    ],
)
def test_what_is_invalid_falls_back(body: bytes, codec_name: str, text: str) -> None:
    assert decode(body, codec_name) == (text, False)


@given(
    st.binary(),
    st.sampled_from(["ascii", "utf-8", "cp932", "gb18030", "iso2022_jp", "big5hkscs", "iso8859_1", "utf-16-le", "utf-32-be"]),
    st.sampled_from(InvalidText),
)
def test_decoding_never_raises(body: bytes, codec_name: str, invalid: InvalidText) -> None:
    text, valid = decode(body, codec_name, invalid)
    assert "\n" not in text
    assert valid is is_valid(body, codec_name)


@pytest.mark.parametrize(("codec_name", "text"), [("utf-8", "M\ufffdller €"), ("ascii", "M\ufffdller \ufffd\ufffd\ufffd")])
def test_invalid_bytes_are_replaced(codec_name: str, text: str) -> None:
    assert decode(b"M\xfcller \xe2\x82\xac", codec_name, InvalidText.REPLACE) == (text, False)


@given(st.binary().filter(lambda body: not body.startswith(b"\xef\xbb\xbf") and b"\n" not in body))
def test_no_byte_is_dropped(body: bytes) -> None:
    # a byte that neither UTF-8 nor Windows-1252 has there
    undecodable = body + b"a\x81"
    assert decode(undecodable, "utf-8") == (undecodable.decode("latin-1"), False)


def test_byte_order_mark_and_segment_ends() -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        for codec_name in ("utf-8", "iso8859_1"):
            assert decode(mark + b"MSH|1\r\nPID|2\nNTE|3\r", codec_name) == ("MSH|1\rPID|2\rNTE|3\r", True)


def test_character_missing_in_the_senders_set() -> None:
    assert encode("5 €", "iso8859_1") == b"5 ?"
