"""The options an agent starts with: their names in every source, and sources as layers of values that know their origin."""

from __future__ import annotations

import enum
import os
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from medagent import failpoints
from medagent.config.properties import read_properties
from medagent.config.settings import nearest

PREFIX = "MEDAGENT_"
PROPERTIES_VARIABLE = "MEDAGENT_PROPERTIES"
CONFIG_VARIABLE = "MEDAGENT_CONFIG"
OF_TESTS = (failpoints.VARIABLE, "MEDAGENT_LONG_TESTS", "MEDAGENT_TEST_BUG")
"""Variables that the agent, or its tests, may find in the environment of a test."""

Value = str | bool | Path | tuple[str, ...] | tuple[Path, ...]
"""What an option can hold, by its `Kind`."""


class Kind(enum.Enum):
    """What an option takes; the value is how a TOML file says it."""

    TEXT = "a text"
    PATH = "a text, a path"
    PATHS = "a list of texts, paths"
    NAMES = "a list of texts"
    SWITCH = "true or false"


@dataclass(frozen=True, slots=True)
class Option:
    """One option; its name is the key in a TOML file."""

    name: str
    kind: Kind
    meaning: str
    """A few words."""
    properties: str = ""
    """Its key in agent.properties; "" if that file has none for it."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()


OPTIONS = {
    option.name: option
    for option in (
        Option("base_url", Kind.TEXT, "the FHIR server", "baseUrl"),
        Option("client_id", Kind.TEXT, "the OAuth2 client", "clientId"),
        Option("client_secret", Kind.TEXT, "its secret; rather use a file or a systemd credential", "clientSecret"),
        Option("client_secret_file", Kind.PATH, "a file with the secret"),
        Option("agent_id", Kind.TEXT, "the id of the Agent resource", "agentId"),
        Option("agent", Kind.PATHS, "files with the Agent, Endpoints or a Bundle, instead of the server's"),
        Option("ca_file", Kind.PATH, "CA certificates, PEM, that the server's must come from instead of the system's"),
        Option("client_cert_file", Kind.PATH, "the agent's own certificate for the server, PEM"),
        Option("client_key_file", Kind.PATH, "its private key, PEM, if it is not in the same file"),
        Option("proxy", Kind.TEXT, "the HTTP proxy to the server; `none` for none, whatever `HTTPS_PROXY` says"),
        Option("state_dir", Kind.PATH, "the folder of queue, lock, snapshot and admin socket"),
        Option("queue_store", Kind.TEXT, "URL of a plugin's queue store, instead of the file `queue.db` in the state folder"),
        Option("bind", Kind.TEXT, "`any`: listen on all interfaces, whatever host an Endpoint names"),
        Option("no_wait", Kind.SWITCH, "leave at once when another agent holds the queue"),
        Option("log_level", Kind.TEXT, "`debug`, `info`, `warning` or `error`", "logLevel"),
        Option("log_format", Kind.TEXT, "`text` or `json`"),
        Option("block_plugins", Kind.NAMES, "plugins that are not to be loaded"),
        Option("allow_plugins", Kind.NAMES, "the only plugins that may be loaded besides the built-in ones; `none` for none"),
        Option("load_plugins", Kind.NAMES, "modules to load as plugins although no entry point names them"),
        Option("strict_plugins", Kind.SWITCH, "leave with 78 if any plugin cannot be loaded", "strictPlugins"),
    )
}
"""Every option by its name, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line, None or empty where a flag is absent. But for the two sources, the names are those of `OPTIONS`."""

    properties: Path | None = None
    """`--properties`: a file of Medplum's form."""
    config: Path | None = None
    """`--config`: a TOML file."""
    base_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: Path | None = None
    agent_id: str | None = None
    agent: tuple[Path, ...] = ()
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    state_dir: Path | None = None
    queue_store: str | None = field(default=None, repr=False)
    bind: str | None = None
    no_wait: bool | None = None
    log_level: str | None = None
    log_format: str | None = None
    block_plugins: tuple[str, ...] = ()
    allow_plugins: tuple[str, ...] = ()
    load_plugins: tuple[str, ...] = ()
    strict_plugins: bool | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and who gave it."""

    value: Value = field(repr=False)
    """May be a secret."""
    origin: str
    """Such as `--base-url`, `MEDAGENT_BASE_URL` or `/etc/medagent/medagent.toml: base_url`."""
    file: Path | None = None
    """The file that holds it; None if no file does."""


Layer = Mapping[str, Given]
"""What one source gives, by the option's name."""


class Chosen:
    """For each option the value of the first layer that has it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.given: Mapping[str, Given] = ChainMap(*(dict(layer) for layer in layers))

    def origin(self, name: str) -> str:
        """Who gave it, for what is said about it; the flag if nobody has."""
        found = self.given.get(name)
        return found.origin if found is not None else OPTIONS[name].flag

    def _value(self, name: str) -> Value | None:
        found = self.given.get(name)
        return found.value if found is not None else None

    def text(self, name: str) -> str:
        """ "" if nobody gives it."""
        return value if isinstance(value := self._value(name), str) else ""

    def path(self, name: str) -> Path | None:
        return value if isinstance(value := self._value(name), Path) else None

    def paths(self, name: str) -> tuple[Path, ...]:
        return tuple(Path(each) for each in value) if isinstance(value := self._value(name), tuple) else ()

    def names(self, name: str) -> tuple[str, ...]:
        return tuple(str(each) for each in value) if isinstance(value := self._value(name), tuple) else ()

    def switch(self, name: str) -> bool:
        return self._value(name) is True


def from_flags(flags: Flags) -> Layer:
    values = {each.name: getattr(flags, each.name) for each in fields(flags) if each.name in OPTIONS}
    return {name: Given(value, OPTIONS[name].flag) for name, value in values.items() if value not in (None, "", ())}


def from_environ(environ: Mapping[str, str], faults: list[str]) -> Layer:
    """Empty variables count as absent."""
    layer = {}
    for option in OPTIONS.values():
        text = environ.get(option.variable)
        if text and (value := _from_text(text, option, option.variable, faults)) is not None:
            layer[option.name] = Given(value, option.variable)
    return layer


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A warning for each variable that looks like one of medagent's and is none; empty ones count as absent."""
    variables = (*(option.variable for option in OPTIONS.values()), PROPERTIES_VARIABLE, CONFIG_VARIABLE)
    known = {variable.removeprefix(PREFIX): variable for variable in variables}
    warnings = []
    for name in environ:
        if name.startswith(PREFIX) and environ[name] and name not in (*variables, *OF_TESTS):
            guess = nearest(name.removeprefix(PREFIX), known)
            warnings.append(f"unknown variable {name} is ignored" + (f"; did you mean {known[guess]}?" if guess else ""))
    return warnings


def from_properties(path: Path, faults: list[str], warnings: list[str]) -> Layer:
    """What a file of Medplum's form gives; what is not understood in it is warned of. Raises `ConfigError`."""
    properties = read_properties(path)
    warnings += properties.notes
    layer = {}
    for option in OPTIONS.values():
        text, origin = properties.values.get(option.properties), f"{path}: {option.properties}"
        if text and (value := _from_text(text, option, origin, faults)) is not None:
            layer[option.name] = Given(value, origin, path)
    return layer


def _from_text(text: str, option: Option, origin: str, faults: list[str]) -> Value | None:
    match option.kind:
        case Kind.TEXT:
            return text
        case Kind.PATH:
            return Path(text)
        case Kind.PATHS:
            return tuple(Path(part) for part in text.split(os.pathsep) if part)
        case Kind.NAMES:
            return tuple(text.replace(",", " ").split())
        case Kind.SWITCH:
            if text.lower() not in ("true", "false"):
                faults.append(f"{origin}: {text!r} is not true or false")
                return None
            return text.lower() == "true"
