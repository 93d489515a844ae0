"""What an agent must know before it can read its Agent resource, put together from all sources and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import platformdirs

from medagent.config.link import check_base_url, check_certificates, check_readable, find_proxy_option, warn_of_proxy
from medagent.config.options import (
    CONFIG_VARIABLE,
    OPTIONS,
    PROPERTIES_VARIABLE,
    Chosen,
    Flags,
    Given,
    Layer,
    from_environ,
    from_flags,
    from_properties,
    unknown_variables,
)
from medagent.config.plugin_options import PluginOptions, plugin_options
from medagent.config.secret import CREDENTIAL, Secret, find_secret, from_credentials
from medagent.config.toml_file import read_toml
from medagent.errors import ConfigError

__all__ = ["Bootstrap"]

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
_LEVEL_ALIASES = {"warn": "warning", "none": "error"}  # as Medplum's agent spells them; errors are never silenced
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # https://hl7.org/fhir/R4B/datatypes.html#id


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What an agent starts with. Without `base_url` nothing is sent on, and `agent_files` hold the configuration."""

    base_url: str = ""
    """Of the FHIR server, ending in `/`; "" for none."""
    client_id: str = ""
    """Of the OAuth2 client."""
    client_secret: str = field(default="", repr=False)
    """Of the OAuth2 client: never show or log it."""
    client_secret_file: Path | None = None
    """Where the secret was read, and is read again after a refusal; None if it is in no file of its own."""
    ca_file: Path | None = None
    """PEM file of the CAs that the server's certificate may come from; None for the system's."""
    client_cert_file: Path | None = None
    """PEM file of the certificate chain that the server is shown; None for none."""
    client_key_file: Path | None = None
    """PEM file of its key; None if it is in the same file."""
    proxy: str = field(default="", repr=False)
    """Address of an HTTP proxy, perhaps with user and password; "none" for no proxy, "" if nothing says which."""
    agent_id: str = ""
    """An Agent's id, not a reference; "" if the files name it."""
    agent_files: tuple[Path, ...] = ()
    """Files with an Agent, Endpoints or a Bundle of them; empty if the server has them."""
    state_dir: Path = Path()
    """Folder of queue, lock, snapshot and admin socket."""
    queue_store: str = field(default="", repr=False)
    """URL of a plugin's queue store, perhaps with a password; "" for the file in `state_dir`."""
    bind_any: bool = False
    """`--bind any`: listen on all interfaces, whatever host an Endpoint names."""
    log_level: str = "info"
    """One of `LOG_LEVELS`."""
    log_format: str = "text"
    """One of `LOG_FORMATS`."""
    wait: bool = True
    """False (`--no-wait`): leave at once when another agent holds the queue."""
    plugins: PluginOptions = field(default_factory=PluginOptions)
    """Which plugins are loaded."""
    warnings: tuple[str, ...] = ()
    """What the operator should hear about; no secrets."""
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Who gave each option, by its name in `OPTIONS`; those not there have their default."""


def resolve(flags: Flags, environ: Mapping[str, str]) -> Bootstrap:
    """Put the sources together: flags > environment > systemd credential > properties file > TOML file > defaults.

    Raises `ConfigError` that lists everything missing or unusable at once.
    """
    faults: list[str] = []
    warnings = unknown_variables(environ)
    layers = _layers(flags, environ, faults, warnings)
    chosen = Chosen(layers)
    base_url = check_base_url(chosen, faults, warnings)
    secret = find_secret(layers, faults, warnings)
    agent_files, client_id = chosen.paths("agent"), chosen.text("client_id")
    agent_id = _agent_id(chosen, faults)
    if len(layers) == SOURCES:  # else what is missing may stand in the file that could not be read
        faults += _missing(base_url, client_id, secret, agent_id, agent_files)
    if agent_files and client_id and not base_url:
        warnings.append("a client is given without --base-url: nothing is sent to a server")
    for file in agent_files:
        check_readable(chosen.origin("agent"), file, faults)
    check_certificates(chosen, faults, warnings)
    if (proxy := find_proxy_option(chosen, base_url, environ, faults)) is not None:
        warn_of_proxy(proxy, warnings)
    level = chosen.text("log_level").lower() or "info"
    bootstrap = Bootstrap(
        base_url=base_url,
        client_id=client_id,
        client_secret=secret.value if secret is not None else "",
        client_secret_file=secret.file if secret is not None else None,
        agent_id=agent_id,
        agent_files=agent_files,
        ca_file=chosen.path("ca_file"),
        client_cert_file=chosen.path("client_cert_file"),
        client_key_file=chosen.path("client_key_file"),
        proxy=str(proxy.value) if proxy is not None else "",
        state_dir=chosen.path("state_dir") or default_state_dir(environ),
        queue_store=chosen.text("queue_store"),
        bind_any=_choice(chosen.origin("bind"), chosen.text("bind"), ("", "any"), faults) == "any",
        log_level=_choice(chosen.origin("log_level"), _LEVEL_ALIASES.get(level, level), LOG_LEVELS, faults),
        log_format=_choice(chosen.origin("log_format"), chosen.text("log_format").lower() or "text", LOG_FORMATS, faults),
        wait=not chosen.switch("no_wait"),
        plugins=plugin_options(chosen, faults),
        warnings=tuple(warnings),
        origins=MappingProxyType(_origins(chosen, secret, proxy, environ)),
    )
    _refuse(faults)
    return bootstrap


def resolve_plugin_options(flags: Flags, environ: Mapping[str, str]) -> PluginOptions:
    """The part of it that commands need which start no agent. Raises `ConfigError` for any fault of the sources."""
    faults: list[str] = []
    options = plugin_options(Chosen(_layers(flags, environ, faults, [])), faults)
    _refuse(faults)
    return options


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ConfigError("the configuration cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))


SOURCES = 5
"""Flags, environment, systemd credentials, properties file, TOML file: what an earlier one gives counts."""


def _layers(flags: Flags, environ: Mapping[str, str], faults: list[str], warnings: list[str]) -> list[Layer]:
    """One for each source; a file that cannot be read is a fault and left out."""
    layers = [from_flags(flags), from_environ(environ, faults), from_credentials(environ)]
    properties = flags.properties or _path(environ.get(PROPERTIES_VARIABLE))
    toml = flags.config or _path(environ.get(CONFIG_VARIABLE))
    try:
        layers.append(from_properties(properties, faults, warnings) if properties else {})
    except ConfigError as error:
        faults.append(str(error))
    try:
        layers.append(read_toml(toml, faults) if toml else {})
    except ConfigError as error:
        faults.append(str(error))
    return layers


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _origins(chosen: Chosen, secret: Secret | None, proxy: Given | None, environ: Mapping[str, str]) -> dict[str, str]:
    origins = {name: given.origin for name, given in chosen.given.items()}
    origins |= {name: found.origin for name, found in (("client_secret", secret), ("proxy", proxy)) if found is not None}
    if "state_dir" not in origins and environ.get("STATE_DIRECTORY"):
        origins["state_dir"] = "STATE_DIRECTORY"
    return origins


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`MEDAGENT_STATE_DIR`, systemd's `STATE_DIRECTORY`, `/var/lib/medagent` for root, else the user's state folder."""
    if environ.get("MEDAGENT_STATE_DIR"):
        return Path(environ["MEDAGENT_STATE_DIR"])
    if environ.get("STATE_DIRECTORY"):  # several are separated by colons (systemd.exec, "RuntimeDirectory=")
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    return Path("/var/lib/medagent") if os.geteuid() == 0 else platformdirs.user_state_path("medagent")


def _choice(origin: str, value: str, choices: tuple[str, ...], faults: list[str]) -> str:
    if value not in choices:
        faults.append(f"{origin}: {value!r} is not one of {', '.join(choice for choice in choices if choice)}")
    return value


def _agent_id(chosen: Chosen, faults: list[str]) -> str:
    agent_id = chosen.text("agent_id").removeprefix("Agent/")
    if agent_id and not _FHIR_ID.fullmatch(agent_id):
        faults.append(f"{chosen.origin('agent_id')}: {agent_id!r} is not a FHIR id (letters, digits, '-' and '.', at most 64)")
    return agent_id


def _missing(base_url: str, client_id: str, secret: Secret | None, agent_id: str, agent_files: tuple[Path, ...]) -> list[str]:
    """One line for each missing piece, with every way to give it."""
    if agent_files and not base_url:
        return []
    missing = []
    if not base_url:
        missing.append(f"no server: give {_ways('base_url')}; or --agent FILE to run without one")
    if not client_id:
        missing.append(f"no client: give {_ways('client_id')}")
    if secret is None:
        missing.append(
            f"no client secret: give {_ways('client_secret_file')}, the systemd credential {CREDENTIAL}, or the secret itself"
            f" by {_ways('client_secret')}"
        )
    if not agent_id and not agent_files:
        missing.append(f"no agent: give {_ways('agent_id')}; or --agent FILE")
    return missing


def _ways(name: str) -> str:
    option = OPTIONS[name]
    in_properties = f"{option.properties} in a properties file, " if option.properties else ""
    return f"{option.flag}, {option.variable}, {in_properties}{name} in a TOML file"
