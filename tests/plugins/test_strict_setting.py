"""The Agent's setting `strictPlugins`: the one thing on a server that ends an agent, and only at its start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from medagent.errors import PluginError
from medagent.plugins import Plugins
from medagent.testing.distribution import install
from medagent.testing.fhir_server import FhirServer
from medagent.testing.in_process import bootstrap, running
from medagent.testing.resources import agent_resource, endpoint_resource

FAULT = "plugin bad cannot be loaded: ModuleNotFoundError: No module named 'nowhere' at plugin_bad.py:1 in <module>"


def resource(*, strict: bool) -> dict[str, Any]:  # raw JSON
    return agent_resource({"adt": "adt"}, {"strictPlugins": strict})


def server(*, strict: bool) -> FhirServer:
    return FhirServer(resource(strict=strict), [endpoint_resource("adt", "mllp://127.0.0.1:0")])


@pytest.fixture
def _bad_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that cannot be loaded is installed."""
    (tmp_path / "installed").mkdir()
    install(tmp_path / "installed", "bad", "import nowhere")
    monkeypatch.syspath_prepend(tmp_path / "installed")


@pytest.mark.usefixtures("_bad_plugin")
async def test_a_start_by_it_ends_with_what_to_do(tmp_path: Path) -> None:
    async with server(strict=True) as fhir:
        with pytest.raises(PluginError, match="--block-plugins bad") as raised:
            async with running(bootstrap(fhir, tmp_path / "state")):
                pass
    assert raised.value.exit_code == 78
    assert "  - bad (medagent-bad 1.5): ModuleNotFoundError" in str(raised.value)


@pytest.mark.usefixtures("_bad_plugin")
async def test_a_reload_to_it_changes_nothing(tmp_path: Path) -> None:
    async with server(strict=False) as fhir, running(bootstrap(fhir, tmp_path / "state")) as agent:
        fhir.put(resource(strict=True))
        assert await agent.reload() == [f"Agent.setting strictPlugins: {FAULT}"]
        assert agent.config is not None
        assert not agent.config.strict_plugins


@pytest.mark.usefixtures("_bad_plugin")
async def test_a_start_after_such_a_reload_is_by_what_was_in_force(tmp_path: Path) -> None:
    async with server(strict=False) as fhir:
        start = bootstrap(fhir, tmp_path / "state")
        async with running(start):
            pass
        fhir.put(resource(strict=True))
        async with running(start) as agent:
            assert agent.configuration is not None
            assert agent.configuration.refused == [f"Agent.setting strictPlugins: {FAULT}"]
            fhir.put(resource(strict=False))
            while agent.configuration.saved_at is not None:
                await agent.reload()
                await asyncio.sleep(0)


async def test_what_was_in_force_ends_a_start_without_the_server_too(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with server(strict=True) as fhir:
        start = bootstrap(fhir, tmp_path / "state")
        async with running(start):
            pass
    request.getfixturevalue("_bad_plugin")
    with pytest.raises(PluginError, match="strictPlugins is on"):
        async with running(start):
            pass


async def test_with_all_plugins_loaded_it_changes_nothing(tmp_path: Path) -> None:
    assert Plugins().left_out == []
    async with server(strict=True) as fhir, running(bootstrap(fhir, tmp_path / "state")) as agent:
        assert agent.config is not None
        assert agent.config.strict_plugins
