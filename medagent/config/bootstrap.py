"""What an agent must know before it can read its Agent resource: flags > environment > properties file > defaults."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from medagent.config.properties import Properties, read_properties
from medagent.config.secret import find_secret
from medagent.errors import ConfigError

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
_LEVEL_ALIASES = {"warn": "warning"}  # as Medplum's agent spells it
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # https://hl7.org/fhir/R4B/datatypes.html#id


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line, None or empty where a flag is absent."""

    base_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: Path | None = None
    agent_id: str | None = None
    agent_files: tuple[Path, ...] = ()
    state_dir: Path | None = None
    bind: str | None = None
    log_level: str | None = None
    log_format: str | None = None
    no_wait: bool = False
    blocked_plugins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What an agent starts with. Without `base_url` nothing is sent on, and `agent_files` hold the configuration."""

    base_url: str = ""
    """Of the FHIR server, ending in `/`; "" for none."""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    ca_file: Path | None = None
    """PEM file of the CAs that the server's certificate may come from; None for the system's."""
    client_cert_file: Path | None = None
    """PEM file of the certificate chain that the server is shown; None for none."""
    client_key_file: Path | None = None
    """PEM file of its key; None if it is in the same file."""
    proxy: str = field(default="", repr=False)
    """Address of an HTTP proxy, perhaps with user and password; "none" for no proxy, "" for what the environment says."""
    agent_id: str = ""
    """An Agent's id, not a reference; "" if the files name it."""
    agent_files: tuple[Path, ...] = ()
    """Files with an Agent, Endpoints or a Bundle of them; empty if the server has them."""
    state_dir: Path = Path()
    """Folder of queue, lock, snapshot and admin socket."""
    bind_any: bool = False
    """`--bind any`: listen on all interfaces, whatever host an Endpoint names."""
    log_level: str = "info"
    """One of `LOG_LEVELS`."""
    log_format: str = "text"
    """One of `LOG_FORMATS`."""
    wait: bool = True
    """False (`--no-wait`): leave at once when another agent holds the queue."""
    blocked_plugins: tuple[str, ...] = ()
    """Names of plugins that are not to be loaded."""
    warnings: tuple[str, ...] = ()
    """What the operator should hear about; no secrets."""


def resolve(flags: Flags, environ: Mapping[str, str], properties_file: Path | None = None) -> Bootstrap:
    """Put the sources together. Raises `ConfigError` that lists everything missing or unusable at once."""
    path = properties_file or (Path(environ["MEDAGENT_PROPERTIES"]) if environ.get("MEDAGENT_PROPERTIES") else None)
    properties = read_properties(path) if path else Properties({})
    warnings = list(properties.notes)
    faults: list[str] = []
    given = properties.values

    base_url = _base_url(flags.base_url or environ.get("MEDAGENT_BASE_URL") or given.get("baseUrl", ""), faults, warnings)
    client_id = flags.client_id or environ.get("MEDAGENT_CLIENT_ID") or given.get("clientId", "")
    client_secret = find_secret(flags.client_secret, flags.client_secret_file, environ, given, path, faults, warnings)
    agent_id = _agent_id(flags.agent_id or environ.get("MEDAGENT_AGENT_ID") or given.get("agentId", ""), faults)
    agent_files = flags.agent_files or _paths(environ.get("MEDAGENT_AGENT", ""))
    faults += _missing(base_url, client_id, client_secret, agent_id, agent_files)
    if agent_files and client_id and not base_url:
        warnings.append("a client is given without --base-url: nothing is sent to a server")

    level = (flags.log_level or environ.get("MEDAGENT_LOG_LEVEL") or given.get("logLevel") or "info").lower()
    log_format = (flags.log_format or environ.get("MEDAGENT_LOG_FORMAT") or "text").lower()
    bind = flags.bind or environ.get("MEDAGENT_BIND") or ""
    bootstrap = Bootstrap(
        base_url=base_url,
        client_id=client_id,
        client_secret=client_secret or "",
        agent_id=agent_id,
        agent_files=agent_files,
        state_dir=flags.state_dir or default_state_dir(environ),
        bind_any=_choice("--bind", bind, ("", "any"), faults) == "any",
        log_level=_choice("--log-level", _LEVEL_ALIASES.get(level, level), LOG_LEVELS, faults),
        log_format=_choice("--log-format", log_format, LOG_FORMATS, faults),
        wait=not flags.no_wait,
        blocked_plugins=flags.blocked_plugins or tuple(environ.get("MEDAGENT_BLOCK_PLUGINS", "").replace(",", " ").split()),
        warnings=tuple(warnings),
    )
    if faults:
        raise ConfigError("the agent cannot start:\n" + "\n".join(f"  - {fault}" for fault in faults))
    return bootstrap


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`MEDAGENT_STATE_DIR`, systemd's `STATE_DIRECTORY`, `/var/lib/medagent` for root, else the user's state folder."""
    if environ.get("MEDAGENT_STATE_DIR"):
        return Path(environ["MEDAGENT_STATE_DIR"])
    if environ.get("STATE_DIRECTORY"):  # several are separated by colons (systemd.exec, "RuntimeDirectory=")
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    return Path("/var/lib/medagent") if os.geteuid() == 0 else platformdirs.user_state_path("medagent")


def _paths(value: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in value.split(os.pathsep) if part)


def _choice(flag: str, value: str, choices: tuple[str, ...], faults: list[str]) -> str:
    if value not in choices:
        faults.append(f"{flag}: {value!r} is not one of {', '.join(choice for choice in choices if choice)}")
    return value


def _agent_id(value: str, faults: list[str]) -> str:
    agent_id = value.removeprefix("Agent/")
    if agent_id and not _FHIR_ID.fullmatch(agent_id):
        faults.append(f"--agent-id: {agent_id!r} is not a FHIR id (letters, digits, '-' and '.', at most 64)")
    return agent_id


def _base_url(value: str, faults: list[str], warnings: list[str]) -> str:
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        faults.append("--base-url: not an address such as https://fhir.example.org/ (http or https, no query, no password)")
        return value
    if parts.scheme == "http" and not _is_loopback(host):
        warnings.append(f"--base-url: http to {host} is not encrypted; messages and credentials can be read on the way")
    return value if value.endswith("/") else value + "/"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _missing(
    base_url: str, client_id: str, client_secret: str | None, agent_id: str, agent_files: tuple[Path, ...]
) -> list[str]:
    """One line for each missing piece, with every way to give it."""
    if agent_files and not base_url:
        return []
    missing = []
    if not base_url:
        missing.append(
            "no server: give --base-url, MEDAGENT_BASE_URL or baseUrl in a properties file, or --agent FILE to run without one"
        )
    if not client_id:
        missing.append("no client: give --client-id, MEDAGENT_CLIENT_ID or clientId in a properties file")
    if client_secret is None:
        missing.append(
            "no client secret: give --client-secret-file, MEDAGENT_CLIENT_SECRET_FILE, MEDAGENT_CLIENT_SECRET,"
            " clientSecret in a properties file, or --client-secret"
        )
    if not agent_id and not agent_files:
        missing.append("no agent: give --agent-id, MEDAGENT_AGENT_ID or agentId in a properties file, or --agent FILE")
    return missing
