"""Who a message is from, and for, as numbers that tell nothing of them."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from medagent_hl7.message import Header

LONGEST = 64
"""Characters of a field that count: senders choose them, and what is remembered of them must stay small."""


def sender_of(header: Header) -> int:
    """63 bits that stand for MSH-3 and MSH-4: a sender makes control IDs by itself."""
    return _sender_of(header.field(3)[:LONGEST], header.field(4)[:LONGEST])


@lru_cache(maxsize=1024)
def _sender_of(application: str, facility: str) -> int:
    return short_hash(f"{application}\x1f{facility}")


def link_of(header: Header) -> str:
    """The name of the link of MSH-3 to MSH-6: 16 hexadecimal digits."""
    return f"{short_hash(chr(31).join(header.field(number)[:LONGEST] for number in (3, 4, 5, 6))):016x}"


def short_hash(text: str) -> int:
    """63 bits that stand for a text, above 0."""
    return (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1) | 1
