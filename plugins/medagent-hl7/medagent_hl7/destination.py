"""Device.url, read: where messages of the server are sent, in which character set, over which TLS. Without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from medagent.config.wording import show
from medagent.errors import Unsendable
from medagent.listening import format_address
from medagent.outbound.remote import show_remote
from medagent.printable import printable
from medagent_hl7 import charset
from medagent_hl7.schemes import MLLPS, SCHEMES

MAX_HOST = 253
"""Characters of a name (RFC 1035, section 2.3.4, without the root's dot)."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, as `medagent_hl7.client_tls.client_context` takes them."""

    ca: Path | None
    cert: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class Destination:
    """A device."""

    host: str
    port: int
    encoding: str
    """The character set, as spelled."""
    codec: str
    """Its Python codec."""
    tls: TlsFiles | None
    """None for `mllp`."""


def parse_destination(remote: str) -> Destination:
    """Read `mllp://host:port?encoding=ISO-8859-1`, or `mllps:` with `caFile`, `certFile` and `keyFile`.

    Parameters that are not known are left alone. Raises `Unsendable`.
    """
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Unsendable(f"{show_remote(remote)} is no address such as mllp://10.0.0.7:2575") from None
    if parts.scheme not in SCHEMES or not host:
        raise Unsendable(f"{show_remote(remote)} is no address such as mllp://10.0.0.7:2575")
    if len(host) > MAX_HOST or not host.isprintable():
        raise Unsendable(f"{show_remote(remote)} has a host that is longer than {MAX_HOST} characters, or not printable")
    if not port:
        raise Unsendable(f"{show_remote(remote)} names no port")
    query = parse_qs(parts.query)
    encoding = _one(query, "encoding") or charset.DEFAULT
    codec = charset.codec(encoding)
    if codec is None:
        raise Unsendable(
            f"the encoding {printable(encoding)} of {parts.scheme}://{printable(format_address((host, port)))} cannot be used"
        )
    tls = TlsFiles(*(_file(query, name) for name in ("caFile", "certFile", "keyFile"))) if parts.scheme == MLLPS else None
    return Destination(host, port, printable(encoding), codec, tls)


def _one(query: dict[str, list[str]], name: str) -> str:
    return query.get(name, [""])[0]


def _file(query: dict[str, list[str]], name: str) -> Path | None:
    text = _one(query, name)
    if not text:
        return None
    if not Path(text).is_absolute():
        raise Unsendable(f"{name} of the device's address must be an absolute path, found {show(text)}")
    return Path(text)
