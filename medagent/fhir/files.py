"""Resources from JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from medagent.errors import ConfigError

MAX_BYTES = 16 * 1024 * 1024
"""A larger file is no agent's configuration."""


@dataclass(frozen=True, slots=True)
class FileResource:
    """One resource of a file."""

    # decoded JSON that nobody has validated yet
    resource: dict[str, Any]
    file: Path
    full_url: str = ""
    """Of the Bundle entry that holds it."""


def read_resources(paths: Sequence[Path]) -> list[FileResource]:
    """The resources of all files, those of Bundles one by one. Raises `ConfigError` naming file, line and column."""
    return [resource for path in paths for resource in _resources(path)]


def _resources(path: Path) -> Iterator[FileResource]:
    document = _parse(path)
    if not isinstance(document, dict) or not isinstance(document.get("resourceType"), str):
        raise ConfigError(f"{path}: not a FHIR resource: a JSON object with a resourceType is expected")
    if document["resourceType"] != "Bundle":
        yield FileResource(document, path)
        return
    entries = document.get("entry", [])
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: Bundle.entry is not a list")
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
            full_url = entry.get("fullUrl")
            yield FileResource(entry["resource"], path, full_url if isinstance(full_url, str) else "")


# decoded JSON can be anything
def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError:  # the limit of Python on the digits of an integer, or _refuse
        raise ConfigError(f"{path}: holds a number that is not JSON or far too long") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity, which Python would take
