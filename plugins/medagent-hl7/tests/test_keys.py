"""The logical key: which field, and what is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.channel import Keyed
from medagent.config.model import AgentConfig, ChannelConfig, Value
from medagent.config.problems import Severity
from medagent.testing.channel import RecordingCore
from medagent.types import InboundMessage
from medagent_hl7 import plugin
from medagent_hl7.keys import DEFAULT_WORKERS, FieldPath
from medagent_hl7.message import Header

MSH = "MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||ADT^A01^ADT_A01|17|P|2.5.1"
PID = "PID|1||4711^^^MAIN&1.2.3&ISO^MR~4712^^^EAST||Muster^Erika"
MESSAGE = f"{MSH}\rEVN|A01\r{PID}\rPV1|1|I|3N^12\rNK1|1|A\rNK1|2|B\r"


def value(spelled: str, text: str | bytes) -> str:
    body = text.encode() if isinstance(text, str) else text
    path = FieldPath.parse(spelled)
    assert path is not None
    return path.value(body, Header.parse(body))


@pytest.mark.parametrize(
    ("spelled", "found"),
    [
        ("PID-3", "4711^^^MAIN&1.2.3&ISO^MR"),
        ("PID-3.1", "4711"),
        ("PID-3.4", "MAIN&1.2.3&ISO"),
        ("PID-3.4.2", "1.2.3"),
        ("PID-3.1.1", "4711"),
        ("PID-3.1.2", ""),
        ("PID-3.9", ""),
        ("PID-1", "1"),
        ("PID-2", ""),
        ("PID-5.2", "Erika"),
        ("PID-99", ""),
        ("PV1-3.2", "12"),
        ("NK1-2", "A"),
        ("MSH-3", "LAB"),
        ("MSH-9.2", "A01"),
        ("MSH-12", "2.5.1"),
        ("ZPI-1", ""),
    ],
)
@pytest.mark.parametrize("segment_end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize(
    "encode", [str.encode, lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16")]
)
def test_what_a_field_holds(spelled, found, segment_end, encode) -> None:
    assert value(spelled, encode(MESSAGE.replace("\r", segment_end))) == found


def test_other_delimiters() -> None:
    assert value("PID-3.4.2", "MSH#*:!?#LAB\rPID#1##1*2*3*a?b?c:9") == "b"


@pytest.mark.parametrize(
    "segments", ["", "PID", "PID\rPID|||late", "PIDX|||4711", "XPID|||4711", "OBX|1|TX|PID|||4711", "PID|||"]
)
def test_a_message_without_the_field_has_no_key(segments: str) -> None:
    assert value("PID-3.1", f"{MSH}\r{segments}") == ""


def test_blanks_around_it_do_not_count() -> None:
    assert value("PID-3.1", f"{MSH}\rPID|||  47 11  ^x") == "47 11"


def test_bytes_of_any_character_set_make_a_key() -> None:
    assert value("PID-3.1", MSH.encode() + b"\rPID|||M\xfcnch|") == "M\xfcnch"


@pytest.mark.parametrize(
    "text",
    [
        *("", "PID", "PID3", "PID.3", "PID-", "PID-0", "PID-3.0", "PID-3.", "PID-3.1.1.1", "pid-3", "PIDX-3", "PID-1000"),
        *("MSH-1", "MSH-2", "PID-3 ", "PID-3[1]", "PID-³"),
    ],
)
def test_what_names_no_field(text: str) -> None:
    assert FieldPath.parse(text) is None


ALPHABET = st.text(st.sampled_from("ab1 |^~\\&\r\nPIDMSH-"), max_size=60)


@given(ALPHABET, st.sampled_from(["PID-3", "PID-3.1", "PID-1.2.2", "MSH-4", "ab1-1"]))
def test_as_a_reading_by_splitting_would_find_it(tail: str, spelled: str) -> None:
    path = FieldPath.parse(spelled)
    if path is None:
        return
    text = f"{MSH}\r{tail}"
    expected = ""
    for line in text.replace("\n", "\r").split("\r"):
        if line.startswith(path.segment) and not line[3:4].isalnum():
            # what follows the name up to the first separator belongs to no field
            fields = line.split("|")
            index = path.number - (path.segment == "MSH")
            expected = fields[index].split("~")[0] if index < len(fields) else ""
            for separator, position in (("^", path.component), ("&", path.subcomponent)):
                if position:
                    parts = expected.split(separator)
                    expected = parts[position - 1] if position <= len(parts) else ""
            break
    assert path.value(text.encode(), Header.parse(text.encode())) == expected.strip(" ")


@given(st.binary(max_size=200), st.sampled_from(["PID-3.1", "OBX-5.1.1", "MSH-10"]))
def test_no_bytes_make_it_fail(tail: bytes, spelled: str) -> None:
    value(spelled, MSH.encode() + tail)
    value(spelled, MSH.encode() + b"\rPID|||" + tail)


@pytest.mark.parametrize("filler", ["\rPIDX", "\rPI", "|", "^", "~", "\r", "PID|||", "&"])
def test_long_messages_are_read_in_linear_time(filler: str) -> None:
    """In quadratic time this would run into the limit of a test's time."""
    body = (MSH + "\rPID||" + filler * (2_000_000 // len(filler))).encode()
    assert FieldPath("PID", 999, 999, 999).value(body, Header.parse(body)) == ""


def config(query: dict[str, Value], **settings: int) -> AgentConfig:
    return AgentConfig(
        "1", "agent", channels=(ChannelConfig("lab", "mllp", "127.0.0.1", 2575, "", parameters=query),), **settings
    )


def test_a_key_that_is_no_field_is_a_problem_that_says_what_is_expected() -> None:
    [problem] = plugin.medagent_validate_config(config({"logicalChannelKey": "PID3"}))
    assert "lab" in problem.where
    assert "logicalChannelKey" in problem.where
    assert "PID-3.1" in problem.message
    assert "one at a time" in problem.used
    assert plugin.medagent_validate_config(config({"logicalChannelKey": "PID-3.1"})) == []
    assert plugin.medagent_validate_config(config({})) == []


def test_a_key_that_changes_nothing_is_noted() -> None:
    [problem] = plugin.medagent_validate_config(config({"logicalChannelKey": "PID-3.1"}, max_in_flight=1))
    assert problem.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("query", "workers", "key"),
    [
        ({"logicalChannelKey": "PID-3.1", "maxWorkers": 7}, 7, "4711"),
        ({"logicalChannelKey": "PID-3.1"}, DEFAULT_WORKERS, "4711"),
        ({"logicalChannelKey": "nonsense"}, DEFAULT_WORKERS, ""),
        ({"maxWorkers": 7}, 0, ""),
    ],
)
def test_the_channel_tells_keys(query: dict[str, Value], workers: int, key: str) -> None:
    factories = {}
    plugin.medagent_register_channel_types(factories.__setitem__)
    channel = factories["mllp"](RecordingCore().context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=query)))
    assert isinstance(channel, Keyed)
    assert channel.max_workers == workers
    assert channel.key(InboundMessage(MESSAGE.encode(), "17", "", "c1")) == key
