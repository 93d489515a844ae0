"""What stands for senders and links."""

from __future__ import annotations

from medagent_hl7.identity import LONGEST, link_of, sender_of
from medagent_hl7.message import Header


def header(*sender: str) -> Header:
    return Header.parse(f"MSH|^~\\&|{'|'.join(sender)}|20260105||ADT^A01|1|P|2.5.1\r".encode())


def test_a_key_tells_nothing_of_the_sender() -> None:
    key = link_of(header("LAB", "NORTH", "EHR", "MAIN"))
    assert key == link_of(header("LAB", "NORTH", "EHR", "MAIN"))
    assert len(key) == 16
    assert key != link_of(header("LABN", "ORTH", "EHR", "MAIN"))
    assert "LAB" not in key


def test_a_sender_is_msh_3_and_msh_4() -> None:
    assert sender_of(header("LAB", "NORTH", "EHR", "MAIN")) == sender_of(header("LAB", "NORTH", "PACS", ""))
    assert len({sender_of(header(*names)) for names in (("LAB", "NORTH"), ("LABN", "ORTH"), ("LAB", ""), ("", "LAB"))}) == 4


def test_only_the_beginning_of_a_long_name_counts() -> None:
    long = "x" * LONGEST
    assert sender_of(header(long + "1")) == sender_of(header(long + "2"))
    assert link_of(header(long + "1")) == link_of(header(long + "2"))
    assert sender_of(header(long[1:] + "1")) != sender_of(header(long[1:] + "2"))
