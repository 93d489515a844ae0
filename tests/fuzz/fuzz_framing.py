"""Throw bytes at the MLLP framing and the header parser for as long as you like: `make fuzz SECONDS=600`.

Hypothesis makes streams of frames, near-frames and noise. Whatever comes, and however it is split: frames are those of a
byte-wise parser written apart, memory stays within the limit, and reading a header raises nothing but `Hl7Error`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from medagent_hl7.framing import HEAD_BYTES, Frame, FrameDecoder, FrameEvent, Junk
from medagent_hl7.message import Header, Hl7Error, msa

LIMIT = 300
EXAMPLES_A_ROUND = 2000

PIECES = [b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"\x1c\x0b", b"\0", b"\xef\xbb\xbf", b"MSH", b"|", b"^~\\&", b"FHS|^~\\&"]
HEADER = b"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||ADT^A01^ADT_A01|1|P|2.5.1\r"
pieces = st.one_of(st.sampled_from(PIECES), st.just(HEADER), st.binary(max_size=40), st.just(b"x" * 200))
frames = st.lists(pieces, max_size=8).map(lambda parts: b"\x0b" + b"".join(parts) + b"\x1c\r")
streams = st.lists(st.one_of(pieces, frames), max_size=20).map(b"".join)
cuts = st.lists(st.integers(0, 4000), max_size=30)


def frames_of(stream: bytes) -> list[bytes]:
    """The bodies of all whole frames within the limit, byte by byte."""
    bodies = []
    body: bytes | None = None
    for byte in (bytes([number]) for number in stream):
        if byte == b"\x0b":
            body = b""
        elif body is not None and byte == b"\r" and body.endswith(b"\x1c"):
            bodies.append(body[:-1])
            body = None
        elif body is not None:
            body += byte
    return [body for body in bodies if 0 < len(body) <= LIMIT]


def check(stream: bytes, places: list[int], lenient: bool) -> None:
    """Raises `AssertionError`, or whatever the code under test raises."""
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    decoder = FrameDecoder(LIMIT, lenient=lenient, head_bytes=64)
    events: list[FrameEvent] = []
    for begin, end in itertools.pairwise(edges):
        events += decoder.feed(stream[begin:end])
        assert decoder.held <= LIMIT + 1
        decoder.describe_pending()
    whole = FrameDecoder(LIMIT, lenient=lenient, head_bytes=64).feed(stream)
    assert [event for event in events if not isinstance(event, Junk)] == [
        event for event in whole if not isinstance(event, Junk)
    ]
    bodies = [event.body for event in events if isinstance(event, Frame)]
    if not lenient:
        assert bodies == frames_of(stream)
    for body in bodies:
        try:
            Header.parse(body)
        except Hl7Error:
            Header.salvage(body[:HEAD_BYTES])
        msa(body)


def _without_junk(events: list[FrameEvent]) -> list[FrameEvent]:
    """Junk is reported read by read."""
    return [event for event in events if not isinstance(event, Junk)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default: %(default)s)")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    rounds = 0
    while time.monotonic() < end:
        # a failing example is kept in .hypothesis and tried first the next time
        property_test = given(streams, cuts, st.booleans())(check)
        settings(
            max_examples=EXAMPLES_A_ROUND,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
        )(property_test)()
        rounds += 1
        sys.stderr.write(f"\r{rounds * EXAMPLES_A_ROUND} examples, no fault ")
    sys.stderr.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
