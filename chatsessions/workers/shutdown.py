"""
What happens on SIGTERM before the server's own handler does its work.

Neither daphne nor uvicorn tells an application in time that it is about to stop: daphne cancels
it, uvicorn closes its connections with 1012 first. So the worker's shutdown comes before theirs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import FrameType
from typing import Any

logger = logging.getLogger("chatsessions.worker")


#: A signal that comes again so soon is the same one, in seconds: a service manager tells every
#: process of a service, and the parent of this one, which was told as well, hands it on.
ECHO = 1.0


class SigtermHandler:
    """Runs ``shut_down`` in ``loop`` at the first SIGTERM, then hands on to who came before."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, shut_down: Callable[[], Awaitable[None]]
    ) -> None:
        self._loop = loop
        self._shut_down = shut_down
        self._previous: Any = None
        self._told_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Take the signal over, where that is possible: only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._handle)

    def remove(self) -> None:
        """Give the signal back, unless somebody else has taken it meanwhile."""
        if self._previous is not None and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)
        self._previous = None

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._told_at is not None:
            if now - self._told_at > ECHO:  # somebody who is in a hurry
                self.remove()
                signal.raise_signal(signal.SIGTERM)
            return
        self._told_at = now
        try:
            self._loop.call_soon_threadsafe(self._start)
        except RuntimeError:  # the loop is closed: there is nothing left to shut down
            self.remove()
            signal.raise_signal(signal.SIGTERM)

    def _start(self) -> None:
        self._task = self._loop.create_task(
            self._run(), name="chatsessions-shutdown", context=Context()
        )

    async def _run(self) -> None:
        try:
            await self._shut_down()
        except Exception:
            logger.exception("The shutdown failed")
        finally:
            self.remove()
            signal.raise_signal(signal.SIGTERM)
