"""Values of address parameters, as text."""

from __future__ import annotations

import pytest

from medagent.config.settings import Parameter
from medagent.config.values import from_text


@pytest.mark.parametrize(("text", "blank", "value"), [
    ("\r", True, "\r"), (" ", True, " "), ("", True, None), ("\r", False, None), ("a", False, "a"),
])  # fmt: skip
def test_white_space_is_a_value_only_where_the_parameter_says_so(text: str, blank: bool, value: str | None) -> None:
    assert from_text(text, Parameter("endChar", ("tcp",), str, None, "", blank=blank)) == value
