"""
The context: the session that the running code belongs to.

A ``ContextVar`` holds it, which tasks and ``sync_to_async`` copy by themselves.
:func:`bind_context` carries it into executors, threads and callbacks; :func:`spawn` runs a task
that the session owns. ``user_session`` stands for the values of the current session.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import (
    Callable,
    Coroutine,
    ItemsView,
    Iterator,
    KeysView,
    MutableMapping,
    ValuesView,
)
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import iscoroutinefunction
from msgspec import Struct

from chatsessions.exceptions import ContextNotFound
from chatsessions.storage.conversation import ConversationMessage

from .emitter import Emitter, Turn
from .session import Session
from .user_session import SessionAccessor, UserSession

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class MessageHistory(ABC):
    """The latest messages of a session, as its owner keeps them for ``chat_context``."""

    @abstractmethod
    def messages(self) -> list[ConversationMessage]:
        """Return the messages, oldest first."""

    @abstractmethod
    def has_sent(self, said: ConversationMessage) -> bool:
        """Return True for a message of this session, False for one of its thread's earlier ones."""

    @abstractmethod
    async def aload(self) -> None:
        """Read the conversation, if it is not in memory."""

    @abstractmethod
    def add(self, said: ConversationMessage) -> None:
        """Add a message without sending it."""

    @abstractmethod
    def remove(self, key: str | tuple[UUID, int]) -> bool:
        """
        Forget a message; return whether it was there.

        ``key`` is its id, or for a message of the client its session and event number.
        """

    @abstractmethod
    def clear(self) -> None:
        """Forget all messages so far."""


class Context(Struct, eq=False, kw_only=True):
    """The session that the running code belongs to, and the objects to use it by."""

    session: Session
    user_session: UserSession
    emitter: Emitter
    #: The ``Chat``; ``Any``, since its module imports this one.
    chat: Any
    turn: Turn | None
    spawn: Callable[[Coroutine[Any, Any, Any], str | None], asyncio.Task[Any]]
    #: The messages for ``chat_context``; None where none are kept.
    recall: MessageHistory | None = None


#: The context of the running code; None outside of sessions.
current_context: ContextVar[Context | None] = ContextVar("chatsessions", default=None)


def find_context() -> Context | None:
    """Return the current context, or None."""
    return current_context.get()


def current(what: str = "context") -> Context:
    """Return the current context. Raises ``ContextNotFound``, whose message names ``what``."""
    found = current_context.get()
    if found is None:
        raise ContextNotFound(what)
    return found


def owner_loop(_caller: object, what: str) -> asyncio.AbstractEventLoop:
    """Return the event loop of the session's owner. Raises ``ContextNotFound``."""
    return current(what).emitter.loop


def current_turn() -> Turn | None:
    """Return the turn that the running code belongs to, if any."""
    found = current_context.get()
    return None if found is None else found.turn


class use_context:  # noqa: N801  # a context manager, used as a function
    """Make ``value`` the current context for a block, and the earlier one again afterwards."""

    __slots__ = ("_token", "_value")

    def __init__(self, value: Context) -> None:
        self._value = value

    def __enter__(self) -> Context:
        self._token = current_context.set(self._value)
        return self._value

    def __exit__(self, *_: object) -> None:
        current_context.reset(self._token)


class UserSessionProxy(MutableMapping[str, Any]):
    """The ``user_session`` of the current context."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        return current("user_session").user_session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        current("user_session").user_session[key] = value

    def __delitem__(self, key: str) -> None:
        del current("user_session").user_session[key]

    def __iter__(self) -> Iterator[str]:
        return iter(current("user_session").user_session)

    def __len__(self) -> int:
        return len(current("user_session").user_session)

    def __contains__(self, key: object) -> bool:
        return key in current("user_session").user_session

    def keys(self) -> KeysView[str]:
        """Return the application's own keys, without the reserved ones."""
        return current("user_session").user_session.keys()

    def values(self) -> ValuesView[Any]:
        """Return the values of the application's own keys."""
        return current("user_session").user_session.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the application's own keys and values, without the reserved ones."""
        return current("user_session").user_session.items()

    def __repr__(self) -> str:
        found = find_context()
        return repr(found.user_session) if found else "<user_session: no session here>"

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        return current("user_session").user_session.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``; see :meth:`UserSession.set`."""
        current("user_session").user_session[key] = value

    def create_accessor(
        self, key: str, default: T, *, apply_fn: Callable[[T], T] | None = None
    ) -> SessionAccessor[T]:
        """Return an accessor of ``key`` in the session that is current when it is used."""
        return SessionAccessor(self, key, default, apply_fn)

    @property
    def lost(self) -> frozenset[str]:
        """The keys, not set again, whose values an earlier owner kept in memory only."""
        return current("user_session").user_session.lost

    @property
    def local(self) -> dict[str, Any]:
        """Live objects of this worker, never stored; ``session_lifespan`` opens and closes them."""
        return current("user_session").user_session.local


user_session = UserSessionProxy()


def bind_context(function: Callable[P, R]) -> Callable[P, R]:
    """
    Return ``function`` bound to the current context, wherever it is called.

    It is for ``loop.run_in_executor``, threads and callbacks of libraries, which do not carry a
    context: ``executor.submit(bind_context(work), 1)``. Raises ``ContextNotFound``, and
    ``TypeError`` for an object that cannot be called.
    """
    if not callable(function):
        raise TypeError(
            f"bind_context() takes a function, not {function!r:.80}: bind_context(work)(1) calls "
            "work(1)."
        )
    bound = current("bind_context")
    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with use_context(bound):
                return await function(*args, **kwargs)

        return call_async  # type: ignore[return-value]  # R is a coroutine here

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with use_context(bound):
            return function(*args, **kwargs)

    return call


def spawn(coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
    """
    Run ``coroutine`` beside the handler, as a task that the session owns, and return the task.

    While the task runs, the session stays with this worker, also after the turn and without a
    client. An exception is logged. The task is cancelled when its turn is stopped, when the session
    ends and when the server shuts down. Raises ``ContextNotFound``, and ``TypeError`` for an object
    that is not a coroutine.
    """
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(
            "spawn() takes the coroutine that a call of an 'async def' returns, as in "
            f"spawn(remind(5)), not {coroutine!r:.80}."
        )
    try:
        return current("spawn").spawn(coroutine, name)
    except BaseException:
        coroutine.close()
        raise
