"""``Sender``: sends the messages of one websocket, in order, from a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from channels.sessions import InstanceSessionWrapper

logger = logging.getLogger("chatsessions.connection")

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

#: How long a ``send`` may take to end after it was cancelled, in seconds.
STOP_TIMEOUT = 1.0


class Sender:
    """
    Awaits ``send``, the ASGI server's, for one message after another.

    Only this connection waits for a ``send`` that takes long, and only its own task is cancelled
    by what middleware puts around ``send``. ``failed`` is called for each message that ``send``
    has raised for.
    """

    __slots__ = ("_failed", "_loop", "_send", "_stopped", "_task", "_wake", "waiting")

    def __init__(self, send: Send, *, failed: Callable[[Message, BaseException], None]) -> None:
        self._send = _without_session_middleware(send)
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        #: The messages that are sent after those before them.
        self.waiting: deque[Message] = deque()
        #: What the task waits for while there is nothing to send.
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to send, in the ``contextvars`` context of the caller."""
        self._task = self._loop.create_task(self._run(), name="chatsessions-sender")

    def put(self, message: Message) -> None:
        """Send ``message`` after those before it."""
        self.waiting.append(message)
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def clear(self) -> None:
        """Forget the messages that wait."""
        self.waiting.clear()

    async def stop(self, last: Message | None = None) -> None:
        """Cancel the ``send`` that runs, wait for its end, and try to send ``last``."""
        self.clear()
        self._stopped = True
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT)
        if last is not None:
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self._send(last)
            except Exception as failure:
                self._failed(last, failure)
        if not self._task.done():
            logger.warning("A cancelled send() of the server goes on; it is left to itself")
        elif not self._task.cancelled() and (error := self._task.exception()) is not None:
            logger.error("The sender of a connection failed", exc_info=error)

    async def _run(self) -> None:
        while True:
            while self.waiting:
                message = self.waiting.popleft()
                try:
                    await self._send(message)
                except asyncio.CancelledError as error:
                    if _is_cancelled():
                        raise
                    self._failed(message, error)  # something that send() waited for was cancelled
                except Exception as error:
                    self._failed(message, error)
            if self._stopped:
                return  # a send() has kept the cancellation to itself
            wake = self._wake = self._loop.create_future()
            await wake


def _is_cancelled() -> bool:
    """Whether the running task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _without_session_middleware(send: Send) -> Send:
    """
    Return ``send`` without Channels' session middleware around it.

    That looks at every message for one that could carry a cookie, which a websocket's never do.
    """
    around: Any = getattr(send, "__self__", None)
    if type(around) is not InstanceSessionWrapper:
        return send
    real: Send = around.real_send
    return real
