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
    from medagent.running import RunningAgent
    from medagent.sender import Sender, SenderContext, SenderFactory


@medagent.hookimpl
def medagent_register_settings(registry: Registry) -> None:
    from medagent_hl7.settings import PARAMETERS

    for parameter in PARAMETERS:
        registry.add_parameter(parameter)


@medagent.hookimpl
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    from medagent_hl7.schemes import SCHEMES

    for scheme in SCHEMES:
        register(scheme, _make_channel)


@medagent.hookimpl
def medagent_register_sender_types(register: Callable[[str, SenderFactory], None]) -> None:
    from medagent_hl7.schemes import SCHEMES

    for scheme in SCHEMES:
        register(scheme, _make_sender)


@medagent.hookimpl
def medagent_validate_config(config: AgentConfig) -> Sequence[Problem]:
    from medagent_hl7.settings import find_problems

    return find_problems(config)


@medagent.hookimpl
def medagent_health(agent: RunningAgent) -> Sequence[tuple[str, bool, str]]:
    from medagent_hl7.server import Hl7Channel

    return [
        (f"channel {name}", False, reason)
        for name, channel in agent.channels.items()
        if isinstance(channel, Hl7Channel)
        for reason in channel.reasons()
    ]


@medagent.hookimpl
def medagent_register_commands(app: typer.Typer) -> None:
    from medagent_hl7.commands import register

    register(app)


def _make_channel(context: ChannelContext) -> Channel:
    from medagent_hl7.server import Hl7Channel

    return Hl7Channel(context)


def _make_sender(context: SenderContext) -> Sender:
    from medagent_hl7.sender import Hl7Sender

    return Hl7Sender(context)
