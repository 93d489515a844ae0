"""The hooks of the byte stream plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import medagent

if TYPE_CHECKING:
    from medagent.channel import Channel, ChannelContext, ChannelFactory
    from medagent.config.model import AgentConfig
    from medagent.config.problems import Problem
    from medagent.config.settings import Registry


@medagent.hookimpl
def medagent_register_settings(registry: Registry) -> None:
    from medagent_tcp.settings import PARAMETERS

    for parameter in PARAMETERS:
        registry.add_parameter(parameter)


@medagent.hookimpl
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    from medagent_tcp.settings import SCHEME

    register(SCHEME, _make_channel)


@medagent.hookimpl
def medagent_validate_config(config: AgentConfig) -> Sequence[Problem]:
    from medagent_tcp.settings import find_problems

    return find_problems(config)


def _make_channel(context: ChannelContext) -> Channel:
    from medagent_tcp.channel import ByteStreamChannel

    return ByteStreamChannel(context)
