"""MLLPS: the certificates of a channel, loaded again when their files change (IHE ITI-19, RFC 9325)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medagent.config.model import ChannelConfig, Value
from medagent.config.problems import Problem
from medagent.config.settings import Parameter
from medagent.config.wording import show
from medagent.errors import ChannelError
from medagent_hl7.schemes import MLLPS

HANDSHAKE_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""How often the files are looked at."""
WARNING_DAYS = (30, 7, 1)
"""A certificate is reported from the first of these days before its end, and logged once at each."""
_DAY = 86_400.0

PARAMETERS = (
    Parameter("certFile", (MLLPS,), str, None, "absolute path of the channel's certificate chain, PEM; required"),
    Parameter("keyFile", (MLLPS,), str, None, "absolute path of the certificate's private key, PEM, not encrypted; required"),
    Parameter(
        "clientCaFile",
        (MLLPS,),
        str,
        None,
        "absolute path of the CA certificates, PEM, that a device's own certificate must come from. Unset: devices need none",
        guards=True,
        live=False,
    ),
    Parameter(
        "allowNames",
        (MLLPS,),
        str,
        None,
        "names of device certificates (CN or SAN) that may connect, comma-separated; needs `clientCaFile`. Unset: all",
        guards=True,
    ),
)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What the address of a channel says of TLS."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None
    allowed_names: frozenset[str] | None
    """In lower case; None for all."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> TlsSettings:
        """Raises `ChannelError` with all that is missing or contradictory."""
        faults = _faults(parameters)
        if faults:
            raise ChannelError("; ".join(f"{name}: {text}" for name, text in faults))
        ca_file, names = parameters.get("clientCaFile"), parameters.get("allowNames")
        return cls(
            Path(str(parameters["certFile"])),
            Path(str(parameters["keyFile"])),
            None if ca_file is None else Path(str(ca_file)),
            None if names is None else _listed(names),
        )

    @property
    def files(self) -> list[Path]:
        return [self.cert_file, self.key_file, *([self.client_ca_file] if self.client_ca_file else [])]


class Certificates:
    """The certificates in force; a change on disk that cannot be used leaves them in force and is an alarm."""

    def __init__(self, settings: TlsSettings, log: logging.Logger, channel: str) -> None:
        """Raises `ChannelError` if the files cannot be used."""
        self._settings = settings
        self._log = log
        self._channel = channel
        self._signature = _signature(settings.files)
        self._warned_days: int | None = None
        self.problem = ""
        """Why the newest files are not in force; "" if they are."""
        self.context, self.expires_at = load(settings)

    # the ssl module's own shape, see `SSLSocket.getpeercert`
    def admit(self, certificate: Mapping[str, Any]) -> bool:
        """Whether a device with this certificate, already checked, may connect."""
        names = self._settings.allowed_names
        return names is None or not names.isdisjoint(_names(certificate))

    def use(self, settings: TlsSettings) -> None:
        """Go by other parameters; files that are named anew are loaded. Raises `ChannelError`, with nothing changed."""
        if settings.files != self._settings.files:
            signature = _signature(settings.files)
            self.context, self.expires_at = load(settings)
            self._signature, self.problem, self._warned_days = signature, "", None
        self._settings = settings

    async def follow(self) -> None:
        """Look at the files again and again."""
        while True:
            self.refresh(time.time())
            await asyncio.sleep(LOOK_SECONDS)

    def refresh(self, now: float) -> None:
        """Load the files again if they have changed; new connections get them. `now`: seconds since the epoch."""
        signature = _signature(self._settings.files)
        if signature != self._signature:
            self._signature = signature
            try:
                self.context, self.expires_at = load(self._settings)
            except ChannelError as error:
                self.problem = str(error)
                self._log.error("channel %s: new certificate files cannot be used, the old remain: %s", self._channel, error)
            else:
                self.problem = ""
                self._warned_days = None
                self._log.info("channel %s: certificate files loaded again", self._channel)
        self._warn(now)

    def reasons(self, now: float) -> list[str]:
        """Why the channel's certificates are not well."""
        expiry = expiry_text(self.expires_at, now)
        return [f"certificate files not loaded: {self.problem}"] * bool(self.problem) + [expiry] * bool(expiry)

    def _warn(self, now: float) -> None:
        reached = [days for days in WARNING_DAYS if self.expires_at - now <= days * _DAY]
        if reached and reached[-1] != self._warned_days:
            self._warned_days = reached[-1]
            self._log.warning("channel %s: %s", self._channel, expiry_text(self.expires_at, now))


def load(settings: TlsSettings) -> tuple[ssl.SSLContext, float]:
    """The TLS context of new connections, and when its certificate ends, seconds since the epoch. Raises `ChannelError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    expires_at = _expiry(settings.cert_file)
    _read(settings.key_file)
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_refuse_encrypted_key)
    except (ssl.SSLError, OSError) as error:
        # the ssl module's texts name no path and no content
        reason = "they do not belong together" if "MISMATCH" in str(error) else "one of them is no usable PEM file"
        raise ChannelError(f"certFile {settings.cert_file} and keyFile {settings.key_file}: {reason}") from error
    if settings.client_ca_file is not None:
        _read(settings.client_ca_file)
        try:
            context.load_verify_locations(settings.client_ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ChannelError(f"clientCaFile {settings.client_ca_file}: no usable PEM file of certificates") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context, expires_at


def expiry_text(expires_at: float, now: float) -> str:
    """What is to be said of a certificate that ends soon or has ended; "" if there is time."""
    day = time.strftime("%Y-%m-%d", time.gmtime(expires_at))
    if expires_at <= now:
        return f"the certificate has expired on {day}"
    if expires_at - now <= WARNING_DAYS[0] * _DAY:
        return f"the certificate expires on {day}, in {int((expires_at - now) / _DAY)} days"
    return ""


def find_problems(channel: ChannelConfig, now: float) -> list[Problem]:
    """Find what keeps an `mllps` channel from TLS: missing parameters, unusable files, an expired certificate."""
    where = f"Agent.channel {channel.name}: Endpoint.address parameter"
    names = channel.parameters.get("allowNames")
    if names is not None and not _listed(names):
        nobody = Problem(f"{where} allowNames", f"{show(names)} names nobody", "no entry: nobody can connect")
        return [nobody, *_find_faults(channel, where, now)]
    return _find_faults(channel, where, now)


def _find_faults(channel: ChannelConfig, where: str, now: float) -> list[Problem]:
    faults = _faults(channel.parameters)
    if faults:
        used = "nothing: the channel does not listen"
        return [Problem(f"{where} {name}", text, used, channel=channel.name) for name, text in faults]
    try:
        _, expires_at = load(TlsSettings.from_parameters(channel.parameters))
    except ChannelError as error:
        used = "nothing: the channel does not listen until that is mended"
        return [Problem(f"Agent.channel {channel.name}", str(error), used, channel=channel.name, passing=True)]
    if expires_at <= now:
        used = "it all the same; devices will refuse it"
        return [Problem(f"{where} certFile", expiry_text(expires_at, now), used, passing=True)]
    return []


def _faults(parameters: Mapping[str, Value]) -> list[tuple[str, str]]:
    """(parameter, what is wrong) without looking at files."""
    faults = [(name, "required for mllps") for name in ("certFile", "keyFile") if name not in parameters]
    faults += [
        (name, "an absolute path is required")
        for name in ("certFile", "keyFile", "clientCaFile")
        if name in parameters and not Path(str(parameters[name])).is_absolute()
    ]
    if "allowNames" in parameters and "clientCaFile" not in parameters:
        faults.append(("allowNames", "needs clientCaFile: without it devices show no certificate"))
    return faults


def _listed(names: Value) -> frozenset[str]:
    return frozenset(filter(None, (name.strip().lower() for name in str(names).split(","))))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ChannelError(f"{path}: {error.strerror}") from error


def _expiry(cert_file: Path) -> float:
    """When the first certificate of a chain ends."""
    try:
        # large, and only for mllps
        from cryptography import x509
    except ImportError as error:
        raise ChannelError(
            "mllps needs the package cryptography; from a checkout: pip install './plugins/medagent-hl7[tls]'"
        ) from error
    try:
        return x509.load_pem_x509_certificates(_read(cert_file))[0].not_valid_after_utc.timestamp()
    except ValueError as error:
        raise ChannelError(f"certFile {cert_file}: no usable PEM file of certificates") from error


def _refuse_encrypted_key() -> str:
    """Called by the ssl module, which would ask on the terminal otherwise."""
    raise ChannelError("keyFile: the key is encrypted, and nobody is there to type its password; store it without one")


def _signature(files: list[Path]) -> list[tuple[int, int, int] | None]:
    """What changes when a file is written or replaced; None for one that is not there."""
    signature: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            found = path.stat()
        except OSError:
            signature.append(None)
        else:
            signature.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return signature


# the ssl module's own shape, see `SSLSocket.getpeercert`
def _names(certificate: Mapping[str, Any]) -> set[str]:
    """The common name and the subject's other names, in lower case."""
    names = {value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"}
    names |= {value for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str)}
    return {name.lower() for name in names}
