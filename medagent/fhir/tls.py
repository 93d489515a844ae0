"""TLS to the FHIR server, for HTTPS and WebSocket alike: whom the agent trusts, and the certificate that it shows."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2

from medagent.errors import ConfigError

_HINTS = {
    # by OpenSSL's code, X509_V_ERR_…
    9: "it is not valid yet: check the clocks of both machines",
    10: "the server needs a new one, or this machine's clock is wrong",
    62: "the address in --base-url is none of those that it was made for",
    64: "the address in --base-url is none of those that it was made for",
}
_CA_HINT = "give its CA with --ca-file"


def client_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """The one context for all connections: TLS 1.2 or newer (RFC 9325, 3.1.1), the server's certificate and name checked.

    `ca_file` takes the place of the system's CAs, and may hold the server's own certificate. `cert_file` is what the server
    is shown, with the chain; `key_file` its key, if it is not in the same file. Raises `ConfigError` for unusable files, which
    begins with their names.
    """
    if ca_file is None:
        context = httpx2.create_ssl_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _check_readable(ca_file)
        try:
            context.load_verify_locations(ca_file)
        except (ssl.SSLError, OSError):
            raise ConfigError(f"{ca_file}: no usable PEM file of certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        _show_certificate(context, cert_file, key_file)
    elif key_file is not None:
        raise ConfigError(f"{key_file}: a key without its certificate; give --client-cert-file too")
    return context


def fault_of(error: BaseException | None) -> str:
    """What is wrong with TLS, if that is behind an error; else ""."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message.rstrip(".")
            return f"the server's certificate is not accepted: {reason}; {_HINTS.get(error.verify_code, _CA_HINT)}"
        if isinstance(error, ssl.SSLError):
            reason = (error.reason or type(error).__name__).lower().replace("_", " ")
            if " alert " in reason:
                return (
                    f"the server refuses the TLS connection ({reason});"
                    " if it wants a client certificate, check --client-cert-file and --client-key-file"
                )
            return f"TLS with the server fails ({reason}); check that the port in --base-url is one for https"
        error = error.__cause__ or error.__context__
    return ""


def _show_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    _check_readable(cert_file)
    if key_file is not None:
        _check_readable(key_file)

    def refuse_encrypted() -> str:
        """Called by the ssl module, which would ask on the terminal otherwise."""
        raise ConfigError(
            f"{key_file or cert_file}: the key is encrypted, and nobody is there to type its password; store it without one"
        )

    try:
        context.load_cert_chain(cert_file, key_file, password=refuse_encrypted)
    except (ssl.SSLError, OSError) as error:
        # the ssl module's texts name no file
        if "MISMATCH" in str(error):
            reason = "the key is not the certificate's"
        elif key_file is not None:
            reason = "no usable PEM files of a certificate and its key"
        else:
            reason = "no usable PEM file of a certificate with its key; if the key is in another file, give --client-key-file"
        raise ConfigError(f"{cert_file}{f' and {key_file}' if key_file is not None else ''}: {reason}") from None


def _check_readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
