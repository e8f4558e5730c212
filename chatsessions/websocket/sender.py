"""
``Sender``: send the messages of one websocket, in order, from a task of its own.

A client that takes bundles gets several frames in one message. The cost of a message depends little
on its size, so the frames of a turn or a replay and the tokens of a stream cost much less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from channels.sessions import InstanceSessionWrapper

from chatsessions.conf import settings
from chatsessions.protocol import frames
from chatsessions.protocol.frames import CloseCode

logger = logging.getLogger("chatsessions.connection")

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

#: Seconds for the client to answer a close.
CLOSE_TIMEOUT = 5.0
#: Seconds for a ``send`` to end after it was cancelled.
STOP_TIMEOUT = 1.0
#: The most characters in one message, unless a single frame has more. On a slow connection a client
#: sees short messages sooner, and daphne sends no message over 1 MiB.
MAX_SIZE = 64 * 1024
#: Seconds that an ``along`` frame waits for the next frame: half of the tenth of a second from
#: which on people notice a delay (R. B. Miller, 1968).
ALONG = 0.05


class Sender:
    """
    Awaits the ASGI server's ``send`` for one message after another.

    Only this connection waits for a slow ``send``, and a cancellation by middleware around ``send``
    affects only its own task. If more than ``max_waiting`` messages wait, or messages of more than
    ``max_size`` characters, the client is too slow, and the websocket is closed. ``spec_version``
    is the server's version of ASGI.
    """

    def __init__(
        self, send: Send, *, max_waiting: int, max_size: int, spec_version: object = None
    ) -> None:
        self._send = _without_session_middleware(send)
        self._max_waiting = max_waiting
        self._max_size = max_size
        self._spec_version = spec_version
        self._loop = asyncio.get_running_loop()
        #: The messages to send, in order, and how many characters they have.
        self._waiting: list[Message] = []
        self._waiting_size = 0
        #: Whether the client takes several frames in one message.
        self._batches = False
        #: The frames to send in the next message, and how many characters they have.
        self._frames: list[str] = []
        self._size = 0
        #: When those frames are sent: 0 is the next pass of the event loop; None without frames.
        self._due_at: float | None = None
        self._batch_timer: asyncio.TimerHandle | None = None
        #: When frames were last sent.
        self._sent_at = 0.0
        #: The future that the task awaits while there is nothing to send.
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._stopped = False
        #: Whether no more frames are sent.
        self.closing = False
        #: Whether the client was given up because it did not answer the close.
        self.abandoned = False
        #: The code with which the websocket was closed.
        self.code = 1006

    def start(self) -> None:
        """Start the task that sends, with the context variables of the caller, which reads."""
        self._reader = asyncio.current_task()
        self._task = self._loop.create_task(self._run(), name="chatsessions-sender")

    def batch(self) -> None:
        """Send several frames in one message from now on."""
        self._batches = True

    # Frames

    def send_frame(self, text: str, *, can_wait: bool = False, along: bool = False) -> None:
        """
        Send a frame after those before it.

        With ``can_wait`` the frame waits until ``TOKEN_INTERVAL`` seconds after the last message,
        with ``along`` for ``ALONG`` seconds. It is sent earlier if a later frame is.
        """
        if self.closing:
            return
        if not self._batches:
            self.put({"type": "websocket.send", "text": text})
            return
        size = self._size + len(text)
        if size > MAX_SIZE:
            self._send_batch()
            size = len(text)
        self._frames.append(text)
        self._size = size
        if self._due_at == 0:
            return
        if along:
            if self._due_at is None:
                self._send_at(self._loop.time() + ALONG)
        elif can_wait and ((moment := self._sent_at + settings.TOKEN_INTERVAL) > self._loop.time()):
            if self._due_at is None or moment < self._due_at:
                self._send_at(moment)
        else:
            self._due_at = 0
            # In an empty context: the code that runs now may belong to another session.
            self._loop.call_soon(self._send_batch, context=Context())

    def _send_at(self, moment: float) -> None:
        """Send the gathered frames at ``moment``, unless they are sent before."""
        self._due_at = moment
        timer = self._batch_timer
        if timer is not None and timer.when() > moment:
            timer.cancel()
            timer = None
        if timer is None:
            self._batch_timer = self._loop.call_at(moment, self._send_due, context=Context())

    def _send_due(self) -> None:
        """Send the frames if they are due. They may have been sent before the timer ran."""
        self._batch_timer = None
        if self._due_at:
            # A timer may be a millisecond late or early.
            if self._due_at <= self._loop.time() + 0.001:
                self._send_batch()
            else:
                self._send_at(self._due_at)

    def _send_batch(self) -> None:
        """Send the gathered frames in one message."""
        self._due_at = None
        gathered, self._frames = self._frames, []
        self._size = 0
        if gathered:
            self._sent_at = self._loop.time()
            text = gathered[0] if len(gathered) == 1 else frames.bundle(gathered)
            self.put({"type": "websocket.send", "text": text})

    def put(self, message: Message) -> None:
        """Send an ASGI message after those before it, or close if too many wait."""
        self._waiting.append(message)
        self._waiting_size += len(message.get("text", ""))
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)
        is_full = len(self._waiting) > self._max_waiting or self._waiting_size > self._max_size
        if is_full and not self.closing:
            self._forget()
            self.close(CloseCode.TOO_SLOW)

    def _forget(self) -> None:
        """Drop all waiting messages and frames."""
        self._waiting.clear()
        self._waiting_size = 0
        self._frames = []
        self._size = 0

    # The close

    def close(self, code: int) -> None:
        """Close after all earlier messages. The client has ``CLOSE_TIMEOUT`` seconds to answer."""
        self._send_batch()
        if not self.closing:
            self.closing = True
            self.code = int(code)
            self.put({"type": "websocket.close", "code": self.code})
            self._close_timer = self._loop.call_later(CLOSE_TIMEOUT, self.abandon)

    def abandon(self) -> None:
        """Give up on a client that does not answer the close: cancel the task that reads."""
        self.abandoned = True
        if self._reader is not None:
            self._reader.cancel()

    async def stop(self) -> None:
        """Cancel the running ``send``, wait for its end, and try to send a close that waits."""
        close = self._waiting[-1] if self.abandoned and self._waiting else None
        self._forget()
        self._stopped = True
        for timer in (self._close_timer, self._batch_timer):
            if timer is not None:
                timer.cancel()
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
                message = self._waiting.pop(0)
                self._waiting_size -= len(message.get("text", ""))
                try:
                    await self._send(message)
                except asyncio.CancelledError as error:
                    if _is_cancelled():
                        raise
                    self._failed(message, error)  # something in send() was cancelled, not this task
                except Exception as error:
                    self._failed(message, error)
            if self._stopped:
                return  # send() has swallowed the cancellation
            wake = self._wake = self._loop.create_future()
            await wake

    def _failed(self, message: Message, error: BaseException) -> None:
        """Log that ``send`` has raised, and close: the client has left, or the server refuses."""
        level = logging.DEBUG if self._has_left(error) else logging.WARNING
        logger.log(level, "A %s could not be sent: %r", message["type"], error)
        self._forget()
        if message["type"] != "websocket.close":
            # The client comes back, and resumes after the last entry that it got.
            self.close(CloseCode.SHUTTING_DOWN)
        elif message["code"] == CloseCode.FRAME_TOO_LARGE:
            # Daphne closes with 1009 by itself, but refuses the code from an application.
            self.put(message | {"code": int(CloseCode.PROTOCOL_VIOLATION)})

    def _has_left(self, error: BaseException) -> bool:
        """Return True if ``error`` means that the client has left; servers of ASGI 2.4 say so."""
        says_so = _version(self._spec_version) >= (2, 4)
        return says_so and isinstance(error, OSError) and not isinstance(error, TimeoutError)


def _is_cancelled() -> bool:
    """Return True if the running task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _version(text: object) -> tuple[int, ...]:
    """Return ``"2.4"`` as ``(2, 4)``; empty if ``text`` is no version."""
    try:
        return tuple(int(part) for part in str(text).split("."))
    except ValueError:
        return ()


def _without_session_middleware(send: Send) -> Send:
    """
    Return ``send`` without Channels' session middleware around it.

    The middleware checks every message for a cookie, which messages of a websocket never have.
    """
    around: Any = getattr(send, "__self__", None)
    if type(around) is not InstanceSessionWrapper:
        return send
    real: Send = around.real_send
    return real
