"""How the FHIR server is reached, worked out once and used by all who open connections to it."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from medagent.fhir.proxy import Proxy, find_proxy
from medagent.fhir.tls import client_context

__all__ = ["DIRECT", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Of HTTP requests and of the WebSocket."""

    tls: ssl.SSLContext | None = None
    """None for a server that is reached without TLS."""
    proxy: Proxy | None = None
    """None for the direct way."""


DIRECT = Route()
"""No TLS, no proxy."""


def make_route(
    base_url: str,
    *,
    ca_file: Path | None = None,
    client_cert_file: Path | None = None,
    client_key_file: Path | None = None,
    proxy: str = "",
) -> Route:
    """As the fields of these names in `medagent.config.bootstrap.Bootstrap` say. Raises `ConfigError`."""
    secure = urlsplit(base_url).scheme == "https"
    tls = None
    # files that cannot be used are told of either way; reading the system's CAs takes 30 ms and 3 MB
    if secure or ca_file or client_cert_file or client_key_file:
        tls = client_context(ca_file, client_cert_file, client_key_file)
    return Route(tls if secure else None, find_proxy(proxy, base_url, os.environ))
