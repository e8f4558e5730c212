"""
Chainlit's session layer, on ``chatsessions``: ``import chatsessions.chainlit as cl``.

A bot that was written for Chainlit runs with its import lines changed. A name that cannot work here
raises an error that says what to do instead; the module ``names`` lists them all.
"""

from __future__ import annotations

import sys

from chatsessions import (
    on_connect,
    on_disconnect,
    on_interrupted,
    on_session_load,
    on_session_unload,
    session_lifespan,
    user_env,
)

from . import input_widget, types
from .action import Action
from .cache import cache
from .callbacks import (
    action_callback,
    author_rename,
    on_chat_end,
    on_chat_resume,
    on_chat_start,
    on_feedback,
    on_message,
    on_settings_update,
    on_stop,
    on_window_message,
    send_window_message,
    set_chat_profiles,
    set_starter_categories,
    set_starters,
)
from .chat_context import chat_context
from .chat_settings import ChatSettings
from .context import context
from .element import Audio, File, Image, Pdf, Pyplot, Task, TaskList, TaskStatus, Text, Video
from .message import AskActionMessage, AskFileMessage, AskUserMessage, ErrorMessage, Message
from .mode import Mode, ModeOption
from .names import MODULES, MissingModules, missing_from
from .step import Step, step
from .sync import make_async, run_sync, sleep
from .types import ChatProfile, Starter, StarterCategory
from .user import PersistedUser, User
from .user_session import user_session

__all__ = [
    "Action",
    "AskActionMessage",
    "AskFileMessage",
    "AskUserMessage",
    "Audio",
    "ChatProfile",
    "ChatSettings",
    "ErrorMessage",
    "File",
    "Image",
    "Message",
    "Mode",
    "ModeOption",
    "Pdf",
    "PersistedUser",
    "Pyplot",
    "Starter",
    "StarterCategory",
    "Step",
    "Task",
    "TaskList",
    "TaskStatus",
    "Text",
    "User",
    "Video",
    "action_callback",
    "author_rename",
    "cache",
    "chat_context",
    "context",
    "input_widget",
    "make_async",
    "on_chat_end",
    "on_chat_resume",
    "on_chat_start",
    "on_connect",
    "on_disconnect",
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
    "session_lifespan",
    "set_chat_profiles",
    "set_starter_categories",
    "set_starters",
    "sleep",
    "step",
    "types",
    "user_env",
    "user_session",
]

# At the end, so that Python asks it only for modules that no other finder has.
sys.meta_path.append(MissingModules)

# A name that a module does not have raises an error that says what to use instead.
__getattr__ = missing_from(__name__)
for _module, _known in MODULES.items():
    if _known.state == "works":
        _path = f"{__name__}.{_module}"
        vars(sys.modules[_path])["__getattr__"] = missing_from(_path)
