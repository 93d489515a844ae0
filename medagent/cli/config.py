"""`medagent config`: what is in force and who said so, without secrets."""

from __future__ import annotations

import contextlib
import os
from typing import Annotated, Any

import typer

from medagent.admin import call
from medagent.cli import options
from medagent.cli.output import Format, print_json, table
from medagent.cli.state import state_dir_or_default
from medagent.config.bootstrap import resolve
from medagent.config.in_force import describe_start
from medagent.config.options import Flags
from medagent.errors import NotReady
from medagent.printable import printable


def register(app: typer.Typer) -> None:
    app.command("config")(config_command)


def config_command(
    base_url: options.BaseUrl = None,
    client_id: options.ClientId = None,
    client_secret: options.ClientSecret = None,
    client_secret_file: options.ClientSecretFile = None,
    agent_id: options.AgentId = None,
    agent: options.AgentFiles = None,
    ca_file: options.CaFile = None,
    client_cert_file: options.ClientCertFile = None,
    client_key_file: options.ClientKeyFile = None,
    proxy: options.Proxy = None,
    properties: options.Properties = None,
    config: options.Config = None,
    state_dir: options.StateDir = None,
    queue_store: options.QueueStore = None,
    bind: options.Bind = None,
    no_wait: options.NoWait = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    block_plugins: options.BlockPlugins = None,
    allow_plugins: options.AllowPlugins = None,
    load_plugins: options.LoadPlugins = None,
    strict_plugins: options.StrictPlugins = None,
    running: Annotated[
        bool, typer.Option("--running", help="Ask the agent that runs on the state folder what it was started with.")
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Show what `medagent run` with these options, environment and files would start with, and where each value is from.

    Nothing is started. If an agent runs on the state folder, its settings and channels are shown too; with --running also
    what it was started with, instead of what it would be. Exits with 78 if the configuration cannot be used.

    Example: medagent config --config /etc/medagent/medagent.toml
    """
    flags = Flags(
        properties=properties,
        config=config,
        base_url=base_url,
        client_id=client_id,
        client_secret=client_secret,
        client_secret_file=client_secret_file,
        agent_id=agent_id,
        agent=tuple(agent or ()),
        ca_file=ca_file,
        client_cert_file=client_cert_file,
        client_key_file=client_key_file,
        proxy=proxy,
        state_dir=state_dir,
        queue_store=queue_store,
        bind=bind,
        no_wait=no_wait,
        log_level=log_level,
        log_format=log_format,
        block_plugins=tuple(block_plugins or ()),
        allow_plugins=tuple(allow_plugins or ()),
        load_plugins=tuple(load_plugins or ()),
        strict_plugins=strict_plugins,
    )
    if running:
        shown = call(state_dir_or_default(state_dir), "config")
    else:
        bootstrap = resolve(flags, os.environ)
        shown = describe_start(bootstrap) | {"agent": None}
        with contextlib.suppress(NotReady):  # none runs there
            shown["agent"] = call(bootstrap.state_dir, "config")["agent"]
    if output is Format.JSON:
        print_json(shown)
    else:
        _print(shown)


# decoded JSON, made by medagent.config.in_force
def _print(shown: Any) -> None:
    _table("", "option", shown["options"])
    for warning in shown["warnings"]:
        typer.echo(f"  ! {warning}")
    agent = shown["agent"]
    if agent is None:
        return
    _table(
        f"In force: Agent {agent['name']} ({agent['id'] or 'without an id'}), status {agent['status']}",
        "setting",
        agent["settings"],
    )
    for channel in agent["channels"]:
        barred = f", does not listen: {channel['barred']}" if channel["barred"] else ""
        state = barred if channel["enabled"] else ", off"
        _table(f"Channel {channel['name']}, {channel['address']}{state}", "parameter", channel["parameters"])


def _table(title: str, what: str, values: Any) -> None:
    table(title, [what, "value", "from"], [[each["name"], _text(each["value"]), each["origin"]] for each in values])


def _text(value: object) -> str | None:
    """None for what is not set."""
    if value in ("", None, []):
        return None
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else printable(str(value), None)
