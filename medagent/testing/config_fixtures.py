"""Config fixtures: a folder with `agent.json`, and in `expected.json` what it must become, is a test of pytest.

`expected.json` holds `configuration`, `problems`, or both. Of the configuration only the fields that are there are compared;
problems are compared whole, in their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medagent.testing.differences import Json, differences
from medagent.testing.pytest_plugin import EXPECTED, UPDATED

if TYPE_CHECKING:
    from medagent.plugins import Plugins

KEYS = ("configuration", "problems")
MOST_BYTES = 16 << 20

_PLUGINS = pytest.StashKey["Plugins"]()


def holds_agent(path: Path) -> bool:
    """Whether a file is a FHIR resource of type Agent, or a Bundle with one. Others may call theirs agent.json too."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return False
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    entries = document.get("entry") if isinstance(document, dict) and document.get("resourceType") == "Bundle" else None
    resources = [entry.get("resource") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return any(isinstance(item, dict) and item.get("resourceType") == "Agent" for item in (document, *resources))


class Unexpected(Exception):
    """What differs, in words."""


class ConfigFixture(pytest.File):
    """One folder."""

    def collect(self) -> Iterator[pytest.Item]:
        yield Becomes.from_parent(self, name="configuration")


class Becomes(pytest.Item):
    """The test: what `agent.json` becomes is what `expected.json` says."""

    def runtest(self) -> None:
        became = become(self.path, self._plugins())
        expected = self.path.with_name(EXPECTED)
        if self.config.getoption("medagent_update"):
            self._update(expected, became)
            return
        if not expected.exists():
            raise Unexpected(f"there is no {EXPECTED} beside it; to write it: {self._command}")
        found = list(differences(_read(expected), became))
        if found:
            found = [f"it does not become what {EXPECTED} says", *found, "", f"if it should become this: {self._command}"]
            raise Unexpected("\n".join(found))

    # as pytest's own method
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Unexpected):
            return f"{self._shown(self.path)}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"config fixture {self.path.parent.name}"

    def _plugins(self) -> Plugins:
        """Loaded once a run."""
        if _PLUGINS not in self.config.stash:
            from medagent.plugins import Plugins

            self.config.stash[_PLUGINS] = Plugins()
        return self.config.stash[_PLUGINS]

    def _shown(self, path: Path) -> str:
        """As the user would give it."""
        return os.path.relpath(path, self.config.invocation_params.dir)

    @property
    def _command(self) -> str:
        return f"pytest {self._shown(self.path.parent)} --update"

    def _update(self, expected: Path, became: dict[str, Json]) -> None:
        """Write all of it, or the fields that are there; nothing if they are right as they are."""
        kept = became
        with contextlib.suppress(Unexpected, OSError):
            before = _read(expected)
            if not any(differences(before, became)):
                return
            kept = _like(before, became)
        text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
        expected.write_text(text, encoding="utf-8")
        self.user_properties.append((UPDATED, self._shown(expected)))


def become(path: Path, plugins: Plugins) -> dict[str, Json]:
    """What the Agent in a file becomes, as plain JSON with the keys of `expected.json`."""
    from medagent.config.describe import describe, describe_problems
    from medagent.config.problems import Problem
    from medagent.configure import configure
    from medagent.errors import ConfigError
    from medagent.fhir.source import from_files

    try:
        # the folder is another one on each machine
        source = replace(asyncio.run(from_files([path])), origin=path.name)
    except ConfigError as error:
        text = str(error).replace(str(path), path.name)
        return {"configuration": None, "problems": describe_problems([Problem("files", text)])}
    config, problems = configure(source, plugins, bind_any=False, local=False)
    described: dict[str, Json] | None = None
    if config is not None:
        described = dict(describe(config))
        # the fields say it already, but for what plugins have declared
        given, values = described.pop("given"), described.pop("settings")
        of_plugins = {name: values[name] for name in given if _is_of_a_plugin(name, plugins)}
        if of_plugins:
            described["settings"] = of_plugins
    # tuples and enums as JSON has them
    became: dict[str, Json] = json.loads(json.dumps({"configuration": described, "problems": describe_problems(problems)}))
    return became


def _is_of_a_plugin(name: str, plugins: Plugins) -> bool:
    setting = plugins.registry.setting(name)
    built_in = {info.name for info in plugins.infos if info.origin == "built in"}
    return setting is not None and setting.declared_by not in built_in


def _like(before: Json, became: Json) -> Json:
    """What came of the fields that were expected before."""
    if isinstance(before, dict) and isinstance(became, dict):
        return {key: _like(value, became[key]) for key, value in before.items() if key in became}
    if isinstance(before, list) and isinstance(became, list) and len(before) == len(became):
        return [_like(one, other) for one, other in zip(before, became, strict=True)]
    return became


def is_expectation(path: Path) -> bool:
    """Whether a file is what a config fixture must become: then what is wrong with the Agent beside it is a failure."""
    try:
        _read(path)
    except (Unexpected, OSError):
        return False
    return True


def _read(path: Path) -> dict[str, Json]:
    """Raises `Unexpected` if it cannot be an expectation."""
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unexpected(f"{path.name} is not JSON: {error}") from None
    if not isinstance(expected, dict) or not expected or set(expected) - set(KEYS):
        raise Unexpected(f"{path.name} must be an object with {' or '.join(KEYS)}, or both, and nothing else")
    return expected
