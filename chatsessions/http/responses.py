"""Answers to requests: JSON, errors, CORS, and streams of frames as server-sent events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from math import ceil
from typing import Any, Generic, TypeVar, cast

import msgspec
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext

from chatsessions.auth.access import owner_of
from chatsessions.auth.origins import MAX_SHOWN, is_allowed
from chatsessions.conf import settings
from chatsessions.exceptions import (
    AccessRefused,
    CacheFailed,
    FrameError,
    OwnershipLost,
    OwnerUnreachable,
    SessionConnected,
    SessionNotFound,
    SessionOver,
    SessionUnavailable,
    StoreUnavailable,
    TooManySessions,
)
from chatsessions.handlers.session import supported_language
from chatsessions.protocol import frames
from chatsessions.storage.database import unavailable
from chatsessions.timers import Timer
from chatsessions.workers.registry import LoginAwaited

from .requests import RequestRefused
from .visits import HttpSubscriber, Visit, is_end, is_end_of

logger = logging.getLogger("chatsessions.http")

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., HttpResponseBase | Awaitable[HttpResponseBase]])

#: The field of an event stream by which a browser reconnects after 100 milliseconds.
RECONNECT = b"retry: 100\n"
#: Seconds after which a client may repeat a request that failed for a temporary reason.
SOON = 1.0

_STATUS_OF = {
    "busy": 429,
    "rate_limited": 429,
    "storage_unavailable": 503,
    "call_closed": 409,
    "forbidden": 403,
}

#: The errors that :func:`refusal_of` knows.
REFUSALS = (
    RequestRefused,
    AccessRefused,
    FrameError,
    SessionConnected,
    SessionNotFound,
    SessionOver,
    OwnerUnreachable,
    OwnershipLost,
    SessionUnavailable,
    TooManySessions,
    DatabaseError,
    StoreUnavailable,
    CacheFailed,
)


def refusal_of(error: Exception) -> RequestRefused:
    """Return the status and the error of a request that failed with one of ``REFUSALS``."""
    match error:
        case RequestRefused():
            return error
        case AccessRefused():
            return RequestRefused(
                401 if error.code == "unauthorized" else 403, error.code, str(error.detail)
            )
        case FrameError(code="bad_frame" | "too_large"):
            return RequestRefused(400, "bad_request", error.detail)
        case FrameError():
            status = _STATUS_OF.get(error.code, 400)
            return RequestRefused(
                status, error.code, error.detail, retry_after=error.retry_after or 0
            )
        case SessionConnected():
            return RequestRefused(409, "session_connected", str(error))
        case SessionNotFound():
            return RequestRefused(
                404, "unknown_session", gettext("There is no such session, or it is not yours.")
            )
        case SessionOver():
            return RequestRefused(410, "ended", gettext("The session is over."))
        case OwnerUnreachable() | OwnershipLost():
            logger.warning("%s", error)
            detail = _why_unreachable(error)
            return RequestRefused(503, "owner_unreachable", detail, retry_after=SOON)
        case LoginAwaited():
            detail = gettext("Log in first.")
            return RequestRefused(401, "unauthorized", detail, retry_after=SOON)
        case SessionUnavailable():
            detail = gettext("The server is restarting; try again.")
            return RequestRefused(503, "shutting_down", detail, retry_after=SOON)
        case TooManySessions():
            return RequestRefused(403, "forbidden", gettext("There are too many sessions."))
    code, detail = unavailable(error, "A request could not be served")
    return RequestRefused(503, code, detail, retry_after=SOON)


def _why_unreachable(error: OwnerUnreachable | OwnershipLost) -> str:
    """Return the reason in words for the client, without names of machines."""
    if isinstance(error, OwnerUnreachable) and error.is_here:
        return gettext("The session is in use; try again, a message with the same id.")
    if isinstance(error, OwnerUnreachable) and not error.silent:
        return gettext(
            "The session is live in another process, to which no channel layer leads: try again "
            "when it is done there, and let the processes share one (CHANNEL_LAYERS)."
        )
    return gettext(
        "The session's process is gone or gives no sign; try again, a message with the same id."
    )


def error_response(error: Exception) -> HttpResponse:
    """
    Return the answer to a request that failed with one of ``REFUSALS``.

    It is ``{"error": code, "detail": …}``, with ``Retry-After`` if trying again helps.
    """
    refused = refusal_of(error)
    answer: dict[str, Any] = {"error": refused.code, "detail": refused.detail}
    if refused.retry_after:
        answer["retry_after"] = refused.retry_after
    response = json_response(answer, status=refused.status)
    if refused.retry_after:
        response.headers["Retry-After"] = str(ceil(refused.retry_after))
    if refused.allow:
        response.headers["Allow"] = ", ".join(refused.allow)
    return response


def json_response(answer: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Return ``answer`` as JSON that must not be cached: it may hold a token."""
    response = HttpResponse(
        msgspec.json.encode(answer), status=status, content_type="application/json"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def non_atomic(view: View) -> View:
    """
    Exempt ``view`` from ``ATOMIC_REQUESTS`` of every database, and return it.

    Django refuses to wrap async views in a transaction. For uploads a transaction would be long,
    and hold up other writers.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def json_view(*methods: str) -> Callable[[View], View]:
    """
    Decorate a view that answers ``methods``, and raises one of ``REFUSALS`` for an error.

    The error is answered with :func:`error_response`, and so is any other method. A view that has
    found the session of a request activates the session's language, so that errors are in that
    language. A synchronous view runs in a thread. The view is exempt from ``ATOMIC_REQUESTS``.
    """

    def decorate(view: View) -> View:
        call: Any = view if iscoroutinefunction(view) else sync_to_async(view)

        @wraps(view)
        async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            with translation.override(translation.get_language()):
                try:
                    if request.method not in methods:
                        detail = f"Use {', '.join(methods)}."
                        raise RequestRefused(405, "method_not_allowed", detail, allow=methods)
                    response: HttpResponseBase = await call(request, *args, **kwargs)
                except REFUSALS as error:
                    response = error_response(error)
            return response

        return cast(View, non_atomic(answer))

    return decorate


# CORS

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-File-Name",
    "Access-Control-Max-Age": "600",
}


def cross_origin(view: View) -> View:
    """
    Let pages of ``ALLOWED_ORIGINS`` call the async view and read its answers, without cookies.

    A preflight of any other origin is answered with 403, and the origin is logged.
    """

    @wraps(view)
    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        origin = request.headers.get("Origin", "")
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response = _preflight(request, origin)
        else:
            response = await cast(Any, view)(request, *args, **kwargs)
        if settings.ALLOWED_ORIGINS:
            patch_vary_headers(response, ["Origin"])
        if is_allowed(origin):
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Expose-Headers"] = "Content-Disposition, Retry-After"
        return response

    return cast(View, answer)


def _preflight(request: HttpRequest, origin: str) -> HttpResponseBase:
    if is_allowed(origin):
        return HttpResponse(status=204, headers=_PREFLIGHT)
    logger.warning(
        "A page of %r may not ask for %r (403): is its origin in CHATSESSIONS['ALLOWED_ORIGINS']?",
        origin[:MAX_SHOWN],
        request.path[:MAX_SHOWN],  # decoded: it may have line ends
    )
    refusal = "This origin is not in CHATSESSIONS['ALLOWED_ORIGINS'].\n"
    return HttpResponse(refusal, status=403, content_type="text/plain")


# Streams, and turns in one piece


def welcome_of(visit: Visit) -> frames.Welcome:
    """Return the frame that a stream begins with."""
    now = visit.served.standing()
    return frames.Welcome(
        session=str(visit.served.id),
        token=visit.token,
        resumed=visit.resumed,
        reason=visit.reason,
        received=now.received,
        first=now.first,
        head=now.stored,
        turn=now.turn,
        heartbeat=settings.HEARTBEAT,
        max_frame=settings.MAX_FRAME_BYTES,
        owner=msgspec.UNSET if visit.admission is None else owner_of(visit.admission.user),
        offers=visit.offers or msgspec.UNSET,
    )


def sse(frame: frames.ServerFrame) -> bytes:
    """Return a frame as a server-sent event. The id of an entry's event is the entry's ``seq``."""
    entry = isinstance(frame, frames.ServerEvent | frames.Accepted)
    head = f"id: {frame.seq}\n" if entry else ""  # type: ignore[union-attr]
    text = frames.encode(frame)
    if entry:
        # A client's JSON is stored as it came. Between its tokens it may have line ends, which
        # would end the field; a string has none.
        text = text.replace("\r", " ").replace("\n", " ")
    return f"{head}data: {text}\n\n".encode()


class AsyncParts(Generic[T]):
    """
    The parts of an answer under ASGI, each made in a thread.

    Django would first read a synchronous iterator into a list, all of it in memory. It calls
    ``close`` when the answer is over.
    """

    def __init__(self, parts: Iterator[T], *, close: Callable[[], None] = lambda: None) -> None:
        self._next = sync_to_async(partial(next, parts, None), thread_sensitive=False)
        self.close = close

    async def __aiter__(self) -> AsyncIterator[T]:
        while (part := await self._next()) is not None:
            yield part


class EventStream:
    """
    The frames until ``turn`` is over, or until no turn runs if it is None, for a streaming answer.

    When the stream ends, for whatever reason, the visit ends.

    Nothing shows how much the client has read: a server may buffer the whole stream in memory. So
    a stream ends with the frame that makes it ``MAX_STREAM_BYTES`` long, and the client resumes
    after the last entry. If the server does wait for the client, a stream ends when nothing was
    read for 2.5 heartbeats.
    """

    def __init__(self, visit: Visit, subscriber: HttpSubscriber, turn: int | None) -> None:
        self._visit = visit
        self._subscriber = subscriber
        self._turn = turn
        self._turn_has_ended = False
        self._loop = asyncio.get_running_loop()
        self._over = False
        #: When the server got the last part; None since it has asked for the next one.
        self._given_at: float | None = None
        self._timer: Timer | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        self._watch()
        try:
            async with aclosing(self._parts()) as parts:
                async for part in parts:
                    size += len(part)
                    self._given_at = self._loop.time()
                    yield part
                    self._given_at = None
                    if self._over or size >= settings.MAX_STREAM_BYTES:
                        break
        finally:
            self._end()
        await self._visit.served.given_back()

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        visit = self._visit
        if visit.login_lost is None:
            yield RECONNECT + sse(welcome_of(visit))
        async for frame in self._subscriber.frames(quiet=settings.HEARTBEAT):
            if visit.login_lost is not None or self._subscriber.has_gap:
                break
            if frame is None:
                visit.served.client.visited()
                yield b":\n\n"
                continue
            yield sse(frame)
            if self._is_last(frame) and not visit.served.is_ending:
                break
        # Only a new welcome can tell the client of a gap.
        if visit.login_lost is not None and not self._subscriber.has_gap:
            with translation.override(supported_language(visit.served.language)):
                told = str(visit.login_lost)
            yield sse(frames.Error("unauthorized", told))

    def _is_last(self, frame: frames.ServerFrame) -> bool:
        if self._turn is not None:
            return is_end_of(frame, self._turn)
        self._turn_has_ended = self._turn_has_ended or is_end(frame)
        return (
            self._turn_has_ended
            and self._visit.served.standing().is_idle
            and not self._subscriber.has_more
        )

    def _watch(self) -> None:
        """Let the session go if the client reads nothing."""
        patience = 2.5 * settings.HEARTBEAT
        since = self._loop.time() if self._given_at is None else self._given_at
        left = since + patience - self._loop.time()
        if left <= 0:
            logger.info("Session %s: an event stream is not read", self._visit.served.id)
            self._visit.abandon()
            self._over = True
        else:
            self._timer = Timer(self._loop, left, self._watch)

    def close(self) -> None:
        """End the stream, as the answer is over or not read. Any thread may call it."""
        if not self._over:
            with suppress(RuntimeError):  # the loop is closed, and there is nothing to let go
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._subscriber.stop()
        self._visit.leave()

    __del__ = close


async def stream_response(
    request: HttpRequest, visit: Visit, subscriber: HttpSubscriber, turn: int | None
) -> HttpResponseBase:
    """Answer with an :class:`EventStream`."""
    stream = EventStream(visit, subscriber, turn)
    if isinstance(request, ASGIRequest):
        response: HttpResponseBase = StreamingHttpResponse(stream)
        visit.is_streamed = True
    else:
        # Under WSGI no part could be sent before the stream is over: send it in one piece.
        response = HttpResponse(b"".join([part async for part in stream]))
    response.headers["Content-Type"] = "text/event-stream"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


@dataclass(eq=False, repr=False)
class Collected:
    """Collects the events of a turn, or of all if it is None, for an answer in one piece."""

    turn: int | None = None
    #: Whether the events of other turns are wanted, too.
    everything: bool = True
    status: str = "running"
    events: list[dict[str, Any]] = field(default_factory=list)
    #: Whether there are more events than one answer may hold.
    more: bool = False
    #: Whether the turn has ended, or waits for the client.
    can_answer: bool = False
    _bytes: int = 0

    def take(self, frame: frames.ServerFrame | None) -> None:
        """Collect ``frame``. Raises ``RequestRefused`` if nothing can be stored now."""
        match frame:
            case frames.ServerEvent():
                self._take_event(frame)
            case frames.TurnStatus() if self.turn is not None and is_end_of(frame, self.turn):
                self.status = frame.status
                self.can_answer = True
            case frames.Error(code="storage_unavailable"):
                raise RequestRefused(503, frame.code, frame.detail, retry_after=SOON)

    def _take_event(self, event: frames.ServerEvent) -> None:
        own = event.n is not msgspec.UNSET
        turn = None if event.turn is msgspec.UNSET else event.turn
        wanted = self.everything or turn is None or turn == self.turn
        if self.turn is not None and (own or not wanted):
            return
        if event.name == "ask" and turn == self.turn and self.status == "running":
            self.can_answer = True  # the turn waits for the client
        self._bytes += len(bytes(event.data))
        if self.events and self._bytes > settings.MAX_UNACKED_BYTES:
            self.more = True
        if not self.more:
            entry = {"seq": event.seq, "name": event.name, "data": event.data}
            self.events.append(entry | ({"n": event.n} if own else {}))
