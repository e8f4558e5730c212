"""
Test an application's bots.

::

    async with ChatCommunicator(application, "/ws/counter/") as chat:
        await chat.send("hi")
        reply = await chat.receive_message()

It needs ``pip install "chatsessions[testing]"``. The pytest fixtures are in
:mod:`chatsessions.testing.pytest`. Like ``chatsessions`` itself this module imports no models, so
that a ``conftest.py`` can import it before Django is set up.
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

#: Names that need models, so that they are imported when first used.
_LATER = {"ChatCommunicator": ".communicator", "shut_down_worker": ".cleanup"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
