"""``ChatView``: a chat by plain requests, for clients without a websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.functional import Promise
from django.views import View

from chatsessions.auth.access import Access
from chatsessions.auth.env import taken_env
from chatsessions.cluster.connect_request import User
from chatsessions.handlers.chat import resolve_chat
from chatsessions.handlers.session import Session, supported_language
from chatsessions.protocol.frames import parse_seq
from chatsessions.sessions.posted import Posted
from chatsessions.websocket.admission import Admission
from chatsessions.workers import calls
from chatsessions.workers.worker import get_worker

from .requests import (
    Body,
    Credentials,
    RequestRefused,
    credentials_of,
    csrf_problem,
    event_of,
    forget,
    keep,
    read_body,
    serving,
)
from .responses import Collected, json_response, json_view, stream_response
from .visits import HttpSubscriber, Visit, begin_visit


class ChatView(View):
    """
    Serves a ``Chat`` without a websocket: ``ChatView.as_view(chat="bots.counter.chat")``.

    POST handles an event and answers with what its handler has emitted, as JSON or, if the request
    accepts ``text/event-stream``, as a stream of the protocol's frames. GET answers with what was
    emitted since ``?after=``, DELETE ends the session.
    """

    #: A ``Chat``, the dotted path of one, or the name of a module with handlers.
    chat: Any = ""
    #: Seconds after which POST answers with 202 though the turn still runs; None to wait.
    timeout: float | None = None

    #: Who may use the chat, as for a consumer.
    login_required: bool = False
    permission_required: str | Iterable[str] | None = None

    http_method_names = ["get", "post", "delete"]  # noqa: RUF012  # Django's

    # Django makes a view object for each request.
    _visit: Visit | None = None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """
        Return the view.

        Raises ``ChatError`` for a ``chat`` that does not exist, and for an invalid
        ``login_required`` or ``permission_required``.

        The view is exempt from ``CsrfViewMiddleware``, and makes the same check itself if cookies
        identify the client. It is also exempt from ``ATOMIC_REQUESTS``.
        """
        chat = initkwargs["chat"] = resolve_chat(initkwargs.get("chat", cls.chat))
        chat.access_rules.add(Access.declared(cls, initkwargs))
        methods = initkwargs.get("http_method_names", cls.http_method_names)
        view = json_view(*map(str.upper, methods))(super().as_view(**initkwargs))
        view.csrf_exempt = True  # type: ignore[attr-defined]
        return view

    async def dispatch(  # type: ignore[override]  # all of it is async
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        async with serving(request):
            answer: Any = super().dispatch(request, *args, **kwargs)
            return await answer  # type: ignore[no-any-return]

    async def post(self, request: HttpRequest) -> HttpResponseBase:
        """Handle an event, and answer with what its turn has emitted."""
        body = read_body(request)
        event = event_of(body)
        streams = _wants_stream(request)
        async with self._opened(request, body, make=True) as (asked, visit):
            if streams:
                visit.open_stream()
            posted, subscriber = await visit.post(event, bounded=streams)
            if visit.reason is not None and await self._may_keep(request, asked):
                await keep(request, self.chat.name, str(visit.served.id), visit.token)
            if not streams:
                return await self._collect(visit, subscriber, posted)
            if visit.reason is not None:
                await visit.served.settle()  # no client gets a session that is not stored
            return await stream_response(request, visit, subscriber, posted.turn)

    async def get(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with what was emitted after entry ``?after=`` (or ``Last-Event-ID``)."""
        after = _position(request)
        streams = _wants_stream(request)
        body = Body(session=request.GET.get("session"))
        async with self._opened(request, body) as (_, visit):
            await visit.served.settle()
            now = visit.served.standing()
            if streams and not (now.is_idle and now.stored <= after):
                visit.open_stream()
                subscriber = visit.follow(after)
                if now.is_idle:
                    subscriber.stop()
                return await stream_response(request, visit, subscriber, None)
            answer = await _events_since(visit, after)
            # 204 tells an EventSource not to reconnect.
            return HttpResponse(status=204) if streams else json_response(answer)

    async def delete(self, request: HttpRequest) -> HttpResponseBase:
        """End the session."""
        empty = request.headers.get("content-length", "0") in ("", "0")
        body = Body() if empty else read_body(request)
        async with self._opened(request, body) as (asked, visit):
            await calls.end(get_worker(), visit.served.id, "user")
        if asked.kept:
            await forget(request, self.chat.name)
        return HttpResponse(status=204)

    # Who asks

    async def authorize(self, request: HttpRequest, session: Session) -> bool:
        """
        Return True if ``request`` may have ``session``; by default every request may.

        ``session`` is the requested one, or the new one that would be made. The method is called
        before anything is made or taken. False is answered with 403 ``forbidden``, and so is an
        exception, which is logged.
        """
        return True

    def needs_csrf_check(self, request: HttpRequest) -> bool:
        """
        Return True if a request of a logged-in user has to pass Django's CSRF check.

        Override it for logins that are not cookies, such as a header that middleware reads.
        """
        return True

    @asynccontextmanager
    async def _opened(
        self, request: HttpRequest, body: Body, *, make: bool = False
    ) -> AsyncIterator[tuple[Credentials, Visit]]:
        """
        Check the client's rights, and open the requested session, or with ``make`` a new one.

        It is let go at the end of the block, unless an event stream goes on with it.
        """
        asked = await credentials_of(request, self.chat.name, body)
        if body.language is not None:
            translation.activate(supported_language(body.language))
        admission = Admission(
            {"user": asked.connect.user, "session": getattr(request, "session", None)},
            Access.of(
                login_required=self.login_required, permission_required=self.permission_required
            ),
            lambda _scope, session: self.authorize(request, session),
            renewed=self._renewed,
            revoked=self._revoked,
        )
        with ExitStack() as stack:
            stack.callback(admission.leave)
            await admission.watch()
            await admission.check()
            if request.method != "GET" and asked.by_cookie and self.needs_csrf_check(request):
                problem = await sync_to_async(csrf_problem)(request)
                if problem is not None:
                    raise RequestRefused(403, "csrf", problem)
            if make:
                asked = asked.with_env(taken_env(body.env, self.chat.user_env))
            admit = partial(admission.admit, env=asked.connect.env)
            visit = self._visit = await begin_visit(self.chat, asked, make=make, admit=admit)
            stack.callback(visit.leave)
            visit.admission = admission
            translation.activate(supported_language(visit.served.language))
            admission.ensure_login()
            yield asked, visit
            if visit.is_streamed:
                stack.pop_all()
                return
        await visit.served.given_back()

    def _renewed(self, user: User) -> None:
        if self._visit is not None:
            self._visit.served.client.renew_user(None, user)

    def _revoked(self, _detail: Promise) -> None:
        """Send nothing more: the user may no longer use the session. Its turns go on."""
        if self._visit is not None:
            self._visit.stop()

    async def _may_keep(self, request: HttpRequest, asked: Credentials) -> bool:
        """
        Return True if Django's session may keep a new session.

        A session that another site made the browser open must not become the visitor's.
        """
        return asked.may_keep and (
            asked.by_cookie or await sync_to_async(csrf_problem)(request) is None
        )

    async def _collect(
        self, visit: Visit, subscriber: HttpSubscriber, posted: Posted
    ) -> HttpResponse:
        """Answer when the turn has ended or asks something, or after ``timeout`` seconds."""
        told = Collected(
            posted.turn,
            everything=visit.reason is not None,
            status=posted.outcome or "running",
        )
        try:
            async with asyncio.timeout(self.timeout):
                async for frame in subscriber.frames():
                    told.take(frame)
                    if told.can_answer and not visit.served.is_ending:
                        break
        except TimeoutError:
            pass
        finally:
            subscriber.stop()
        if visit.admission is not None:
            visit.admission.ensure_login()
        turn = {"turn": posted.turn, "name": posted.name, "status": told.status}
        answer = _answer(visit, turn, told)
        if subscriber.ended is not None:
            answer["ended"] = subscriber.ended
        elif told.status == "running" and visit.served.failure is not None:
            raise visit.served.failure
        return json_response(answer, status=202 if told.status == "running" else 200)


def _wants_stream(request: HttpRequest) -> bool:
    return "text/event-stream" in request.headers.get("accept", "").lower()


def _position(request: HttpRequest) -> int:
    text = request.headers.get("last-event-id") or request.GET.get("after", "0")
    after = parse_seq(text)
    if after is None:
        raise RequestRefused(
            400, "bad_request", f"'after' is the seq of an entry, not {text[:50]!r}"
        )
    return after


async def _events_since(visit: Visit, after: int) -> dict[str, Any]:
    """Answer with what is stored after entry ``after``, and the turn that may still emit more."""
    now = visit.served.standing()
    subscriber = visit.follow(after)
    subscriber.stop()
    subscriber.replay.check()
    told = Collected()
    async for frame in subscriber.frames():
        told.take(frame)
        if told.more:
            break
    turn = None
    if now.turn is not None:
        turn = {"turn": now.turn, "name": now.turn_name, "status": "running"}
    # The oldest entries may have been dropped before they were read.
    first = visit.served.standing().first
    return _answer(visit, turn, told) | {"first": first, "head": now.stored}


def _answer(visit: Visit, turn: dict[str, Any] | None, told: Collected) -> dict[str, Any]:
    answer = {
        "session": str(visit.served.id),
        "token": visit.token,
        "resumed": visit.resumed,
        "reason": visit.reason,
        "turn": turn,
        "events": told.events,
    }
    return answer | ({"more": True} if told.more else {})
