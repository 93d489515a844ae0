"""The HTTP proxy on the way to the FHIR server, if there is one; the same for HTTPS and WebSocket."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from medagent.errors import ConfigError

__all__ = ["Proxy"]

NEVER = "none"
"""The setting for no proxy, whatever the environment says."""
DEFAULT_PORT = 80
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. As text it is host and port, never what it is logged in to with."""

    host: str
    """Its name or address."""
    port: int
    """Its port."""
    user: str = field(default="", repr=False)
    """Whom it knows this agent as; "" for nobody."""
    password: str = field(default="", repr=False)
    """Of the user: never show or log it."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """With user and password: not for eyes."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        return f"http://{login}{self}"

    def refusal(self, status: int) -> str:
        """What it means that the proxy answers with this HTTP `status` instead of connecting."""
        if status == 407:
            return (
                f"the proxy {self} wants a user and a password, or does not accept those given (HTTP 407);"
                f" give its address as http://USER:PASSWORD@{self}"
            )
        return f"the proxy {self} does not connect to the server (HTTP {status})"


def find_proxy(setting: str, url: str, environ: Mapping[str, str], origin: str = "--proxy") -> Proxy | None:
    """The proxy for requests to `url`, None for the direct way.

    `setting` is `NEVER`, the address of a proxy, or "" for what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say,
    in lower case or upper case. Raises `ConfigError` for an address that is none, which names its variable, or for the setting
    `origin`.
    """
    if setting == NEVER:
        return None
    if setting:
        return _parse(setting, origin)
    variable = proxy_variable(url, environ)
    return _parse(environ[variable], variable) if variable not in ("", *_EXCEPTIONS) else None


def proxy_variable(url: str, environ: Mapping[str, str]) -> str:
    """Which variable of the environment says how requests to `url` go: that of a proxy, or `NO_PROXY`; "" if none does."""
    parts = urlsplit(url)
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable = name if name in environ else name.upper()
        if environ.get(variable):
            exceptions = next((each for each in _EXCEPTIONS if each in environ), "")
            port = parts.port or _PORTS.get(parts.scheme, 0)
            return exceptions if _excluded(parts.hostname or "", port, environ.get(exceptions, "")) else variable
    return ""


def _parse(address: str, origin: str) -> Proxy:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        # without the address, which may hold a password
        raise ConfigError(
            f"{origin}: not the address of an HTTP proxy, such as http://proxy.example.org:3128 (no other scheme);"
            f" give one, or --proxy {NEVER} to use none"
        )
    return Proxy(parts.hostname, port or DEFAULT_PORT, unquote(parts.username or ""), unquote(parts.password or ""))


def _excluded(host: str, port: int, no_proxy: str) -> bool:
    """Whether one of the entries means this server: a name (with all names below it), an address, a network, or `*`; all but
    the last may have a port."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in no_proxy.lower().replace(",", " ").split():
        name, _, number = entry.rpartition(":")
        if number.isdigit() and (":" not in name or name.endswith("]")):
            if int(number) != port:
                continue
            entry = name
        entry = entry.strip("[]").removeprefix("*.").removeprefix(".")
        if entry == "*" or host == entry or (address is None and host.endswith(f".{entry}")):
            return True
        try:
            if address is not None and address in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
