"""Writing a new distribution: all of its files, or none."""

from __future__ import annotations

import enum
import importlib.resources
import re
import secrets
import shutil
from pathlib import Path

from medagent import __version__
from medagent.errors import ConfigError
from medagent.scaffold.names import Names

SUFFIX = ".template"
"""Keeps linters and pytest away from what is not code yet."""
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")


class Kind(enum.StrEnum):
    """What a new plugin adds."""

    CHANNEL = "channel"
    STRATEGY = "strategy"
    STORE = "store"
    UPLINK = "uplink"
    TRANSFORM = "transform"


DESCRIPTIONS = {
    Kind.CHANNEL: "A channel for medagent: one message a line over TCP",
    Kind.STRATEGY: "A queue strategy for medagent: commits as soon as the disk is idle",
    Kind.STORE: "A queue store for medagent, in plain SQL",
    Kind.UPLINK: "An uplink for medagent: lines of JSON over TCP",
    Kind.TRANSFORM: "A transform for medagent: leaves segments out of HL7 messages",
}


def write(kind: Kind, names: Names, directory: Path) -> Path:
    """Write a distribution into a new folder in `directory`; returns the folder.

    Raises `ConfigError` if there is no place for it, and `OSError` if it cannot be written; then nothing is left of it.
    """
    target = directory / names.distribution
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no folder; make it, or choose another by --directory")
    if target.exists() or target.is_symlink():
        raise ConfigError(f"{target} is there already, and nothing is overwritten; move it away, or choose another name")
    unfinished = directory / f".{names.distribution}.{secrets.token_hex(4)}"
    try:
        for path, text in _files(kind, names).items():
            file = unfinished / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return target


def _files(kind: Kind, names: Names) -> dict[str, str]:
    """What a distribution consists of: paths and texts."""
    major, minor = __version__.split(".")[:2]
    values = {
        "name": names.name,
        "distribution": names.distribution,
        "module": names.module,
        "title": names.title,
        "camel": names.camel,
        "upper": names.upper,
        "kind": kind.value,
        "description": DESCRIPTIONS[kind],
        "medagent": f"medagent>={major}.{minor},<{major}.{int(minor) + 1}",
    }
    templates = importlib.resources.files("medagent.scaffold") / "templates"

    def rendered(*path: str) -> str:
        text = templates.joinpath(*path).read_text(encoding="utf-8")
        return _PLACEHOLDER.sub(lambda found: values[found[1]], text)

    values["use"] = rendered(kind.value, f"README.md{SUFFIX}").rstrip("\n")
    return {
        "pyproject.toml": rendered(f"pyproject.toml{SUFFIX}"),
        "README.md": rendered(f"README.md{SUFFIX}"),
        f"{names.module}/__init__.py": f'"""{DESCRIPTIONS[kind]}."""\n',
        f"{names.module}/plugin.py": rendered(kind.value, f"plugin.py{SUFFIX}"),
        f"{names.module}/py.typed": "",
        "tests/test_plugin.py": rendered(kind.value, f"test_plugin.py{SUFFIX}"),
    }
