"""`agent.properties`, the file that holds what a Medplum agent needs to start (https://www.medplum.com/docs/agent)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medagent.config.settings import nearest
from medagent.errors import ConfigError

KEYS = ("baseUrl", "clientId", "clientSecret", "agentId", "logLevel", "strictPlugins")


@dataclass(frozen=True, slots=True)
class Properties:
    """What one file says."""

    values: dict[str, str]
    """By key, one of `KEYS`; empty values are left out."""
    notes: tuple[str, ...] = ()
    """What was not understood, without its value."""


def read_properties(path: Path) -> Properties:
    """Read `key=value` lines; a value may hold `=`, a line that begins with `#` is a comment, the last of a key counts.

    Raises `ConfigError` if the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    return parse_properties(text, str(path))


def parse_properties(text: str, name: str) -> Properties:
    """As `read_properties`; `name` is the file's, for the notes."""
    values: dict[str, str] = {}
    notes: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if not equals:
            notes.append(f"{name}, line {number}: ignored, it is not key=value")
        elif not key:
            notes.append(f"{name}, line {number}: ignored, no key stands before its =")
        elif key in KEYS:
            if key in values:
                notes.append(f"{name}, line {number}: {key} is given again; this line counts, and none before it")
            values[key] = value
        elif key.startswith("logger."):
            notes.append(f"{name}, line {number}: {key} is ignored; medagent logs to standard error")
        else:
            guess = nearest(key, KEYS)
            notes.append(f"{name}, line {number}: unknown key {key} is ignored" + (f"; did you mean {guess}?" if guess else ""))
    return Properties({key: value for key, value in values.items() if value}, tuple(notes))
