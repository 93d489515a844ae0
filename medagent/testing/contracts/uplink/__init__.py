"""`UplinkContract`: what an uplink promises, checked against a server that the plugin's author puts under the suite's hand."""

from __future__ import annotations

from medagent.testing.contracts.uplink.connecting import Connecting
from medagent.testing.contracts.uplink.ground import Server
from medagent.testing.contracts.uplink.site import ClosesOverSize, ServerControl
from medagent.testing.contracts.uplink.talking import Talking

__all__ = ["ClosesOverSize", "ServerControl", "UplinkContract"]


class UplinkContract(Connecting[Server], Talking[Server]):
    """Subclass it, and define `server` and `make`; every test is a promise of `medagent.uplink.base.Uplink`.

    Many tests wait until the uplink connects again: have `make` give it short delays, or raise `patience`.
    """
