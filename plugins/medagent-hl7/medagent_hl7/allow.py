"""Who may connect and who may send: the parameters `allow` and `allowSender`. Without I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping

from medagent.config.model import ChannelConfig, Value
from medagent.config.problems import Problem
from medagent.config.settings import Parameter
from medagent.config.wording import show
from medagent_hl7.message import Header
from medagent_hl7.schemes import SCHEMES

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PARAMETERS = (
    Parameter(
        "allow",
        SCHEMES,
        str,
        None,
        "addresses and networks that may connect, comma-separated, such as `10.1.0.0/16,192.0.2.7`. Unset: all",
        guards=True,
    ),
    Parameter(
        "allowSender",
        SCHEMES,
        str,
        None,
        "senders whose messages are accepted, comma-separated, as `MSH-3^MSH-4`, with one side empty for any. Unset: all",
        guards=True,
    ),
)


class AllowedPeers:
    """The networks that may connect; an entry that is no network lets nobody in."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> AllowedPeers | None:
        """None if everybody may connect."""
        listed = parameters.get("allow")
        if listed is None:
            return None
        networks = (_network(entry) for entry in _entries(listed))
        return cls(tuple(network for network in networks if network is not None))

    def __contains__(self, host: str) -> bool:
        """`host` is an IP address; an IPv4 peer of an IPv6 socket is an IPv4 address here."""
        address = ipaddress.ip_address(host.partition("%")[0])
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


class AllowedSenders:
    """The sending applications and facilities whose messages are accepted."""

    def __init__(self, senders: frozenset[tuple[str, str]]) -> None:
        self._senders = senders

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> AllowedSenders | None:
        """None if everybody may send."""
        listed = parameters.get("allowSender")
        if listed is None:
            return None
        pairs = (entry.partition("^") for entry in _entries(listed) if _names_a_sender(entry))
        return cls(frozenset((application.strip(), facility.strip()) for application, _, facility in pairs))

    def __contains__(self, header: Header) -> bool:
        """By the first components of MSH-3 and MSH-4 (the namespace), letter by letter."""
        application, facility = header.component(3, 1), header.component(4, 1)
        return not self._senders.isdisjoint({(application, facility), (application, ""), ("", facility)})


def find_problems(channel: ChannelConfig) -> list[Problem]:
    """Find entries of `allow` that are no networks, and entries of `allowSender` that name no sender."""
    where = f"Agent.channel {channel.name}: Endpoint.address parameter"
    no_network = "neither an IP address nor a network such as 10.1.0.0/16"
    no_sender = "no sender such as LAB^NORTH, LAB or ^NORTH"
    problems: list[Problem] = []
    if (listed := channel.parameters.get("allow")) is not None:
        problems += _unusable(f"{where} allow", listed, no_network, "connect", lambda entry: _network(entry) is not None)
    if (listed := channel.parameters.get("allowSender")) is not None:
        problems += _unusable(f"{where} allowSender", listed, no_sender, "send", _names_a_sender)
    return problems


def _unusable(where: str, listed: Value, fault: str, verb: str, usable: Callable[[str], bool]) -> list[Problem]:
    """The entries that cannot be used; with no other one nobody can `verb`."""
    entries = list(_entries(listed))
    used = "the other entries" if any(map(usable, entries)) else f"no entry: nobody can {verb}"
    if not entries:
        return [Problem(where, f"{show(listed)} names nobody", used)]
    return [Problem(where, f"{entry} is {fault}", used) for entry in entries if not usable(entry)]


def _names_a_sender(entry: str) -> bool:
    return bool(entry.replace("^", "").strip()) and entry.count("^") <= 1


def _entries(listed: Value) -> Iterator[str]:
    return filter(None, (entry.strip() for entry in str(listed).split(",")))


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
