"""medagent's pytest plugin, in every pytest run of its environment: fixtures for tests of plugins, and config fixtures.

It imports next to nothing until a test uses it. docs/plugins/testing.md shows how.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from medagent.testing.config_fixtures import ConfigFixture
    from medagent.testing.fhir_server import FhirServer
    from medagent.testing.mllp import MllpClient
    from medagent.testing.queue_file import StoredMessage
    from medagent.testing.resources import Resource
    from medagent.testing.site import Site

CONFIG_FIXTURE = "agent.json"
"""The file of a config fixture that holds an Agent, or a Bundle with one."""
EXPECTED = "expected.json"
"""What it must become; a folder that holds both is a config fixture."""
UPDATED = "medagent_updated"
"""Name of the user property by which a test tells what file it has written."""


def pytest_addoption(parser: pytest.Parser) -> None:
    _add_update(parser, "--medagent-update")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Iterator[None]:
    """Take the short name of the option, unless another plugin or a conftest.py has it."""
    yield
    _, unknown = parser.parse_known_and_unknown_args(["--update"])
    if unknown:
        _add_update(parser, "--update")


def _add_update(parser: pytest.Parser, name: str) -> None:
    parser.getgroup("medagent").addoption(
        name,
        action="store_true",
        dest="medagent_update",
        help="write what config fixtures become to their expected.json instead of comparing it",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ConfigFixture | None:
    if file_path.name != CONFIG_FIXTURE:
        return None
    # an Agent without an expectation is somebody's configuration, unless an expectation is asked for
    asked = parent.config.getoption("medagent_update") or parent.session.isinitpath(file_path)
    if not (asked or file_path.with_name(EXPECTED).exists()):
        return None
    from medagent.testing.config_fixtures import ConfigFixture, holds_agent, is_expectation

    ours = holds_agent(file_path) or is_expectation(file_path.with_name(EXPECTED))
    return ConfigFixture.from_parent(parent, path=file_path) if ours else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    written = sorted({str(value) for report in reports for name, value in report.user_properties if name == UPDATED})
    if written:
        terminalreporter.section("medagent: written by --update; read the difference before you keep it")
        for path in written:
            terminalreporter.line(path)


@pytest.fixture
def medagent_update(request: pytest.FixtureRequest) -> bool:
    """Whether `--update` was given: for tests that have expectations of their own to write."""
    return bool(request.config.getoption("medagent_update"))


class MakeServer(Protocol):
    """The type of the fixture `medagent_server`; see there."""

    # resources as decoded JSON; options as `FhirServer` takes them
    def __call__(
        self,
        agent: Mapping[str, Any] | Path | None = None,
        endpoints: Iterable[Mapping[str, Any]] = (),
        *,
        channels: Mapping[str, str] | None = None,
        settings: Mapping[str, bool | int | float | str] | None = None,
        **server: Any,
    ) -> FhirServer: ...


@pytest.fixture
def medagent_server() -> MakeServer:
    """Makes an embedded FHIR server, to be used as `async with medagent_server(...) as server:`.

    `agent` is an Agent, or a Bundle with one and its Endpoints, or a file with either; without it `channels` maps names to
    addresses, such as `{"lab": "mllp://127.0.0.1:0?enhanced=true"}`, and `settings` names to values. More arguments go to
    `medagent.testing.fhir_server.FhirServer`.
    """
    _needs_extra()
    from medagent.testing.fhir_server import FhirServer
    from medagent.testing.resources import resources_of

    # as of `MakeServer`
    def make(
        agent: Mapping[str, Any] | Path | None = None,
        endpoints: Iterable[Mapping[str, Any]] = (),
        *,
        channels: Mapping[str, str] | None = None,
        settings: Mapping[str, bool | int | float | str] | None = None,
        **server: Any,
    ) -> FhirServer:
        return FhirServer(*resources_of(agent, endpoints, channels, settings), **server)

    return make


class MakeSite(Protocol):
    """The type of the fixtures `medagent_site` and `medagent_agent`; see there."""

    # as of `MakeServer`
    def __call__(
        self,
        agent: Mapping[str, Any] | Path | None = None,
        endpoints: Iterable[Mapping[str, Any]] = (),
        *,
        channels: Mapping[str, str] | None = None,
        settings: Mapping[str, bool | int | float | str] | None = None,
        plugins: Sequence[ModuleType] = (),
        **server: Any,
    ) -> contextlib.AbstractAsyncContextManager[Site]: ...


@pytest.fixture
def medagent_site(tmp_path_factory: pytest.TempPathFactory) -> MakeSite:
    """Makes a server with an agent that is not started, to be used as `async with medagent_site(...) as site:`.

    Arguments as of `medagent_server`; `plugins` are modules with hooks, beside the installed ones. `site.start` and
    `site.stop` run the agent in the test's process, and `site.process` as a child that can be killed, at a failpoint too. All
    lives share one state folder. See `medagent.testing.site.Site`.
    """
    _needs_extra()
    from medagent.testing.resources import resources_of
    from medagent.testing.site import Site

    # as of `MakeServer`
    def make(
        agent: Mapping[str, Any] | Path | None = None,
        endpoints: Iterable[Mapping[str, Any]] = (),
        *,
        channels: Mapping[str, str] | None = None,
        settings: Mapping[str, bool | int | float | str] | None = None,
        plugins: Sequence[ModuleType] = (),
        **server: Any,
    ) -> Site:
        resources: tuple[Resource, list[Resource]] = resources_of(agent, endpoints, channels, settings)
        return Site(tmp_path_factory.mktemp("medagent"), resources=resources, plugins=plugins, **server)

    return make


@pytest.fixture
def medagent_agent(medagent_site: MakeSite) -> MakeSite:
    """Makes a server with an agent that runs and is connected: `async with medagent_agent(...) as site:`.

    Arguments as of `medagent_site`.
    """

    # as of `MakeSite`
    @contextlib.asynccontextmanager
    async def make(*arguments: Any, **options: Any) -> AsyncIterator[Site]:
        async with medagent_site(*arguments, **options) as site:
            yield await site.start()

    return make


@pytest.fixture
def medagent_mllp() -> type[MllpClient]:
    """An MLLP client: `async with await medagent_mllp.connect(host, port) as device:`."""
    from medagent.testing.mllp import MllpClient

    return MllpClient


@pytest.fixture
def medagent_queue() -> Callable[[Path], list[StoredMessage]]:
    """Reads the messages in the state folder of an agent that has ended: `medagent_queue(state_dir)`.

    That of an agent that runs is read by `await site.queue()`.
    """
    from medagent.queue.sqlite.store import QUEUE_NAME
    from medagent.testing.queue_file import read_messages

    return lambda state_dir: read_messages(state_dir / QUEUE_NAME)


def _needs_extra() -> None:
    try:
        import aiohttp  # noqa: F401  the embedded FHIR server is made with it
    except ImportError:
        pytest.fail("this fixture needs the embedded FHIR server: pip install 'medagent[testing]'", pytrace=False)
