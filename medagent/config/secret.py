"""Where the client secret comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def find_secret(
    flag: str | None,
    flag_file: Path | None,
    environ: Mapping[str, str],
    properties: Mapping[str, str],
    properties_path: Path | None,
    faults: list[str],
    warnings: list[str],
) -> str | None:
    """The secret; None if it is given nowhere, "" if what is given is unusable, which is then among the faults.

    Adds to `warnings` where other users of the machine could read it.
    """
    if flag:
        warnings.append(
            "--client-secret on the command line can be read by every user of this machine:"
            " use --client-secret-file or MEDAGENT_CLIENT_SECRET"
        )
        return flag
    if flag_file:
        return _read(flag_file, faults, warnings)
    if environ.get("MEDAGENT_CLIENT_SECRET"):
        return environ["MEDAGENT_CLIENT_SECRET"]
    if environ.get("MEDAGENT_CLIENT_SECRET_FILE"):
        return _read(Path(environ["MEDAGENT_CLIENT_SECRET_FILE"]), faults, warnings)
    if properties_path and properties.get("clientSecret"):
        _warn_if_readable(properties_path, warnings)
        return properties["clientSecret"]
    return None


def _read(path: Path, faults: list[str], warnings: list[str]) -> str:
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()
        _warn_if_readable(path, warnings)
    except OSError as error:
        faults.append(f"client secret file {path}: {error.strerror}")
        return ""
    except UnicodeDecodeError:
        faults.append(f"client secret file {path}: not UTF-8 text")
        return ""
    if not secret:
        faults.append(f"client secret file {path}: it is empty")
    return secret


def _warn_if_readable(path: Path, warnings: list[str]) -> None:
    if path.stat().st_mode & 0o044:
        warnings.append(f"{path} holds a secret and other users can read it: chmod 600 {path}")
