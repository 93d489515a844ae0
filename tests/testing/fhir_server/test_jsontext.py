"""JSON as the server writes and refuses it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.testing.fhir_server.jsontext import decode, encode


def test_text_is_compact_and_keeps_the_order_and_the_characters() -> None:
    assert encode({"b": 1, "a": ["é", None]}) == '{"b":1,"a":["é",null]}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello", "Unexpected token 'h', \"hello\" is not valid JSON"),
        ("{", "Expected property name or '}' in JSON at position 1 (line 1 column 2)"),
        ("", "Unexpected end of JSON input"),
    ],
)
def test_a_refusal_is_in_the_words_of_a_javascript_server(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}$"):
        decode(text)


@given(st.text(max_size=40))
def test_every_text_is_decoded_as_json_or_refused(text: str) -> None:
    try:
        value = decode(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  both outcomes are right
    else:
        assert value == json.loads(text)
