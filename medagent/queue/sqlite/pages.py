"""Rows read from the pages of a damaged file one by one, where its trees no longer lead to them.

The form of pages and records: https://sqlite.org/fileformat2.html, sections 1.6 and 2.1.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

Value = None | int | float | str | bytes

PAGE_BYTES = 4096
_LEAF = 0x0D
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Bytes of the integers by serial type."""
_MOST_LOCAL = PAGE_BYTES - 35
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_FAULTS = (IndexError, ValueError, struct.error)
"""What reading a page raises that is not what it seems."""


def scan(path: Path) -> Iterator[tuple[int, list[Value]]]:
    """(rowid, values) of each row on each page that looks like one of a table. Pages in disuse may hold rows of old."""
    if path.stat().st_size < PAGE_BYTES:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for page in range(len(data) // PAGE_BYTES):
            start = page * PAGE_BYTES
            header = start + (100 if page == 0 else 0)
            if data[header] != _LEAF:
                continue
            count = int.from_bytes(data[header + 3 : header + 5], "big")
            for cell in range(min(count, PAGE_BYTES // 4)):
                at = header + 8 + 2 * cell
                try:
                    yield _row(data, start, start + int.from_bytes(data[at : at + 2], "big"))
                except _FAULTS:
                    continue


def _row(data: mmap.mmap, start: int, at: int) -> tuple[int, list[Value]]:
    size, at = _varint(data, at)
    rowid, at = _varint(data, at)
    return rowid, _record(_payload(data, start, at, size))


def _payload(data: mmap.mmap, start: int, at: int, size: int) -> bytes:
    """The record of a cell, of which a long one has a part on the page and the rest on a chain of others."""
    local = size
    if size > _MOST_LOCAL:
        local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE_BYTES - 4)
        local = local if local <= _MOST_LOCAL else _LEAST_LOCAL
    end = at + local
    if end > start + PAGE_BYTES or size > len(data):
        raise ValueError("a cell ends outside its page")
    parts = [data[at:end]]
    left = size - local
    following = int.from_bytes(data[end : end + 4], "big") if left else 0
    while left:
        place = (following - 1) * PAGE_BYTES
        if place < 0 or place + PAGE_BYTES > len(data):
            raise ValueError("a chain of pages ends too early")
        following = int.from_bytes(data[place : place + 4], "big")
        parts.append(data[place + 4 : place + 4 + min(left, PAGE_BYTES - 4)])
        left -= len(parts[-1])
    return b"".join(parts)


def _record(payload: bytes) -> list[Value]:
    header_size, at = _varint(payload, 0)
    types = []
    while at < header_size:
        kind, at = _varint(payload, at)
        types.append(kind)
    values: list[Value] = []
    for kind in types:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise ValueError("a record of another length")
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if kind < 12:
        raise ValueError("a serial type that SQLite does not write")
    end = at + (kind - 12) // 2
    if end > len(payload):
        raise ValueError("a value ends outside its record")
    return (payload[at:end] if kind % 2 == 0 else payload[at:end].decode()), end


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9
