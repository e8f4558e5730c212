"""Large values: a snapshot of all, patches on it, and what both stores make of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Literal

import pytest
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsessions.conf import settings as conf
from chatsessions.exceptions import NotLoadable
from chatsessions.live.draft import Draft
from chatsessions.models import ChatSession, SessionSnapshot
from chatsessions.serializer import dumps
from chatsessions.store.changes import Batch, Position
from chatsessions.store.snapshots import WHOLE_BYTES, Snapshots, State, join
from chatsessions.store.store import Store
from chatsessions.user_session import UserSession

from .support.sessions import make_session
from .support.storage import session_row

MUCH = dumps("x" * 2 * WHOLE_BYTES)


class Owner:
    """Values in memory, and what of them is written."""

    def __init__(self, stored: State | None = None) -> None:
        self.values = {} if stored is None else stored.values()
        self.snapshots = Snapshots(stored)
        #: As it is stored.
        self.disk = stored or State.whole(b"")
        #: Bytes of each write.
        self.written: list[int] = []

    def put(self, **values: bytes) -> None:
        self.values |= values
        for key in values:
            self.snapshots.put(key)

    def drop(self, key: str) -> None:
        del self.values[key]
        self.snapshots.drop(key)

    def write(self) -> State:
        state = self.snapshots.write(self.values, len(join(self.values)))
        self.written.append(len(state.text) + len(state.snapshot or b""))
        self.disk = State(state.text, state.size, state.snapshot).after(self.disk)
        assert list(self.disk.values().items()) == list(self.values.items())
        return state


def large(**values: bytes) -> Owner:
    """One whose snapshot is written."""
    owner = Owner()
    owner.put(much=MUCH, **values)
    owner.write()
    return owner


# What is written


def test_up_to_a_size_values_are_written_as_a_whole() -> None:
    owner = Owner()
    owner.put(a=b"1", b=dumps("x" * (WHOLE_BYTES - 20)))
    assert owner.write() == State.whole(join(owner.values))
    owner.put(a=b"2")
    assert owner.write() == State.whole(join(owner.values))


def test_above_it_all_are_written_once() -> None:
    owner = Owner()
    owner.put(a=b"1", much=MUCH)
    snapshot = b'[1,{"a":1,"much":%b}]' % MUCH
    assert owner.write() == State(b"[1,[],{}]", len(join(owner.values)), snapshot)


def test_and_then_what_has_changed_since() -> None:
    owner = large(a=b"1", b=b"2")
    owner.put(a=b"3")
    assert owner.write() == State(b'[1,[],{"a":3}]', len(join(owner.values)))
    owner.drop("b")
    assert owner.write() == State(b'[1,["b"],{"a":3}]', len(join(owner.values)))
    owner.put(b=b"4")
    assert owner.write() == State(b'[1,["b"],{"a":3,"b":4}]', len(join(owner.values)))


def test_what_shrinks_is_whole_again() -> None:
    owner = large(a=b"1")
    owner.drop("much")
    assert owner.write() == State(b'{"a":1}', 7, b"")
    owner.put(a=b"2")
    assert owner.write() == State.whole(b'{"a":2}')
    owner.put(much=MUCH)
    state = owner.write()
    # A number of its own: nothing that is left of the first snapshot can be taken for it.
    assert (state.revision, state.is_complete) == (2, True)


def test_any_key_and_any_text_may_be_dropped_and_put() -> None:
    owner = large()
    for key in ("", 'quo"te', "ключ", "~#gone", "\x00", "["):
        owner.put(**{key: dumps(key)})
        owner.write()
        owner.drop(key)
        owner.write()
        owner.put(**{key: dumps([key])})
        owner.write()


def test_one_key_that_is_ever_changed_is_all_that_is_written() -> None:
    """However large it is, and however often."""
    owner = large()
    for number in range(100):
        owner.put(hot=dumps([number] * 10_000))
        assert owner.write().snapshot is None


def test_keys_that_are_ever_others_are_not_written_for_ever() -> None:
    owner = large()
    for number in range(2000):
        owner.put(**{f"key {number}": dumps("x" * 50)})
        owner.write()
    assert sum(owner.written) < 2000 * len(join(owner.values)) / 20
    assert 2 <= owner.disk.revision <= 60


def test_what_comes_and_goes_leaves_no_names_for_ever() -> None:
    owner = large()
    for number in range(3000):
        owner.put(**{f"key {number}": b"1"})
        owner.write()
        owner.drop(f"key {number}")
        owner.write()
    assert max(owner.written[1:]) < 2 * len(MUCH)
    assert owner.disk.revision > 1


def test_all_of_it_is_written_when_that_is_asked_for() -> None:
    owner = large(a=b"1")
    owner.put(a=b"2")
    state = owner.snapshots.write_all(owner.values, len(join(owner.values)))
    assert state.text == b"[2,[],{}]"
    assert state.values() == owner.values


# What is read


def test_another_owner_goes_on_where_the_last_one_was() -> None:
    owner = large(a=b"1", b=b"2")
    owner.put(a=b"3", c=b"4")
    owner.drop("b")
    owner.write()
    after = Owner(owner.disk)
    assert list(after.values.items()) == list(owner.values.items())
    after.put(d=b"5")
    assert after.write() == State(b'[1,["b"],{"a":3,"c":4,"d":5}]', len(join(after.values)), None)


def test_owners_that_come_and_go_write_no_patch_for_ever() -> None:
    """A visit each, and with each a key."""
    owner = large()
    for number in range(1000):
        owner.put(**{f"key {number}": dumps("x" * 200)})
        owner.write()
        owner = Owner(owner.disk)
    assert 2 <= owner.disk.revision <= 50


def test_keys_are_loaded_in_the_order_in_which_they_were() -> None:
    owner = large(a=b"1", b=b"2", c=b"3")
    owner.put(c=b"4")
    owner.drop("a")
    owner.put(d=b"5", a=b"6")
    owner.write()
    assert list(owner.disk.values()) == ["much", "b", "c", "d", "a"]


@pytest.mark.parametrize(
    ("text", "snapshot"),
    [
        (b"[2,[],{}]", None),
        (b"[2,[],{}]", b""),
        (b"[2,[],{}]", b'[1,{"a":1}]'),
        (b"[2,[],{}]", b'[3,{"a":1}]'),
        (b"[2,[],{}]", b'[2,{"a":'),
        (b"[2,[],{}]", b"{}"),
        (b"[2,[],", b"[2,{}]"),
        (b"[2]", b"[2,{}]"),
        (b"[]", b"[2,{}]"),
        (b"[", None),
        (b'["2",[],{}]', b"[2,{}]"),
    ],
)
def test_what_is_not_all_there_is_damaged(text: bytes, snapshot: bytes | None) -> None:
    state = State(text, 9, snapshot)
    with pytest.raises(NotLoadable):
        state.values()
    with pytest.raises(NotLoadable):
        state.as_json()


def test_all_of_it_is_one_json_text_for_whoever_shows_it() -> None:
    assert State(b'[1,["a"],{"b":3}]', 9, b'[1,{"a":1,"b":2,"c":4}]').as_json() == b'{"b":3,"c":4}'
    assert State.whole(b'{"a": 1}').as_json() == b'{"a": 1}'
    assert State.whole(b"").as_json() == b""


# Between a commit's beginning and its end


def draft() -> Draft:
    position = Position(0, 0, None, 0, 0, 0, 0, timezone.now())
    return Draft(make_session().id, generation=1, position=position, claims=None)


def taken(draft: Draft) -> State | None:
    return draft.take().state


def test_a_snapshot_that_waits_is_not_lost_by_a_patch_on_it() -> None:
    waiting = draft()
    waiting.set_state(State(b"[1,[],{}]", 9, b'[1,{"a":1}]'))
    waiting.set_state(State(b'[1,[],{"a":2}]', 9))
    assert taken(waiting) == State(b'[1,[],{"a":2}]', 9, b'[1,{"a":1}]')
    waiting.set_state(State(b'[1,[],{"a":3}]', 9))
    assert taken(waiting) == State(b'[1,[],{"a":3}]', 9)  # it is stored


def test_a_snapshot_that_waits_gives_way_to_the_next() -> None:
    waiting = draft()
    waiting.set_state(State(b"[1,[],{}]", 9, b'[1,{"a":1}]'))
    waiting.set_state(State(b"[2,[],{}]", 9, b'[2,{"a":2}]'))
    assert taken(waiting) == State(b"[2,[],{}]", 9, b'[2,{"a":2}]')
    waiting.set_state(State(b"[3,[],{}]", 9, b'[3,{"a":3}]'))
    waiting.set_state(State(b"{}", 2, b""))
    waiting.set_state(State(b'{"a":1}', 7))
    assert taken(waiting) == State(b'{"a":1}', 7, b"")


def test_a_thread_may_go_on_while_commits_look() -> None:
    """Whatever is stored meanwhile can be loaded, and in the end everything is stored."""
    user_session = user_session_of(None)
    user_session["much"] = "x" * 2 * WHOLE_BYTES
    errors = []

    def handler() -> None:
        try:
            for number in range(3000):
                user_session[f"key {number % 200}"] = [number]
                user_session.pop(f"key {number * 7 % 200}", None)
                if number % 1000 == 500:
                    user_session["much"] = number
                elif number % 1000 == 900:
                    user_session["much"] = "x" * 2 * WHOLE_BYTES
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=handler)
    thread.start()
    disk = State.whole(b"")

    def commit() -> None:
        nonlocal disk
        state = user_session.collect()
        if state is not None:
            disk = state.after(disk)
            disk.values()

    while thread.is_alive():
        commit()
        thread.join(0.001)
    commit()
    assert errors == []
    assert disk.values() == user_session.encoded()


def user_session_of(stored: State | None) -> UserSession:
    return UserSession(
        make_session(),
        {} if stored is None else stored.values(),
        max_bytes=10_000_000,
        before_change=lambda: None,
        after_change=lambda: None,
        stored=stored,
    )


# Both stores


class Holder:
    """What an owner does to a session's values and the store, and nothing else."""

    def __init__(self, row: ChatSession) -> None:
        self.store = Store()
        loaded = self.store.load(row.pk)
        assert loaded is not None
        assert not loaded.state_lost
        self.user_session = user_session_of(loaded.state)
        self._draft = Draft(
            row.pk,
            generation=loaded.row.generation + 1,
            position=Position.of(loaded.row),
            claims=loaded.claim,
        )
        if conf.USER_SESSION_STORE == "cache":
            self._draft.set_state(loaded.state)

    def collect(self) -> None:
        state = self.user_session.collect()
        if state is not None:
            self._draft.set_state(state)

    def refresh(self) -> None:
        self._draft.set_state(self.user_session.collect_all())

    def commit(self) -> None:
        self.collect()
        batch = Batch([self._draft.take()])
        self.store.commit(batch)
        assert batch.refused == {}


def stored_in(row: ChatSession) -> dict[str, Any]:
    """What another process would load."""
    loaded = Store().load(row.pk)
    assert loaded is not None
    assert not loaded.state_lost
    return dict(user_session_of(loaded.state))


Step = tuple[Literal["put", "drop", "collect", "commit", "reload", "refresh"], str, int]
steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["put", "drop", "collect", "commit", "reload", "refresh"]),
    st.sampled_from(["a", "b", "ключ", 'quo"te', "~#gone"]),
    st.sampled_from([0, 10, 20_000, 50_000]),
)


@pytest.mark.django_db
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(steps, max_size=25))
def test_whatever_is_done_the_same_is_stored(kept_in: str, steps: Iterable[Step]) -> None:
    with override_settings(CHATSESSIONS={"USER_SESSION_STORE": kept_in}):
        row = session_row()
        holder, model = Holder(row), dict[str, Any]()
        for number, (step, key, size) in enumerate(steps):
            match step:
                case "put":
                    holder.user_session[key] = model[key] = [number, "x" * size]
                case "drop":
                    assert holder.user_session.pop(key, None) == model.pop(key, None)
                case "collect":
                    holder.collect()
                case "refresh":
                    holder.refresh()
                case _:
                    holder.commit()
                    assert stored_in(row) == model
                    if step == "reload":
                        holder = Holder(row)
        holder.commit()
        assert stored_in(row) == model
        assert list(stored_in(row)) == list(model)
        large = len(join(holder.user_session.encoded())) > WHOLE_BYTES
        is_there = SessionSnapshot.objects.filter(session=row).exists()
        assert is_there == (large and kept_in == "cached_db")
        row.delete()
