"""`medagent.toml`: every option of `medagent run` as `name = value`, in one TOML file (https://toml.io/en/v1.0.0)."""

from __future__ import annotations

import tomllib
from pathlib import Path

from medagent.config.options import OPTIONS, Given, Kind, Layer, Value
from medagent.config.settings import nearest
from medagent.errors import ConfigError

_FOUND = {bool: "true or false", str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


def read_toml(path: Path, faults: list[str]) -> Layer:
    """What the file gives. Relative paths in it start at its folder. Unknown keys and wrong types are added to `faults`.

    Raises `ConfigError` if it cannot be read or is no TOML. No value is quoted: it may be a secret.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None  # it names line and column
    except (RecursionError, ValueError):  # the limit of Python on the digits of an integer
        raise ConfigError(f"{path}: nested too deeply, or holds a number that is far too long") from None
    layer = {}
    for key, found in document.items():
        option = OPTIONS.get(key)
        if option is None:
            guess = nearest(key, OPTIONS)
            faults.append(f"{path}: unknown key {key!r}" + (f"; did you mean {guess}?" if guess else ""))
        elif (value := _typed(found, option.kind, path.parent)) is None:
            faults.append(f"{path}: {key} is {_FOUND.get(type(found), 'a date or time')}; wanted is {option.kind.value}")
        elif value not in ("", ()):
            layer[key] = Given(value, f"{path}: {key}", path)
    return layer


def _typed(found: object, kind: Kind, folder: Path) -> Value | None:
    """None if it is not of this kind; empty texts and lists say as much as an absent key."""
    if kind is Kind.SWITCH:
        return found if isinstance(found, bool) else None
    if kind in (Kind.TEXT, Kind.PATH):
        if not isinstance(found, str):
            return None
        return folder / found if found and kind is Kind.PATH else found
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        return None
    return tuple(folder / each for each in found) if kind is Kind.PATHS else tuple(found)
