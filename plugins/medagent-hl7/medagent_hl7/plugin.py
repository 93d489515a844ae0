"""The HL7 plugin's hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import medagent

if TYPE_CHECKING:
    import typer

    from medagent.channel import Channel, ChannelContext, ChannelFactory
    from medagent.config.model import AgentConfig
    from medagent.config.problems import Problem
    from medagent.config.settings import Registry


@medagent.hookimpl
def medagent_register_settings(registry: Registry) -> None:
    from medagent_hl7.settings import PARAMETERS

    for parameter in PARAMETERS:
        registry.add_parameter(parameter)


@medagent.hookimpl
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    register("mllp", _make_channel)


@medagent.hookimpl
def medagent_validate_config(config: AgentConfig) -> Sequence[Problem]:
    from medagent_hl7.settings import find_problems

    return find_problems(config)


@medagent.hookimpl
def medagent_register_commands(app: typer.Typer) -> None:
    from medagent_hl7.commands import register

    register(app)


def _make_channel(context: ChannelContext) -> Channel:
    from medagent_hl7.server import Hl7Channel

    return Hl7Channel(context)
