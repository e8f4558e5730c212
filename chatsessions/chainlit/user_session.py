"""``user_session``: the values that a bot keeps for a session, of any class."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import chatsessions
from chatsessions.exceptions import NotLoadable
from chatsessions.handlers import user_session as core

from .logger import warn_once
from .session import current_session, here, rebuilding

T = TypeVar("T")

#: The keys that are read from attributes of the session's object (``env`` from ``user_env``).
RESERVED = ("id", "env", "user", "chat_settings", "chat_profile", "client_type")
#: Keys that the core reads from the session, but that a bot may set to its own values here.
_FREE = ("thread_id", "language")


def _stored_as(key: str) -> str:
    return f"chainlit.{key}" if key in _FREE else key


class UserSession:
    """
    The values of the current session.

    They are stored. A value that cannot be stored is kept in memory; when it is lost,
    ``on_chat_resume`` or ``on_chat_start`` sets it again before the next handler runs.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        session = current_session()
        if key in RESERVED:
            return session.user_env if key == "env" else getattr(session, key)
        try:
            return here().user_session[_stored_as(key)]
        except KeyError:
            return default
        except NotLoadable as error:
            warn_once(f"user_session[{key!r}] cannot be read: {error}")
            return default

    def set(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``. Setting one of Chainlit's own keys does nothing."""
        values = here().user_session
        if key in RESERVED:
            warn_once(f"user_session[{key!r}] is read from the session: setting it does nothing.")
        elif not rebuilding.get() or _stored_as(key) not in values:
            values[_stored_as(key)] = value

    @property
    def local(self) -> dict[str, Any]:
        """Live objects of this worker, never stored; ``session_lifespan`` opens and closes them."""
        return here().user_session.local

    def create_accessor(
        self, key: str, default: T, *, apply_fn: Callable[[T], T] | None = None
    ) -> SessionAccessor[T]:
        """Return an object with ``get``, ``set``, ``reset`` and ``apply`` for one key."""
        return SessionAccessor(key, default, apply_fn=apply_fn)


user_session = UserSession()


class SessionAccessor(core.SessionAccessor[T]):
    """One key of ``user_session``, with a default and, optionally, a function for new values."""

    def __init__(self, key: str, default: T, *, apply_fn: Callable[[T], T] | None = None) -> None:
        super().__init__(chatsessions.user_session, key, default, apply_fn)

    def get(self) -> T:
        """Return the value, or a copy of the default."""
        value: T = user_session.get(self._key, deepcopy(self._default))
        return value

    def set(self, value: T) -> None:
        """Set the value."""
        user_session.set(self._key, value)
