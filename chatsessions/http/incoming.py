"""What a request asks for: an event, a session, and by which right."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from chatsessions.cluster.connect_request import (
    Admit,
    ConnectRequest,
    User,
    anybody,
)
from chatsessions.conf import settings
from chatsessions.exceptions import (
    ChatSessionsError,
    SessionOver,
)
from chatsessions.handlers.chat import Chat
from chatsessions.protocol import frames
from chatsessions.storage.session import session_of_token
from chatsessions.websocket.connection import (
    first_language,
    valid_ip,
)

from .access import (
    MAX_TOKEN,
    bearer_token,
)
from .visit import Visit

logger = logging.getLogger("chatsessions.http")

#: Where Django's session keeps which session of each chat is the visitor's.
KEPT = "chatsessions"


class RequestRefused(ChatSessionsError):
    """A request that is not served: the status and the JSON of its answer."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after: float = 0) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(f"{code}: {detail}")


class Body(Struct):
    """What a client posts: a message (``content``), an event (``name``) or an answer (``call``)."""

    content: str | UnsetType = UNSET
    id: UUID | None = None
    files: list[str] | None = None
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
        """Without what nobody else is to read: what is said, the token, the client's own keys."""
        return f"Body(session={self.session!r}, client_type={self.client_type!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("session", self.session), ("client_type", self.client_type)]


@dataclass(frozen=True, slots=True)
class Event:
    """An event that was posted; with ``call`` it is the answer to a question."""

    name: str
    raw: bytes
    data: Any
    #: The id of a message, by which it is known if it is posted again.
    key: str | None = None
    call: str | None = None


def read_body(request: HttpRequest) -> Body:
    """
    The body of a POST.

    Raises ``RequestRefused``: ``too_large`` beyond ``MAX_FRAME_BYTES``, ``bad_request`` for what is
    not JSON or of another shape.
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
    What is to be handled.

    Raises ``RequestRefused`` for none or several at once, ``FrameError`` for data of the wrong
    shape.
    """
    kinds = [key for key in ("content", "name", "call") if getattr(body, key) is not UNSET]
    if len(kinds) != 1:
        raise RequestRefused(400, "bad_request", "give one of 'content', 'name' and 'call'")
    raw = b"null" if isinstance(body.data, UnsetType) else bytes(body.data)
    if isinstance(body.call, str):
        data = frames.decode_data(frames.Answer(1, body.call, Raw(raw)))
        return Event("answer", raw, data, call=body.call)
    if isinstance(body.content, str):
        message: dict[str, Any] = {"content": body.content}
        message |= {} if body.id is None else {"id": str(body.id)}
        message |= {} if body.files is None else {"files": body.files}
        name, raw = "message", msgspec.json.encode(message)
    else:
        name = str(body.name)
    data = frames.decode_data(frames.ClientEvent(1, name, Raw(raw)))
    return Event(name, raw, data, key=data.get("id") if name == "message" else None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """By what right a request asks for a session."""

    arrival: ConnectRequest
    #: Whether the session is the one that Django's session keeps.
    kept: bool
    #: Whether a session that is new to the visitor may be kept there.
    may_keep: bool

    @property
    def by_cookie(self) -> bool:
        """Whether the request's cookies say who asks, so that another site can send them too."""
        return self.kept or bool(self.arrival.user.is_authenticated)

    def bringing(self, env: dict[str, str]) -> Self:
        """The same visitor, with the keys of their own."""
        return replace(self, arrival=replace(self.arrival, env=env))

    @property
    def anew(self) -> ConnectRequest:
        """The same visitor, who asks for a new session."""
        return replace(self.arrival, session_id=None, token=None)


async def credentials_of(request: HttpRequest, chat_name: str, body: Body) -> Credentials:
    """Who asks for which session: by the body, a bearer token, or Django's session."""
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
    user = await _user_of(request)
    arrival = ConnectRequest(
        user=user,
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
    return Credentials(arrival, kept is not None, not given and django_session is not None)


async def _user_of(request: HttpRequest) -> User:
    """
    Who is logged in.

    Raises ``RequestRefused`` if an authentication backend fails, and what the database raises.
    """
    try:
        return await request.auser() if hasattr(request, "auser") else AnonymousUser()
    except DatabaseError:
        raise
    except Exception as error:
        logger.exception("The user of a request could not be looked up: nobody comes in")
        raise RequestRefused(403, "forbidden", "not allowed") from error


async def begin_visit(
    chat: Chat, asked: Credentials, *, make: bool = True, admit: Admit = anybody
) -> Visit:
    """
    Open the session that is asked for; one that Django's session keeps may have ended.

    Raises what ``Visit.begin`` raises.
    """
    try:
        return await Visit.begin(chat, asked.arrival, make=make, admit=admit)
    except SessionOver as error:
        if not (asked.kept and make):
            raise
        visit = await Visit.begin(chat, asked.anew, admit=admit)
        visit.reason = error.reason
        return visit


async def keep(request: HttpRequest, chat_name: str, session: str, token: str) -> None:
    """Let Django's session remember which session of a chat is the visitor's."""
    kept = await request.session.aget(KEPT, {})
    mine = {"session": session, "token": token}
    if kept.get(chat_name) != mine:
        await request.session.aset(KEPT, {**kept, chat_name: mine})


async def forget(request: HttpRequest, chat_name: str) -> None:
    """The visitor's session of a chat is over."""
    kept = await request.session.aget(KEPT, {})
    if chat_name in kept:
        del kept[chat_name]
        await request.session.aset(KEPT, kept)
