"""Addresses in texts."""

from __future__ import annotations

import pytest

from medagent.outbound.remote import show_remote


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("mllp://10.0.0.7:2575?encoding=ISO-8859-1", '"mllp://10.0.0.7:2575"'),
        ("mllp://user:CANARY@lab", '"mllp://lab"'),
        ("tcp://user:CAN@RY@[::1]:99999/x", '"tcp://[::1]:99999"'),
        ("10.0.0.7:2575", '"10.0.0.7:2575"'),
        ("PID|1||8000001||CANARY^JANE", "the address of 27 characters"),
        ("mllp://user:CAN/ARY@lab:1", "the address of 25 characters"),
        ("mllp://\x1b[2JCANARY:1", "the address of 19 characters"),
        ("mllp://" + "x" * 300, "the address of 307 characters"),
        ("lab:1\n", "the address of 6 characters"),
    ],
)
def test_only_scheme_host_and_port_are_shown(remote: str, shown: str) -> None:
    assert show_remote(remote) == shown
