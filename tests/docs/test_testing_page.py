"""The tests, fixtures and failures that docs/plugins/testing.md shows are real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs/plugins/testing.md").read_text(encoding="utf-8")


def shown(kind: str) -> dict[str, str]:
    """The blocks that follow a mark `<!-- KIND: NAME -->`, by name."""
    return dict(re.findall(rf"<!-- {kind}: (\S+) -->\n```\w+\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


def test_the_example_passes(pytester: pytest.Pytester) -> None:
    for name, text in shown("test").items():
        (pytester.path / name).write_text(text)
    options = ("-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)


def test_the_config_fixture_passes_and_fails_as_shown(pytester: pytest.Pytester) -> None:
    for name, text in shown("fixture").items():
        (pytester.path / name).parent.mkdir(exist_ok=True)
        (pytester.path / name).write_text(text)
    pytester.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(passed=1)

    expected = pytester.path / "ward" / "expected.json"
    expected.write_text(expected.read_text().replace('"max_batch_size": 50', '"max_batch_size": 200'))
    result = pytester.runpytest_subprocess("ward", "-p", "no:asyncio")
    assert shown("output")["ward"] in result.stdout.str()
