"""Who arrives at a worker, and what is theirs: a session by its token or its user, or a new one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils import timezone

from chatsessions.auth.access import is_owner
from chatsessions.auth.tokens import Tokens, hash_token
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.sessions.history import ThreadContinuation
from chatsessions.sessions.session import LiveSession
from chatsessions.times import with_offset

User = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """Who comes, and which session they say is theirs."""

    user: User
    session_id: str | None = None
    token: str | None = field(default=None, repr=False)
    #: The thread of theirs that a new session is to go on with.
    thread: str | None = None
    client_type: str = "webapp"
    language: str = ""
    profile: str = ""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    ip: str | None = None
    user_agent: str = ""

    @property
    def token_hash(self) -> str | None:
        """What is known of ``token`` wherever it is compared."""
        return None if self.token is None else hash_token(self.token)


#: Asks whether who has come may have a session; raises ``Refused``.
Admit = Callable[[Session], Awaitable[None]]


async def anybody(session: Session) -> None:
    """Lets everybody in whose session it is."""


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
    chat: Chat, arrival: ConnectRequest, profile: str, past: ThreadContinuation | None
) -> ChatSession:
    row = ChatSession(
        id=uuid4(),
        user_id=arrival.user.pk,
        chat=chat.name,
        thread_id=uuid4() if past is None else past.thread.id,
        client_type=arrival.client_type,
        profile=profile,
        language=arrival.language,
        ip=arrival.ip,
        user_agent=arrival.user_agent[:400],
        created_at=timezone.now(),
    )
    if past is not None:
        row.chat_settings, row.inputs = past.chat_settings, past.inputs
    return row


def session_of(row: ChatSession, user: User) -> Session:
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


def why_not(chat: Chat, row: ChatSession | None, arrival: ConnectRequest) -> str | None:
    """Why who has arrived does not get a stored session; None if it is theirs."""
    if row is None:
        return "unknown"
    tokens = Tokens(row.token_hash, row.previous_token_hash)
    if not may_resume(chat, row.chat, row.user_id, tokens, arrival):
        return "unknown"
    return why_over(row.end_reason) if row.status == ChatSession.Status.ENDED else None


def may_resume(
    chat: Chat, chat_name: str, owner_id: Any, tokens: Tokens, arrival: ConnectRequest
) -> bool:
    """Whether it is this chat's session, and who asks has its token or is its logged-in owner."""
    if chat_name != chat.name or not is_owner(owner_id, arrival.user):
        return False
    return bool(arrival.user.is_authenticated) or tokens.accept(arrival.token_hash)


def is_visitors(live: LiveSession, user: str | None, token_hash: str | None) -> bool:
    """Whether a session is that of a client at another worker: of user ``user``, or by token."""
    owner = None if live.owner_id is None else str(live.owner_id)
    return owner == user and (user is not None or live.tokens.accept(token_hash))


def why_over(reason: str) -> str:
    """What the rightful owner of a dead session is told."""
    return "expired" if reason == ChatSession.EndReason.EXPIRED else "ended"
