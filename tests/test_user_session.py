"""``UserSession``: a dict whose values are stored, and what it refuses to store."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import permutations
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatsessions import serializable
from chatsessions.exceptions import NotLoadable, NotStorable, ReservedKey, TooLarge, TurnStopped
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import RESERVED, UserSession
from chatsessions.storage import storable
from chatsessions.storage.serializer import dumps, join_state, loads, split_state

from .support.sessions import SESSION_ID, THREAD_ID, make_session


def make(
    state: bytes = b"",
    *,
    max_bytes: int = 100_000,
    before_change: Callable[[], None] = lambda: None,
    after_change: Callable[[], None] = lambda: None,
    session: Session | None = None,
) -> UserSession:
    return UserSession(
        session or make_session(),
        split_state(state),
        max_bytes=max_bytes,
        before_change=before_change,
        after_change=after_change,
    )


def holding(values: dict[str, Any], **options: Any) -> UserSession:
    """One that was loaded with ``values``, as by a worker that takes a stored session."""
    writer = make()
    writer.update(values)
    return make(store(writer) or b"", **options)


def stored(user_session: UserSession) -> dict[str, Any]:
    """What another worker would find."""
    return dict(make(join_state(user_session.encoded())))


def store(user_session: UserSession) -> bytes | None:
    """What its owner stores at the end of a turn: None if nothing has changed."""
    error = user_session.look()
    if error is not None:
        raise error
    return user_session.take_state()


class Unstorable:
    """No class that anybody registered."""


# The mapping


def test_it_behaves_like_a_dict() -> None:
    user_session = make()
    user_session["a"] = 1
    user_session.update({"b": [2]}, c="3")
    assert user_session == {"a": 1, "b": [2], "c": "3"}
    assert dict(user_session) == {"a": 1, "b": [2], "c": "3"}
    assert list(user_session) == ["a", "b", "c"]
    assert list(user_session.keys()) == ["a", "b", "c"]
    assert list(user_session.values()) == [1, [2], "3"]
    assert len(user_session) == 3
    assert "a" in user_session
    assert "z" not in user_session
    assert user_session.pop("a") == 1
    assert user_session.pop("z", None) is None
    assert user_session.setdefault("b", []) == [2]
    user_session.clear()
    assert user_session == {}


def test_a_key_that_is_not_there() -> None:
    user_session = make()
    with pytest.raises(KeyError, match="missing"):
        user_session["missing"]
    with pytest.raises(KeyError, match="missing"):
        del user_session["missing"]
    assert user_session.get("missing") is None
    assert user_session.get("missing", 5) == 5


def test_what_was_set_is_the_same_object_while_it_is_in_memory() -> None:
    user_session = make()
    history: list[str] = []
    user_session["history"] = history
    assert user_session["history"] is history


def test_a_loaded_value_is_made_once() -> None:
    user_session = holding({"history": ["a"]})
    assert user_session["history"] is user_session["history"]


def test_its_repr_shows_keys_and_no_values() -> None:
    user_session = make()
    user_session["password"] = "hunter2"
    assert "password" in repr(user_session)
    assert str(SESSION_ID) in repr(user_session)
    assert "hunter2" not in repr(user_session)


@pytest.mark.parametrize("key", [5, None, ("a",), b"a"])
def test_keys_are_strings(key: Any) -> None:
    user_session = make()
    with pytest.raises(TypeError, match=type(key).__name__):
        user_session[key] = 1
    assert user_session == {}


@pytest.mark.parametrize(
    "key", ["", "with space", 'quo"te', "back\\slash", "ключ", "\x00", "~#date"]
)
def test_a_key_is_any_text(key: str) -> None:
    user_session = make()
    user_session[key] = [1]
    store(user_session)
    assert stored(user_session) == {key: [1]}


def test_a_key_that_is_no_text_is_refused() -> None:
    user_session = make()
    with pytest.raises(NotStorable, match="surrogate"):
        user_session["\ud800"] = 1
    assert user_session == {}


# Reserved names


def test_reserved_names_are_read_live_from_the_session() -> None:
    session = make_session(
        client_type="app", profile="expert", language="de", env={"KEY": "x"}, chat_settings={"a": 1}
    )
    user_session = make(session=session)
    assert {name: user_session[name] for name in RESERVED} == {
        "id": str(SESSION_ID),
        "env": {"KEY": "x"},
        "user": session.user,
        "chat_settings": {"a": 1},
        "chat_profile": "expert",
        "client_type": "app",
        "thread_id": str(THREAD_ID),
        "language": "de",
    }
    session.language = "fr"
    session.chat_settings = {"a": 2}
    assert user_session.get("language") == "fr"
    assert user_session.get("chat_settings") == {"a": 2}


def test_no_profile_is_none() -> None:
    assert make().get("chat_profile", "default") is None


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_cannot_be_set_or_deleted(name: str) -> None:
    user_session = make()
    with pytest.raises(ReservedKey, match=name):
        user_session[name] = 1
    with pytest.raises(ReservedKey, match=name):
        user_session.set(name, 1)
    with pytest.raises(ReservedKey, match=name):
        del user_session[name]
    assert store(user_session) is None


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_reserved_name_is_in_it_as_long_as_it_can_be_got(name: str) -> None:
    """``"client_type" in user_session`` was false while ``user_session["client_type"]`` worked."""
    found = make(session=make_session(profile=""))
    found["a"] = 1
    assert name in found
    assert found.get(name, "default") == found[name] == found.setdefault(name, "default")
    with pytest.raises(ReservedKey):
        found.pop(name, None)
    assert name not in found.keys()  # noqa: SIM118  # the view is what is looked at
    assert (name, found[name]) not in found.items()
    assert found.keys() & {name, "a"} == {"a"}
    assert found.keys() == {"a"}
    assert found.items() == {("a", 1)}
    assert (list(found), list(found.values()), dict(found)) == (["a"], [1], {"a": 1})
    assert len(found) == len(found.keys()) == len(found.items()) == 1
    assert ("a", 2) not in found.items()
    assert "a" not in found.items()
    found.clear()
    assert name in found
    assert len(found) == 0


def test_a_refused_update_keeps_what_came_before() -> None:
    user_session = make()
    with pytest.raises(ReservedKey):
        user_session.update({"a": 1, "id": 2})
    assert user_session == {"a": 1}


# What is refused


def test_what_cannot_be_stored_is_refused_by_key_and_type() -> None:
    user_session = make()
    with pytest.raises(NotStorable) as caught:
        user_session["client"] = Unstorable()
    assert caught.value.path == "client"
    assert caught.value.value_type is Unstorable
    for part in ("client", "Unstorable", "user_session.local", "serializable"):
        assert part in str(caught.value)


def test_the_way_inside_the_value_is_named() -> None:
    user_session = make()
    with pytest.raises(NotStorable, match=r"history\[1\]\['tool'\]"):
        user_session["history"] = ["hi", {"tool": Unstorable()}]


# Changes


def test_a_change_is_collected_once() -> None:
    user_session = make()
    user_session["a"] = 1
    assert store(user_session) == b'{"a":1}'
    assert store(user_session) is None


def test_setting_the_same_again_is_no_change() -> None:
    user_session = holding({"a": [1]})
    user_session["a"] = [1]
    assert store(user_session) is None


def test_reading_is_no_change() -> None:
    user_session = holding({"a": [1], "b": {"c": 1}})
    assert dict(user_session)
    assert store(user_session) is None


def test_a_change_inside_a_registered_object_is_found() -> None:
    user_session = make()
    user_session["cart"] = Cart([])
    store(user_session)
    user_session["cart"].items.append("book")
    store(user_session)
    assert stored(user_session) == {"cart": Cart(["book"])}


def test_a_change_inside_a_tuple_is_found() -> None:
    user_session = holding({"pair": ([], 1)})
    user_session["pair"][0].append(1)
    store(user_session)
    assert stored(user_session) == {"pair": ([1], 1)}


@serializable(name="tests.user_session.Cart")
@dataclasses.dataclass
class Cart:
    items: list[str]


def test_a_deleted_value_does_not_come_back_by_a_change_inside_it() -> None:
    user_session = holding({"a": [1]})
    value = user_session.pop("a")
    value.append(2)
    assert store(user_session) == b"{}"
    assert "a" not in user_session


def test_only_what_was_touched_is_encoded_again() -> None:
    """A session may hold much: what a turn leaves alone costs nothing."""
    user_session = holding({"small": 1, "cart": Counting(5)})
    Counting.encoded = 0
    user_session["small"] = 2
    store(user_session)
    assert Counting.encoded == 0


@serializable(name="tests.user_session.Counting")
class Counting:
    encoded = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def to_storable(self) -> int:
        Counting.encoded += 1
        return self.value

    @classmethod
    def from_storable(cls, data: int) -> Counting:
        return cls(data)


def test_after_a_turn_what_it_got_out_is_no_longer_looked_at() -> None:
    user_session = holding({"cart": Counting(5)})
    assert user_session["cart"].value == 5
    store(user_session)
    user_session.settle()
    Counting.encoded = 0
    store(user_session)
    assert Counting.encoded == 0


def test_after_a_turn_what_is_got_out_again_is_looked_at_again() -> None:
    user_session = holding({"history": []})
    history = user_session["history"]
    user_session.settle()
    history.append("late")
    assert store(user_session) is None
    user_session["history"].append("x")
    store(user_session)
    assert stored(user_session) == {"history": ["late", "x"]}


def test_settling_loses_no_change_that_was_set() -> None:
    user_session = make()
    user_session["a"] = [1]
    user_session.settle()
    assert store(user_session) == b'{"a":[1]}'


# A value that cannot be stored any more


def test_the_other_changes_go_on_behind_one_that_cannot_be_stored() -> None:
    user_session = holding({"bad": [], "good": []})
    user_session["bad"].append(Unstorable())
    user_session["good"].append(1)
    user_session["new"] = 2
    with pytest.raises(NotStorable):
        store(user_session)
    state = store(user_session)
    assert state is not None
    assert dict(make(state)) == {"bad": [], "good": [1], "new": 2}


def test_of_several_that_cannot_be_stored_all_fall_back_and_one_is_raised() -> None:
    user_session = holding({"a": [], "b": []})
    user_session["a"].append(Unstorable())
    user_session["b"].append(Unstorable())
    with pytest.raises(NotStorable):
        store(user_session)
    assert user_session == {"a": [], "b": []}
    assert store(user_session) is None


def test_a_value_that_was_never_stored_falls_back_to_what_was_set() -> None:
    user_session = make()
    user_session["history"] = ["a"]
    user_session["history"].append(Unstorable())
    with pytest.raises(NotStorable):
        store(user_session)
    assert user_session["history"] == ["a"]
    assert store(user_session) == b'{"history":["a"]}'


# The limit


def test_beyond_the_limit_set_raises_and_the_old_value_stays() -> None:
    user_session = make(max_bytes=100)
    user_session["a"] = "x" * 50
    with pytest.raises(TooLarge) as caught:
        user_session["a"] = "x" * 200
    assert caught.value.limit == 100
    assert caught.value.size > 200
    assert caught.value.setting == "USER_SESSION_MAX_BYTES"
    assert user_session["a"] == "x" * 50


def test_the_limit_is_for_all_values_together() -> None:
    user_session = make(max_bytes=100)
    user_session["a"] = "x" * 40
    with pytest.raises(TooLarge):
        user_session["b"] = "x" * 60
    assert "b" not in user_session
    del user_session["a"]
    user_session["b"] = "x" * 60


def test_long_keys_count_as_well() -> None:
    with pytest.raises(TooLarge):
        make(max_bytes=100)["k" * 100] = 1


def test_growth_inside_a_value_beyond_the_limit_falls_back() -> None:
    user_session = make(max_bytes=100)
    user_session["history"] = ["x"]
    store(user_session)
    user_session["history"].append("y" * 200)
    with pytest.raises(TooLarge):
        store(user_session)
    assert user_session["history"] == ["x"]
    assert store(user_session) is None


def test_what_was_there_before_counts() -> None:
    user_session = holding({"a": "x" * 90}, max_bytes=100)
    with pytest.raises(TooLarge):
        user_session["b"] = "x" * 20


def test_a_value_may_be_replaced_by_one_of_the_same_size_at_the_limit() -> None:
    user_session = holding({"a": "x" * 90}, max_bytes=100)
    user_session["a"] = "y" * 90
    assert user_session["a"] == "y" * 90


def test_within_the_limit_values_may_shrink_and_grow_in_one_turn() -> None:
    """In whichever order the keys are looked at, which differs between processes."""
    for grows, shrinks in permutations(["a", "b", "c", "d"], 2):
        user_session = holding({grows: [], shrinks: ["x" * 60]}, max_bytes=100)
        user_session[grows].append("x" * 60)
        user_session[shrinks].clear()
        store(user_session)
        assert stored(user_session) == {grows: ["x" * 60], shrinks: []}


def test_beyond_a_limit_that_was_lowered_values_can_still_shrink() -> None:
    user_session = holding({"a": "x" * 200, "b": "x" * 200}, max_bytes=100)
    user_session["a"] = "x" * 50
    assert user_session["a"] == "x" * 50


@given(st.dictionaries(st.text(max_size=4), st.integers(0, 1000), min_size=1, max_size=5))
def test_what_is_stored_is_never_larger_than_the_limit(values: dict[str, int]) -> None:
    user_session = make(max_bytes=40)
    for key, value in values.items():
        if key in RESERVED:
            continue
        try:
            user_session[key] = value
        except TooLarge:
            continue
    assert len(join_state(user_session.encoded())) <= 40


# Who may change


def test_a_change_may_be_refused_before_it_happens() -> None:
    refuse = False

    def before_change() -> None:
        if refuse:
            raise TurnStopped

    user_session = make(b'{"a":1,"list":[1]}', before_change=before_change)
    refuse = True
    with pytest.raises(TurnStopped):
        user_session["a"] = 2
    with pytest.raises(TurnStopped):
        del user_session["a"]
    with pytest.raises(TurnStopped):
        user_session["list"].append(2)
    refuse = False
    assert user_session == {"a": 1, "list": [1]}
    assert store(user_session) is None


def test_reading_a_value_that_cannot_change_inside_asks_nobody() -> None:
    def refuse() -> NoReturn:
        raise TurnStopped

    user_session = make(b'{"text":"a","none":null,"number":1.5}', before_change=refuse)
    assert user_session["text"] == "a"
    assert user_session.get("none", 5) is None
    assert user_session["number"] == 1.5
    assert user_session.get("missing", "m") == "m"
    assert len(user_session) == 3


def test_a_change_is_told_when_it_is_made() -> None:
    seen: list[dict[str, Any]] = []
    user_session = make(after_change=lambda: seen.append(stored(user_session)))
    user_session["a"] = 1
    user_session["a"] = 2
    del user_session["a"]
    assert seen == [{"a": 1}, {"a": 2}, {}]


def test_a_value_that_may_be_changed_inside_is_told_of_once_a_turn() -> None:
    told: list[int] = []
    user_session = holding({"list": [], "text": "a"}, after_change=lambda: told.append(1))
    assert (user_session["text"], user_session["list"], user_session["list"]) == ("a", [], [])
    assert len(told) == 1
    user_session.settle()
    user_session["list"].append(1)
    assert len(told) == 2


def test_what_was_refused_is_no_change() -> None:
    told: list[int] = []
    user_session = make(b'{"a":1}', max_bytes=20, after_change=lambda: told.append(1))
    for key, value in [("a", Unstorable()), ("a", "x" * 50), ("id", 1)]:
        with pytest.raises((NotStorable, TooLarge, ReservedKey)):
            user_session[key] = value
    with pytest.raises(KeyError):
        del user_session["missing"]
    assert told == []


# Threads: a handler written as ``def`` runs in one, while commits go on


def test_a_key_deleted_while_a_commit_looks_is_left_out() -> None:
    user_session = make()

    @serializable(name="tests.user_session.Meanwhile")
    class Meanwhile:
        """Being encoded takes a while, in which the handler's thread goes on."""

        def to_storable(self) -> int:
            for key in [key for key in user_session if key.startswith("other")]:
                del user_session[key]
            return 1

        @classmethod
        def from_storable(cls, data: int) -> Meanwhile:
            return cls()

    try:
        user_session["value"] = Meanwhile()
        for number in range(20):
            user_session[f"other {number}"] = [number]
        store(user_session)
        assert stored(user_session).keys() == {"value"}
    finally:
        storable.by_class.pop(Meanwhile)
        storable.by_name.pop("tests.user_session.Meanwhile")


@pytest.fixture
def _often_switched() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_often_switched")
def test_what_a_thread_changes_while_commits_look_is_what_is_stored() -> None:
    """Also what it deletes, and sets anew, between a commit's looking and its taking."""
    user_session = make(max_bytes=10_000_000)
    user_session["log"] = {}
    errors: list[BaseException] = []
    stored = b""

    def handler() -> None:
        try:
            for number in range(50_000):
                user_session["log"][f"{number % 50}"] = [number]
                user_session[f"key {number % 20}"] = [number]
                user_session.get(f"key {number * 3 % 20}", []).append(number)
                user_session.pop(f"key {number * 7 % 20}", None)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=handler)
    thread.start()
    while thread.is_alive():
        stored = store(user_session) or stored
        make(stored)
    stored = store(user_session) or stored
    assert errors == []
    assert dict(make(stored)) == dict(user_session)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (iter, ["a", "b", "c"]),
        (UserSession.keys, ["a", "b", "c"]),
        (UserSession.values, [1, 3]),
        (UserSession.items, [("a", 1), ("c", 3)]),
    ],
    ids=["iter", "keys", "values", "items"],
)
def test_keys_may_come_and_go_while_all_are_read(
    read: Callable[[UserSession], Iterable[Any]], expected: list[Any]
) -> None:
    user_session = holding({"a": 1, "b": 2, "c": 3})
    seen = []
    for one in read(user_session):
        if not seen:
            user_session.update(d=4, e=5)
            del user_session["b"]
        seen.append(one)
    assert seen == expected


def test_a_key_that_is_deleted_meanwhile_is_not_looked_for_among_the_values() -> None:
    user_session = make()

    class Deleting:
        def __eq__(self, other: object) -> bool:
            user_session.pop("b", None)
            return False

        __hash__ = None  # type: ignore[assignment]  # it is compared only

    user_session.update(a=1, b=2, c=3)
    assert Deleting() not in user_session.values()
    assert 3 in user_session.values()


# Stored states


def test_a_state_is_split_by_key() -> None:
    assert split_state(b'{"a": [1, 2], "b":null}') == {"a": b"[1, 2]", "b": b"null"}
    assert split_state('{"a":1}') == {"a": b"1"}


@pytest.mark.parametrize("state", [b"", ""])
def test_no_state_is_an_empty_one(state: bytes | str) -> None:
    assert split_state(state) == {}


@pytest.mark.parametrize(
    "state",
    [
        *(b"{", b"[]", b"null", b"5", b'{"a":}', b'{"a":1', b"{1:2}", b"nonsense", b'{"a":nul}'),
        *(b'{"\xff":1}', "\ud800", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
def test_a_damaged_state_is_said_to_be_damaged(state: bytes | str) -> None:
    with pytest.raises(NotLoadable, match="damaged"):
        split_state(state)


def test_one_value_that_cannot_be_read_leaves_the_others() -> None:
    user_session = make(b'{"gone":{"~#obj":["no.such.Class",{}]},"a":1}')
    with pytest.raises(NotLoadable, match=r"no\.such\.Class"):
        user_session["gone"]
    with pytest.raises(NotLoadable):
        user_session.get("gone")
    assert user_session["a"] == 1
    user_session["a"] = 2
    state = store(user_session)
    assert state is not None
    assert b"no.such.Class" in state
    del user_session["gone"]
    assert user_session == {"a": 2}


# Live objects


def test_local_is_a_plain_dict_that_is_never_stored() -> None:
    user_session = make()
    client = Unstorable()
    user_session.local["client"] = client
    assert type(user_session.local) is dict
    assert user_session.local["client"] is client
    assert "client" not in user_session
    assert store(user_session) is None
    user_session["a"] = 1
    assert store(user_session) == b'{"a":1}'


def test_every_session_has_a_local_of_its_own() -> None:
    assert make().local is not make().local


# Accessors


def test_an_accessor_gets_and_sets_one_key() -> None:
    user_session = make()
    count = user_session.create_accessor("count", 0)
    assert count.get() == 0
    assert "count" not in user_session
    count.set(5)
    assert user_session["count"] == 5
    assert count.get() == count.apply() == 5  # there is nothing to apply
    count.reset()
    assert user_session["count"] == 0


def test_an_accessor_moves_its_value_on() -> None:
    user_session = make()
    count = user_session.create_accessor("count", 0, apply_fn=lambda n: n + 1)
    assert [count.apply(), count.apply(), count.apply()] == [1, 2, 3]
    assert user_session["count"] == 3


def test_without_a_function_apply_stores_the_default() -> None:
    user_session = make()
    assert user_session.create_accessor("count", 4).apply() == 4
    assert user_session["count"] == 4


def test_an_accessor_meets_a_default_that_was_changed_elsewhere() -> None:
    user_session = make()
    accessor = user_session.create_accessor("a", "default")
    user_session["a"] = None
    assert accessor.get() is None


def test_an_accessor_of_a_reserved_name_reads_only() -> None:
    accessor = make().create_accessor("language", "xx")
    assert accessor.get() == ""
    with pytest.raises(ReservedKey):
        accessor.set("de")


def test_a_reset_value_does_not_share_the_default() -> None:
    user_session = make()
    history = user_session.create_accessor("history", ["hello"])
    history.reset()
    history.get().append("x")
    history.reset()
    assert history.get() == ["hello"]


def test_what_is_got_by_default_does_not_share_the_default() -> None:
    """An accessor at the top of a module serves every session of every user."""
    default: list[str] = []
    mine = make().create_accessor("history", default)
    mine.get().append("a secret")
    assert mine.get() == []
    assert make().create_accessor("history", default).get() == []


def test_what_is_applied_to_the_default_does_not_change_it() -> None:
    def more(history: list[str]) -> list[str]:
        history.append("x")
        return history

    default: list[str] = []
    make().create_accessor("history", default, apply_fn=more).apply()
    assert default == []
    assert make().create_accessor("history", default, apply_fn=more).apply() == ["x"]


# Against a dict

keys = st.sampled_from(["a", "b", "ключ", 'quo"te', ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


class AgainstADict(RuleBasedStateMachine):
    """Sets, deletes, changes inside, commits, and workers that take over from what is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.user_session = make(max_bytes=1_000_000)
        self.model: dict[str, Any] = {}
        #: What a crash leaves.
        self.disk = b""
        self.disk_model: dict[str, Any] = {}

    @rule(key=keys, value=values)
    def set(self, key: str, value: Any) -> None:
        self.user_session[key] = value
        self.model[key] = loads(dumps(value))

    @rule(key=keys, value=values)
    def setdefault(self, key: str, value: Any) -> None:
        copied = loads(dumps(value))
        assert self.user_session.setdefault(key, value) == self.model.setdefault(key, copied)

    @rule(key=keys)
    def pop(self, key: str) -> None:
        assert self.user_session.pop(key, "none") == self.model.pop(key, "none")

    @rule(key=keys, value=values)
    def change_inside(self, key: str, value: Any) -> None:
        for mapping in (self.user_session, self.model):
            found = mapping.get(key)
            copied = loads(dumps(value))
            if isinstance(found, list):
                found.append(copied)
            elif isinstance(found, dict):
                found["more"] = copied

    @precondition(lambda self: any(isinstance(v, list) for v in self.model.values()))
    @rule(data=st.data())
    def spoil(self, data: st.DataObject) -> None:
        """A value that cannot be stored falls back to the last state it could be stored in."""
        self.commit()
        lists = [key for key, value in self.model.items() if isinstance(value, list)]
        self.user_session[data.draw(st.sampled_from(lists))].append(Unstorable())
        with pytest.raises(NotStorable):
            store(self.user_session)

    @rule()
    def commit(self) -> None:
        state = store(self.user_session)
        if state is None:
            assert self.model == self.disk_model
        else:
            self.disk, self.disk_model = state, loads(dumps(self.model))
            self.assert_same(make(self.disk))

    @rule()
    def end_turn(self) -> None:
        self.commit()
        self.user_session.settle()

    @rule()
    def crash(self) -> None:
        self.user_session = make(self.disk, max_bytes=1_000_000)
        self.model = loads(dumps(self.disk_model))

    @rule(key=keys)
    def refuse(self, key: str) -> None:
        with pytest.raises(NotStorable):
            self.user_session[key] = Unstorable()

    @rule()
    def refresh(self) -> None:
        """All values are written, before the cache forgets them."""
        self.commit()
        self.disk = self.user_session.as_json()
        self.assert_same(make(self.disk))

    @invariant()
    def has_the_same_keys(self) -> None:
        assert list(self.user_session) == list(self.model)
        assert len(self.user_session) == len(self.model)

    def assert_same(self, user_session: UserSession) -> None:
        assert dict(user_session) == self.model
        assert list(user_session) == list(self.model)

    def teardown(self) -> None:
        self.commit()
        self.assert_same(self.user_session)
        assert stored(self.user_session) == self.model


AgainstADict.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAgainstADict = AgainstADict.TestCase


@pytest.fixture(autouse=True)
def _count_from_nought() -> Iterator[None]:
    Counting.encoded = 0
    yield
    Counting.encoded = 0
