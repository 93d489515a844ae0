"""The hooks of the ASTM plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medagent import hookimpl

if TYPE_CHECKING:
    from medagent.channel import Channel, ChannelContext, ChannelFactory
    from medagent.config.settings import Registry


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    from medagent_astm.settings import PARAMETERS

    for parameter in PARAMETERS:
        registry.add_parameter(parameter)


@hookimpl
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    from medagent_astm.settings import SCHEME

    register(SCHEME, _make_channel)


def _make_channel(context: ChannelContext) -> Channel:
    from medagent_astm.channel import AstmChannel

    return AstmChannel(context)
