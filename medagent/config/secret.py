"""Where the client secret comes from: a flag, the environment, a systemd credential or a file, never the Agent resource."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medagent.config.options import Given, Layer
from medagent.errors import ConfigError
from medagent.fhir.secret import read_secret

CREDENTIAL = "medagent-client-secret"
"""Name of the systemd credential (systemd.exec, "LoadCredential=")."""


_ACL = "system.posix_acl_access"
"""The extended attribute that holds an access control list (acl(5))."""
_FROM_SYSTEMD = f"systemd credential {CREDENTIAL}"


def from_credentials(environ: Mapping[str, str]) -> Layer:
    """What systemd has loaded for the service; nothing if there is no such credential."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not (path := Path(folder, CREDENTIAL)).exists():
        return {}
    return {"client_secret_file": Given(path, _FROM_SYSTEMD)}


@dataclass(frozen=True, slots=True)
class Secret:
    """The client's secret, and who gave it."""

    value: str = field(repr=False)
    origin: str
    file: Path | None = None
    """Of which it is the whole content, and which can be read again; None if it is from elsewhere."""


def find_secret(layers: Sequence[Layer], faults: list[str], warnings: list[str]) -> Secret | None:
    """The secret of the first layer that has one, itself before its file; None if none has.

    What is given and unusable is among the faults, and its value "". Adds to `warnings` where other users of this machine
    could read it.
    """
    for layer in layers:
        if (given := layer.get("client_secret")) is not None:
            if given.origin == "--client-secret":
                warnings.append(
                    "--client-secret on the command line can be read by every user of this machine:"
                    " use --client-secret-file or MEDAGENT_CLIENT_SECRET"
                )
            elif given.file is not None:
                warn_if_readable(given.file, warnings)
            return Secret(str(given.value), given.origin)
        if (named := layer.get("client_secret_file")) is not None and isinstance(named.value, Path):
            path = named.value
            by_systemd = named.origin == _FROM_SYSTEMD
            try:
                secret = read_secret(path)
            except ConfigError as error:
                faults.append(f"{named.origin}: {error}")
                secret = ""
            warn_if_readable(path, warnings)
            origin = _FROM_SYSTEMD if by_systemd else f"file {path}, named by {named.origin}"
            return Secret(secret, origin, path if path.is_file() else None)  # a pipe gives it once
    return None


def warn_if_readable(path: Path, warnings: list[str]) -> None:
    """Add a warning if other users can read a file that holds a secret; a file that cannot be looked at is not warned of."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    with contextlib.suppress(OSError):  # of a file system that has none
        if _ACL in os.listxattr(path):
            mode &= ~0o040  # it is the list's mask, not what the group may do: so systemd gives credentials to a user
    warning = f"{path} holds a secret and other users can read it: chmod 600 {path}"
    if mode & 0o044 and warning not in warnings:
        warnings.append(warning)
