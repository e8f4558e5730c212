"""The exceptions: one tree, and messages that say what was wrong and what to do."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any
from uuid import UUID

import pytest

import chatsessions
from chatsessions import exceptions
from chatsessions.exceptions import (
    AccessRefused,
    CacheFailed,
    ChatError,
    ChatSessionsError,
    ContextNotFound,
    FileRefused,
    FrameError,
    NotLoadable,
    NotStorable,
    OwnershipLost,
    OwnerUnreachable,
    ReservedKey,
    ServerStopped,
    SessionConnected,
    SessionNotFound,
    SessionOver,
    SessionOwned,
    SessionUnavailable,
    StorageError,
    StoreUnavailable,
    TooLarge,
    TooManySessions,
    TurnStopped,
)

ID = UUID("11111111-1111-4111-8111-111111111111")

#: One of each, with the data it carries.
EXAMPLES: list[tuple[ChatSessionsError, dict[str, Any]]] = [
    (ContextNotFound("Message.send"), {"what": "Message.send"}),
    (SessionNotFound(ID), {"session_id": ID}),
    (SessionOver(ID, "user"), {"session_id": ID, "reason": "user"}),
    (SessionConnected(ID), {"session_id": ID}),
    (OwnershipLost(ID), {"session_id": ID}),
    (SessionOwned(ID), {"session_id": ID}),
    (SessionUnavailable(), {}),
    (TooManySessions(5), {"limit": 5}),
    (OwnerUnreachable(ID, "host:12"), {"session_id": ID, "owner": "host:12"}),
    (ServerStopped(), {}),
    (TurnStopped(), {}),
    (StoreUnavailable(10.0), {"seconds": 10.0}),
    (CacheFailed("no answer", ["key"]), {"keys": frozenset(["key"])}),
    (AccessRefused("missing_env", "KEY"), {"code": "missing_env", "detail": "KEY"}),
    (FileRefused("empty_file", "The file is empty."), {"code": "empty_file"}),
    (ChatError("no handlers"), {}),
    (
        FrameError("busy", "wait a little", n=4, retry_after=1.5),
        {"code": "busy", "detail": "wait a little", "n": 4, "retry_after": 1.5},
    ),
    (StorageError("refused"), {}),
    (
        NotStorable("history[0]", set, "it contains itself"),
        {"path": "history[0]", "value_type": set, "reason": "it contains itself"},
    ),
    (NotLoadable("damaged"), {"detail": "damaged"}),
    (ReservedKey("id"), {"key": "id"}),
    (
        TooLarge("user_session", 2_000_000, 1_048_576, "USER_SESSION_MAX_BYTES"),
        {
            "what": "user_session",
            "size": 2_000_000,
            "limit": 1_048_576,
            "setting": "USER_SESSION_MAX_BYTES",
        },
    ),
]

classes = [
    value
    for value in vars(exceptions).values()
    if inspect.isclass(value) and issubclass(value, ChatSessionsError)
]


def ids(example: object) -> str:
    return type(example).__name__


# The tree


def test_the_documented_tree_is_the_tree() -> None:
    assert exceptions.__doc__
    tree = exceptions.__doc__.split("::", 1)[1]
    documented: list[tuple[int, str]] = [
        (match.start(), match[0])
        for line in tree.splitlines()
        if (match := re.search(r"[A-Z]\w+", line))
    ]
    parents = {
        name: next(above for i, above in reversed(documented[:index]) if i < indent)
        for index, (indent, name) in enumerate(documented)
        if index
    }
    assert documented[0][1] == "ChatSessionsError"
    rest = [cls for cls in classes if cls is not ChatSessionsError]
    assert parents == {cls.__name__: cls.__bases__[0].__name__ for cls in rest}


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (ContextNotFound, LookupError),
        (SessionNotFound, LookupError),
        (NotStorable, TypeError),
        (NotLoadable, ValueError),
        (ReservedKey, KeyError),
        (TooLarge, ValueError),
    ],
)
def test_they_are_what_python_calls_such_errors(
    cls: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(cls, builtin)


def test_every_exception_has_an_example_here() -> None:
    assert {type(example) for example, _ in EXAMPLES} | {ChatSessionsError} == set(classes)


@pytest.mark.parametrize("cls", classes)
def test_every_exception_says_what_it_is_for(cls: type[Exception]) -> None:
    assert cls.__doc__
    assert cls.__doc__.strip().splitlines()[0].strip()


def test_all_that_handlers_meet_are_public() -> None:
    """``FrameError`` and ``SessionConnected`` are the business of those who answer clients."""
    public = {cls.__name__ for cls in classes} - {"FrameError", "SessionConnected"}
    assert public <= set(chatsessions.__all__)


# Data and messages


@pytest.mark.parametrize(("error", "data"), EXAMPLES, ids=ids)
def test_an_error_carries_its_data(error: ChatSessionsError, data: dict[str, Any]) -> None:
    assert {name: getattr(error, name) for name in data} == data


@pytest.mark.parametrize(
    ("error", "wrong", "remedies"),
    [
        (
            ContextNotFound("user_session"),
            ["'user_session'", "outside"],
            ["chatsessions.spawn()", "chatsessions.bind_context()", "chatsessions.session_context"],
        ),
        (SessionNotFound(ID), [str(ID), "not found"], []),
        (SessionOver(ID, "expired"), [str(ID), "ended", "expired"], []),
        (SessionConnected(ID), [str(ID), "websocket"], ["when that is closed"]),
        (
            OwnershipLost(ID),
            [str(ID), "no longer held"],
            ["chatsessions.spawn()", "chatsessions.session_context()"],
        ),
        (
            OwnerUnreachable(ID, "host:12"),
            [str(ID), "host:12", "Nothing was changed"],
            ["inside the server process"],
        ),
        (TurnStopped(), ["stopped"], []),
        (StoreUnavailable(10), ["10.0 seconds"], ["kept", "as soon as the store answers"]),
        (
            NotStorable("cart[0].owner", type(re.compile("")), "a hint"),
            ["cart[0].owner", "re.Pattern", "a hint"],
            ["@chatsessions.serializable", "plain data", "user_session.local"],
        ),
        (NotStorable("", set), ["the value", "builtins.set"], ["user_session.local"]),
        (ReservedKey("id"), ["'id'", "reserved"], ["another key"]),
        (
            TooLarge("user_session", 2_000_000, 1_048_576, "USER_SESSION_MAX_BYTES"),
            ["user_session", "2,000,000", "1,048,576"],
            ["Store less", "CHATSESSIONS['USER_SESSION_MAX_BYTES']"],
        ),
        (FrameError("n_gap", "the next event is 3, not 5"), ["n_gap", "3", "5"], []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_message_says_what_was_wrong_and_what_to_do(
    error: ChatSessionsError, wrong: list[str], remedies: list[str]
) -> None:
    for part in wrong + remedies:
        assert part in str(error)


def test_without_a_hint_there_are_no_empty_brackets() -> None:
    assert "()" not in str(NotStorable("a", set))


def test_a_reserved_key_is_a_sentence_and_no_quoted_key() -> None:
    """``str()`` of a KeyError is the repr of its key."""
    assert str(ReservedKey("id")).startswith("'id' is reserved")


def test_a_frame_error_may_be_without_a_number() -> None:
    error = FrameError("bad_frame", "not JSON")
    assert (error.n, error.retry_after) == (None, None)
    assert str(error) == "bad_frame: not JSON"


# Across processes


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=ids)
def test_an_error_can_be_pickled_and_copied(error: ChatSessionsError) -> None:
    """A task queue and a process pool do."""
    pickled = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    for again in (pickled, copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
