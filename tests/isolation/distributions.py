"""An environment with nothing but medagent, its channels and the faulty plugins, each installed from its wheel."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
SOUND = (ROOT, ROOT / "plugins" / "medagent-hl7", ROOT / "docs" / "examples" / "medagent-lines")
_PYPROJECT = """
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "medagent-fault-{name}"
version = "0.1.0"
dependencies = ["medagent>=0.1,<0.2"]

[project.entry-points.medagent]
{entry_point} = "{module}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""


def entry_point(name: str) -> str:
    """What `medagent plugins` calls the plugin."""
    return FAULTS[name].entry_point or f"fault-{name}"


def scheme(name: str) -> str:
    """Of the channel that a fault is to harm."""
    return f"faulty-{name}" if FAULTS[name].own_scheme else "line"


def channel(name: str) -> str:
    """The name of that channel."""
    return f"bad-{name}"


def told(name: str) -> str:
    """What must be said of a fault."""
    return FAULTS[name].told.replace("CHANNEL", channel(name))


def write_distribution(folder: Path, name: str, fault: Fault) -> Path:
    """The source of a faulty distribution; returns its folder."""
    target = folder / f"medagent-fault-{name}"
    target.mkdir()
    module = f"medagent_fault_{name.replace('-', '_')}"
    text = _PYPROJECT.format(name=name, module=module, entry_point=entry_point(name))
    (target / "pyproject.toml").write_text(text)
    source = fault.source.replace("SCHEME", scheme(name)).replace("CHANNEL", channel(name))
    (target / f"{module}.py").write_text(source + "\n")
    return target


def make_environment(folder: Path, faults: Mapping[str, Fault]) -> Path:
    """Build the wheels, install them in a new environment with what they depend on; returns its Python."""
    sources, wheels = folder / "sources", folder / "wheels"
    sources.mkdir()
    distributions = [*SOUND, *(write_distribution(sources, name, fault) for name, fault in faults.items())]
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    subprocess.run([*build, "--wheel-dir", str(wheels), *map(str, distributions)], check=True)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*install, *map(str, sorted(wheels.glob("*.whl")))], check=True)
    return python
