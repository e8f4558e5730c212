"""Loops that have to run for as long as their worker does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("chatsessions.worker")

#: Seconds before a loop that has ended is started again.
RESTART_AFTER = 0.5


async def keep_running(what: str, loop: Callable[[], Awaitable[None]]) -> None:
    """
    Run ``loop`` until this task is cancelled. Log its end, and start it again.

    ``what`` names it in the log. A ``CancelledError`` that nobody has asked for, such as a
    library's own, ends it no more than any other exception.
    """
    while True:
        try:
            await loop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.exception("%s was cancelled by what it called; it is started again", what)
        except Exception:
            logger.exception("%s has failed; it is started again", what)
        else:
            logger.error("%s has ended by itself; it is started again", what)
        await asyncio.sleep(RESTART_AFTER)
