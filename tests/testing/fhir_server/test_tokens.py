"""Access tokens."""

from __future__ import annotations

from medagent.testing.fhir_server.tokens import Tokens


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_valid_until_its_lifetime_is_over() -> None:
    clock = Clock()
    tokens = Tokens("client1", 20.0, clock)
    token = tokens.issue()
    clock.now += 19.9
    assert tokens.valid(token)
    clock.now += 0.1
    assert not tokens.valid(token)


def test_a_new_lifetime_counts_for_new_tokens() -> None:
    clock = Clock()
    tokens = Tokens("client1", 20.0, clock)
    old = tokens.issue()
    tokens.lifetime = 60.0
    new = tokens.issue()
    clock.now += 30
    assert (tokens.valid(old), tokens.valid(new)) == (False, True)


def test_forgotten_unknown_and_odd_tokens_are_refused() -> None:
    tokens = Tokens("client1", 20.0, Clock())
    token = tokens.issue()
    assert tokens.issue() != token
    assert not tokens.valid(token + "x")
    assert not tokens.valid(None)
    assert not tokens.valid(7)
    tokens.forget()
    assert not tokens.valid(token)
