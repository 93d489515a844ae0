"""Certificates for tests of TLS, made anew by trustme."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import trustme

HOST = "127.0.0.1"


class Authority:
    """A certificate authority with a folder, and what it issues."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA()
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def issue(self, name: str, *hosts: str, days: float = 365.0) -> tuple[Path, Path]:
        """Files of a certificate chain and its key, for the hosts (without any, `HOST`), ending in so many days.

        `name` is the certificate's common name and the files' name; a second one of the same name takes their place.
        """
        now = dt.datetime.now(dt.UTC)
        end = now + dt.timedelta(days=days)
        issued = self._authority.issue_cert(
            *(hosts or (HOST,)), common_name=name, not_before=min(now, end) - dt.timedelta(days=1), not_after=end
        )
        chain, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return chain, key

    def server_context(self, identity: tuple[Path, Path], *, clients: bool = False) -> ssl.SSLContext:
        """Of a server with the certificate of these two files; `clients`: it wants one of this authority from each client."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*identity)
        if clients:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Of a client that trusts this authority and shows the certificate of these two files, if any."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if identity is not None:
            context.load_cert_chain(*identity)
        return context
