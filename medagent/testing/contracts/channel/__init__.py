"""`ChannelContract`: what every channel promises, checked on a plugin's."""

from __future__ import annotations

from medagent.testing.contracts.channel.acceptance import Acceptance
from medagent.testing.contracts.channel.agents import Agents
from medagent.testing.contracts.channel.device import Device, Reply, What
from medagent.testing.contracts.channel.life import Life
from medagent.testing.contracts.channel.reading import Reading

__all__ = ["ChannelContract", "Device", "Reply", "What"]


class ChannelContract(Acceptance, Reading, Life, Agents):
    """Subclass it as `TestMyChannel`, set `address`, write `connect`, and run pytest.

    `medagent.testing.contracts.channel.base.ChannelBase` lists what else can be set.
    """
