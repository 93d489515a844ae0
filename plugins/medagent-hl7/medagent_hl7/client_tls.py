"""TLS for senders: which receivers are trusted, and the sender's own certificate (IHE ITI-19, RFC 9325)."""

from __future__ import annotations

import ssl
from pathlib import Path

from medagent.errors import ConfigError


def client_context(ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later with the receiver's certificate and name checked, for one sender.

    `ca_file`: the CA certificates (PEM) to trust; None for those of the system. `cert_file`, `key_file`: the sender's own
    certificate with its chain, and its unencrypted key (PEM; None if the first file holds it), for receivers that ask for one.

    Raises `ConfigError` if a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the CA certificates in {ca_file} cannot be used: {_reason(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        if key_file is None and not _holds_key(cert_file):
            raise ConfigError(f"{cert_file} holds a certificate and no key: give the key's file too (--key-file)")
        try:
            # the empty password: an encrypted key must not make a service ask on its terminal
            context.load_cert_chain(cert_file, key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the certificate {cert_file} or its key cannot be used: {_reason(error)}") from None
    return context


def _holds_key(file: Path) -> bool:
    """Whether a file has a key in it; also for one that cannot be read, about which the ssl module says more."""
    try:
        content = file.read_bytes()
    except OSError:
        return True
    return b"PRIVATE KEY-----" in content or b"-----BEGIN CERTIFICATE" not in content


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__
