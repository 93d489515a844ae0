"""The last good configuration on disk: written whole or not at all, read with suspicion, and without secrets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medagent.config.build import build
from medagent.config.model import AgentConfig
from medagent.config.settings import Registry
from medagent.config.snapshot import SNAPSHOT_NAME, Snapshot, load, save
from medagent.fhir.source import Source, from_files
from medagent.plugins import build_registry
from medagent.testing.power_cut import Cut, Disk, steps
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.testing.system_calls import complete, read_calls, strace

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SERVER = "https://fhir.example.org/"
REGISTRY, SCHEMES = build_registry()


def source(size: int = 100) -> Source:
    agent = agent_resource({"adt": "ep1"}, {"batchSize": size})
    return Source(agent, {"Endpoint/ep1": endpoint_resource("ep1", "mllp://127.0.0.1:2575")}, origin=f"{SERVER}Agent/1")


def keep(folder: Path, given: Source, *, registry: Registry = REGISTRY) -> None:
    save(folder, given, server=SERVER, agent_id=AGENT_ID, registry=registry)


def kept(folder: Path) -> Snapshot | None:
    return load(folder, server=SERVER, agent_id=AGENT_ID)


def size_of(snapshot: Snapshot | None) -> object:
    """The batch size by which the tests tell one configuration from another."""
    return None if snapshot is None else snapshot.source.agent["setting"][0]["valueInteger"]


def built(given: Source) -> AgentConfig | None:
    return build(given, REGISTRY, schemes=SCHEMES, local=False)[0]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    keep(tmp_path, source())
    snapshot = kept(tmp_path)
    assert snapshot is not None
    assert snapshot.source == source()
    assert abs(snapshot.saved_at - (tmp_path / SNAPSHOT_NAME).stat().st_mtime) < 60


@pytest.mark.parametrize("folder", sorted(path.parent for path in FIXTURES.glob("*/agent.json")), ids=lambda path: path.name)
async def test_the_configuration_is_that_of_the_original(tmp_path: Path, folder: Path) -> None:
    original = await from_files([folder / "agent.json"])
    keep(tmp_path, original)
    snapshot = kept(tmp_path)
    assert snapshot is not None
    expected, actual = built(original), built(snapshot.source)
    assert expected is not None
    assert actual is not None
    # parameters that nobody declares are no longer part of the address
    assert [channel.address.partition("?")[0] for channel in actual.channels] == [
        channel.address.partition("?")[0] for channel in expected.channels
    ]
    assert without_addresses(actual) == without_addresses(expected)
    keep(tmp_path, snapshot.source)
    assert kept(tmp_path) == snapshot


def without_addresses(config: AgentConfig) -> AgentConfig:
    return replace(config, channels=tuple(replace(channel, address="") for channel in config.channels))


SECRET = "hush-hush"


def test_no_secret_is_kept(tmp_path: Path) -> None:
    agent = agent_resource(
        [
            {
                "name": "adt",
                "endpoint": {"reference": "Endpoint/ep1", "display": SECRET},
                "targetUrl": f"https://u:{SECRET}@bot.example.org/{SECRET}?key={SECRET}",
            },
            {"name": "broken", "endpoint": {"reference": "Endpoint/ep2"}, "targetReference": {"display": SECRET}},
            {"name": "faulty", "targetUrl": SECRET},
            {"name": "foreign", "endpoint": {"reference": f"https://u:{SECRET}@x/Endpoint/9"}, "targetUrl": "https://x/"},
            {"name": "contained", "endpoint": {"reference": "#in"}, "targetReference": {"reference": "Bot/1"}},
        ],
        [
            {"name": "batchSize", "valueInteger": 7},
            {"name": "password", "valueString": SECRET},
            {"name": "queueStrategy", "valueInteger": 1, "valueString": SECRET},
        ],
    )
    headers = {"header": [f"Authorization: Bearer {SECRET}"], "text": {"status": "generated", "div": SECRET}}
    inside = endpoint_resource("in", "mllp://127.0.0.1:2576")
    original = Source(
        agent
        | {"contained": [inside | headers, {"resourceType": "Basic", "id": "x", "text": SECRET}], "meta": {"account": SECRET}},
        {
            "Endpoint/ep1": endpoint_resource("ep1", f"mllp://u:{SECRET}@127.0.0.1:2575?token={SECRET}&enhanced=aa") | headers,
            "Endpoint/ep2": endpoint_resource("ep2", f"mllp://127.0.0.1:2577/{SECRET}"),
            "Endpoint/unused": endpoint_resource("unused", f"mllp://127.0.0.1:1?x={SECRET}"),
            "#in": inside | headers,
            "#x": {"resourceType": "Basic", "id": "x", "text": SECRET},
        },
        {f"https://u:{SECRET}@x/Endpoint/9": f"https://u:{SECRET}@x/Endpoint/9 is on another server"},
        f"https://u:{SECRET}@fhir.example.org/Agent/1",
    )
    keep(tmp_path, original)
    assert SECRET not in (tmp_path / SNAPSHOT_NAME).read_text()
    snapshot = kept(tmp_path)
    assert snapshot is not None
    config = built(snapshot.source)
    assert config is not None
    assert [(channel.name, channel.address) for channel in config.channels] == [
        ("adt", "mllp://127.0.0.1:2575?enhanced=aa"),
        ("contained", "mllp://127.0.0.1:2576"),
    ]
    assert config.batch.max_batch_size == 7
    assert config.given == {"batchSize"}
    assert snapshot.source.faults["https://x/Endpoint/9"] == "https://x/Endpoint/9 is on another server"
    # what kept a channel from running is still told
    assert "Endpoint/ep2" in snapshot.source.faults


def test_a_mistake_that_bars_a_channel_bars_it_still(tmp_path: Path) -> None:
    address = "mllp://0.0.0.0:2575?alow=10.1.0.0/16&nothing=x&lenientEnd=true"
    original = Source(agent_resource({"adt": "ep1"}), {"Endpoint/ep1": endpoint_resource("ep1", address)})
    keep(tmp_path, original)
    snapshot = kept(tmp_path)
    assert snapshot is not None
    before, after = built(original), built(snapshot.source)
    assert before is not None
    assert after is not None
    assert after.channels[0].barred == before.channels[0].barred != ""
    assert after.channels[0].address == "mllp://0.0.0.0:2575?alow&lenientEnd=true"


def test_nothing_is_written_when_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / SNAPSHOT_NAME
    keep(tmp_path, source())
    first = path.stat()
    keep(tmp_path, source())
    # what is not kept does not count
    noisy = source()
    keep(tmp_path, replace(noisy, agent={**noisy.agent, "meta": {"versionId": "2"}}))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    keep(tmp_path, source(50))
    assert size_of(kept(tmp_path)) == 50


def test_it_is_private_from_birth_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / f"{SNAPSHOT_NAME}.new").write_text("left by a crash")
    umask = os.umask(0)
    try:
        keep(tmp_path, source())
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / SNAPSHOT_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [SNAPSHOT_NAME]


def test_without_one_there_is_none_and_nobody_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert kept(tmp_path) is None
    assert kept(tmp_path / "nowhere") is None
    assert caplog.messages == []


def reworded(data: bytes, **changes: Any) -> bytes:  # any JSON
    """With another head, its checksum right."""
    head, _, body = data.partition(b"\n")
    return json.dumps({**json.loads(head), **changes}).encode() + b"\n" + body


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[:-40], "checksum"),
        (lambda data: data[:-1], "checksum"),
        (lambda data: data.replace(b"100", b"101"), "checksum"),
        (lambda data: data + b"\0", "checksum"),
        (lambda data: reworded(data, sha256=None), "checksum"),
        (lambda data: data[:20], "no snapshot"),
        (lambda _data: b"", "no snapshot"),
        (lambda data: bytes(len(data)), "no snapshot"),
        (lambda _data: b"\xff\xfe", "no snapshot"),
        (lambda _data: b"[" * 100_000, "no snapshot"),
        (lambda data: reworded(data, version=2), "another version"),
        (lambda data: reworded(data, version="1"), "another version"),
    ],
)
def test_one_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Any, reason: str
) -> None:
    keep(tmp_path, source())
    path = tmp_path / SNAPSHOT_NAME
    path.write_bytes(spoil(path.read_bytes()))
    assert kept(tmp_path) is None
    (line,) = caplog.messages
    assert reason in line
    assert str(path) in line
    keep(tmp_path, source())
    assert size_of(kept(tmp_path)) == 100


def test_with_a_right_checksum_and_a_wrong_form(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for body in (b"{}", b"[]", b"null", b"not JSON", b'{"agent": []}'):
        head = {"version": 1, "sha256": hashlib.sha256(body).hexdigest()}
        (tmp_path / SNAPSHOT_NAME).write_bytes(json.dumps(head).encode() + b"\n" + body + b"\n")
        assert kept(tmp_path) is None
    assert len(caplog.messages) == 5


def test_one_of_another_server_or_agent_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(tmp_path, source())
    assert load(tmp_path, server="https://other.example.org/", agent_id=AGENT_ID) is None
    assert load(tmp_path, server=SERVER, agent_id="other") is None
    assert ["another server" in caplog.messages[0], "another Agent" in caplog.messages[1]] == [True, True]


def test_one_that_cannot_be_read_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / SNAPSHOT_NAME).mkdir()
    assert kept(tmp_path) is None
    assert "Is a directory" in caplog.messages[0]


def test_a_disk_that_takes_nothing_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, source())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keep(tmp_path, source(50))
    assert size_of(kept(tmp_path)) == 100
    assert [path.name for path in tmp_path.iterdir()] == [SNAPSHOT_NAME]


SAVE = """
import sys
from pathlib import Path
from medagent.config.snapshot import save
from medagent.fhir.source import Source
from medagent.plugins import build_registry

agent = {"resourceType": "Agent", "id": "a", "setting": [{"name": "batchSize", "valueInteger": 50}]}
agent["channel"] = [{"name": "x" * 3000, "endpoint": {"reference": "Endpoint/1"}, "targetReference": {"reference": "Bot/1"}}]
save(Path(sys.argv[1]), Source(agent), server=sys.argv[2], agent_id=sys.argv[3], registry=build_registry()[0])
"""


@pytest.mark.timeout(120)  # a busy machine takes long to record
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
async def test_a_power_cut_at_any_moment_leaves_the_old_one_or_the_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, record, image = tmp_path / "state", tmp_path / "calls", tmp_path / "image"
    folder.mkdir()
    image.mkdir()
    keep(folder, source())
    disk = Disk(folder, {SNAPSHOT_NAME: (folder / SNAPSHOT_NAME).read_bytes()})
    command = (*strace(record), sys.executable, "-c", SAVE, str(folder), SERVER, AGENT_ID)
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    await complete(record, process.pid)

    seen = []
    rng = random.Random(1)  # noqa: S311  no secret
    for _, call in steps(read_calls(record, folder)):
        disk.apply(call)
        for cut in [*Cut] * 8:
            for name, data in disk.image(cut, rng).items():
                (image / name).write_bytes(data)
            seen.append(size_of(kept(image)))
    assert set(seen) == {100, 50}
    assert set(seen[-8:]) == {50}
    assert [entry.message for entry in caplog.records if entry.levelno >= logging.WARNING] == []
