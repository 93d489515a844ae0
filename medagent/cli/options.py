"""The options of `medagent run`, which `medagent config` takes too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from medagent.config.bootstrap import resolve_plugin_options
from medagent.config.options import Flags
from medagent.config.plugin_options import PluginOptions

BaseUrl = Annotated[str | None, typer.Option(help="The FHIR server, such as https://fhir.example.org/.")]
ClientId = Annotated[str | None, typer.Option(help="The OAuth2 client of this agent.")]
ClientSecret = Annotated[
    str | None, typer.Option(help="Its secret. Others can read it in the process list: rather use the file.")
]
ClientSecretFile = Annotated[Path | None, typer.Option(help="A file with the secret.")]
AgentId = Annotated[str | None, typer.Option(help="The id of the Agent resource.")]
AgentFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--agent", help="A file with the Agent, or a Bundle of Agent and Endpoints, instead of the server's. Repeatable."
    ),
]
CaFile = Annotated[
    Path | None, typer.Option(help="CA certificates, PEM, that the server's must come from instead of the system's.")
]
ClientCertFile = Annotated[Path | None, typer.Option(help="The agent's own certificate for the server, PEM.")]
ClientKeyFile = Annotated[Path | None, typer.Option(help="Its private key, PEM, if it is not in the same file.")]
Proxy = Annotated[
    str | None, typer.Option(help="The HTTP proxy to the server; `none` for none. Without it, what HTTPS_PROXY says.")
]
Properties = Annotated[Path | None, typer.Option(help="A file of Medplum's form: agent.properties.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file with any of these options.")]
StateDir = Annotated[Path | None, typer.Option(help="Folder of the queue, its lock and the admin socket.")]
QueueStore = Annotated[
    str | None, typer.Option(help="URL of a plugin's queue store, instead of the file queue.db in the state folder.")
]
Bind = Annotated[str | None, typer.Option(help="`any`: listen on all interfaces, whatever host an Endpoint names.")]
NoWait = Annotated[bool | None, typer.Option("--no-wait/--wait", help="Leave with 75 if another agent holds the queue.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info (default), warning or error.")]
LogFormat = Annotated[str | None, typer.Option(help="text (default) or json.")]
BlockPlugins = Annotated[
    list[str] | None, typer.Option("--block-plugins", help="The name of a plugin that is not to be loaded. Repeatable.")
]
AllowPlugins = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-plugins",
        help="The name of a plugin that may be loaded; no other is, but for the built-in ones. `none` for none. Repeatable.",
    ),
]
LoadPlugins = Annotated[
    list[str] | None,
    typer.Option("--load-plugins", help="A module to load as a plugin, such as hospital.lab, on PYTHONPATH. Repeatable."),
]
StrictPlugins = Annotated[
    bool | None, typer.Option("--strict-plugins/--no-strict-plugins", help="Leave with 78 if any plugin cannot be loaded.")
]


def of_plugins(
    blocked: Sequence[str] | None, allowed: Sequence[str] | None, modules: Sequence[str] | None, strict: bool | None
) -> PluginOptions:
    """What these flags, the environment and the files that it names say. Raises `ConfigError` if they cannot be used."""
    flags = Flags(
        block_plugins=tuple(blocked or ()),
        allow_plugins=tuple(allowed or ()),
        load_plugins=tuple(modules or ()),
        strict_plugins=strict,
    )
    return resolve_plugin_options(flags, os.environ)
