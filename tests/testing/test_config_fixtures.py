"""Config fixtures, collected by pytest runs of their own, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medagent.plugins import Plugins
from medagent.testing.config_fixtures import become
from medagent.testing.differences import differences
from medagent.testing.resources import agent_resource, endpoint_resource, setting

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a run in this process imports is forgotten at its end, unless it was there before."""
    agent = tmp_path_factory.mktemp("any") / "agent.json"
    agent.write_text(bundle())
    become(agent, Plugins())


def bundle(address: str = "mllp://10.0.0.1:2575", **settings: int) -> str:
    agent = agent_resource({"lab": "1"}, [setting(name, value) for name, value in settings.items()])
    entries = [{"resource": agent}, {"resource": endpoint_resource("1", address)}]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


def fixture(pytester: pytest.Pytester, name: str, agent: str, expected: object = None) -> Path:
    folder = pytester.path / name
    folder.mkdir(exist_ok=True)
    (folder / "agent.json").write_text(agent)
    if expected is not None:
        (folder / "expected.json").write_text(json.dumps(expected))
    return folder / "expected.json"


def test_the_life_of_a_fixture(pytester: pytest.Pytester) -> None:
    expected = fixture(pytester, "small", bundle(batchSize=7))

    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.NO_TESTS_COLLECTED
    missing = pytester.runpytest_inprocess("small/agent.json")
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*there is no expected.json beside it; to write it: pytest small --update"])

    written = pytester.runpytest_inprocess("small", "--update")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines(["*written by --update*", "small/expected.json"])
    assert json.loads(expected.read_text())["configuration"]["batch"]["max_batch_size"] == 7

    (expected.parent / "agent.json").write_text(bundle(batchSize=8))
    different = pytester.runpytest_inprocess()
    different.assert_outcomes(failed=1)
    different.stdout.fnmatch_lines(["configuration.batch.max_batch_size", "    expected  7", "    came      8"])
    different.stdout.no_fnmatch_line("*Traceback*")
    different.stdout.no_fnmatch_line("*config_fixtures.py*")

    spread = pytester.runpytest_subprocess("-n", "1", "--update")
    spread.stdout.fnmatch_lines(["*written by --update*", "small/expected.json"])
    again = pytester.runpytest_inprocess("--update")
    again.assert_outcomes(passed=1)
    again.stdout.no_fnmatch_line("*written by --update*")


def test_what_is_collected_and_how_it_is_chosen(pytester: pytest.Pytester) -> None:
    fixture(pytester, "one", bundle(), {"problems": []})
    fixture(pytester, "two", bundle(), {"configuration": {"batch": {"enabled": True}}})
    strangers = [
        '{"name": "robot"}',
        '["Agent"]',
        "no JSON",
        '{"resourceType": "Patient"}',
        '{"resourceType": "Bundle", "entry": [1]}',
    ]
    for number, text in enumerate(strangers):
        fixture(pytester, f"stranger{number}", text, {"answer": 42})
    # what somebody's agent is started with
    fixture(pytester, ".", bundle())
    ids = ["one/agent.json::configuration", "two/agent.json::configuration"]
    pytester.runpytest_inprocess("--collect-only", "-q").stdout.fnmatch_lines([*ids, "*2 tests collected*"])
    pytester.runpytest_inprocess(".").assert_outcomes(passed=2)
    pytester.runpytest_inprocess("two").assert_outcomes(passed=1)
    pytester.runpytest_inprocess("-k", "one", ids[0]).assert_outcomes(passed=1)
    assert pytester.runpytest_inprocess("-p", "no:medagent").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("text", ["no JSON", '{"resourceType": "agent"}', "[1]"])
def test_an_agent_that_is_none_any_more_fails_beside_its_expectation(pytester: pytest.Pytester, text: str) -> None:
    fixture(pytester, "small", text, {"problems": []})
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*it does not become what expected.json says"])


def test_an_update_keeps_to_the_fields_that_are_there(pytester: pytest.Pytester) -> None:
    few = {"configuration": {"name": "x", "channels": [{"name": "lab", "port": 1}]}}
    expected = fixture(pytester, "small", bundle(), few)
    pytester.runpytest_inprocess("--update").assert_outcomes(passed=1)
    assert json.loads(expected.read_text()) == {
        "configuration": {"name": "Test Agent", "channels": [{"name": "lab", "port": 2575}]}
    }


def test_each_fixture_of_the_project_has_an_expectation() -> None:
    folders = [path for path in FIXTURES.iterdir() if path.is_dir()]
    assert len(folders) > 50
    assert [path.name for path in folders if not (path / "expected.json").exists()] == []


def test_plugins_and_faulty_expectations_count(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        mine="""
            from medagent import hookimpl
            from medagent.config.settings import Setting

            @hookimpl
            def medagent_register_settings(registry):
                registry.add_setting(Setting("myLimit", int, 5, "A limit.", minimum=1))
        """
    )
    info = pytester.mkdir("mine-1.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[medagent]\nmine = mine\n")
    fixture(pytester, "good", bundle(myLimit=9), {"configuration": {"settings": {"myLimit": 9}}, "problems": []})
    fixture(pytester, "misspelled", bundle(), {"problem": []})
    fixture(pytester, "surprised", bundle(myLimit=0), {"problems": []})
    result = pytester.runpytest_inprocess("-o", "pythonpath=.", "-q")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "misspelled/agent.json: expected.json must be an object with configuration or problems, or both, and nothing else",
            "problem at Agent.setting[[]0[]].valueInteger",
            "    expected  nothing",
            "    came      error: myLimit is 0; wanted is a whole number of at least 1; using the default, 5",
        ]
    )


def test_another_option_of_the_same_name_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--update', action='store_true', dest='theirs')")
    pytester.makepyfile(
        "def test_it(request, medagent_update): assert request.config.getoption('theirs') and not medagent_update"
    )
    pytester.runpytest_inprocess("--update").assert_outcomes(passed=1)
    expected = fixture(pytester, "mine", bundle())
    pytester.runpytest_inprocess("mine", "--medagent-update").assert_outcomes(passed=1)
    assert expected.exists()


def problem(where: str, message: str) -> dict[str, str]:
    return {"severity": "error", "where": where, "message": message, "used": ""}


@pytest.mark.parametrize(
    ("expected", "came", "shown"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": True}, {"a": 1}, ["configuration.a", "    expected  true", "    came      1"]),
        ({"a": [1]}, {"a": [1, 2]}, ["configuration.a[1]", "    expected  nothing", "    came      2"]),
        ({"a": {"b": None}}, {"a": {}}, ["configuration.a.b", "    expected  null", "    came      nothing"]),
        ({"a": 1}, None, ["configuration", '    expected  {"a": 1}', "    came      null"]),
    ],
)
def test_fields_are_compared_by_path(expected: object, came: object, shown: list[str]) -> None:
    lines = differences({"configuration": expected}, {"configuration": came, "problems": []})
    assert [line for line in lines if line] == shown


def test_problems_are_compared_one_by_one() -> None:
    first, second, third = problem("a", "one"), problem("b", "two"), problem("c", "three")
    lines = list(differences({"problems": [first, second]}, {"problems": [third, problem("b", "other")]}))
    assert [line for line in lines if line] == [
        *("problem at a", "    expected  error: one", "    came      nothing"),
        *("problem at b", "    expected  error: two", "    came      error: other"),
        *("problem at c", "    expected  nothing", "    came      error: three"),
    ]
    lines = list(differences({"problems": [first, second]}, {"problems": [second, first]}))
    assert lines[1:] == ["problems", "    expected  2, in this order: a, b", "    came      2: b, a"]


def test_not_all_of_many_differences_are_shown() -> None:
    lines = list(differences({"configuration": list(range(100))}, {"configuration": list(range(1, 101))}))
    assert lines[-1] == "and 80 more"
