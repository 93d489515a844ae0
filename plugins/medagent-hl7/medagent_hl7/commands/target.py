"""HOST:PORT on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from medagent.listening import format_address

_PORTS = range(1, 65536)
_SCHEME = "mllp://"
_TLS_SCHEME = "mllps://"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a sender connects to."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{_TLS_SCHEME if self.tls else ''}{format_address((self.host, self.port))}"


def parse_target(text: str | Target) -> Target:
    """Read `HOST:PORT`, `[IPv6]:PORT` or either behind `mllp://` or `mllps://`. Raises `typer.BadParameter`."""
    if isinstance(text, Target):  # the default of a command is parsed too
        return text
    tls = text.startswith(_TLS_SCHEME)
    host, colon, port = text.removeprefix(_TLS_SCHEME if tls else _SCHEME).rstrip("/").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not colon or not port.isdecimal() or int(port) not in _PORTS:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:2575")
    return Target(host, int(port), tls)


TargetArgument = Annotated[
    Target,
    typer.Argument(
        parser=parse_target,
        metavar="HOST:PORT",
        help="Where the receiver listens, such as 127.0.0.1:2575; mllps://HOST:PORT for TLS.",
    ),
]
"""The parameter of a command that sends."""
