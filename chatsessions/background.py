"""
The event loop of a process that has no server's.

Views under WSGI, task queues, commands and the shell reach sessions from whatever thread they run
in, and from event loops that last for one call. All of that is done in one event loop, in a thread
of its own that lasts as long as the process.
"""

from __future__ import annotations

import asyncio
import os
import threading

from channels.layers import channel_layers

#: The name of the thread.
THREAD = "chatsessions-outside"

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The background event loop of this process, which runs when this returns."""
    global _loop  # noqa: PLW0603, RUF100  # one per process
    with _lock:
        if _loop is None:
            loop = asyncio.new_event_loop()
            has_started = threading.Event()
            loop.call_soon(has_started.set)
            threading.Thread(target=loop.run_forever, name=THREAD, daemon=True).start()
            has_started.wait()
            _loop = loop
        return _loop


def is_background(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether ``loop`` is the background event loop of this process."""
    return loop is _loop


def _forget() -> None:
    """
    In a forked child the parent's thread does not run: the child makes a loop of its own.

    And a channel layer: with the parent's each would receive what is for the other.
    """
    global _lock, _loop  # noqa: PLW0603, RUF100
    _lock, _loop = threading.Lock(), None
    channel_layers.backends.clear()


os.register_at_fork(after_in_child=_forget)
