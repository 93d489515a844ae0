"""Who a message is from, and for, as numbers that tell nothing of them."""

from __future__ import annotations

from functools import lru_cache

from medagent import listening
from medagent_hl7.message import Header

_number_of = lru_cache(maxsize=1024)(listening.sender_of)
LONGEST = 64
"""Characters of a field that count: senders choose them, and what is remembered of them must stay small."""


def sender_of(header: Header) -> int:
    """63 bits that stand for MSH-3 and MSH-4: a sender makes control IDs by itself."""
    return _number_of(header.field(3)[:LONGEST], header.field(4)[:LONGEST])


def link_of(header: Header) -> str:
    """The name of the link of MSH-3 to MSH-6: 16 hexadecimal digits."""
    return f"{_number_of(*(header.field(number)[:LONGEST] for number in (3, 4, 5, 6))):016x}"
