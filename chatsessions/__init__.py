"""
Stateful conversations over websockets for Django.

The public names. Nothing here imports models: Django imports this module before they are ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .actions import Action
from .chainlit_names import missing as _missing
from .chat import (
    Chat,
    InterruptedTurn,
    action_callback,
    on_action,
    on_chat_end,
    on_chat_resume,
    on_chat_start,
    on_connect,
    on_disconnect,
    on_event,
    on_interrupted,
    on_message,
    on_session_load,
    on_session_unload,
    on_settings_update,
    on_stop,
    on_window_message,
    session_lifespan,
    set_chat_profiles,
)
from .chat_settings import ChatSettings
from .context import bind_context, context, spawn, user_session
from .exceptions import (
    ChatError,
    ChatSessionsError,
    ContextNotFound,
    FileRefused,
    NotLoadable,
    NotStorable,
    OwnershipLost,
    OwnerUnreachable,
    ReservedKey,
    ServerStopped,
    SessionNotFound,
    SessionOver,
    SessionOwned,
    StorageError,
    StoreUnavailable,
    TooLarge,
    TurnStopped,
)
from .files.storage import ChatFile
from .messages import ErrorMessage, Message, send_window_message
from .profiles import ChatProfile
from .questions import AskActionMessage, AskFileMessage, AskUserMessage
from .storable import serializable
from .sync import make_async, run_sync, sleep

if TYPE_CHECKING:
    from .chat_thread import Thread
    from .conversation import chat_context
    from .outside import (
        aassign_user,
        abroadcast,
        aemit_to,
        aemit_to_user,
        aend_session,
        assign_user,
        broadcast,
        emit_to,
        emit_to_user,
        end_session,
        session_context,
    )
    from .views.session import http_session

__version__ = "0.1.0"

__all__ = [
    "Action",
    "AskActionMessage",
    "AskFileMessage",
    "AskUserMessage",
    "Chat",
    "ChatError",
    "ChatFile",
    "ChatProfile",
    "ChatSessionsError",
    "ChatSettings",
    "ContextNotFound",
    "ErrorMessage",
    "FileRefused",
    "InterruptedTurn",
    "Message",
    "NotLoadable",
    "NotStorable",
    "OwnerUnreachable",
    "OwnershipLost",
    "ReservedKey",
    "ServerStopped",
    "SessionNotFound",
    "SessionOver",
    "SessionOwned",
    "StorageError",
    "StoreUnavailable",
    "Thread",
    "TooLarge",
    "TurnStopped",
    "aassign_user",
    "abroadcast",
    "action_callback",
    "aemit_to",
    "aemit_to_user",
    "aend_session",
    "assign_user",
    "bind_context",
    "broadcast",
    "chat_context",
    "context",
    "emit_to",
    "emit_to_user",
    "end_session",
    "http_session",
    "make_async",
    "on_action",
    "on_chat_end",
    "on_chat_resume",
    "on_chat_start",
    "on_connect",
    "on_disconnect",
    "on_event",
    "on_interrupted",
    "on_message",
    "on_session_load",
    "on_session_unload",
    "on_settings_update",
    "on_stop",
    "on_window_message",
    "run_sync",
    "send_window_message",
    "serializable",
    "session_context",
    "session_lifespan",
    "set_chat_profiles",
    "sleep",
    "spawn",
    "user_session",
]

#: These need models, and so their modules are imported at their first use.
_LAZY = {
    "Thread": "chat_thread",
    "aassign_user": "outside",
    "abroadcast": "outside",
    "aemit_to": "outside",
    "aemit_to_user": "outside",
    "aend_session": "outside",
    "assign_user": "outside",
    "broadcast": "outside",
    "emit_to": "outside",
    "emit_to_user": "outside",
    "end_session": "outside",
    "http_session": "views.session",
    "session_context": "outside",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "chat_context"})


def __getattr__(name: str) -> Any:
    if name == "chat_context":  # whoever names it wants sessions to keep their conversations
        return import_module(f"{__name__}.conversation").use_chat_context()
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise _missing(name, __name__)
