"""
Timers and deadlines that wait a little longer after a hold-up of the event loop.

When an event loop goes on after a hold-up (a handler has blocked it, or the machine was busy), it
calls the timers that are due before it resumes the tasks whose results have arrived meanwhile. The
timers here let these tasks run first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

#: The loop was held up if a timer is called more than this many seconds late.
HELD_UP = 0.5
#: Seconds that a timer then waits, while the loop handles the results that have arrived.
CATCH_UP = 1.0


def is_overdue(loop: asyncio.AbstractEventLoop, timer: asyncio.TimerHandle) -> bool:
    """Return True if the loop was held up when ``timer`` was due; call it in its callback."""
    return loop.time() - timer.when() > HELD_UP


class Timer:
    """
    Calls ``callback`` with ``args`` after ``seconds``.

    If the loop was held up when the timer was due, the timer waits ``CATCH_UP`` seconds more, once.
    """

    __slots__ = ("_args", "_callback", "_handle", "_loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        callback: Callable[..., object],
        *args: object,
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._args = args
        self._handle = loop.call_later(seconds, self._due)

    def cancel(self) -> None:
        self._handle.cancel()

    def _due(self) -> None:
        if is_overdue(self._loop, self._handle):
            self._handle = self._loop.call_later(CATCH_UP, self._callback, *self._args)
        else:
            self._callback(*self._args)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """
    Raise ``TimeoutError`` if the block takes longer than ``seconds``.

    Works as ``asyncio.timeout()``, but with a :class:`Timer`.
    """
    async with asyncio.timeout(None) as timeout:
        timer = Timer(asyncio.get_running_loop(), seconds, timeout.reschedule, 0)
        try:
            yield timeout
        finally:
            timer.cancel()
