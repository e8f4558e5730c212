"""
Stateful conversations over websockets for Django.

The public names. Nothing here imports models: Django imports this module before they are ready.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .exceptions import (
    AccessRefused,
    CacheFailed,
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
    SessionUnavailable,
    StorageError,
    StoreUnavailable,
    TooLarge,
    TooManySessions,
    TurnStopped,
)
from .files.storage import ChatFile
from .handlers.asks import AskActionMessage, AskFileMessage, AskUserMessage, ChatSettings
from .handlers.chat import (
    Chat,
    InterruptedTurn,
    action_callback,
    message_format,
    module_chat,
    on_action,
    on_chat_end,
    on_chat_resume,
    on_chat_start,
    on_connect,
    on_disconnect,
    on_event,
    on_feedback,
    on_interrupted,
    on_message,
    on_session_load,
    on_session_unload,
    on_settings_update,
    on_stop,
    on_window_message,
    session_lifespan,
    set_chat_profiles,
    set_starters,
    user_env,
)
from .handlers.chat_context import Thread
from .handlers.context import bind_context, spawn, user_session
from .handlers.messages import Action, ErrorMessage, Feedback, Message, send_window_message
from .handlers.profiles import ChatProfile, Starter
from .handlers.proxies import context
from .handlers.steps import Step, current_step, step
from .handlers.sync import make_async, run_sync, sleep
from .storage.storable import serializable

if TYPE_CHECKING:
    from .handlers.chat_context import chat_context
    from .http.session import http_session
    from .workers.outside import (
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

__version__ = "0.1.0"

__all__ = [
    "AccessRefused",
    "Action",
    "AskActionMessage",
    "AskFileMessage",
    "AskUserMessage",
    "CacheFailed",
    "Chat",
    "ChatError",
    "ChatFile",
    "ChatProfile",
    "ChatSessionsError",
    "ChatSettings",
    "ContextNotFound",
    "ErrorMessage",
    "Feedback",
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
    "SessionUnavailable",
    "Starter",
    "Step",
    "StorageError",
    "StoreUnavailable",
    "Thread",
    "TooLarge",
    "TooManySessions",
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
    "current_step",
    "emit_to",
    "emit_to_user",
    "end_session",
    "http_session",
    "make_async",
    "message_format",
    "module_chat",
    "on_action",
    "on_chat_end",
    "on_chat_resume",
    "on_chat_start",
    "on_connect",
    "on_disconnect",
    "on_event",
    "on_feedback",
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
    "set_starters",
    "sleep",
    "spawn",
    "step",
    "user_env",
    "user_session",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a name that needs models, or has an effect, at its first use."""
    if name == "chat_context":  # its use makes sessions keep their latest messages
        return import_module(f"{__name__}.handlers.chat_context").use_chat_context()
    if name in __all__:
        module = "http.session" if name == "http_session" else "workers.outside"
        return getattr(import_module(f"{__name__}.{module}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    # With the module, Python says which name may have been meant.
    raise AttributeError(message, name=name, obj=sys.modules[__name__])
