"""
What an application's own tests talk to its bots with.

::

    async with ChatCommunicator(application, "/ws/counter/") as chat:
        await chat.send("hi")
        reply = await chat.receive_message()

Needs ``pip install "chatsessions[testing]"``. The pytest fixtures are in
:mod:`chatsessions.testing.pytest`. Like ``chatsessions`` itself this imports no models, so that a
``conftest.py`` can name it before Django is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .conversation import ChatEvent, ChatMessage, ErrorReport
from .failures import ChatAssertionError, ChatRefused

if TYPE_CHECKING:
    from .cleanup import shut_down_worker
    from .communicator import ChatCommunicator

__all__ = [
    "ChatAssertionError",
    "ChatCommunicator",
    "ChatEvent",
    "ChatMessage",
    "ChatRefused",
    "ErrorReport",
    "shut_down_worker",
]

#: These need models, and so are imported at their first use.
_LATER = {"ChatCommunicator": ".communicator", "shut_down_worker": ".cleanup"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
