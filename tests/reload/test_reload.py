"""A running agent takes another configuration, told by the server, while devices are connected."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medagent import hookimpl
from medagent.agent import Agent
from medagent.channel import ChannelContext, ChannelFactory
from medagent.plugins import Plugins
from medagent.reload import apply
from medagent.testing import bots
from medagent.testing.doubles import RecordingChannel
from medagent.testing.fhir_server import FhirServer
from medagent.testing.fhir_server.faults import HttpFailure
from medagent.testing.in_process import bootstrap, free_port, running
from medagent.testing.mllp import MllpClient
from medagent.testing.queue_file import read_messages
from medagent.testing.resources import AGENT_ID, Resource, agent_resource, endpoint_resource
from medagent.types import State


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5\rPID|1||4711\r".encode()


class Site:
    """One agent, its server, and what the server holds of it."""

    def __init__(self, fhir: FhirServer, agent: Agent) -> None:
        self.fhir = fhir
        self.agent = agent

    def address(self, channel: str) -> tuple[str, int]:
        assert self.agent.pipeline is not None
        host, _, port = self.agent.pipeline.channels[channel].address.rpartition(":")
        return host, int(port)

    async def connect(self, channel: str) -> MllpClient:
        return await MllpClient.connect(*self.address(channel))

    def state(self, channel: str) -> str:
        assert self.agent.pipeline is not None
        return self.agent.pipeline.channels[channel].state

    def put(self, channels: dict[str, str], *endpoints: Resource, **agent: object) -> None:
        for endpoint in endpoints:
            self.fhir.put(endpoint)
        self.fhir.put(agent_resource(channels, **agent))  # type: ignore[arg-type]  # keywords of agent_resource

    async def reload(self) -> list[str]:
        """As the server's operation does it, but for the way over the WebSocket."""
        return await self.agent.reload()


@contextlib.asynccontextmanager
async def site(
    tmp_path: Path, addresses: dict[str, str], bot: bots.Bot = bots.acknowledge, plugins: Plugins | None = None
) -> AsyncIterator[Site]:
    """Channels by name, with their addresses."""
    endpoints = [endpoint_resource(name, address) for name, address in addresses.items()]
    fhir = FhirServer(agent_resource({name: name for name in addresses}), endpoints, bot=bot)
    async with fhir, running(bootstrap(fhir, tmp_path), plugins) as agent:
        made = Site(fhir, agent)
        await fhir.wait_for(lambda server: server.journal.connects > 0)
        while any(made.state(name) == "starting" for name in addresses):
            await asyncio.sleep(0)
        yield made


async def answered(client: MllpClient, control_id: str) -> str:
    """Send a message; returns the code of the first answer, which must be to it."""
    await client.send(message(control_id))
    answer = await client.receive()
    code, of = answer.split(b"MSA|")[1].split(b"\r")[0].split(b"|")[:2]
    assert of.decode() == control_id
    return code.decode()


def original(port: int = 0) -> str:
    return f"mllp://127.0.0.1:{port}"


async def test_nothing_changed_leaves_everything_alone(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original(), "lab": original()}) as one, await one.connect("adt") as device:
        assert await one.reload() == []
        assert await answered(device, "A1") == "AA"


async def test_a_channel_is_added_and_the_others_keep_their_connections(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original()}) as one, await one.connect("adt") as device:
        one.put({"adt": "adt", "lab": "lab"}, endpoint_resource("lab", original()))
        assert await one.reload() == []
        assert await answered(device, "A1") == "AA"
        async with await one.connect("lab") as other:
            assert await answered(other, "B1") == "AA"


async def test_a_removed_channel_gets_its_last_answers_and_is_gone(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(request: bots.BotRequest) -> bots.BotResult:
        await gate.wait()
        return bots.acknowledge(request)  # type: ignore[return-value]  # it is not one that awaits

    async with site(tmp_path, {"adt": original(), "lab": original()}, slow) as one, await one.connect("lab") as device:
        await device.send(message("L1"))
        await one.fhir.wait_for(1)
        address = one.address("lab")
        one.put({"adt": "adt"})
        reload = asyncio.ensure_future(one.reload())
        assert one.agent.pipeline is not None
        while one.agent.pipeline.channels["lab"].address:
            await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await MllpClient.connect(*address)
        gate.set()
        assert b"MSA|AA|L1" in await device.receive()
        assert await reload == []
        assert await device.closed() == b""
        assert list(one.agent.pipeline.channels) == ["adt"]


async def test_a_channel_moves_to_another_port(tmp_path: Path) -> None:
    old, new = free_port(), free_port()
    async with site(tmp_path, {"adt": original(old)}) as one, await one.connect("adt") as device:
        assert await answered(device, "A1") == "AA"
        one.put({"adt": "adt"}, endpoint_resource("adt", original(new)))
        assert await one.reload() == []
        assert await device.closed() == b""
        assert one.address("adt") == ("127.0.0.1", new)
        async with await one.connect("adt") as again:
            assert await answered(again, "A2") == "AA"


async def test_two_channels_change_their_ports(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    async with site(tmp_path, {"adt": original(first), "lab": original(second) + "?enhanced=true"}) as one:
        one.put(
            {"adt": "adt", "lab": "lab"},
            endpoint_resource("adt", original(second)),
            endpoint_resource("lab", original(first) + "?enhanced=true"),
        )
        assert await one.reload() == []
        async with await MllpClient.connect("127.0.0.1", second) as adt, await MllpClient.connect("127.0.0.1", first) as lab:
            assert await answered(adt, "A1") == "AA"
            assert await answered(lab, "B1") == "CA"


async def test_a_port_that_is_taken_changes_nothing_and_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        async with site(tmp_path, {"adt": original(), "lab": original()}) as one, await one.connect("lab") as device:
            where = one.address("lab")
            one.put(
                {"adt": "adt", "lab": "lab", "new": "new"},
                endpoint_resource("lab", original(taken)),
                endpoint_resource("new", original()),
                settings={"batchSize": 7},
            )
            [problem] = await one.reload()
            assert problem.startswith("channel lab cannot listen: ")
            assert f"port {taken}: the port is in use" in problem
            assert await answered(device, "A1") == "AA"
            assert one.address("lab") == where
            assert one.agent.pipeline is not None
            assert list(one.agent.pipeline.channels) == ["adt", "lab"]
            assert one.agent.pipeline.config.batch.max_batch_size == 100
            assert one.agent.configuration is not None
            assert one.agent.configuration.refused == [problem]


async def test_a_channel_that_had_to_stop_first_comes_back_when_the_new_one_cannot_listen(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    async with site(tmp_path, {"adt": original(first), "lab": original(second)}) as one:
        # `lab` goes to where `adt` is, and `adt` to an address that is not this machine's
        one.put(
            {"adt": "adt", "lab": "lab"},
            endpoint_resource("adt", f"mllp://192.0.2.1:{second}"),
            endpoint_resource("lab", original(first)),
        )
        [problem] = await one.reload()
        assert "no address of this machine" in problem
        for port in (first, second):
            async with await MllpClient.connect("127.0.0.1", port) as device:
                assert await answered(device, f"B{port}") == "AA"


async def test_every_fault_comes_back_and_nothing_changes(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original(), "lab": original()}) as one, await one.connect("lab") as device:
        one.put(
            {"adt": "adt", "lab": "gone"},
            endpoint_resource("adt", "mllp://127.0.0.1:99999"),
            settings={"batchSize": 0},
        )
        problems = await one.reload()
        text = "\n".join(problems)
        assert "Endpoint/gone does not exist" in text
        assert "99999" in text
        assert "batchSize is 0" in text
        assert await answered(device, "A1") == "AA"


async def test_a_faulty_setting_gives_way_to_its_default_unless_validation_is_strict(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original()}) as one:
        assert one.agent.pipeline is not None
        one.put({"adt": "adt"}, settings={"batchSize": 0, "maxInFlight": 5})
        assert await one.reload() == []
        assert one.agent.pipeline.config.max_in_flight == 5
        one.put({"adt": "adt"}, settings={"batchSize": 0, "maxInFlight": 6, "strictConfigValidation": True})
        [problem] = await one.reload()
        assert "batchSize is 0" in problem
        assert one.agent.pipeline.config.max_in_flight == 5


async def test_an_endpoint_that_is_off_lets_what_is_queued_go_on(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original() + "?enhanced=true"}, bots.silent) as one:
        async with await one.connect("adt") as device:
            assert await answered(device, "A1") == "CA"
            await one.fhir.wait_for(1)
            one.put({"adt": "adt"}, endpoint_resource("adt", original() + "?enhanced=true", "off"))
            assert await one.reload() == []
            assert await device.closed() == b""
        assert one.state("adt") == "off"
        one.fhir.bot = bots.acknowledge
        one.fhir.abort_sockets()
        await one.fhir.wait_for(lambda server: server.journal.response_count > 0)
        one.put({"adt": "adt"}, endpoint_resource("adt", original() + "?enhanced=true"))
        assert await one.reload() == []
        async with await one.connect("adt") as device:
            assert await answered(device, "A2") == "CA"
    assert [row.state.ended for row in read_messages(tmp_path / "queue.db")] == [True, True]


async def test_an_agent_that_is_off_neither_listens_nor_sends_until_it_is_active_again(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original() + "?enhanced=true"}, bots.silent) as one:
        async with await one.connect("adt") as device:
            assert await answered(device, "A1") == "CA"
            await one.fhir.wait_for(1)
        one.put({"adt": "adt"}, status="off")
        assert await one.reload() == []
        assert one.state("adt") == "off"
        one.fhir.bot = bots.acknowledge
        connects = one.fhir.journal.connects
        one.fhir.abort_sockets()
        await one.fhir.wait_for(lambda server: server.journal.connects > connects)
        assert len(one.fhir.transmits) == 1, "it is connected, and sends nothing"
        one.put({"adt": "adt"})
        assert await one.reload() == []
        await one.fhir.wait_for(lambda server: server.journal.response_count > 0)
    assert [frame["callback"] for frame in one.fhir.transmits] == [one.fhir.transmits[0]["callback"]] * 2
    assert [row.state for row in read_messages(tmp_path / "queue.db")] == [State.RESPONSE_UNDELIVERED]


async def test_settings_apply_without_a_restart(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original() + "?enhanced=true"}, bots.silent) as one, await one.connect("adt") as device:
        one.put({"adt": "adt"}, settings={"queueMaxMessages": 2, "maxInFlight": 1, "batchEnabled": False})
        assert await one.reload() == []
        assert [await answered(device, f"A{number}") for number in range(3)] == ["CA", "CA", "CE"]
        assert len(one.fhir.transmits) == 1, "one at a time"
        one.put({"adt": "adt"})
        assert await one.reload() == []
        assert await answered(device, "A4") == "CA"
        await one.fhir.wait_for(3)


async def test_a_server_that_is_away_changes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original()}) as one, await one.connect("adt") as device:
        one.fhir.faults.fhir_failure = HttpFailure(503)
        [problem] = await one.reload()
        assert problem.startswith("the configuration cannot be loaded: ")
        one.fhir.faults.fhir_failure = None
        assert await answered(device, "A1") == "AA"


async def test_reloads_at_the_same_time_take_turns(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original()}) as one:
        one.put({"adt": "adt", "lab": "lab"}, endpoint_resource("lab", original()))
        assert await asyncio.gather(*(one.reload() for _ in range(5))) == [[]] * 5
        async with await one.connect("lab") as device:
            assert await answered(device, "A1") == "AA"


async def test_the_server_says_why_it_failed(tmp_path: Path) -> None:
    async with site(tmp_path, {"adt": original()}) as one:
        one.put({"adt": "gone"})
        outcome = await one.fhir.reload_config(AGENT_ID)
        assert outcome is not None
        assert "Endpoint/gone does not exist" in outcome["issue"][0]["details"]["text"]
        one.put({"adt": "adt"})
        outcome = await one.fhir.reload_config(AGENT_ID)
        assert outcome is not None
        assert outcome["issue"][0]["details"]["text"] == "All OK"


class Odd:
    """A plugin with a channel type whose channels fail at whatever a test says."""

    def __init__(self) -> None:
        self.made: list[RecordingChannel] = []
        self.hangs = False
        self.failing: set[str] = set()

    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("odd", self.make)

    def make(self, context: ChannelContext) -> RecordingChannel:
        if "make" in self.failing:
            raise RuntimeError("make")
        channel = _Hanging(context) if self.hangs else RecordingChannel(context)
        channel.failing = self.failing
        self.made.append(channel)
        return channel


class _Hanging(RecordingChannel):
    async def start(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("fault", ["make", "start", "hang"])
async def test_a_channel_of_a_plugin_that_fails_changes_nothing(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "LISTEN_SECONDS", 0.05)
    odd, plugins = Odd(), Plugins()
    plugins.register(odd, "odd")
    async with site(tmp_path, {"adt": original(), "odd": "odd://127.0.0.1:1"}, plugins=plugins) as one:
        assert one.agent.pipeline is not None
        before = one.agent.pipeline.channels["odd"]
        odd.failing, odd.hangs = {fault}, fault == "hang"
        one.put({"adt": "adt", "odd": "odd"}, endpoint_resource("odd", "odd://127.0.0.1:2"))
        async with await one.connect("adt") as device:
            [problem] = await one.reload()
            assert problem.startswith("channel odd")
            assert await answered(device, "A1") == "AA"
        assert one.agent.pipeline.channels["odd"] is before
        assert odd.made[0].calls == ["start"]
        odd.failing, odd.hangs = set(), False
        assert await one.reload() == []


async def test_a_stop_during_a_reload_is_a_stop(tmp_path: Path) -> None:
    odd, plugins = Odd(), Plugins()
    plugins.register(odd, "odd")
    async with site(tmp_path, {"adt": original()}, plugins=plugins) as one:
        odd.hangs = True
        one.put({"adt": "adt", "odd": "odd"}, endpoint_resource("odd", "odd://127.0.0.1:2"))
        reload = asyncio.ensure_future(one.reload())
        while not odd.made:
            await asyncio.sleep(0)
    assert odd.made[0].calls == ["close"]
    with contextlib.suppress(asyncio.CancelledError):
        await reload
