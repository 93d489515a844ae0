"""docs/configuration.md: its tables are generated (`--update`), its files work, its unit hands over the credential."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medagent.config.bootstrap import resolve
from medagent.config.options import OPTIONS, Flags
from medagent.config.secret import CREDENTIAL
from medagent.testing.certificates import Authority
from medagent.testing.command_line import run_main
from medagent.testing.markdown import Page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def expect(name: str, made: str, *, update: bool) -> None:
    """Compare what stands between two markers with what is made anew, but for the width of columns."""
    text = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    before, rest = text.split(start)
    found, after = rest.split(end)
    if update:
        PAGE.write_text(before + start + made + end + after, encoding="utf-8")
        found = made
    assert re.sub("[ ─]+", " ", found) == re.sub("[ ─]+", " ", made), "run: pytest tests/docs/test_configuration.py --update"


def test_every_option_is_listed(medagent_update: bool) -> None:
    rows = ["| TOML file | Command line | Environment | agent.properties | Takes | Meaning |", "|---|---|---|---|---|---|"]
    for option in OPTIONS.values():
        properties = f"`{option.properties}`" if option.properties else ""
        kind = option.kind.value
        rows.append(f"| `{option.name}` | `{option.flag}` | `{option.variable}` | {properties} | {kind} | {option.meaning} |")
    expect("options", "\n".join(rows) + "\n", update=medagent_update)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the example, with the files it names."""
    (example,) = [block.text for block in Page(PAGE).blocks if block.language == "toml"]
    for name, text in (
        ("medagent.toml", example),
        ("client-secret", "hush"),
        ("hospital-ca.pem", Authority(tmp_path / "authority").ca_file.read_text()),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    return tmp_path


def test_the_toml_file_works(folder: Path) -> None:
    bootstrap = resolve(Flags(config=folder / "medagent.toml"), {})
    assert (bootstrap.client_secret, bootstrap.ca_file, bootstrap.warnings) == ("hush", folder / "hospital-ca.pem", ())


def test_the_output_of_medagent_config_is_what_it_prints(
    folder: Path, monkeypatch: pytest.MonkeyPatch, medagent_update: bool
) -> None:
    for name, value in {"MEDAGENT_LOG_LEVEL": "debug", "STATE_DIRECTORY": "/var/lib/medagent", "COLUMNS": "1000"}.items():
        monkeypatch.setenv(name, value)
    done = run_main("config", "--config", str(folder / "medagent.toml"))
    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.replace(str(folder), "/etc/medagent").splitlines() if line.strip(" ─")]
    cells = [re.split(r" {2,}", line) for line in lines]
    widths = [max(len(row[column]) for row in cells) for column in range(2)]
    table = "\n".join(f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}" for name, value, origin in cells)
    expect("config", f"```\n{table}\n```\n", update=medagent_update)


def test_the_unit_hands_over_the_credential() -> None:
    for page in (PAGE, ROOT / "README.md"):
        (unit,) = [block.text for block in Page(page).blocks if block.language == "ini"]
        assert f"LoadCredential={CREDENTIAL}:" in unit
        assert "MEDAGENT_CLIENT_SECRET" not in unit


def test_the_unit_can_be_reloaded() -> None:
    for page in (PAGE, ROOT / "README.md"):
        (unit,) = [block.text for block in Page(page).blocks if block.language == "ini"]
        assert "ExecReload=/bin/kill -HUP $MAINPID" in unit.splitlines()
