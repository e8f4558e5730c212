"""
``FrameBatcher``: sends several frames in one message, to a client that takes that.

What a message costs a server depends little on its size: the frames of a turn, a replay, or the
tokens of a stream cost a fraction that way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context

from chatsessions.conf import settings
from chatsessions.protocol import frames

logger = logging.getLogger("chatsessions.connection")

#: Characters in one message, unless a single frame has more: a slow connection shows what has come,
#: and daphne sends no message over 1 MiB, which such a frame nearly has.
MAX_SIZE = 64 * 1024
#: Seconds that a frame which goes along with the next one waits for it. Half of the tenth of a
#: second from which on people see that something takes time (R. B. Miller, 1968).
ALONG = 0.05


class BatchTimer:
    """Sends the batches of all connections when the event loop is through with what it does now."""

    __slots__ = ("_context", "_due", "_later", "_sweep", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: list[FrameBatcher] = []
        #: Batches that wait for another frame, and until when: one timer for all, as nearly every
        #: one is sent by then.
        self._later: deque[tuple[float, FrameBatcher]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        #: An empty one: what is sent belongs to many sessions.
        self._context = Context()

    def add(self, batcher: FrameBatcher) -> None:
        """Send what ``batcher`` has when the event loop is through with what it does now."""
        if not self._due:
            self.loop.call_soon(self._send_due, context=self._context)
        self._due.append(batcher)

    def call_later(self, seconds: float, batcher: FrameBatcher) -> asyncio.TimerHandle:
        """Send what ``batcher`` has ``seconds`` from now."""
        return self.loop.call_later(seconds, batcher.send_now, context=self._context)

    def add_later(self, batcher: FrameBatcher) -> float:
        """Send it ``ALONG`` seconds from now, unless it is sent by then; return that moment."""
        moment = self.loop.time() + ALONG
        self._later.append((moment, batcher))
        if self._sweep is None:
            self._sweep = self.loop.call_at(moment, self._send_overdue, context=self._context)
        return moment

    def _send_due(self) -> None:
        due, self._due = self._due, []
        for batcher in due:
            _send(batcher)

    def _send_overdue(self) -> None:
        self._sweep = None
        # What is due within the millisecond that a timer may be late by anyway.
        now = self.loop.time() + 0.001
        while self._later and self._later[0][0] <= now:
            moment, batcher = self._later.popleft()
            if batcher.waits_until == moment:
                _send(batcher)
        if self._later and self._sweep is None:
            self._sweep = self.loop.call_at(
                self._later[0][0], self._send_overdue, context=self._context
            )


def _send(batcher: FrameBatcher) -> None:
    try:
        batcher.send_now()
    except Exception:  # one connection's trouble is not its neighbours'
        logger.exception("What has gathered for a connection could not be sent")


class FrameBatcher:
    """
    Gathers frames while the event loop is busy with what caused them, and sends them together.

    A frame that ``can_wait`` does so for ``TOKEN_INTERVAL`` seconds, or until one that cannot.
    """

    __slots__ = (
        "_batches",
        "_frames",
        "_is_due",
        "_send",
        "_sent_at",
        "_size",
        "_timer",
        "waits_until",
    )

    def __init__(self, batches: BatchTimer, send: Callable[[str], None]) -> None:
        self._batches = batches
        self._send = send
        self._frames: list[str] = []
        self._size = 0
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        #: When a frame that waits for another one is sent alone; 0 if there is none.
        self.waits_until = 0.0

    def add(self, frame: str, *, can_wait: bool = False) -> None:
        """Send ``frame`` after those before it."""
        self._append(frame)
        if not self._is_due and not (can_wait and self._waits()):
            self._is_due = True
            self._batches.add(self)

    def add_along(self, frame: str) -> None:
        """Send ``frame`` with the next one, or ``ALONG`` seconds from now."""
        self._append(frame)
        if not self._is_due and not self.waits_until:
            self.waits_until = self._batches.add_later(self)

    def _append(self, frame: str) -> None:
        size = self._size + len(frame)
        if size > MAX_SIZE:
            self.send_now()
            size = len(frame)
        self._frames.append(frame)
        self._size = size

    def send_now(self) -> None:
        """Send what has gathered."""
        self._is_due = False
        self.waits_until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._frames = self._frames, []
        self._size = 0
        if gathered:
            self._sent_at = self._batches.loop.time()
            self._send(gathered[0] if len(gathered) == 1 else frames.bundle(gathered))

    def clear(self) -> None:
        """Forget what has gathered: the client is gone."""
        self._frames = []
        self.send_now()

    def _waits(self) -> bool:
        """Return True if a frame that can wait has to; a timer sends it then."""
        if self._timer is None:
            wait = self._sent_at + settings.TOKEN_INTERVAL - self._batches.loop.time()
            if wait > 0:
                self._timer = self._batches.call_later(wait, self)
        return self._timer is not None
