"""``context`` and ``user_session``: names that stand for those of whatever session is current."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, MutableMapping
from typing import Any, TypeVar

from .chat import Chat
from .context import current, find_context
from .emitter import Emitter, Turn
from .session import Session
from .user_session import SessionAccessor, UserSession

T = TypeVar("T")


class ContextProxy:
    """The current context, by attribute."""

    __slots__ = ()

    @property
    def session(self) -> Session:
        """The session, with its ``id``, ``user``, ``chat_settings`` and more."""
        return current("context.session").session

    @property
    def emitter(self) -> Emitter:
        """The emitter, which sends events to the session's client."""
        return current("context.emitter").emitter

    @property
    def user_session(self) -> UserSession:
        """The values that are kept for the session."""
        return current("context.user_session").user_session

    @property
    def chat(self) -> Chat:
        """The ``Chat`` whose handlers serve the session."""
        chat: Chat = current("context.chat").chat
        return chat

    @property
    def turn(self) -> Turn | None:
        """The turn; None outside of turns."""
        return current("context.turn").turn

    def __repr__(self) -> str:
        found = find_context()
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
        found = find_context()
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
    def lost(self) -> frozenset[str]:
        """The keys whose values an earlier owner has kept in memory only, until they are set."""
        return current("user_session").user_session.lost

    @property
    def local(self) -> dict[str, Any]:
        """Live objects of this worker, never stored; ``session_lifespan`` opens and closes them."""
        return current("user_session").user_session.local


context = ContextProxy()
user_session = UserSessionProxy()
