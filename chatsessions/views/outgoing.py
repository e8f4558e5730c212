"""Answers: JSON, errors, and a stream of the protocol's frames as server-sent events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Any

import msgspec
from django.db import Error as DatabaseError
from django.http import HttpResponse

from chatsessions import access, frames
from chatsessions.conf import settings
from chatsessions.entrance import ShuttingDown, TooManySessions
from chatsessions.exceptions import (
    FrameError,
    OwnershipLost,
    OwnerUnreachable,
    SessionConnected,
    SessionNotFound,
    SessionOver,
    StoreUnavailable,
)
from chatsessions.store.store import CacheFailed
from chatsessions.visits.followers import Follower, is_end_of
from chatsessions.visits.visit import Visit

from .incoming import Refused

logger = logging.getLogger("chatsessions.http")

#: Seconds after which what failed for a reason that passes may be tried again.
SOON = 1.0

_STATUS_OF = {
    "busy": 429,
    "rate_limited": 429,
    "storage_unavailable": 503,
    "call_closed": 409,
    "forbidden": 403,
}

#: What :func:`refusal_of` knows.
REFUSALS = (
    Refused,
    access.Refused,
    FrameError,
    SessionConnected,
    SessionNotFound,
    SessionOver,
    OwnerUnreachable,
    OwnershipLost,
    ShuttingDown,
    TooManySessions,
    DatabaseError,
    StoreUnavailable,
    CacheFailed,
)


def refusal_of(error: Exception) -> Refused:
    """The answer to a request that failed with one of ``REFUSALS``."""
    match error:
        case Refused():
            return error
        case access.Refused():
            status = 401 if error.code == "unauthorized" else 403
            return Refused(status, error.code, error.detail)
        case FrameError(code="bad_frame" | "too_large"):
            return Refused(400, "bad_request", error.detail)
        case FrameError():
            status = _STATUS_OF.get(error.code, 400)
            return Refused(status, error.code, error.detail, retry_after=error.retry_after or 0)
        case SessionConnected():
            return Refused(409, "session_connected", str(error))
        case SessionNotFound():
            return Refused(404, "unknown_session", "no such session, or not yours")
        case SessionOver():
            return Refused(410, "ended", f"the session is over ({error.reason})")
        case OwnerUnreachable() | OwnershipLost():
            logger.warning("%s", error)
            return Refused(503, "owner_unreachable", _why_unreachable(error), retry_after=SOON)
        case ShuttingDown():
            return Refused(503, "shutting_down", "the server is restarting", retry_after=SOON)
        case TooManySessions():
            return Refused(403, "forbidden", "too many sessions")
    return Refused(503, "storage_unavailable", "try again", retry_after=SOON)


def _why_unreachable(error: OwnerUnreachable | OwnershipLost) -> str:
    """What a client may know: no names of machines."""
    if isinstance(error, OwnerUnreachable) and not error.silent:
        return (
            "the session is live in another process, to which no channel layer leads: try again "
            "when it is done there, and let the processes share one (CHANNEL_LAYERS)"
        )
    return "the session's process is gone or gives no sign: try again, a message with the same id"


def error_response(refused: Refused) -> HttpResponse:
    """``{"error": code, "detail": …}``, with ``Retry-After`` where that helps."""
    answer: dict[str, Any] = {"error": refused.code, "detail": refused.detail}
    if refused.retry_after:
        answer["retry_after"] = refused.retry_after
    response = json_response(answer, status=refused.status)
    if refused.retry_after:
        response.headers["Retry-After"] = str(ceil(refused.retry_after))
    return response


def json_response(answer: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Nobody is to keep it: it may hold a token."""
    response = HttpResponse(
        msgspec.json.encode(answer), status=status, content_type="application/json"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def welcome_of(visit: Visit) -> frames.Welcome:
    """What a stream begins with."""
    served = visit.served
    return frames.Welcome(
        session=str(served.id),
        token=visit.token,
        resumed=visit.resumed,
        reason=visit.reason,
        received=served.received,
        first=served.first,
        head=served.stored,
        turn=served.turn,
        heartbeat=settings.HEARTBEAT,
        max_frame=settings.MAX_FRAME_BYTES,
    )


def sse(frame: frames.ServerFrame) -> bytes:
    """A frame as a server-sent event; an entry of the log with its ``seq`` as the id."""
    entry = isinstance(frame, frames.ServerEvent | frames.Accepted)
    head = f"id: {frame.seq}\n" if entry else ""  # type: ignore[union-attr]
    return f"{head}data: {frames.encode(frame)}\n\n".encode()


class EventStream:
    """
    The body of a streaming answer. It lets the session go when it ends, however it ends.

    ``is_last`` says of a frame whether it is the last one; ``end`` comes behind all of them.
    """

    def __init__(
        self,
        visit: Visit,
        follower: Follower,
        is_last: Callable[[frames.ServerFrame], bool],
        end: Sequence[frames.ServerFrame],
    ) -> None:
        self._visit = visit
        self._follower = follower
        self._is_last = is_last
        self._end_frames = end
        self._loop = asyncio.get_running_loop()
        self._over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        visit = self._visit
        try:
            if visit.lost is None:
                yield sse(welcome_of(visit))
            async for frame in self._follower.frames(quiet=settings.HEARTBEAT):
                if visit.lost is not None:
                    break
                if frame is None:
                    visit.served.visited()
                    yield b":\n\n"
                    continue
                yield sse(frame)
                if self._is_last(frame) and not visit.served.is_ending:
                    break
            for frame in self._end_frames if visit.lost is None else ():
                yield sse(frame)
            if visit.lost is not None:
                yield sse(frames.Error("unauthorized", visit.lost))
        finally:
            self._end()
        await visit.given_back()

    def close(self) -> None:
        """The answer is over, or nobody reads it. From any thread, and as often as you like."""
        if not self._over:
            with suppress(RuntimeError):  # the loop is closed, and nothing left to let go
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._over = True
        self._follower.stop()
        self._visit.leave()

    __del__ = close


class Collected:
    """What a turn has emitted, for an answer in one piece."""

    def __init__(self, turn: int | None, *, everything: bool) -> None:
        self._turn = turn
        self._everything = everything
        self._bytes = 0
        self.events: list[dict[str, Any]] = []
        #: Whether there is more than one answer holds.
        self.more = False
        self.status = "running"
        self.is_whole = False

    def take(self, frame: frames.ServerFrame | None) -> None:
        match frame:
            case frames.ServerEvent():
                self._take_event(frame)
            case frames.TurnStatus() if self._turn is not None and is_end_of(frame, self._turn):
                self.status = frame.status
                self.is_whole = True
            case frames.Error(code="storage_unavailable"):
                raise Refused(503, frame.code, frame.detail, retry_after=SOON)

    def _take_event(self, event: frames.ServerEvent) -> None:
        own = event.n is not msgspec.UNSET
        turn = None if event.turn is msgspec.UNSET else event.turn
        if self._turn is not None and (own or not self._is_wanted(turn)):
            return
        if event.name == "ask" and turn == self._turn:
            self.is_whole = True  # it waits for the client
        self._bytes += len(bytes(event.data))
        if self.events and self._bytes > settings.MAX_UNACKED_BYTES:
            self.more = True
        if not self.more:
            entry = {"seq": event.seq, "name": event.name, "data": event.data}
            self.events.append(entry | ({"n": event.n} if own else {}))

    def _is_wanted(self, turn: int | None) -> bool:
        return self._everything or turn is None or turn == self._turn
