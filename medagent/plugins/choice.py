"""Which of the plugins that were found are imported, as the options say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from medagent.config.plugin_options import PluginOptions
from medagent.config.settings import nearest
from medagent.plugins.discovery import Candidate
from medagent.plugins.info import State


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of each."""

    chosen: tuple[Candidate, ...]
    """To be imported, in this order."""
    passed_over: tuple[tuple[Candidate, State], ...]
    warnings: tuple[str, ...]
    """Names in the options that nobody has."""


def choose(installed: Sequence[Candidate], options: PluginOptions, built_in: Collection[str]) -> Choice:
    """A block counts more than a permission; a module that the options name is allowed by that. Pure."""
    named = [Candidate(module, module) for module in dict.fromkeys(options.modules)]
    chosen: list[Candidate] = []
    passed_over = []
    for candidate in (*installed, *named):
        if candidate.is_among(options.blocked):
            passed_over.append((candidate, State.BLOCKED))
        elif options.allowed is not None and candidate.distribution and not candidate.is_among(options.allowed):
            passed_over.append((candidate, State.NOT_ALLOWED))
        # an entry point may name the same module
        elif candidate.distribution or candidate.value not in {each.value for each in chosen}:
            chosen.append(candidate)
    return Choice(tuple(chosen), tuple(passed_over), tuple(_warnings((*installed, *named), options, built_in)))


def _warnings(candidates: Sequence[Candidate], options: PluginOptions, built_in: Collection[str]) -> Iterator[str]:
    known = [name for each in candidates for name in (each.name, each.distribution) if name]
    for option, names in (("block_plugins", options.blocked), ("allow_plugins", options.allowed or ())):
        for name in names:
            if any(each.is_among((name,)) for each in candidates):
                continue
            if name not in built_in:
                guess = nearest(name, (*known, *built_in))
                yield f"{option}: no plugin {name} is installed" + (f"; did you mean {guess}?" if guess else "")
            elif option == "block_plugins":
                yield f"{option}: {name} is built in and cannot be blocked"
