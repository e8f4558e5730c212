"""Reads requests: the user and their rights, the session, and the event that is posted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import translation
from django.utils.functional import LazyObject
from django.utils.translation import gettext
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from chatsessions.auth.access import Tokens, fail_closed, hash_token, is_owner, session_of_token
from chatsessions.cluster.connect_request import ConnectRequest, User
from chatsessions.conf import settings
from chatsessions.exceptions import AccessRefused, ChatSessionsError
from chatsessions.handlers.chat import Chat, find_chat
from chatsessions.handlers.session import supported_language
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.protocol.frames import parse_uuid
from chatsessions.storage.database import arefuse_test_transaction
from chatsessions.websocket.admission import first_language, valid_ip
from chatsessions.workers.limits import SHARED, Limits, Replay
from chatsessions.workers.worker import get_worker, visiting

#: The longest token that is looked at, in characters; the session's own are shorter.
MAX_TOKEN = 200
NO_USER = "The user of a request could not be looked up: nobody comes in"
#: The key under which Django's session keeps the visitor's session of each chat.
KEPT = "chatsessions"
#: The columns that decide who may have a session, and the size of its log. Others are not read:
#: they may have a megabyte.
_ACCESS_COLUMNS = (
    "chat",
    "language",
    "user_id",
    "token_hash",
    "previous_token_hash",
    "status",
    "end_reason",
    "disconnected_at",
    "log_bytes",
)


class RequestRefused(ChatSessionsError):
    """
    A request that is not served: the status and the JSON of its answer.

    ``retry_after`` is in seconds; 0 where trying again does not help. ``allow`` are the methods
    that the URL accepts.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: float = 0,
        allow: tuple[str, ...] = (),
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.allow = allow
        super().__init__(f"{code}: {detail}")


def not_found() -> RequestRefused:
    """
    Return the error for an object that does not exist, or that belongs to another user.

    Both get the same answer, so that it does not tell what exists.
    """
    return RequestRefused(404, "not_found", gettext("There is nothing here, or nothing of yours."))


# The worker


@asynccontextmanager
async def serving(request: HttpRequest) -> AsyncIterator[None]:
    """
    Provide a worker while ``request`` is served.

    Under ASGI the worker stays; under WSGI the event loop ends with the request, and the worker
    with it. Raises ``ImproperlyConfigured`` in a test that runs in a transaction.
    """
    await arefuse_test_transaction()
    if isinstance(request, ASGIRequest):
        get_worker().serve()
        yield
    else:
        async with visiting() as worker:
            worker.limits = SHARED
            yield


def limits_of(request: HttpRequest) -> Limits:
    """Return the limits that count the requests of a client."""
    return get_worker().limits if isinstance(request, ASGIRequest) else SHARED


def reading_pace(request: HttpRequest, session_id: UUID) -> Replay:
    """
    Count a request that reads a session's log; return the pace, to count the bytes read.

    Raises ``FrameError`` ``rate_limited`` for a request that comes too early.
    """
    limits, ip = limits_of(request), valid_ip(request.META.get("REMOTE_ADDR"))
    limits.read(session_id, ip)
    pace = limits.replay(session_id, ip)
    pace.check()
    return pace


# Who asks


def user_of(request: HttpRequest) -> User:
    """
    Return the user of ``request``. Synchronous: the first access may query the database.

    Raises ``AccessRefused`` if an authentication backend fails, and what the database raises.
    """
    with fail_closed(NO_USER):
        found: Any = getattr(request, "user", None) or AnonymousUser()
        _ = found.is_authenticated  # a lazy user is looked up now
        # The lazy object would keep the request in memory for as long as its session.
        return found._wrapped if isinstance(found, LazyObject) else found  # type: ignore[no-any-return]


async def auser_of(request: HttpRequest) -> User:
    """
    Return the user of ``request``, as :func:`user_of` does, in async code.

    It is ``request.user`` here too: a project's middleware may set that, and leaves ``auser()`` to
    Django, which knows only the login of its session.
    """
    return await sync_to_async(user_of)(request)


def bearer_token(request: HttpRequest) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header; None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()[:MAX_TOKEN]
    return token if scheme.lower() == "bearer" and token else None


class _CsrfCheck(CsrfViewMiddleware):
    """Django's check, which returns its reason to refuse instead of an error page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def csrf_problem(request: HttpRequest) -> str | None:
    """
    Return why Django's CSRF check refuses the request; None if it does not.

    It is for logged-in browsers, which send their cookie with requests of other sites, too. A
    request with the session's token needs no check: no other site has the token. Synchronous.
    """
    check = _CsrfCheck(lambda _request: HttpResponse())
    check.process_request(request)
    reason: Any = check.process_view(request, None, (), {})  # type: ignore[arg-type]  # no view
    return None if reason is None else str(reason)


# Whether they may


def check_access(chat: Chat, user: User) -> None:
    """
    Raise ``AccessRefused`` if no consumer or view of the chat lets ``user`` in.

    Login and permissions decide. A chat that nothing serves in this process refuses nobody.
    Synchronous.
    """
    refused = None
    for access in list(chat.access_rules):
        try:
            access.check(user)
        except AccessRefused as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused


def client_session(request: HttpRequest, session_id: str) -> tuple[ChatSession, bool]:
    """
    Return the session that the client of a request may have, and whether the token was sent.

    The rule is that of ``hello``: the user is the session's owner (all anonymous users count as
    the same), and is logged in or has a valid token. A token alone is not enough for the session
    of a logged-in user: it would outlive the logout. Raises ``RequestRefused`` 404 for a session
    that is another's or does not exist, ``AccessRefused`` if the chat no longer admits the user or
    an authentication backend fails, and what the database raises. Synchronous.

    Activates the session's language.
    """
    # Always looked up: this adds a header to the answer, whose absence would tell what exists.
    user = user_of(request)
    pk = parse_uuid(session_id)
    if pk is None:
        raise not_found()
    rows = ChatSession.objects.using(settings.DATABASE).timed().only(*_ACCESS_COLUMNS)
    session = rows.filter(pk=pk).first()
    if session is None or not is_owner(session.user_id, user):
        raise not_found()
    tokens = Tokens(session.token_hash, session.previous_token_hash)
    token = bearer_token(request)
    has_token = token is not None and tokens.accept(hash_token(token))
    if not has_token and not user.is_authenticated:
        raise not_found()
    translation.activate(supported_language(session.language))
    check_access(find_chat(session.chat), user)
    return session, has_token


# What is posted


class Body(Struct):
    """What a client posts: a message (``content``), an event (``name``) or an answer (``call``)."""

    content: str | UnsetType = UNSET
    id: UUID | None = None
    files: list[str] | None = None
    replaces: int | None = None
    name: frames.EventName | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    call: Annotated[str, Meta(max_length=100)] | UnsetType = UNSET
    session: Annotated[str, Meta(max_length=100)] | None = None
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None
    thread: Annotated[str, Meta(max_length=100)] | None = None
    client_type: frames.ClientType = "http"
    language: Annotated[str, Meta(max_length=35, pattern=frames.CLEAN)] | None = None
    profile: Annotated[str, Meta(max_length=200, pattern=frames.CLEAN)] | None = None
    env: dict[str, str] | None = None

    def __repr__(self) -> str:
        """Return it without secrets: the content, the token, the client's own keys."""
        return f"Body(session={self.session!r}, client_type={self.client_type!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("session", self.session), ("client_type", self.client_type)]


@dataclass(frozen=True, slots=True)
class Event:
    """An event that was posted; with ``call`` it is the answer to a question."""

    name: str
    raw: bytes
    data: Any
    #: The id of a message, by which a repetition is recognized.
    key: str | None = None
    call: str | None = None


def read_body(request: HttpRequest) -> Body:
    """
    Return the body of a POST.

    Raises ``RequestRefused``: ``too_large`` beyond ``MAX_FRAME_BYTES``, ``bad_request`` if it is
    not JSON, or not of this shape.
    """
    limit = settings.MAX_FRAME_BYTES
    declared = request.headers.get("content-length", "")
    too_large = RequestRefused(413, "too_large", f"a request has at most {limit} bytes")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    try:
        raw = request.body
    except RequestDataTooBig as error:
        raise too_large from error
    except (UnreadablePostError, RawPostDataException) as error:
        raise RequestRefused(400, "bad_request", "the body cannot be read") from error
    if len(raw) > limit:
        raise too_large
    try:
        return msgspec.json.decode(raw, type=Body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RequestRefused(400, "bad_request", str(error)[:300]) from error


def event_of(body: Body) -> Event:
    """
    Return the event that ``body`` posts.

    Raises ``RequestRefused`` if there is none or more than one, ``FrameError`` for data of the
    wrong shape.
    """
    kinds = [key for key in ("content", "name", "call") if getattr(body, key) is not UNSET]
    if len(kinds) != 1:
        raise RequestRefused(400, "bad_request", "give one of 'content', 'name' and 'call'")
    raw = b"null" if isinstance(body.data, UnsetType) else bytes(body.data)
    if isinstance(body.call, str):
        data = frames.decode_data(frames.Answer(1, body.call, Raw(raw)))
        return Event("answer", raw, data, call=body.call)
    if isinstance(body.content, str):
        given = {key: getattr(body, key) for key in ("content", "id", "files", "replaces")}
        message = {key: value for key, value in given.items() if value is not None}
        name, raw = "message", msgspec.json.encode(message)
    else:
        name = str(body.name)
    data = frames.decode_data(frames.ClientEvent(1, name, Raw(raw)))
    return Event(name, raw, data, key=data.get("id") if name == "message" else None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks for which session, and by what right."""

    connect: ConnectRequest
    #: Whether the session is the one that Django's session keeps.
    kept: bool
    #: Whether Django's session may keep a session that is new to the visitor.
    may_keep: bool

    @property
    def by_cookie(self) -> bool:
        """Whether cookies identify the client: other sites can make a browser send cookies."""
        return self.kept or bool(self.connect.user.is_authenticated)

    def with_env(self, env: dict[str, str]) -> Self:
        """Return a copy with the client's own keys."""
        return replace(self, connect=replace(self.connect, env=env))


async def credentials_of(request: HttpRequest, chat_name: str, body: Body) -> Credentials:
    """
    Return who asks for which session: by the body, a bearer token, or Django's session.

    Raises what :func:`auser_of` raises.
    """
    token = body.token if body.token is not None else bearer_token(request)
    session = body.session
    if session is None and token is not None:
        session = session_of_token(token) or "unknown"
    kept = None
    given = session is not None
    django_session = getattr(request, "session", None)
    if not given and django_session is not None:
        kept = (await django_session.aget(KEPT, {})).get(chat_name)
        if kept is not None:
            session, token = kept["session"], kept["token"]
    connect = ConnectRequest(
        user=await auser_of(request),
        session_id=session,
        token=token,
        thread=body.thread,
        client_type=body.client_type,
        language=body.language
        or first_language(request.headers.get("accept-language", "").encode("latin-1", "replace")),
        profile=body.profile or "",
        ip=valid_ip(request.META.get("REMOTE_ADDR")),
        user_agent=request.headers.get("user-agent", ""),
    )
    return Credentials(connect, kept is not None, not given and django_session is not None)


async def keep(request: HttpRequest, chat_name: str, session: str, token: str) -> None:
    """Save in Django's session which session of a chat is the visitor's."""
    kept = await request.session.aget(KEPT, {})
    mine = {"session": session, "token": token}
    if kept.get(chat_name) != mine:
        await request.session.aset(KEPT, {**kept, chat_name: mine})


async def forget(request: HttpRequest, chat_name: str) -> None:
    """Delete the visitor's session of a chat from Django's session."""
    kept = await request.session.aget(KEPT, {})
    if chat_name in kept:
        del kept[chat_name]
        await request.session.aset(KEPT, kept)
