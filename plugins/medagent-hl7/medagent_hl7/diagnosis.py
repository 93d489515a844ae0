"""What bytes look like, in words that hold nothing of their content: for the notices that a person must act on."""

from __future__ import annotations

from medagent_hl7.message import BOM

_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_HTTP = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ")
_SEGMENTS = (b"MSH", b"FHS", b"BHS")
_ENDS = {0x0D: "ends with CR", 0x0A: "ends with LF", 0x1C: "ends with the end block, whose carriage return is missing"}


def kind_of(data: bytes) -> str:
    """What bytes outside a frame look like: `TLS`, `HTTP`, `HL7 without a start block`, `text` or `binary`."""
    if data.startswith(b"\x16\x03"):
        return "TLS"
    if data.startswith(_HTTP):
        return "HTTP"
    if data.startswith(_SEGMENTS):
        return "HL7 without a start block"
    return "binary" if data.translate(None, _TEXT) else "text"


def outline(data: bytes, *, whole: bool = True) -> str:
    """How an unfinished frame's data begins and, if all of it is at hand (`whole`), how it ends."""
    if not data:
        return "empty"
    begin = data[3:6] if data.startswith(BOM) else data[:3]
    words = f"begins with {begin.decode() if begin in _SEGMENTS else kind_of(data[:64])}"
    return f"{words}, {_ENDS.get(data[-1], 'ends inside a segment')}" if whole else words
