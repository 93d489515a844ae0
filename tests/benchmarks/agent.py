"""The agent under measurement: `medagent run` as it is installed, as a child process, between devices and a server."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import peers
from generator import Load
from server import Spec

from medagent.testing.distribution import install
from medagent.testing.process import SERVER_ENVIRON, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.testing.usage import cpu_seconds, forget_peak_rss, peak_rss_mb, rss_mb

Figures = dict[str, float]
Settings = Mapping[str, bool | int | float | str]
"""Of an Agent resource, by name."""
STARTS_WITHIN = 60.0
WARM_UP = 2000
"""Messages that nobody counts."""
_LISTENS = re.compile(rb"channel \S+ listens on (\S+):(\d+)")
_PLUGIN = """
from medagent import hookimpl

seen = 0


@hookimpl
def medagent_messages_accepted(messages):
    global seen
    seen += len(messages)


@hookimpl
def medagent_messages_settled(settled):
    global seen
    seen += len(settled)


@hookimpl
def medagent_make_transform():
    return str.strip
"""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is built around an agent."""

    channels: int = 1
    parameters: str = ""
    """Of each channel's address, after the question mark."""
    settings: Settings = dataclasses.field(default_factory=dict)
    silent: bool = False
    delay_ms: float = 0.0
    plugins: int = 0
    """Plugins that observe and transform all messages, besides those of medagent."""
    log_level: str = "info"
    port: int = 0
    """Of the only channel, known beforehand; needed where the log does not tell it. 0: any."""

    def spec(self) -> Spec:
        names = [f"c{number}" for number in range(self.channels)]
        agent = agent_resource({name: name for name in names}, self.settings)
        resources = {f"Agent/{AGENT_ID}": agent}
        resources |= {
            f"Endpoint/{name}": endpoint_resource(name, f"mllp://127.0.0.1:{self.port}?{self.parameters}") for name in names
        }
        return Spec(resources, self.silent, self.delay_ms)


class Site:
    """An agent, its server and, while they send, its devices."""

    def __init__(self, setup: Setup, folder: Path, server: peers.ServerPeer, python: str) -> None:
        self.server = server
        self._setup = setup
        self._folder = folder
        self._log = folder / "agent.log"
        self._arguments = (python, "-m", "medagent", "run", *server_arguments(server.base_url, AGENT_ID, folder / "state"))
        self._environ = os.environ | SERVER_ENVIRON | {"MEDAGENT_LOG_LEVEL": setup.log_level}
        if setup.plugins:
            plugins = folder / "plugins"
            plugins.mkdir()
            for number in range(setup.plugins):
                install(plugins, f"bench_{number}", _PLUGIN)
            self._environ["PYTHONPATH"] = str(plugins)
        self._process: subprocess.Popen[bytes] | None = None
        self._loads = 0
        self.addresses: list[tuple[str, int]] = []
        self.start_seconds = 0.0
        """From the start of the process until all channels listen."""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the agent is not running")
        return self._process.pid

    @property
    def rss_mb(self) -> float:
        return rss_mb(self.pid)

    @property
    def peak_rss_mb(self) -> float:
        """Since its start, or since the last load began."""
        return peak_rss_mb(self.pid)

    @property
    def cpu_seconds(self) -> float:
        """Since its start."""
        return cpu_seconds(self.pid)

    def start(self) -> None:
        """Raises `RuntimeError` with the end of the agent's log."""
        with self._log.open("wb") as log:
            began_at = time.perf_counter()
            # `-m` looks into the current folder first, and that may be the checkout of another agent
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environ,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stderr=log,
                process_group=0,  # Ctrl-C is for the benchmark, which ends it
            )
        while len(found := self._listening()) < self._setup.channels:
            self.check()
            if time.perf_counter() - began_at > STARTS_WITHIN:
                raise RuntimeError(f"the agent does not listen:\n{self._log_end}")
            time.sleep(0.002)
        self.start_seconds = time.perf_counter() - began_at
        self.addresses = found

    def _listening(self) -> list[tuple[str, int]]:
        if not self._setup.port:
            return [(host.decode(), int(port)) for host, port in _LISTENS.findall(self._log.read_bytes())]
        address = ("127.0.0.1", self._setup.port)
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address):
            return [address]
        return []

    @property
    def log_lines(self) -> int:
        return self._log.read_bytes().count(b"\n")

    @property
    def _log_end(self) -> str:
        return self._log.read_text()[-2000:]

    def check(self) -> None:
        """Raises `RuntimeError` with the end of the agent's log if it does not run any more."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the agent has ended:\n{self._log_end}")

    def stop(self) -> None:
        if self._process is not None:
            peers.end(self._process)
            self._process = None

    def drive(self, load: Load) -> Figures:
        """Have devices send; the figures of the agent and its peers while they did."""
        self._loads += 1
        with peers.devices(self.addresses, load, f"L{self._loads}-") as devices:
            forget_peak_rss(self.pid)
            cpu, server_cpu = self.cpu_seconds, self.server.ask("figures")["cpu_s"]
            figures = peers.go(devices)
            self.check()
            cpu = self.cpu_seconds - cpu
            after = self.server.ask("figures")
        per_10k = 10_000 / load.count
        return {
            **figures,
            "cpu_s_per_10k": round(cpu * per_10k, 3),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "out_of_order": after["out_of_order"],
            "generator_cpu_s_per_10k": round(figures["generator_cpu_s"] * per_10k, 3),
            "server_cpu_s_per_10k": round((after["cpu_s"] - server_cpu) * per_10k, 3),
        }

    def warm_up(self, load: Load) -> None:
        """A part of what comes, uncounted; nothing before a load that is too small to be measured."""
        if load.count >= WARM_UP:
            self.drive(dataclasses.replace(load, count=WARM_UP, connections=min(load.connections, 2), window=20, rate=0))


@contextlib.contextmanager
def site(setup: Setup, python: str = sys.executable) -> Iterator[Site]:
    """With the agent running; `python` is that of the environment in which it is installed."""
    with tempfile.TemporaryDirectory(prefix="medagent-bench-") as folder, peers.server(setup.spec()) as server:
        made = Site(setup, Path(folder), server, python)
        try:
            made.start()
            yield made
        finally:
            made.stop()
