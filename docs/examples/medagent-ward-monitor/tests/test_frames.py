"""Frames with a checksum."""

from __future__ import annotations

import pytest

from medagent_ward_monitor.frames import content_of


def test_the_content_of_a_frame() -> None:
    assert content_of(b"$17,temperature,37.2*72") == b"17,temperature,37.2"


@pytest.mark.parametrize(
    "frame",
    [b"", b"$", b"17,temperature,37.2*72", b"$17,temperature,38.2*72"],
)
def test_what_is_no_frame(frame: bytes) -> None:
    with pytest.raises(ValueError, match="no frame"):
        content_of(frame)
