"""Endpoint.address: `scheme://host:port?parameters`, with every problem found at once."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from medagent.config.model import Value
from medagent.config.problems import Problem, Severity
from medagent.config.settings import Parameter, nearest
from medagent.config.values import from_text
from medagent.config.wording import default_used, show
from medagent.printable import printable

DEFAULT_HOST = "127.0.0.1"
"""Loopback, until the Endpoint says otherwise."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a channel listens."""

    scheme: str
    """In lower case."""
    host: str
    port: int
    query: str


def parse_address(text: str, where: str, schemes: Collection[str], problems: list[Problem]) -> Address | None:
    """Split an address; None if it names no place to listen at. `where` is the element, `Endpoint/ep1.address`."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError as error:
        problems.append(Problem(where, f"{show(text)} is not an address: {error}"))
        return None
    if not parts.scheme or not text[len(parts.scheme) :].startswith("://"):
        problems.append(Problem(where, f"{show(text)} is not an address such as mllp://127.0.0.1:2575"))
        return None
    if parts.fragment or parts.path not in ("", "/"):
        # parameters that stand there would be passed over, and with them who may connect
        problems.append(
            Problem(where, f"{show(text)} holds more than mllp://HOST:PORT?PARAMETERS: nothing may follow with / or #")
        )
        return None
    known = ", ".join(sorted(schemes)) or "none"
    before = len(problems)
    if parts.scheme not in schemes:
        guess = nearest(parts.scheme, schemes)
        hint = (
            f"did you mean {guess}?" if guess else "see `medagent plugins` for what is installed, and why something is left out"
        )
        problems.append(Problem(where, f"no channel type for {show(parts.scheme)} (there is: {known}); {hint}"))
    port = _port(parts, where, problems)
    if port is None or len(problems) > before:
        return None
    if not host:
        problems.append(Problem(where, f"{show(text)} names no host", DEFAULT_HOST))
    if port == 0:
        problems.append(Problem(where, "port 0: the system chooses a free port at every start", severity=Severity.NOTE))
    return Address(parts.scheme, host or DEFAULT_HOST, port, parts.query)


def _port(parts: SplitResult, where: str, problems: list[Problem]) -> int | None:
    try:
        port = parts.port
    except ValueError:
        found = parts.netloc.rpartition(":")[2]
        problems.append(Problem(where, f"the port is {show(found)}; wanted is a number from 1 to 65535"))
        return None
    if port is None:
        problems.append(Problem(where, "a port is required, such as mllp://127.0.0.1:2575"))
    return port


BARS = "nothing: the channel does not listen until that is mended: it would let everybody in"
"""`Problem.used` of a mistake in a parameter that says who may connect or send."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the query of an address says."""

    values: dict[str, Value]
    """Typed, by name."""
    barred: str
    """Why nobody may listen there, as of `ChannelConfig.barred`."""


def parse_parameters(
    query: str, where: str, known: Mapping[str, Parameter], others: Iterable[Parameter], problems: list[Problem]
) -> Parameters:
    """Typed values by name, defaults filled in; a parameter that has neither is left out. The first of a name counts.

    `known` are the parameters of the address's scheme, `others` those of all schemes. A mistake in one that guards bars the
    channel: so does a name that may be meant for it.
    """
    values: dict[str, Value] = {}
    seen: set[str] = set()
    # of several with one name, one that guards counts
    elsewhere = {item.name: item for item in sorted(others, key=lambda item: item.guards) if item.name not in known}
    barred: list[str] = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        location = f"{where}?{printable(name)}"
        parameter = known.get(name)
        if name in seen:
            problems.append(Problem(location, "given again", "the first"))
        elif parameter is None:
            meant, message = _meant(name, known, elsewhere)
            if meant is not None and meant.guards:
                barred.append(f"{printable(name)}: {message}")
            problems.append(Problem(location, message, BARS if meant is not None and meant.guards else ""))
        elif (value := from_text(text, parameter)) is None:
            message = f"found {show(text)}, wanted is {parameter.allowed}"
            if parameter.guards:
                barred.append(f"{name}: {message}")
            problems.append(Problem(location, message, BARS if parameter.guards else default_used(parameter.default)))
        else:
            values[name] = value
            if not parameter.effective:
                note = f"{name} is known, but has no effect ({parameter.help.rstrip('.')})"
                problems.append(Problem(location, note, severity=Severity.NOTE))
        seen.add(name)
    values = {name: item.default for name, item in known.items() if item.default is not None} | values
    return Parameters(values, "; ".join(barred))


def _meant(name: str, known: Mapping[str, Parameter], elsewhere: Mapping[str, Parameter]) -> tuple[Parameter | None, str]:
    """The parameter that an unknown name is most likely meant for, and what to say of it."""
    guards = {other: item for other, item in elsewhere.items() if item.guards}
    meant = elsewhere.get(name) or {item.name.lower(): item for item in guards.values()}.get(name.lower())
    if meant is None:
        guess = nearest(name, [*known, *guards])
        if guess is None:
            return None, "unknown parameter"
        meant = known.get(guess) or guards[guess]
    if meant.name in known:
        return meant, f"unknown parameter; did you mean {meant.name}?"
    spelled = "" if meant.name == name else f"{meant.name} is "
    return meant, f"unknown parameter; {spelled}only for {', '.join(meant.schemes)}"


def host_notes(host: str, where: str, *, local: bool) -> list[Problem]:
    """What an operator may not expect of a host. `local` allows to ask this machine for its addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        loopback = host.lower() == "localhost"
    else:
        loopback = address.is_loopback
        if local and not loopback and not _is_of_this_machine(host):
            return [Problem(where, f"{host} is not an address of this machine", severity=Severity.NOTE)]
    if loopback:
        return [Problem(where, "loopback: only this machine can connect", severity=Severity.NOTE)]
    return []


def _is_of_this_machine(host: str) -> bool:
    """Binding a datagram socket sends nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
