"""
Workarounds for the server that a worker runs in: how it stops, and warnings that it drops.

Neither daphne nor uvicorn tells an application in time that it is about to stop: daphne cancels
it, uvicorn first closes its connections with 1012. So the worker shuts down before they do.

Daphne starts Twisted's log in a way that drops all of Python's warnings, such as the one about a
coroutine that was never awaited.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import FrameType
from typing import Any, TextIO

logger = logging.getLogger("chatsessions.worker")


#: Seconds in which a second signal is ignored: a service manager signals every process of a
#: service, and the parent of this process passes on its own signal too.
ECHO = 1.0


class SigtermHandler:
    """Runs ``shut_down`` in ``loop`` at the first SIGTERM, then the previous handler."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, shut_down: Callable[[], Awaitable[None]]
    ) -> None:
        self._loop = loop
        self._shut_down = shut_down
        self._previous: Any = None
        self._told_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Handle the signal from now on. Does nothing in a thread other than the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._handle)

    def remove(self) -> None:
        """Restore the previous handler, unless another one was installed meanwhile."""
        if self._previous is not None and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)
        self._previous = None

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._told_at is not None:
            if now - self._told_at > ECHO:  # a real second signal: stop at once
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


def hear_warnings() -> None:
    """
    Show Python's warnings again, if Twisted has redirected them.

    If the project has a log handler for ``py.warnings``, they are logged; else they are written to
    stderr, as Python does by default. A fresh project has no such handler.
    """
    taker = getattr(warnings.showwarning, "__self__", None)
    if type(taker).__module__.partition(".")[0] != "twisted":
        return
    if _is_handled("py.warnings"):
        logging.captureWarnings(True)
    else:
        warnings.showwarning = _show


def _is_handled(name: str) -> bool:
    """Return True if the logger ``name`` has a handler, its own or a parent's."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)
