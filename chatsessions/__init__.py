"""
Stateful conversations over websockets for Django.

The public names. Nothing here imports models: Django imports this module before they are ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chat import (
    Chat,
    InterruptedTurn,
    on_chat_end,
    on_chat_start,
    on_connect,
    on_disconnect,
    on_event,
    on_interrupted,
    on_message,
    on_session_load,
    on_settings_update,
    on_stop,
)
from .context import bind_context, context, spawn, user_session
from .exceptions import (
    ChatError,
    ChatSessionsError,
    ContextNotFound,
    NotLoadable,
    NotStorable,
    OwnershipLost,
    OwnerUnreachable,
    ReservedKey,
    SessionNotFound,
    SessionOver,
    StorageError,
    StoreUnavailable,
    TooLarge,
    TurnStopped,
)
from .messages import ErrorMessage, Message
from .storable import serializable

if TYPE_CHECKING:
    from .outside import aend_session, end_session, session_context

__version__ = "0.1.0"

__all__ = [
    "Chat",
    "ChatError",
    "ChatSessionsError",
    "ContextNotFound",
    "ErrorMessage",
    "InterruptedTurn",
    "Message",
    "NotLoadable",
    "NotStorable",
    "OwnerUnreachable",
    "OwnershipLost",
    "ReservedKey",
    "SessionNotFound",
    "SessionOver",
    "StorageError",
    "StoreUnavailable",
    "TooLarge",
    "TurnStopped",
    "aend_session",
    "bind_context",
    "context",
    "end_session",
    "on_chat_end",
    "on_chat_start",
    "on_connect",
    "on_disconnect",
    "on_event",
    "on_interrupted",
    "on_message",
    "on_session_load",
    "on_settings_update",
    "on_stop",
    "serializable",
    "session_context",
    "spawn",
    "user_session",
]

#: These need models, and so are imported at their first use.
_OUTSIDE = frozenset({"aend_session", "end_session", "session_context"})


def __dir__() -> list[str]:
    return sorted({*globals(), *_OUTSIDE})


def __getattr__(name: str) -> Any:
    if name in _OUTSIDE:
        from . import outside  # noqa: PLC0415, RUF100

        return getattr(outside, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
