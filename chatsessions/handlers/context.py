"""
The context: which session the running code belongs to.

One ``ContextVar``. It reaches tasks and ``sync_to_async`` by itself; :func:`bind_context` carries
it into executors, threads and callbacks, and :func:`spawn` gives a task an owner.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, ItemsView, Iterator, KeysView, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import iscoroutinefunction
from msgspec import Struct

from chatsessions.exceptions import ContextNotFound
from chatsessions.storage.log import Said

from .emitter import (
    Emitter,
    Turn,
)
from .session import Session
from .user_session import (
    SessionAccessor,
    UserSession,
)

if TYPE_CHECKING:
    from .chat import Chat

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Conversation(ABC):
    """The latest messages of a session, as its owner keeps them for ``chat_context``."""

    @abstractmethod
    def messages(self) -> list[Said]:
        """Return what was said, oldest first."""

    @abstractmethod
    def has_sent(self, said: Said) -> bool:
        """Return True for a message of the session itself, not of an earlier one of its thread."""

    @abstractmethod
    async def aload(self) -> None:
        """Read the conversation, if it is not in memory."""

    @abstractmethod
    def add(self, said: Said) -> None:
        """Add a message that is not sent."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all that was said before."""


class Context(Struct, eq=False, kw_only=True):
    """What running code knows of its session."""

    session: Session
    user_session: UserSession
    emitter: Emitter
    chat: Chat
    turn: Turn | None
    spawn: Callable[[Coroutine[Any, Any, Any], str | None], asyncio.Task[Any]]
    #: What chat_context has of the session; None where no conversation is kept.
    recall: Conversation | None = None


_current: ContextVar[Context | None] = ContextVar("chatsessions", default=None)


def current(what: str = "context") -> Context:
    """The current context. Raises ``ContextNotFound``, which names ``what`` and the remedy."""
    found = _current.get()
    if found is None:
        raise ContextNotFound(what)
    return found


def owner_loop(_caller: object, what: str) -> asyncio.AbstractEventLoop:
    """The event loop of the current session's owner. Raises ``ContextNotFound``."""
    return current(what).emitter.loop


def current_turn() -> Turn | None:
    """The turn that the running code belongs to, if any."""
    found = _current.get()
    return None if found is None else found.turn


class use_context:  # noqa: N801  # a context manager, used as a function
    """Make ``value`` current for the block, and what was current before it afterwards."""

    __slots__ = ("_token", "_value")

    def __init__(self, value: Context) -> None:
        self._value = value

    def __enter__(self) -> Context:
        self._token = _current.set(self._value)
        return self._value

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def bind_context(function: Callable[P, R]) -> Callable[P, R]:
    """
    ``function`` with the context of here and now, wherever it is called.

    For ``loop.run_in_executor``, threads and libraries' callbacks, which do not carry a context:
    ``executor.submit(bind_context(work), 1)``. Raises ``ContextNotFound`` if there is none.
    """
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
    Run ``coroutine`` beside the handler, as a task that the session owns.

    The session stays with this worker while the task runs, also after the turn and without a
    client; an exception is logged; the task is cancelled when its turn is stopped, when the
    session ends and when the server shuts down. Raises ``ContextNotFound``.
    """
    try:
        return current("spawn").spawn(coroutine, name)
    except BaseException:
        coroutine.close()
        raise


class ContextProxy:
    """The current context, by attribute."""

    __slots__ = ()

    @property
    def session(self) -> Session:
        """The session: ``id``, ``user``, ``chat_settings``, …"""
        return current("context.session").session

    @property
    def emitter(self) -> Emitter:
        """Sends events to the session's client."""
        return current("context.emitter").emitter

    @property
    def user_session(self) -> UserSession:
        """The values kept for the session."""
        return current("context.user_session").user_session

    @property
    def chat(self) -> Chat:
        """The ``Chat`` whose handlers serve the session."""
        return current("context.chat").chat

    @property
    def turn(self) -> Turn | None:
        """The turn, None outside of one."""
        return current("context.turn").turn

    def __repr__(self) -> str:
        found = _current.get()
        return f"<context of {found.session.id}>" if found else "<context: none here>"


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
        """The application's own keys, as iteration gives them."""
        return current("user_session").user_session.keys()

    def items(self) -> ItemsView[str, Any]:
        """The application's own keys and values, as iteration gives them."""
        return current("user_session").user_session.items()

    def __repr__(self) -> str:
        found = _current.get()
        return repr(found.user_session) if found else "<user_session: no session here>"

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        return current("user_session").user_session.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``; see :meth:`UserSession.set`."""
        current("user_session").user_session.set(key, value)

    def create_accessor(
        self, key: str, default: T, *, apply_fn: Callable[[T], T] | None = None
    ) -> SessionAccessor[T]:
        """``get``, ``set``, ``reset`` and ``apply`` for one key of whatever session is current."""
        return SessionAccessor(self, key, default, apply_fn)

    @property
    def local(self) -> dict[str, Any]:
        """Live objects of this worker, never stored; ``session_lifespan`` opens and closes them."""
        return current("user_session").user_session.local


context = ContextProxy()
user_session = UserSessionProxy()
