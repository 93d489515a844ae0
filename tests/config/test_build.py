"""From raw JSON to a configuration: whatever the JSON, every problem is found and the rest runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medagent.config.build import build
from medagent.config.describe import describe, describe_problems
from medagent.config.keepsake import reduce_source
from medagent.config.problems import Severity
from medagent.config.settings import Registry
from medagent.fhir.source import Source, endpoint_references
from medagent.plugins import build_registry
from medagent.testing.resources import agent_resource, channel, endpoint_resource, setting
from medagent.testing.shared import transcripts


@pytest.fixture(scope="module")
def registry() -> Registry:
    return build_registry()[0]


def source_of(address: str) -> Source:
    return Source(agent_resource({"adt": "ep"}), {"Endpoint/ep": endpoint_resource("ep", address)})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud800") | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
ELEMENTS = [
    *("resourceType", "id", "name", "status", "meta", "setting", "channel", "endpoint", "reference", "address"),
    *("targetReference", "targetUrl", "valueInteger", "valueString", "valueBoolean", "valueDecimal", "_name", "contained"),
    *("extension", "identifier", "device", "text", "language", "implicitRules", "modifierExtension", "header", "period"),
]


def element(**likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with these elements, some missing, some anything, some more."""
    fixed = {name: value | JSON for name, value in likely.items()}
    return st.builds(lambda known, more: {**more, **known}, st.fixed_dictionaries({}, optional=fixed), MORE)


MORE = st.dictionaries(st.sampled_from(ELEMENTS), JSON, max_size=2)
NAMES = st.sampled_from(["batchSize", "batchEnabled", "queueStrategy", "keepAlive", "batchSzie", ""])
ADDRESSES = st.builds(
    "{}{}:{}{}".format,
    st.sampled_from(["mllp://", "MLLP://", "tcp://", "", "mllp:", "://"]),
    st.sampled_from(["127.0.0.1", "[::1]", "[", "::", "", "host", "a@b", "\ud800", "192.0.2.1", "1.2.3.4%x"]),
    st.integers(-1, 70_000) | st.text(max_size=4),
    st.sampled_from(
        ["", "?enhanced=true", "?enhanced=x&enhanced", "?&&=%", "?messagesPerMin=1e9", "/path?a#b", "?\x00=\udcff"]
    ),
)
SETTINGS = element(
    name=NAMES, valueDecimal=st.just(10**400), valueInteger=st.integers(), valueString=st.text(), valueBoolean=st.booleans()
)
REFERENCES = element(reference=st.sampled_from(["Endpoint/1", "Endpoint/2", "#3", "Patient/1"]))
CHANNELS = element(name=st.sampled_from(["a", "b"]), endpoint=REFERENCES, targetReference=REFERENCES)
AGENTS = element(
    resourceType=st.just("Agent"),
    id=st.just("1"),
    name=st.just("x"),
    status=st.sampled_from(["active", "off", "on"]),
    setting=st.lists(SETTINGS | JSON, max_size=4),
    channel=st.lists(CHANNELS | JSON, max_size=4),
).map(lambda agent: {**agent, "resourceType": "Agent"})
ENDPOINTS = element(resourceType=st.just("Endpoint"), status=st.just("active"), address=ADDRESSES)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(agent=AGENTS | JSON, first=ENDPOINTS, second=ENDPOINTS)
@example(agent={**agent_resource(), "name": "\ud800", "id": "../x"}, first={}, second={})
@example(agent=agent_resource([{**channel("a", "1"), "resourceType": "\ud800"}]), first={}, second={})
def test_no_json_brings_it_down(registry: Registry, agent: Any, first: Any, second: Any) -> None:
    source = Source(agent, {"Endpoint/1": first, "#3": second}, {"Endpoint/2": "not there"})

    config, problems = build(source, registry, schemes=["mllp"], local=True)

    for problem in problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000
    json.dumps(describe_problems(problems), ensure_ascii=False).encode()
    if config is None:
        assert not isinstance(agent, dict) or agent.get("resourceType") != "Agent"
        assert problems
        return
    json.dumps(describe(config), ensure_ascii=False).encode()
    assert 1 <= config.batch.max_batch_size <= 10_000
    assert len({channel.name for channel in config.channels}) == len(config.channels)
    ports = [channel.port for channel in config.channels if channel.enabled and channel.port]
    assert len(set(ports)) == len(ports)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(agent=AGENTS, first=ENDPOINTS, second=ENDPOINTS)
def test_what_may_be_kept_of_it_builds_the_same(registry: Registry, agent: Any, first: Any, second: Any) -> None:
    source = Source(agent, {"Endpoint/1": first, "#3": second}, {"Endpoint/2": "not there"})
    kept = reduce_source(source, registry)
    assert Source(**json.loads(json.dumps(asdict(kept)))) == kept
    assert reduce_source(kept, registry) == kept
    configs = [build(each, registry, schemes=["mllp"], local=False)[0] for each in (source, kept)]
    before, after = [
        replace(config, channels=tuple(replace(channel, address="") for channel in config.channels)) if config else None
        for config in configs
    ]
    assert after == before


def test_deep_nesting_is_a_problem(registry: Registry) -> None:
    nested: dict[str, Any] = {"url": "http://example.org", "valueString": "x"}
    for _ in range(400):
        nested = {"url": "http://example.org", "extension": [nested]}
    config, problems = build(Source({**agent_resource(), "extension": [nested]}), registry, schemes=[], local=False)
    assert config is not None
    assert [str(problem) for problem in problems] == ["Agent: nested too deeply"]


def test_something_else_is_no_agent(registry: Registry) -> None:
    config, problems = build(Source({"resourceType": "Patient"}), registry, schemes=[], local=False)
    assert config is None
    assert [str(problem) for problem in problems] == ['Agent: an Agent is expected, found "Patient"']


def test_an_address_of_another_machine_is_noted(registry: Registry) -> None:
    # 192.0.2.0/24 is for documentation (RFC 5737)
    config, problems = build(source_of("mllp://192.0.2.1:2575"), registry, schemes=["mllp"], local=True)
    assert [str(problem) for problem in problems] == ["Endpoint/ep.address: 192.0.2.1 is not an address of this machine"]
    assert config is not None
    assert config.channels[0].host == "192.0.2.1"


@pytest.mark.parametrize(("address", "bind_any"), [("mllp://0.0.0.0:2575", False), ("mllp://127.0.0.1:2575", True)])
def test_listening_on_all_interfaces_needs_no_note(registry: Registry, address: str, bind_any: bool) -> None:
    assert build(source_of(address), registry, schemes=["mllp"], bind_any=bind_any, local=True)[1] == []


def recorded_cases() -> list[dict[str, Any]]:
    folder = transcripts()
    if folder is None:
        return []
    lines = (folder / "agent-settings-rest.jsonl").read_text(encoding="utf-8").splitlines()
    return [case for case in map(json.loads, lines) if "request_setting" in case]


@pytest.mark.skipif(transcripts() is None, reason="the recordings of a real server are not here")
@pytest.mark.parametrize("case", recorded_cases(), ids=lambda case: case["case"])
def test_settings_that_a_server_refuses_are_errors(registry: Registry, case: dict[str, Any]) -> None:
    source = Source(agent_resource(settings=case["request_setting"]))
    _, problems = build(source, registry, schemes=[], local=False)
    # what the server takes and no agent can use
    taken_but_faulty = {
        "valueString_for_batchSize",
        *("negative_valueInteger", "zero_valueInteger", "huge_valueInteger", "valueDecimal"),
        *("two_values", "duplicate_names", "unknown_setting_name"),
    }
    assert bool(problems) == (case["status"] == 400 or case["case"] in taken_but_faulty)


def recorded_resources(prefix: str, kind: str) -> list[dict[str, Any]]:
    folder = transcripts()
    assert folder is not None
    (path,) = folder.glob(f"{prefix}-*.jsonl")
    bodies = [json.loads(line).get("resp_body", "") for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(body) for body in bodies if body.startswith(f'{{"resourceType":"{kind}"') and body.endswith("}")]


@pytest.mark.skipif(transcripts() is None, reason="the recordings of a real server are not here")
@pytest.mark.parametrize("prefix", ["01", "18", "46", "47"])
def test_recorded_resources_are_understood(registry: Registry, prefix: str) -> None:
    """They hold the elements of meta that only a server knows (`X-Medplum: extended`)."""
    endpoints = {f"Endpoint/{item['id']}": item for item in recorded_resources(prefix, "Endpoint")}
    agents = recorded_resources(prefix, "Agent")
    assert agents
    assert endpoints
    for agent in agents:
        found = {name: endpoints[name] for name in endpoint_references(agent) & endpoints.keys()}
        config, problems = build(Source(agent, found), registry, schemes=["mllp", "tcp"], local=False)
        assert config is not None
        assert config.agent_id == agent["id"]
        wheres = {problem.where.split("?")[0] for problem in problems if problem.severity is Severity.ERROR}
        assert not [
            where for where in wheres if where.startswith(("Agent.meta", "Endpoint/")) and not where.endswith(".address")
        ]
        sized = [item["valueInteger"] for item in agent.get("setting", []) if item["name"] == "batchSize"]
        assert config.batch.max_batch_size == (sized or [100])[0]


def test_a_setting_of_a_plugin_reaches_the_configuration(registry: Registry) -> None:
    source = Source(agent_resource(settings=[setting("queueStrategy", "mine"), setting("batchEnabled", False)]))
    config, problems = build(source, registry, schemes=[], local=False)
    assert problems == []
    assert config is not None
    assert config.queue_strategy == "mine"
    assert config.settings["batchEnabled"] is False


ODD: list[Any] = [None, True, 5, -1.5, 10**400, "", '"x"', "50", [], ["x"], [None], {}, {"x": 1}, {"reference": 5}, "\ud800"]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all elements in decoded JSON."""
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        found += places(child, (*path, key))
    return found


def changed(value: Any, path: tuple[str | int, ...], odd: Any, *, sibling: bool) -> Any:
    """A copy in which one element is `odd`, or the extension element beside it (`_name`)."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[f"_{path[-1]}" if sibling and isinstance(path[-1], str) else path[-1]] = odd
    return copy


@pytest.mark.parametrize("sibling", [False, True], ids=["element", "its extension"])
@pytest.mark.parametrize("kind", ["Agent", "Endpoint"])
def test_no_element_can_be_so_odd_that_the_rest_does_not_run(registry: Registry, kind: str, sibling: bool) -> None:
    agent = agent_resource({"adt": "ep", "lab": "sound"}, {"batchSize": 7, "keepAlive": True})
    endpoint = endpoint_resource("ep", "mllp://127.0.0.1:2575?enhanced=true")
    sound = endpoint_resource("sound", "mllp://127.0.0.1:2576")
    resource = agent if kind == "Agent" else endpoint
    for path in places(resource):
        for odd in ODD:
            twisted = changed(resource, path, odd, sibling=sibling)
            endpoints = {"Endpoint/ep": endpoint if kind == "Agent" else twisted, "Endpoint/sound": sound}
            source = Source(twisted if kind == "Agent" else agent, endpoints)
            config, _ = build(source, registry, schemes=["mllp"], local=False)
            if kind == "Endpoint":
                assert config is not None
                assert "lab" in [channel.name for channel in config.channels], (path, odd)
