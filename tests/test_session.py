"""``Session``: what an application reads of a session; tokens, and who owns it."""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatsessions.auth.access import Tokens, hash_token, is_owner, new_token, token_after
from chatsessions.workers import worker as worker_module

from .support.sessions import SESSION_ID, THREAD_ID, make_session

if TYPE_CHECKING:
    from pytest_django import Settings

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


def test_what_follows_a_token_is_the_same_for_all_who_come_with_it() -> None:
    token = new_token()
    assert token_after(token, SESSION_ID) == token_after(token, SESSION_ID)
    assert token_after(token, SESSION_ID) not in (token, token_after(new_token(), SESSION_ID))
    assert len(token_after(token, SESSION_ID)) >= 43


def test_what_follows_a_token_is_known_to_the_server_of_that_session_alone(
    settings: Settings,
) -> None:
    token = new_token()
    here = token_after(token, SESSION_ID)
    assert token_after(token, THREAD_ID) != here, "a session of another one's"
    settings.SECRET_KEY = "another one"
    assert token_after(token, SESSION_ID) != here


def test_a_client_without_a_token_gets_a_random_one() -> None:
    assert token_after(None, SESSION_ID) != token_after(None, SESSION_ID)


@given(st.text(st.characters(codec=None)))
def test_whatever_a_client_sends_as_a_token_has_one_that_follows(token: str) -> None:
    assert token_after(token, SESSION_ID) != token


class Keys:
    """A session's tokens, and what its clients come with and are given."""

    def __init__(self, stored: Tokens | None = None) -> None:
        self.tokens = stored or Tokens("", "")

    def give(self, used: str | None) -> str:
        token = token_after(used, SESSION_ID)
        self.tokens.rotate(None if used is None else hash_token(used), hash_token(token))
        return token

    def accept(self, token: str) -> bool:
        return self.tokens.accept(hash_token(token))


def test_a_new_token_is_valid() -> None:
    keys = Keys()
    assert keys.accept(keys.give(None))


@pytest.mark.parametrize("token", ["", "wrong", "\ud800"])
def test_another_token_is_not(token: str) -> None:
    keys = Keys()
    keys.give(None)
    assert not keys.accept(token)
    keys.tokens.confirm()
    assert not keys.accept(token)
    assert not Keys().accept(token)


@pytest.mark.parametrize("token_hash", [None, ""])
def test_no_hash_is_that_of_a_token(token_hash: str | None) -> None:
    """An empty one stands for none; a command of another worker may have one."""
    keys = Keys()
    keys.give(None)
    assert not keys.tokens.accept(token_hash)
    assert not Tokens("", "").accept(token_hash)


def test_only_hashes_are_kept() -> None:
    keys = Keys()
    first = keys.give(None)
    second = keys.give(first)
    assert first not in repr(keys.tokens)
    assert second not in repr(keys.tokens)


def test_the_previous_token_is_valid_until_the_client_is_heard() -> None:
    keys = Keys()
    first = keys.give(None)
    second = keys.give(first)
    assert keys.accept(first)
    assert keys.accept(second)
    assert keys.tokens.confirm()
    assert not keys.accept(first)
    assert keys.accept(second)


def test_being_heard_again_is_no_news() -> None:
    keys = Keys()
    keys.give(keys.give(None))
    assert keys.tokens.confirm()
    assert not keys.tokens.confirm()


def test_a_token_of_an_earlier_release_is_followed_by_another() -> None:
    """Those were random: what follows one that is stored is not what was given for it."""
    keys = Keys()
    first, lost = new_token(), new_token()
    keys.tokens.rotate(None, hash_token(first))
    keys.tokens.rotate(hash_token(first), hash_token(lost))
    second = keys.give(first)
    assert [keys.accept(token) for token in (first, lost, second)] == [True, False, True]


@dataclass(eq=False)
class Connection:
    """One of a client's connections, from its hello on."""

    used: str
    #: At which worker the session's owner finds it: there, or relayed.
    worker: int
    given: str | None = None
    #: Whether the client has left it, and so will never hear what is given.
    is_left: bool = False
    is_welcome: bool = False


class Wandering(RuleBasedStateMachine):
    """
    One client, whose connections break; two workers, and all that can be late between them.

    A hello is taken as often as it is repeated, and long after its connection has broken. The
    owner lets go of the session, and whoever takes it knows what is stored. Frames of connections
    that have broken arrive later.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys = Keys()
        self.held = self.keys.give(None)
        self.given = {self.held}
        self.owner = 0
        self.stored = copy(self.keys.tokens)
        #: The session's connection, as its owner knows it.
        self.listener: Connection | None = None
        self.connections: list[Connection] = []

    @property
    def newest(self) -> Connection | None:
        return self.connections[-1] if self.connections else None

    @rule(worker=st.integers(0, 1))
    def come_back(self, worker: int) -> None:
        """By a new connection, with what it holds; the last one is left."""
        if self.newest is not None:
            self.newest.is_left = True
        self.connections.append(Connection(self.held, worker))

    @precondition(lambda self: self.connections)
    @rule(data=st.data())
    def take_hello(self, data: st.DataObject) -> None:
        """Of any connection, whether it was taken before or not; a foreign one is refused."""
        came = data.draw(st.sampled_from(self.connections))
        if not self.keys.accept(came.used):
            assert came is not self.newest or came.is_welcome, "the client is locked out"
            return
        given = self.keys.give(came.used)
        assert came.given in (None, given), "a repeat is answered as the first one"
        came.given = given
        self.given.add(given)
        self.listener = came
        self.stored = copy(self.keys.tokens)  # before anybody is welcome

    @precondition(lambda self: self.newest is not None and self.newest.given is not None)
    @rule()
    def welcome(self) -> None:
        newest = self.newest
        assert newest is not None
        assert newest.given is not None
        if not newest.is_welcome:
            newest.is_welcome = True
            self.held = newest.given

    @precondition(lambda self: any(one.is_welcome for one in self.connections))
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """A frame of a connection that was welcome, which may be long ago."""
        heard = data.draw(st.sampled_from([one for one in self.connections if one.is_welcome]))
        if heard is self.listener:
            self.keys.tokens.confirm()

    @rule(stores=st.booleans())
    def move(self, stores: bool) -> None:
        """Another worker goes on from the row, which may not know who was heard last."""
        if stores:
            self.stored = copy(self.keys.tokens)
        self.owner = 1 - self.owner
        self.keys = Keys(copy(self.stored))
        self.listener = None

    @invariant()
    def nobody_is_locked_out(self) -> None:
        assert self.keys.accept(self.held)

    @invariant()
    def few_are_valid(self) -> None:
        assert sum(map(self.keys.accept, self.given)) <= 2


Wandering.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestWandering = Wandering.TestCase


def test_a_frame_of_the_given_token_ends_all_older_ones() -> None:
    keys = Keys()
    tokens = [keys.give(None)]
    for _ in range(10):
        tokens.append(keys.give(tokens[-1]))
        keys.tokens.confirm()
        assert [token for token in tokens if keys.accept(token)] == tokens[-1:]


def test_a_hundred_lost_welcomes_lock_nobody_out() -> None:
    keys = Keys()
    held = keys.give(None)
    keys.tokens.confirm()
    assert len({keys.give(held) for _ in range(100)}) == 1
    assert keys.accept(held)


# Workers


async def test_threads_that_forget_the_same_closed_event_loop_disturb_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under a threaded WSGI server each request has an event loop, and a worker, of its own."""
    known: dict[Any, Any] = {}

    class Closed:
        """While it is asked, another thread forgets it, and adds a loop of its own."""

        def is_closed(self) -> bool:
            known.pop(self, None)
            known[asyncio.new_event_loop()] = None
            return True

    known.update(dict.fromkeys((Closed(), Closed())))
    monkeypatch.setattr(worker_module, "_workers", known)
    worker = worker_module.get_worker()
    assert known.pop(asyncio.get_running_loop()) is worker
    assert len(known) == 2
    for loop in known:
        loop.close()
