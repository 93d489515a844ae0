"""An event loop that no callback of a plugin ends, whichever loop it is."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medagent.guard import Guards, run_to_end

CANARY = "CANARY"
PLUGIN = f"""
import asyncio, sys

def leave(*_):
    sys.exit(3)

async def leave_later():
    leave()

def fail():
    raise ValueError({CANARY!r})

class Leaves(asyncio.Protocol):
    left = False
    data_received = leave

    def connection_lost(self, _):
        Leaves.left = True
"""


def loops() -> Iterator[object]:
    yield pytest.param(asyncio.new_event_loop, id="asyncio")
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        yield pytest.param(uvloop.new_event_loop, id="uvloop")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "lab_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lab_plugin", raising=False)
    return importlib.import_module("lab_plugin")


@pytest.mark.parametrize("new_loop", list(loops()))
def test_an_exit_ends_nobody(new_loop: Callable[[], asyncio.AbstractEventLoop], plugin: ModuleType) -> None:
    guards = Guards()
    guards.owners.add("lab", plugin)

    async def faults(count: int) -> None:
        async with asyncio.timeout(5):
            while sum(each["faults"] for each in guards.report()) < count:
                await asyncio.sleep(0.001)

    async def main() -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(plugin.Leaves, "127.0.0.1", 0)
        loop.call_soon(plugin.leave)
        await faults(1)  # one by one: of several in one turn, uvloop raises only the last
        task = loop.create_task(plugin.leave_later())
        await faults(2)
        assert isinstance(task.exception(), SystemExit)
        with socket.create_connection(server.sockets[0].getsockname()) as device:
            device.sendall(b"x")
            await faults(3)
        async with asyncio.timeout(5):
            while not plugin.Leaves.left:
                await asyncio.sleep(0.001)
        server.close()
        return "it goes on"

    loop = new_loop()
    assert run_to_end(loop, main(), guards) == "it goes on"
    loop.close()
    [shown] = guards.report()
    assert (shown["plugin"], shown["last_fault"]) == ("lab", "SystemExit at lab_plugin.py:5 in leave")


@pytest.mark.parametrize("new_loop", list(loops()))
def test_what_a_callback_raises_is_counted_and_its_text_is_nowhere(
    new_loop: Callable[[], asyncio.AbstractEventLoop], plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    guards = Guards()
    guards.owners.add("lab", plugin)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(plugin.fail)
        asyncio.get_running_loop().call_soon(int, CANARY)
        await asyncio.sleep(0.001)

    loop = new_loop()
    run_to_end(loop, main(), guards)
    loop.close()
    assert "plugin lab failed in a callback: ValueError" in caplog.text
    assert "a callback of the event loop failed: ValueError" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("new_loop", list(loops()))
def test_a_callback_that_stops_the_loop_does_not_end_it(
    new_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.001)
        return "it goes on"

    async def fail() -> None:
        raise RuntimeError("of the core")

    loop = new_loop()
    assert run_to_end(loop, main(), Guards()) == "it goes on"
    with pytest.raises(RuntimeError, match="of the core"):
        run_to_end(loop, fail(), Guards())
    loop.close()
    assert "has stopped the event loop" in caplog.text


def test_an_exit_of_the_core_is_one() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 4)
        await asyncio.sleep(1)

    async def end() -> None:
        sys.exit(5)

    for work, code in ((main, 4), (end, 5)):
        with asyncio.Runner() as runner, pytest.raises(SystemExit) as left:
            run_to_end(runner.get_loop(), work(), Guards())
        assert left.value.code == code
