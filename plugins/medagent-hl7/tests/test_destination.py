"""Device.url, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.errors import Unsendable
from medagent_hl7.destination import Destination, TlsFiles, parse_destination


@pytest.mark.parametrize(
    ("remote", "destination"),
    [
        ("mllp://10.0.0.7:2575", Destination("10.0.0.7", 2575, "utf-8", "utf-8", None)),
        ("MLLP://LAB:1/", Destination("lab", 1, "utf-8", "utf-8", None)),
        ("mllp://[::1]:2575?encoding=ISO-8859-1&other=1", Destination("::1", 2575, "ISO-8859-1", "latin_1", None)),
        ("mllps://lab:2576", Destination("lab", 2576, "utf-8", "utf-8", TlsFiles(None, None, None))),
        (
            "mllps://lab:2576?caFile=/etc/ca.pem&certFile=/etc/c.pem&keyFile=/etc/c.key",
            Destination("lab", 2576, "utf-8", "utf-8", TlsFiles(Path("/etc/ca.pem"), Path("/etc/c.pem"), Path("/etc/c.key"))),
        ),
    ],
)
def test_what_is_understood(remote: str, destination: Destination) -> None:
    assert parse_destination(remote) == destination


@pytest.mark.parametrize(
    ("remote", "why"),
    [
        ("mllp://10.0.0.7", "names no port"),
        ("mllp://10.0.0.7:0", "names no port"),
        ("mllp://a\0b:1", "the address of 12 characters has a host that is longer than 253 characters, or not printable"),
        ("mllp://\x1blab:1", "or not printable"),
        ("mllp://" + "x" * 254 + ":1", "the address of 263 characters has a host"),
        ("mllp://10.0.0.7:70000", "is no address such as mllp"),
        ("mllp://:2575", "is no address such as mllp"),
        ("mllp://[::1:2575", "is no address such as mllp"),
        ("dicom://10.0.0.7:104", "is no address such as mllp"),
        ("mllp://10.0.0.7:2575?encoding=utf-16", "the encoding utf-16 of mllp://10.0.0.7:2575 cannot be used"),
        ("mllps://10.0.0.7:2575?caFile=ca.pem", 'caFile of the device\'s address must be an absolute path, found "ca.pem"'),
    ],
)
def test_what_is_not(remote: str, why: str) -> None:
    with pytest.raises(Unsendable, match=why.replace("(", r"\(")):
        parse_destination(remote)
