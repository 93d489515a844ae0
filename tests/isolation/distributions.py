"""An environment with nothing but medagent, its channels and the faulty plugins, each installed from its wheel."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
SOUND = (ROOT, ROOT / "plugins" / "medagent-hl7", ROOT / "docs" / "examples" / "medagent-lines")
_METADATA = """Metadata-Version: 2.1
Name: medagent-fault-{name}
Version: 0.1.0
Requires-Dist: medagent<0.2,>=0.1
"""
_WHEEL = """Wheel-Version: 1.0
Generator: medagent-tests
Root-Is-Purelib: true
Tag: py3-none-any
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


def write_wheel(folder: Path, name: str, fault: Fault) -> None:
    """A faulty distribution. Written here and not by a build backend, which would take a process for each."""
    module = f"medagent_fault_{name.replace('-', '_')}"
    info = f"{module}-0.1.0.dist-info"
    files = {
        f"{module}.py": fault.source.replace("SCHEME", scheme(name)).replace("CHANNEL", channel(name)) + "\n",
        f"{info}/METADATA": _METADATA.format(name=name),
        f"{info}/WHEEL": _WHEEL,
        f"{info}/entry_points.txt": f"[medagent]\n{entry_point(name)} = {module}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-0.1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def make_environment(folder: Path, faults: Mapping[str, Fault]) -> Path:
    """Make the wheels, install them in a new environment with what they depend on; returns its Python."""
    wheels = folder / "wheels"
    wheels.mkdir()
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = (*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(wheels))
    subprocess.run([*build, *map(str, SOUND)], check=True)
    for name, fault in faults.items():
        write_wheel(wheels, name, fault)
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    install = (*pip, "--python", str(python), "install")
    subprocess.run([*install, *map(str, sorted(wheels.glob("*.whl")))], check=True)
    return python
