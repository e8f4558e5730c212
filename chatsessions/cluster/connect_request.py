"""``ConnectRequest``: a client that asks for a session, and whether it may have it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils import timezone

from chatsessions.auth.access import Tokens, hash_token, is_owner
from chatsessions.conf import with_offset
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.sessions.history import ThreadContinuation
from chatsessions.sessions.session import LiveSession

User = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """A client, and the session that it asks for."""

    user: User
    session_id: str | None = None
    token: str | None = field(default=None, repr=False)
    #: The user's thread that a new session continues.
    thread: str | None = None
    client_type: str = "webapp"
    language: str = ""
    #: The language that the client itself has asked for, else ""; a resumed session gets it.
    asked_language: str = ""
    profile: str = ""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    ip: str | None = None
    user_agent: str = ""

    @property
    def token_hash(self) -> str | None:
        """The hash of ``token``: the row has hashes only."""
        return None if self.token is None else hash_token(self.token)


#: How long the response to a login may be on its way. The application assigns the session to the
#: user during the login request, but the browser is logged in only when it has the response: on a
#: slow network seconds later.
LOGIN_TIMEOUT = timedelta(seconds=10)

#: Checks whether a client may have a session; raises ``AccessRefused``.
Admit = Callable[[Session], Awaitable[None]]


async def anybody(session: Session) -> None:
    """Admit every client."""


#: The fields of :func:`new_row` that are stored with the session's first commit.
ROW_FIELDS = (
    "user_id",
    "chat",
    "thread_id",
    "client_type",
    "profile",
    "chat_settings",
    "inputs",
    "language",
    "ip",
    "user_agent",
    "created_at",
)


def new_row(
    chat: Chat,
    request: ConnectRequest,
    profile: str,
    past: ThreadContinuation | None,
    *,
    now: datetime,
) -> ChatSession:
    """Return the row of a new session, unsaved. ``now`` is the database's time."""
    row = ChatSession(
        id=uuid4(),
        user_id=request.user.pk,
        chat=chat.name,
        thread_id=uuid4() if past is None else past.thread.id,
        client_type=request.client_type,
        profile=profile,
        language=request.language,
        ip=request.ip,
        user_agent=request.user_agent[:400],
        created_at=now,
    )
    if past is not None:
        row.chat_settings, row.inputs = past.chat_settings, past.inputs
    return row


def session_of(row: ChatSession, user: User) -> Session:
    """Return the ``Session`` that handlers get, made from ``row``."""
    return Session(
        id=row.pk,
        chat=row.chat,
        thread_id=row.thread_id,
        created_at=with_offset(row.created_at),
        user=user,
        client_type=row.client_type,
        profile=row.profile,
        language=row.language,
        ip=row.ip,
        user_agent=row.user_agent,
        chat_settings=row.chat_settings,
    )


def why_not(chat: Chat, row: ChatSession | None, request: ConnectRequest) -> str | None:
    """Return why a client may not resume a stored session; None if it may."""
    if row is None:
        return "unknown"
    tokens = Tokens(row.token_hash, row.previous_token_hash)
    if not may_resume(chat, row.chat, row.user_id, tokens, request):
        return "unknown"
    return why_over(row.end_reason) if row.status == ChatSession.Status.ENDED else None


def may_resume(
    chat: Chat, chat_name: str, owner_id: Any, tokens: Tokens, request: ConnectRequest
) -> bool:
    """Return True if a session is of this chat, and the client is its user or has its token."""
    if chat_name != chat.name or not is_owner(owner_id, request.user):
        return False
    return bool(request.user.is_authenticated) or tokens.accept(request.token_hash)


def awaits_login(row: ChatSession | None, request: ConnectRequest) -> bool:
    """
    Return True if a session was assigned to a user a moment ago, and the client has its old token.

    Most likely the client is that user: the browser has not got the response to its login yet, and
    is logged in when it comes back.
    """
    if row is None or row.assigned_at is None or request.user.is_authenticated:
        return False
    since = (row.read_at or timezone.now()) - row.assigned_at
    return since < LOGIN_TIMEOUT and row.former_token_hash == request.token_hash


def is_visitors(live: LiveSession, user: str | None, token_hash: str | None) -> bool:
    """Return True if a session is ``user``'s, or is anonymous and accepts the token."""
    owner = None if live.owner_id is None else str(live.owner_id)
    return owner == user and (user is not None or live.client.tokens.accept(token_hash))


def why_over(reason: str) -> str:
    """Return the reason in ``welcome`` for a session that has ended."""
    return "expired" if reason == ChatSession.EndReason.EXPIRED else "ended"
