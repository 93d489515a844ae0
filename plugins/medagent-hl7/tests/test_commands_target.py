"""HOST:PORT."""

from __future__ import annotations

import pytest
import typer

from medagent_hl7.commands.target import Target, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:2575", Target("127.0.0.1", 2575)),
        ("lab.example.org:1", Target("lab.example.org", 1)),
        ("[::1]:65535", Target("::1", 65535)),
        ("mllp://127.0.0.1:2575", Target("127.0.0.1", 2575)),
        ("mllp://[::1]:2575/", Target("::1", 2575)),
        ("mllps://[::1]:2575/", Target("::1", 2575, tls=True)),
    ],
)
def test_reads_an_address_and_writes_it_back(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(str(target)) == target
    assert parse_target(target) == target


@pytest.mark.parametrize(
    "text", ["", "2575", ":2575", "host", "host:", "host:0", "host:65536", "host:x", "host:-1", "::1:2575"]
)
def test_refuses_what_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not HOST:PORT"):
        parse_target(text)
