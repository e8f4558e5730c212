"""``Sender``: the way out of one websocket. It sends in order, from a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from channels.sessions import InstanceSessionWrapper

from chatsessions.protocol.frames import CloseCode
from chatsessions.workers.batcher import (
    BatchTimer,
    FrameBatcher,
)

logger = logging.getLogger("chatsessions.connection")

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

#: How long the client may take to answer a close, in seconds.
CLOSE_TIMEOUT = 5.0
#: How long a ``send`` may take to end after it was cancelled, in seconds.
STOP_TIMEOUT = 1.0


class Sender:
    """
    Awaits ``send``, the ASGI server's, for one message after another.

    Only this connection waits for a ``send`` that takes long, and only its own task is cancelled
    by what middleware puts around ``send``. A client for which more than ``max_waiting`` messages
    wait is closed as too slow. ``spec_version`` is that of ASGI.
    """

    __slots__ = (
        "_batcher",
        "_loop",
        "_max_waiting",
        "_reader",
        "_send",
        "_spec_version",
        "_stopped",
        "_task",
        "_timer",
        "_waiting",
        "_wake",
        "abandoned",
        "closing",
        "code",
    )

    def __init__(self, send: Send, *, max_waiting: int, spec_version: object = None) -> None:
        self._send = _without_session_middleware(send)
        self._max_waiting = max_waiting
        self._spec_version = spec_version
        self._loop = asyncio.get_running_loop()
        #: The messages that are sent after those before them.
        self._waiting: deque[Message] = deque()
        #: Where the client takes several frames at a time.
        self._batcher: FrameBatcher | None = None
        #: What the task waits for while there is nothing to send.
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        #: Whether no frames are sent any more.
        self.closing = False
        #: Whether the client was given up: it does not answer the close.
        self.abandoned = False
        #: How the websocket was closed.
        self.code = 1006

    def start(self) -> None:
        """Begin to send, in the ``contextvars`` context of the caller, which reads the socket."""
        self._reader = asyncio.current_task()
        self._task = self._loop.create_task(self._run(), name="chatsessions-sender")

    def batch(self, timer: BatchTimer) -> None:
        """Send several frames at a time from now on."""
        self._batcher = FrameBatcher(timer, self._put_text)

    # Frames

    def send_frame(self, text: str, *, can_wait: bool = False) -> None:
        """Send a frame; one that ``can_wait`` may leave a moment later, with others."""
        if self.closing:
            return
        if self._batcher is not None:
            self._batcher.add(text, can_wait=can_wait)
        else:
            self._put_text(text)

    def send_along(self, text: str) -> None:
        """Send a frame that nobody waits for with the next one, or a moment later."""
        if self._batcher is not None and not self.closing:
            self._batcher.add_along(text)
        else:
            self.send_frame(text)

    def _put_text(self, text: str) -> None:
        self.put({"type": "websocket.send", "text": text})
        if len(self._waiting) > self._max_waiting and not self.closing:
            self._forget()
            self.close(CloseCode.TOO_SLOW)

    def put(self, message: Message) -> None:
        """Send an ASGI message after those before it."""
        self._waiting.append(message)
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _forget(self) -> None:
        """Drop what waits to be sent."""
        self._waiting.clear()
        if self._batcher is not None:
            self._batcher.clear()

    # The close

    def close(self, code: int) -> None:
        """Close after what was sent before. The client is given ``CLOSE_TIMEOUT`` to answer."""
        if self._batcher is not None:
            self._batcher.send_now()
        if not self.closing:
            self.closing = True
            self.code = int(code)
            self.put({"type": "websocket.close", "code": self.code})
            self._timer = self._loop.call_later(CLOSE_TIMEOUT, self.abandon)

    def abandon(self) -> None:
        """Give up on a client that does not answer the close: cancel the task that reads."""
        self.abandoned = True
        if self._reader is not None:
            self._reader.cancel()

    async def stop(self) -> None:
        """Cancel the ``send`` that runs, wait for its end, and try to send a close it held up."""
        close = self._waiting[-1] if self.abandoned and self._waiting else None
        self._forget()
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT)
        if close is not None and close["type"] == "websocket.close":
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self._send(close)
            except Exception as failure:
                self._failed(close, failure)
        if not self._task.done():
            logger.warning("A cancelled send() of the server goes on; it is left to itself")
        elif not self._task.cancelled() and (error := self._task.exception()) is not None:
            logger.error("The sender of a connection failed", exc_info=error)

    # The task

    async def _run(self) -> None:
        while True:
            while self._waiting:
                message = self._waiting.popleft()
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

    def _failed(self, message: Message, error: BaseException) -> None:
        """``send`` has raised: the client has left meanwhile, or the server does not take this."""
        level = logging.DEBUG if self._has_left(error) else logging.WARNING
        logger.log(level, "A %s could not be sent: %r", message["type"], error)
        self._forget()
        if message["type"] != "websocket.close":
            # The client comes back, and resumes behind the last that it got.
            self.close(CloseCode.SHUTTING_DOWN)
        elif message["code"] == CloseCode.FRAME_TOO_LARGE:
            # Daphne closes with 1009 by itself, but refuses the code from an application.
            self.put(message | {"code": int(CloseCode.PROTOCOL_VIOLATION)})

    def _has_left(self, error: BaseException) -> bool:
        """Whether ``error`` is how the server says that the client has left, since ASGI 2.4."""
        says_so = _version(self._spec_version) >= (2, 4)
        return says_so and isinstance(error, OSError) and not isinstance(error, TimeoutError)


def _is_cancelled() -> bool:
    """Whether the running task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _version(text: object) -> tuple[int, ...]:
    """Return ``"2.4"`` as ``(2, 4)``; empty for what is no version."""
    try:
        return tuple(int(part) for part in str(text).split("."))
    except ValueError:
        return ()


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
