"""
``Bundle``: frames that leave together, for a client that takes several in one message.

What a message costs a server depends little on its size: the frames of a turn, a replay, or the
tokens of a stream cost a fraction that way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from . import frames
from .conf import settings

#: Characters in one message, unless a single frame has more: a thin line shows what has come.
MAX_SIZE = 64 * 1024


class Bundle:
    """
    Gathers frames while the event loop is busy with what caused them, and hands on their text.

    One that ``can_wait`` does so for ``TOKEN_INTERVAL`` seconds at most, or for one that cannot.
    """

    __slots__ = ("_context", "_due", "_frames", "_left_at", "_loop", "_send", "_size", "_waits")

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[str], None]) -> None:
        self._loop = loop
        self._send = send
        self._frames: list[str] = []
        self._size = 0
        self._due: asyncio.Handle | None = None
        #: Whether it is due only when the interval is over.
        self._waits = False
        self._left_at = 0.0
        #: Nobody's: what is sent is of everybody who has had something to tell.
        self._context = Context()

    def add(self, frame: str, *, can_wait: bool = False) -> None:
        """One more frame, behind those before it."""
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > MAX_SIZE:
            self.flush()
        elif self._due is None or (self._waits and not can_wait):
            self._schedule(can_wait)

    def flush(self) -> None:
        """What has gathered leaves now."""
        if self._due is not None:
            self._due.cancel()
        self._leave()

    def _leave(self) -> None:
        self._due = None
        gathered, self._frames = self._frames, []
        self._size = 0
        if gathered:
            self._left_at = self._loop.time()
            self._send(gathered[0] if len(gathered) == 1 else frames.bundle(gathered))

    def clear(self) -> None:
        """Forget what has gathered: nobody is there any more."""
        self._frames = []
        self.flush()

    def _schedule(self, can_wait: bool) -> None:  # noqa: FBT001, RUF100
        if self._due is not None:
            self._due.cancel()
        wait = self._left_at + settings.TOKEN_INTERVAL - self._loop.time() if can_wait else 0.0
        self._waits = wait > 0
        if self._waits:
            self._due = self._loop.call_later(wait, self._leave, context=self._context)
        else:
            self._due = self._loop.call_soon(self._leave, context=self._context)
