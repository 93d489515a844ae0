"""Finding the plugins that installed distributions offer. Nothing is imported."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection
from dataclasses import dataclass

from medagent.printable import printable

ENTRY_POINT_GROUP = "medagent"
OWN = frozenset({"medagent-astm", "medagent-hl7", "medagent-tcp"})
"""medagent's own distributions: loaded before all others, so that nobody takes their schemes and settings."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that could be loaded."""

    name: str
    value: str
    """Where it is: `package.module`, or `package.module:object`."""
    distribution: str = ""
    """The name of the distribution that offers it; "" if the options name its module."""
    version: str = ""
    fault: str = ""
    """Why it cannot even be imported."""

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}".rstrip() or f"module {self.value}"

    def is_among(self, names: Collection[str]) -> bool:
        """Whether it, or its distribution, is named."""
        distributions = {normalized(name) for name in names}
        return self.name in names or (bool(self.distribution) and normalized(self.distribution) in distributions)


def normalized(distribution: str) -> str:
    """The name of a distribution as all its spellings have it (Python packaging: "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def find_candidates() -> list[Candidate]:
    """medagent's own first, then by name; of several that share one, the distribution `medagent-NAME` comes first."""
    found: dict[str, list[Candidate]] = {}
    for distribution in importlib.metadata.distributions():
        if candidates := _candidates(distribution):
            # as for imports, the first on the path hides the others
            found.setdefault(normalized(candidates[0].distribution), candidates)
    every = [candidate for candidates in found.values() for candidate in candidates]
    return sorted(every, key=_place)


def _place(candidate: Candidate) -> tuple[bool, str, bool, str]:
    distribution = normalized(candidate.distribution)
    return distribution not in OWN, candidate.name, distribution != f"medagent-{candidate.name}", candidate.origin


def _candidates(distribution: importlib.metadata.Distribution) -> list[Candidate]:
    """What one distribution offers; if its metadata cannot be read, one candidate that says so."""
    try:
        points = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
    # the parser raises whatever it comes upon in a broken file
    except Exception as error:  # noqa: BLE001  as said above
        name, version = _name_and_version(distribution)
        name = name or f"a distribution in {distribution.locate_file('')}"
        return [Candidate(name, "", name, version, f"its entry points cannot be read ({_said(error)}): install it again")]
    if not points:
        return []
    name, version = _name_and_version(distribution)
    return [Candidate(printable(point.name), point.value, name or point.value, version, _fault(point)) for point in points]


def _fault(point: importlib.metadata.EntryPoint) -> str:
    if point.pattern.match(point.value) is None:
        return f"its entry point names no module: {printable(point.value)}"
    return ""


def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Empty where its metadata is missing or broken."""
    try:
        return printable(distribution.name or ""), printable(distribution.version or "")
    # as for the entry points
    except Exception:  # noqa: BLE001  as said above
        return "", ""


def _said(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 200)
