"""The watchdog: it names the plugin whose code keeps the event loop from turning, and nobody else."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medagent.guard import Guard, Guards, Watchdog, guard, watchdog
from medagent.tasks import Tasks

LOOK = 0.02
BLOCK = 0.25
"""Seconds that code blocks here: many more looks than a fault takes, since the machine may be busy."""
PLUGIN = """
import asyncio, time

class Channel:
    def __init__(self, name):
        self.name = name

class Connection:
    def __init__(self, channel):
        self.channel = channel

    def data_received(self, seconds):
        time.sleep(seconds)

def block(seconds):
    time.sleep(seconds)

def block_alone(count):
    sum(range(count))  # C code that lets no other thread run

def nap(_):
    time.sleep(0.001)

async def work(seconds):
    block(seconds)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "lab_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lab_plugin", raising=False)
    return importlib.import_module("lab_plugin")


@pytest.fixture
async def guards(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Guards:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", LOOK)
    guards = Guards()
    guards.owners.add("lab", plugin)
    return guards


@pytest.fixture
async def _watching(guards: Guards) -> Iterator[None]:  # type: ignore[misc]  an asynchronous generator
    dog = Watchdog(guards)
    dog.start()
    yield
    dog.stop()


async def turns() -> None:
    """The loop turns for long enough to be seen turning."""
    await asyncio.sleep(5 * LOOK)


def line_of(text: str) -> int:
    return PLUGIN.split("\n").index(text) + 1


@pytest.mark.usefixtures("_watching")
async def test_a_hook_that_blocks_is_named_by_file_and_line_and_stopped(
    guards: Guards, plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    health, metrics = guards.of("lab", "medagent_health"), guards.of("lab", "medagent_metrics")
    health.attempt("", plugin.block, BLOCK)
    assert not health.breaker.open, "it has returned, and the loop has not turned yet"
    await turns()
    place = f"lab_plugin.py:{line_of('    time.sleep(seconds)')} in block"
    assert health.breaker.open
    assert place in health.last_fault
    assert f"plugin lab blocks the event loop at {place}" in caplog.text
    assert not metrics.breaker.open


@pytest.mark.usefixtures("_watching")
async def test_a_task_that_blocks_is_its_channels_fault(guards: Guards, plugin: ModuleType) -> None:
    adt, oru = guards.of("lab", "channel adt"), guards.of("lab", "channel oru")
    tasks = Tasks()
    adt.spawner(tasks)(plugin.work(BLOCK), "work")
    await turns()
    await turns()
    assert (adt.breaker.open, oru.breaker.open) == (True, False)
    await tasks.cancel()


@pytest.mark.usefixtures("_watching")
async def test_a_coroutine_that_the_core_awaits_is_seen_too(guards: Guards, plugin: ModuleType) -> None:
    startup = guards.of("lab", "medagent_startup")
    await startup.wait("", plugin.work, BLOCK)
    await turns()
    assert startup.breaker.open


@pytest.mark.usefixtures("_watching")
async def test_a_callback_is_the_fault_of_the_channel_that_it_has_hold_of(guards: Guards, plugin: ModuleType) -> None:
    hosts = {}
    for name in ("adt", "oru"):
        hosts[name] = guards.of("lab", f"channel {name}")
        hosts[name].subjects = (plugin.Channel(name),)
    asyncio.get_running_loop().call_soon(plugin.Connection(*hosts["oru"].subjects).data_received, BLOCK)
    await turns()
    await turns()
    assert [guard.breaker.open for guard in hosts.values()] == [False, True]


@pytest.mark.usefixtures("_watching")
async def test_of_a_callback_that_nobody_knows_all_channels_of_its_plugin_are_stopped(
    guards: Guards, plugin: ModuleType
) -> None:
    guards.of("lab", "channel adt").subjects = (plugin.Channel("adt"),)
    guards.of("other", "channel oru").subjects = (object(),)
    asyncio.get_running_loop().call_soon(plugin.block, BLOCK)
    await turns()
    await turns()
    assert [guards.of("lab", "channel adt").breaker.open, guards.of("other", "channel oru").breaker.open] == [True, False]


@pytest.mark.usefixtures("_watching")
async def test_nobody_is_accused_of_what_the_core_does_or_of_many_short_calls(guards: Guards, plugin: ModuleType) -> None:
    time.sleep(BLOCK)  # noqa: ASYNC251  that is the point
    await turns()
    transform = guards.of("lab", "transform")
    for _ in range(round(BLOCK / 0.001)):
        transform.attempt("", plugin.nap, None)
    await turns()
    assert guards.report() == []


@pytest.mark.usefixtures("_watching")
async def test_built_in_code_is_named_and_goes_on(guards: Guards, plugin: ModuleType) -> None:
    store = Guard("lab", "queue store", stoppable=False)
    store.attempt("", plugin.block, BLOCK)
    await turns()
    assert (store.faults, store.breaker.open) == (1, False)


async def test_code_that_lets_no_other_thread_run_is_found_by_its_time(
    guards: Guards, plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (guard, watchdog):
        monkeypatch.setattr(module, "BLOCKING_SECONDS", 0.1)
    dog = Watchdog(guards)
    dog.start()
    health = guards.of("lab", "medagent_health")
    health.attempt("", plugin.block_alone, 20_000_000)
    dog.stop()
    assert health.breaker.open
    assert "plugin lab has blocked the event loop in" in caplog.text


CHILD = """
import asyncio, importlib, logging, sys, time
from medagent.guard import Guards, Watchdog, guard, watchdog

async def main():
    import lab_plugin
    watchdog.LOOK_SECONDS = 0.05
    for module in (guard, watchdog):
        module.BLOCKING_SECONDS = 0.25
    guards = Guards()
    guards.owners.add("lab", lab_plugin)
    Watchdog(guards).start()
    print("ready", flush=True)
    for _ in range(20):
        guards.of("lab", "medagent_health").attempt("", lab_plugin.block, 0.05)
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)
    print(guards.report(), flush=True)

asyncio.run(main())
"""


def test_a_machine_that_sleeps_accuses_nobody(plugin: ModuleType) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(str(plugin.__file__)).parent)}
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env=environ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(2):
            time.sleep(0.12)
            child.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            child.send_signal(signal.SIGCONT)
        assert child.stdout.read() == "[]\n"
    assert child.returncode == 0


async def test_it_ends_with_its_loop(guards: Guards, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    async def brief() -> None:
        Watchdog(guards).start()

    await asyncio.to_thread(asyncio.run, brief())
    await turns()
    assert caplog.text == ""
