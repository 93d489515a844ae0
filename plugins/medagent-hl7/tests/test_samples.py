"""The sample messages and the generator of load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.testing.shared import corpus
from medagent_hl7.charset import codec_of, decode
from medagent_hl7.message import BOM, Header, Hl7Error
from medagent_hl7.samples import Sample, load, with_control_id
from medagent_hl7.samples.generate import Generator, unique_prefix

SAMPLES = load()
BY_NAME = {sample.name: sample.body for sample in SAMPLES}
HEADER = rb"MSH|^~\&|A|B|C|D|20260302||ADT^A01|OLD|P|2.5"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_each_sample_is_a_message_in_its_own_character_set(sample: Sample) -> None:
    header = Header.parse(sample.body)
    assert header.message_type.lower() == sample.name[:3]
    assert header.trigger_event.lower() == sample.name[4:7]
    assert header.control_id
    text, valid = decode(sample.body, codec_of(header, "ascii"))
    assert valid
    names = [segment[:4] for segment in text.rstrip("\r").split("\r")]
    assert all(name[:3].isalnum() and name[3:] == "|" for name in names)


def test_the_samples_show_what_devices_send() -> None:
    types = {(header.message_type, header.trigger_event) for header in map(Header.parse, BY_NAME.values())}
    adt = {("ADT", trigger) for trigger in ("A01", "A03", "A04", "A08", "A31", "A40")}
    others = {("ORU", "R01"), ("ORM", "O01"), ("OML", "O21"), ("SIU", "S12"), ("MDM", "T02"), ("VXU", "V04")}
    assert types == adt | others
    versions = {Header.parse(body).version for body in BY_NAME.values()}
    assert versions == {"2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"}
    assert len({Header.parse(body).control_id for body in BY_NAME.values()}) == len(BY_NAME)


def test_the_odd_samples_are_odd() -> None:
    assert "ŁUCJA" in BY_NAME["adt_a08_update_utf8"].decode("utf-8")
    with pytest.raises(UnicodeDecodeError):
        BY_NAME["adt_a31_person_8859_1"].decode("utf-8")
    assert b"\r" not in BY_NAME["siu_s12_line_feeds"]
    assert not BY_NAME["mdm_t02_document"].endswith((b"\r", b"\n"))


@pytest.mark.parametrize("before", [b"", BOM])
@pytest.mark.parametrize("after", [b"", b"\r", b"\n", b"\r\nPID|1|OLD\r\n", b"|||AL|AL\rPID|1|OLD"])
def test_replaces_the_control_id_and_keeps_every_other_byte(before: bytes, after: bytes) -> None:
    assert with_control_id(before + HEADER + after, "NEW-1") == before + HEADER.replace(b"OLD", b"NEW-1") + after


def test_adds_a_control_id_to_a_short_header() -> None:
    assert with_control_id(b"MSH|^~\\&|A\rPID|1\r", "NEW") == b"MSH|^~\\&|A|||||||NEW\rPID|1\r"


def test_a_control_id_needs_a_header() -> None:
    with pytest.raises(Hl7Error):
        with_control_id(b"PID|1\r", "NEW")


@given(
    st.sampled_from(SAMPLES),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="|"), min_size=1),
)
def test_a_replaced_control_id_is_read_back(sample: Sample, control_id: str) -> None:
    changed = with_control_id(sample.body, control_id)
    assert Header.parse(changed).control_id == control_id
    assert with_control_id(changed, Header.parse(sample.body).control_id) == sample.body


def test_the_control_ids_of_public_messages_can_be_replaced() -> None:
    folder = corpus()
    if folder is None:
        pytest.skip("the public sample messages are not here")
    checked = 0
    for path in sorted(folder.glob("**/*.hl7")):
        body = path.read_bytes()
        try:
            control_id = Header.parse(body).control_id
        except Hl7Error:
            continue
        changed = with_control_id(body, "NEW")
        assert Header.parse(changed).control_id == "NEW"
        assert control_id == "" or with_control_id(changed, control_id) == body
        checked += 1
    assert checked


def test_generated_messages_have_control_ids_of_their_own() -> None:
    prefix = unique_prefix()
    generator = Generator(prefix)
    headers = [Header.parse(generator.message(number)) for number in range(1000)]
    assert [header.control_id for header in headers] == [f"{prefix}{number:09}" for number in range(1000)]
    assert {header.message_type for header in headers} == {"ADT", "ORU"}
    assert all(len(header.control_id) <= 20 for header in headers)


def test_generated_messages_have_the_size_of_real_ones() -> None:
    generator = Generator(unique_prefix())
    assert all(500 <= len(generator.message(number)) <= 800 for number in (0, 1, 999_999_999))


def test_runs_do_not_share_control_ids() -> None:
    assert unique_prefix() != unique_prefix()
