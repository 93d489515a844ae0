"""HOST:PORT on the command line."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

_PORTS = range(1, 65536)
_SCHEME = "mllp://"


class Target(NamedTuple):
    """Where a sender connects to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(text: str) -> Target:
    """Read `HOST:PORT`, `[IPv6]:PORT` or either behind `mllp://`. Raises `typer.BadParameter`."""
    host, colon, port = text.removeprefix(_SCHEME).rstrip("/").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not colon or not port.isdecimal() or int(port) not in _PORTS:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:2575")
    return Target(host, int(port))


TargetArgument = Annotated[
    Target, typer.Argument(parser=parse_target, metavar="HOST:PORT", help="Where the receiver listens, such as 127.0.0.1:2575.")
]
"""The parameter of a command that sends."""
