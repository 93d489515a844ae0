"""`medagent check FILE…`: what is wrong with an Agent resource, and what would run, without starting anything."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from medagent.cli import loading, options
from medagent.cli.output import Format, print_json
from medagent.config.describe import describe, describe_problems
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.config.plugin_options import PluginOptions
from medagent.config.problems import Problem, Severity
from medagent.config.settings import Registry
from medagent.config.wording import show
from medagent.errors import ConfigError
from medagent.printable import printable

GROUPS = (
    ("Files", "files"),
    ("Settings", "Agent.setting"),
    ("Channels", "Agent.channel"),
    ("Agent", "Agent"),
    ("Endpoints", ""),
)
"""Headings, and how the places of their problems begin; the first that fits counts."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    files: Annotated[list[Path], typer.Argument(help="Agent, Endpoints, or a Bundle of them, as JSON.")],
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.TEXT,  # noqa: A002  the option's name
    here: Annotated[bool, typer.Option(help="Check hosts against this machine's addresses.")] = True,
    block_plugins: options.BlockPlugins = None,
    allow_plugins: options.AllowPlugins = None,
    load_plugins: options.LoadPlugins = None,
    strict_plugins: options.StrictPlugins = None,
) -> None:
    """List every problem of an Agent resource and show what would run. Exits 78 if anything is wrong."""
    chosen = options.of_plugins(block_plugins, allow_plugins, load_plugins, strict_plugins)
    config, problems, registry = examine(files, chosen, local=here)
    if format is Format.JSON:
        described = None if config is None else describe(config)
        document = {"well": not _errors(problems), "configuration": described, "problems": describe_problems(problems)}
        print_json(document)
    else:
        color = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
        for line in itertools.chain(_problem_lines(problems), _config_lines(config, problems, registry), [_verdict(problems)]):
            typer.echo(line, color=color)
    if _errors(problems):
        raise typer.Exit(ConfigError.exit_code)


def examine(
    files: Sequence[Path], plugin_options: PluginOptions, *, local: bool
) -> tuple[AgentConfig | None, list[Problem], Registry]:
    """Read files as the agent would, without a server, and tell what is declared. An unusable file is a problem too."""
    # these cost 0.5 s together, which `medagent --help` should not
    from medagent.configure import configure
    from medagent.fhir.source import from_files

    plugins = loading.load_plugins(plugin_options)
    loading.refuse_left_out(plugin_options, plugins)
    try:
        source = asyncio.run(from_files(files))
    except ConfigError as error:
        return None, [Problem("files", str(error))], plugins.registry
    return *configure(source, plugins, bind_any=False, local=local), plugins.registry


def _errors(problems: Sequence[Problem]) -> int:
    return sum(problem.severity is Severity.ERROR for problem in problems)


def _problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    for group, members in itertools.groupby(sorted(problems, key=_group), _group):
        yield typer.style(GROUPS[group][0], bold=True)
        for problem in members:
            wrong = problem.severity is Severity.ERROR
            label = typer.style("error", fg="red") if wrong else typer.style("note ", fg="cyan")
            yield f"  {label}  {problem}"
        yield ""


def _group(problem: Problem) -> int:
    """The index in `GROUPS`."""
    return next(index for index, (_, prefix) in enumerate(GROUPS) if problem.where.startswith(prefix))


def _config_lines(config: AgentConfig | None, problems: Sequence[Problem], registry: Registry) -> Iterator[str]:
    if config is None:
        return
    what = "no channel would listen" if config.status == "off" else "what would run"
    yield typer.style(f"Agent {show(config.name)}, status {config.status}: {what}", bold=True)
    width = max((len(show(channel.name)) for channel in config.channels), default=0)
    stopped = {problem.channel for problem in problems} | {channel.name for channel in config.channels if channel.barred}
    for channel in config.channels:
        mark = "" if channel.enabled else "  (off: does not listen)"
        if channel.enabled and channel.name in stopped:
            mark = typer.style("  (does not listen: see the errors above)", fg="red")
        yield f"  channel {show(channel.name):{width}}  {_channel_line(channel, registry)}{mark}"
    if not config.channels:
        yield "  no channel"
    batch = config.batch
    if config.queue_strategy == "immediate":
        yield "  batching off: each message is committed by itself"
    elif config.queue_strategy == "batched":
        early = ", or as soon as the writer is idle" if batch.adaptive else ""
        yield f"  batching: a commit at {batch.max_batch_size} messages or after {batch.flush_interval_ms} ms{early}"
    yield f"  queue strategy {config.queue_strategy}; up to {config.max_in_flight} unanswered messages a channel"
    yield ""


def _channel_line(channel: ChannelConfig, registry: Registry) -> str:
    """Where it listens, and what differs from the defaults."""
    host = f"[{channel.host}]" if ":" in channel.host else channel.host
    defaults = {name: parameter.default for name, parameter in registry.parameters(channel.scheme).items()}
    parameters = ", ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else printable(str(value), None)}"
        for name, value in channel.parameters.items()
        if value != defaults.get(name)
    )
    return f"{channel.scheme}://{host}:{channel.port}  {parameters}".rstrip()


def _verdict(problems: Sequence[Problem]) -> str:
    errors = _errors(problems)
    notes = len(problems) - errors
    counted = f"{errors} error{'' if errors == 1 else 's'}, {notes} note{'' if notes == 1 else 's'}"
    return typer.style(counted, fg="red" if errors else "green")
