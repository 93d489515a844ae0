"""What says how the server is reached: its address, proxy and certificates. No message quotes what may hold a password."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from medagent.config.options import Chosen, Given
from medagent.config.secret import warn_if_readable
from medagent.errors import ConfigError
from medagent.fhir.proxy import NEVER, find_proxy, proxy_variable


def check_base_url(chosen: Chosen, faults: list[str], warnings: list[str]) -> str:
    """The server's address, ending in `/`; "" for none."""
    value, origin = chosen.text("base_url"), chosen.origin("base_url")
    if not value:
        return ""
    parts = _split(value)
    if parts is None or parts.query or parts.fragment or "@" in parts.netloc:
        faults.append(f"{origin}: not an address such as https://fhir.example.org/ (http or https, no query, no password)")
        return value
    host = parts.hostname or ""
    if parts.scheme == "http" and not _is_loopback(host):
        warnings.append(f"{origin}: http to {host} is not encrypted; messages and credentials can be read on the way")
    return value if value.endswith("/") else value + "/"


def find_proxy_option(chosen: Chosen, base_url: str, environ: Mapping[str, str], faults: list[str]) -> Given | None:
    """The proxy's address or `none`, by the option or by `HTTPS_PROXY` and the like; None if neither says anything."""
    given = chosen.given.get("proxy")
    setting = str(given.value) if given is not None else ""
    if setting.lower() == NEVER:
        return Given(NEVER, chosen.origin("proxy"))
    if given is None and _split(base_url) is None:
        return None
    try:
        proxy = find_proxy(setting, base_url, environ, chosen.origin("proxy"))
    except ConfigError as error:
        faults.append(str(error))
        return given
    if given is not None:
        return given
    variable = proxy_variable(base_url, environ)
    return Given(proxy.url if proxy is not None else NEVER, variable) if variable else None


def warn_of_proxy(given: Given, warnings: list[str]) -> None:
    """Add a warning where other users of this machine could read the password in a proxy's address."""
    if "@" not in str(given.value):
        return
    if given.origin == "--proxy":
        warnings.append("--proxy with a password can be read by every user of this machine: use MEDAGENT_PROXY or a file")
    elif given.file is not None:
        warn_if_readable(given.file, warnings)


def without_password(url: str) -> str:
    """A proxy's address as it may be shown: without user and password, either of which may be the secret."""
    before, at, host = url.rpartition("@")
    if not at:
        return url
    scheme, separator, _ = before.partition("://")
    return f"{scheme if separator else 'http'}://***@{host.rstrip('/')}"


def check_certificates(chosen: Chosen, faults: list[str], warnings: list[str]) -> None:
    """The files must hold what they are for, and a key needs its certificate; a certificate's file may hold the key too."""
    given = [(name, path) for name in ("ca_file", "client_cert_file", "client_key_file") if (path := chosen.path(name))]
    unreadable = {name for name, path in given if not check_readable(chosen.origin(name), path, faults)}
    authorities, certificate, key = map(chosen.path, ("ca_file", "client_cert_file", "client_key_file"))
    if authorities is not None and "ca_file" not in unreadable:
        _check_usable(chosen.origin("ca_file"), faults, authorities, None, None)
    if certificate is not None and unreadable.isdisjoint(("client_cert_file", "client_key_file")):
        _check_usable(chosen.origin("client_cert_file"), faults, None, certificate, key)
    if key is not None:
        warn_if_readable(key, warnings)
        if certificate is None:
            faults.append(f"{chosen.origin('client_key_file')}: a key without its certificate; give --client-cert-file too")
    elif certificate is not None and _holds_key(certificate):
        warn_if_readable(certificate, warnings)


def _check_usable(origin: str, faults: list[str], authorities: Path | None, certificate: Path | None, key: Path | None) -> None:
    from medagent.fhir.tls import client_context  # takes 0.2 s, and hardly anybody has files of certificates

    try:
        client_context(authorities, certificate, key)
    except ConfigError as error:
        faults.append(f"{origin}: {error}")


def check_readable(origin: str, path: Path, faults: list[str]) -> bool:
    """Whether the file can be read; adds a fault if it cannot."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        faults.append(f"{origin}: {path}: {error.strerror}")
        return False
    return True


def _holds_key(path: Path) -> bool:
    try:
        return b"PRIVATE KEY-----" in path.read_bytes()
    except OSError:
        return False


def _split(value: str) -> SplitResult | None:
    """None if it names no host by http or https."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises for what is no port
    except ValueError:
        return None
    return parts if parts.hostname and parts.scheme in ("http", "https") else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
