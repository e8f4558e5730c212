"""``Session``: what an application reads of a session; tokens, and who owns it."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from chatsessions.session import Tokens, hash_token, is_owner, new_token

from .support.sessions import SESSION_ID, make_session

# Session


def test_a_session_is_shown_by_its_id() -> None:
    assert str(make_session()) == str(SESSION_ID)


def test_what_a_client_did_not_say_has_a_default() -> None:
    session = make_session()
    assert session.client_type == "webapp"
    assert (session.profile, session.language, session.user_agent) == ("", "", "")
    assert session.ip is None
    assert session.chat_settings == {}
    assert session.env == {}
    assert not session.state_lost
    assert not session.restored
    assert not session.connected


def test_sessions_share_neither_settings_nor_env() -> None:
    first, second = make_session(), make_session()
    first.chat_settings["a"] = 1
    first.env["KEY"] = "secret"
    assert second.chat_settings == {}
    assert second.env == {}


def test_the_clients_secrets_are_not_in_its_repr() -> None:
    assert "hunter2" not in repr(make_session(env={"API_KEY": "hunter2"}))


def test_a_session_knows_its_users_key() -> None:
    assert make_session(user=get_user_model()(pk=7)).user_id == 7
    assert make_session().user_id is None


def test_a_session_has_only_the_attributes_it_has() -> None:
    with pytest.raises(AttributeError):
        make_session().no_such = 1  # type: ignore[attr-defined]


# Owners


def test_a_session_belongs_to_its_user() -> None:
    user = get_user_model()(pk=7)
    assert is_owner(7, user)
    assert not is_owner(8, user)
    assert not is_owner(None, user)


def test_all_anonymous_users_count_as_the_same() -> None:
    assert is_owner(None, AnonymousUser())
    assert not is_owner(7, AnonymousUser())


# Tokens


def test_tokens_are_random_and_safe_in_urls() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert len(token) >= 43, "256 bits"
        assert token.isascii()
        assert token.replace("-", "").replace("_", "").isalnum()


def test_a_hash_tells_nothing_and_is_the_same_every_time() -> None:
    token = new_token()
    assert hash_token(token) == hash_token(token)
    assert token not in hash_token(token)
    assert len(hash_token(token)) == 64


@given(st.text(st.characters(codec=None)))
def test_whatever_a_client_sends_as_a_token_can_be_hashed(token: str) -> None:
    assert len(hash_token(token)) == 64


def fresh() -> tuple[Tokens, str]:
    """The tokens of a new session, and what its client was given."""
    tokens = Tokens("", "")
    return tokens, tokens.rotate(None)


def test_a_new_token_is_valid() -> None:
    tokens, token = fresh()
    assert tokens.accept(token)


@pytest.mark.parametrize("token", [None, "", "wrong", "\ud800"])
def test_another_token_is_not(token: str | None) -> None:
    tokens, _ = fresh()
    assert not tokens.accept(token)
    tokens.confirm()
    assert not tokens.accept(token)
    assert not Tokens("", "").accept(token)


def test_only_hashes_are_kept() -> None:
    tokens, first = fresh()
    second = tokens.rotate(first)
    assert first not in repr(tokens)
    assert second not in repr(tokens)


def test_the_previous_token_is_valid_until_the_client_is_heard() -> None:
    tokens, first = fresh()
    second = tokens.rotate(first)
    assert tokens.accept(first)
    assert tokens.accept(second)
    assert tokens.confirm()
    assert not tokens.accept(first)
    assert tokens.accept(second)


def test_being_heard_again_is_no_news() -> None:
    tokens, first = fresh()
    tokens.rotate(first)
    assert tokens.confirm()
    assert not tokens.confirm()


def test_several_lost_welcomes_lock_nobody_out() -> None:
    tokens, first = fresh()
    tokens.confirm()
    for _ in range(3):
        tokens.rotate(first)
        assert tokens.accept(first)


class LosingWelcomes(RuleBasedStateMachine):
    """A client that comes back with what it holds, while welcomes get lost."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.held = fresh()
        self.given: list[str] = [self.held]
        self.connected = True

    @precondition(lambda self: not self.connected)
    @rule(arrives=st.booleans())
    def come_back(self, arrives: bool) -> None:
        assert self.tokens.accept(self.held)
        token = self.tokens.rotate(self.held)
        self.given.append(token)
        if arrives:
            self.held = token
            self.connected = True

    @precondition(lambda self: self.connected)
    @rule()
    def speak(self) -> None:
        self.tokens.confirm()
        assert [token for token in self.given if self.tokens.accept(token)] == [self.held]

    @precondition(lambda self: self.connected)
    @rule()
    def lose_the_line(self) -> None:
        self.connected = False

    def teardown(self) -> None:
        assert self.tokens.accept(self.held)
        valid = [token for token in self.given if self.tokens.accept(token)]
        assert len(valid) <= 2


LosingWelcomes.TestCase.settings = settings(max_examples=50, deadline=None)
TestLosingWelcomes = LosingWelcomes.TestCase
