"""
``FrameBatcher``: frames that leave together, for a client that takes several in one message.

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

#: Characters in one message, unless a single frame has more: a thin line shows what has come, and
#: daphne sends no message over 1 MiB, which such a frame nearly has.
MAX_SIZE = 64 * 1024
#: Seconds that a frame which goes along with the next one waits for it. Half of the tenth of a
#: second from which on people see that something takes time (R. B. Miller, 1968).
ALONG = 0.05


class BatchTimer:
    """The bundles that leave when the event loop is through with what it does now, all at once."""

    __slots__ = ("_context", "_due", "_later", "_sweep", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: list[FrameBatcher] = []
        #: Those that wait for something to go along with, by when they no longer do: one timer
        #: for all, as nearly every one has left by then.
        self._later: deque[tuple[float, FrameBatcher]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        #: Nobody's: what is sent is of everybody who has had something to tell.
        self._context = Context()

    def add(self, bundle: FrameBatcher) -> None:
        if not self._due:
            self.loop.call_soon(self._leave, context=self._context)
        self._due.append(bundle)

    def call_later(self, seconds: float, bundle: FrameBatcher) -> asyncio.TimerHandle:
        """One that leaves later."""
        return self.loop.call_later(seconds, bundle.leave, context=self._context)

    def add_later(self, bundle: FrameBatcher) -> float:
        """One that leaves ``ALONG`` seconds from now, unless it has left by then; that moment."""
        moment = self.loop.time() + ALONG
        self._later.append((moment, bundle))
        if self._sweep is None:
            self._sweep = self.loop.call_at(moment, self._leave_overdue, context=self._context)
        return moment

    def _leave(self) -> None:
        due, self._due = self._due, []
        for bundle in due:
            _see_off(bundle)

    def _leave_overdue(self) -> None:
        self._sweep = None
        # What is due within the millisecond that a timer may be late by anyway.
        now = self.loop.time() + 0.001
        while self._later and self._later[0][0] <= now:
            moment, bundle = self._later.popleft()
            if bundle.waits_until == moment:
                _see_off(bundle)
        if self._later and self._sweep is None:
            self._sweep = self.loop.call_at(
                self._later[0][0], self._leave_overdue, context=self._context
            )


def _see_off(bundle: FrameBatcher) -> None:
    try:
        bundle.leave()
    except Exception:  # one connection's trouble is not its neighbours'
        logger.exception("What has gathered for a connection could not be sent")


class FrameBatcher:
    """
    Gathers frames while the event loop is busy with what caused them, and hands on their text.

    One that ``can_wait`` does so for ``TOKEN_INTERVAL`` seconds at most, or for one that cannot.
    """

    __slots__ = (
        "_departures",
        "_frames",
        "_is_due",
        "_left_at",
        "_send",
        "_size",
        "_timer",
        "waits_until",
    )

    def __init__(self, departures: BatchTimer, send: Callable[[str], None]) -> None:
        self._departures = departures
        self._send = send
        self._frames: list[str] = []
        self._size = 0
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._left_at = 0.0
        #: When what goes along with something leaves alone; 0 if there is no such thing.
        self.waits_until = 0.0

    def add(self, frame: str, *, can_wait: bool = False) -> None:
        """One more frame, behind those before it."""
        self._append(frame)
        if not self._is_due and not (can_wait and self._waits()):
            self._is_due = True
            self._departures.add(self)

    def add_along(self, frame: str) -> None:
        """One that leaves with the next frame, or ``ALONG`` seconds from now."""
        self._append(frame)
        if not self._is_due and not self.waits_until:
            self.waits_until = self._departures.add_later(self)

    def _append(self, frame: str) -> None:
        size = self._size + len(frame)
        if size > MAX_SIZE:
            self.leave()
            size = len(frame)
        self._frames.append(frame)
        self._size = size

    def leave(self) -> None:
        """What has gathered leaves now."""
        self._is_due = False
        self.waits_until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._frames = self._frames, []
        self._size = 0
        if gathered:
            self._left_at = self._departures.loop.time()
            self._send(gathered[0] if len(gathered) == 1 else frames.bundle(gathered))

    def clear(self) -> None:
        """Forget what has gathered: nobody is there any more."""
        self._frames = []
        self.leave()

    def _waits(self) -> bool:
        """Whether it is too early to leave for one that can wait; then it is due in time."""
        if self._timer is None:
            wait = self._left_at + settings.TOKEN_INTERVAL - self._departures.loop.time()
            if wait > 0:
                self._timer = self._departures.call_later(wait, self)
        return self._timer is not None
