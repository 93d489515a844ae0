"""The pytest plugin, in child processes: what it costs, and the fixtures, in both modes of pytest-asyncio."""

from __future__ import annotations

import pytest

PLUGIN = """
    from medagent import hookimpl

    @hookimpl
    def medagent_make_transform(channel):
        return str.upper
"""

USE = """
    import pytest

    from medagent.testing.site import adt, read_ack
    from medagent.types import State

    import shouting

    pytestmark = pytest.mark.asyncio
    CHANNELS = {"lab": "mllp://127.0.0.1:0?enhanced=true"}

    async def test_a_running_agent(medagent_agent, medagent_mllp):
        async with medagent_agent(channels=CHANNELS, plugins=[shouting]) as site:
            async with await medagent_mllp.connect(*await site.address("lab")) as device:
                await device.send(adt("a1"))
                assert read_ack(await device.receive()).code == "CA"
                assert read_ack(await device.receive()).code == "AA"
            assert [one.control_id for one in await site.queue()] == ["a1"]
            assert "4711^^^HOSP^MR" in site.fhir.transmits[0]["body"]

    async def test_a_failpoint_and_the_queue_it_leaves(medagent_site, medagent_queue):
        async with medagent_site(channels=CHANNELS, plugins=[shouting]) as site:
            async with site.process(failpoint="after_commit") as process:
                await process.listening("lab")
                device = await medagent_mllp_at(process.addresses["lab"])
                await device.send(adt("a1"))
                assert await process.wait() == -9
                await device.close()
            assert [one.state for one in medagent_queue(site.state_dir)] == [State.RECEIVED]
            await site.start()
            await site.drained()
            assert len(site.fhir.transmits) == 1

    async def medagent_mllp_at(address):
        from medagent.testing.mllp import MllpClient

        return await MllpClient.connect(*address)

    async def test_a_server_alone(medagent_server, tmp_path):
        bundle = tmp_path / "bundle.json"
        bundle.write_text('{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Agent", "id": "a"}}]}')
        async with medagent_server(bundle) as server:
            assert server.base_url.startswith("http://127.0.0.1:")
"""


@pytest.fixture(autouse=True)
def _no_other_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_fixtures_work(pytester: pytest.Pytester, mode: str) -> None:
    pytester.makepyprojecttoml(
        f'[tool.pytest.ini_options]\nasyncio_mode = "{mode}"\nasyncio_default_fixture_loop_scope = "function"\n'
        'filterwarnings = ["error"]\npythonpath = ["."]'
    )
    pytester.makepyfile(shouting=PLUGIN, test_use=USE)
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_run_that_does_not_use_it_imports_nothing_for_it(pytester: pytest.Pytester) -> None:
    pytester.makefile(".json", agent='{"name": "somebody else\'s"}', expected="{}")
    pytester.makepyfile("""
        import sys

        def test_imports():
            ours = {name for name in sys.modules if name.partition(".")[0] == "medagent"}
            assert ours == {
                "medagent", "medagent.testing", "medagent.testing.config_fixtures", "medagent.testing.differences",
                "medagent.testing.pytest_plugin",
            }
            assert not {"aiohttp", "pydantic", "fhir", "websockets"} & sys.modules.keys()
    """)
    pytester.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(passed=1)


def test_without_the_extra_a_fixture_says_what_to_install(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(aiohttp="raise ImportError('not here')", test_use="def test_it(medagent_site): ...")
    result = pytester.runpytest_subprocess("-o", "pythonpath=.")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'medagent[[]testing[]]'*"])
