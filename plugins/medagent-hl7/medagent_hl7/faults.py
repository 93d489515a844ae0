"""Notices of what came and is no frame, in words that a person can act on; sizes, places and classes, never content."""

from __future__ import annotations

from medagent.listening import Notices
from medagent_hl7.connection import Connection
from medagent_hl7.framing import ENDLESS_FACTOR, Broken, Discarded, Empty, Endless, Frame, FrameEvent, Junk, Oversize

_MAX_JUNK_BYTES = 65_536
MAX_USELESS_FRAMES = 1000
"""In a row, before the connection is closed: each costs its time, also that of others."""
_ADVICE = {
    "TLS": "; the device speaks TLS: give it an address with mllps, or turn off its TLS",
    "HTTP": "; this is an HTTP client, and no device",
    "HL7 without a start block": "; the device must send MLLP, with 0x0B before each message",
}


def note_fault(event: FrameEvent, connection: Connection, notices: Notices, max_bytes: int) -> None:
    """Count and log an event, and close the connection of a peer that does not speak MLLP or never ends a frame."""
    peer = f"from {connection.remote}"
    match event:
        case Junk(size, position, kind):
            notices.add("bytes outside a frame", f"{size} bytes at byte {position}, {kind}, {peer}{_ADVICE.get(kind, '')}")
            connection.junk_bytes += size
            if connection.junk_bytes > _MAX_JUNK_BYTES:
                text = f"{connection.remote} does not speak MLLP: {_MAX_JUNK_BYTES} bytes without a start block"
                notices.add("connection closed", text)
                connection.abort()
        case Broken(size, position, outline):
            text = f"{size} bytes dropped that a start block cut short, begun at byte {position}, {outline}, {peer}"
            notices.add("frame without an end", text)
            note_useless(connection, notices)
        case Oversize():
            notices.add("message too long", f"more than {max_bytes} bytes, {peer}; maxFrameBytes is the limit")
        case Endless():
            notices.add("connection closed", f"{connection.remote} sends a frame of more than {ENDLESS_FACTOR} times the limit")
            connection.abort()
        case Empty():
            notices.add("empty frame", peer)
            note_useless(connection, notices)
        case Frame() | Discarded():  # what is discarded has been noted as too long
            pass


def note_useless(connection: Connection, notices: Notices) -> None:
    """Another frame was empty, without an end, or no HL7: close the connection of a peer that sends nothing else."""
    connection.useless_frames += 1
    if connection.useless_frames > MAX_USELESS_FRAMES and not connection.aborted:
        notices.add("connection closed", f"{MAX_USELESS_FRAMES} frames in a row without a message, from {connection.remote}")
        connection.abort()
