"""``Session``: what an application reads of a session. Pure data; the owner keeps it current."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


@dataclass(slots=True, kw_only=True)
class Session:
    """
    One conversation, as handlers see it (``context.session``).

    ``env`` lives in the owner's memory only and is left out of ``repr``: it holds the client's
    own secrets.
    """

    id: UUID
    chat: str
    thread_id: UUID
    created_at: datetime
    user: AbstractBaseUser | AnonymousUser
    client_type: str = "webapp"
    profile: str = ""
    language: str = ""
    ip: str | None = None
    user_agent: str = ""
    chat_settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict, repr=False)
    #: Whether values were lost: thrown away by the cache under ``USER_SESSION_STORE="cache"``.
    state_lost: bool = False
    #: Whether the session was there before this worker took it.
    restored: bool = False
    #: Whether a client is connected now.
    connected: bool = False

    @property
    def user_id(self) -> Any:
        """The primary key of the user, None for an anonymous one."""
        return self.user.pk

    def __str__(self) -> str:
        return str(self.id)


def is_owner(owner_id: Any, user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether ``user`` is who the session belongs to; all anonymous users count as the same."""
    return bool(owner_id == user.pk)


def new_token() -> str:
    """What lets an anonymous client come back: 256 bits, as the random token of a session."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a token. A fast hash will do: there is nothing to guess in 256 bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Tokens:
    """
    The hashes of the tokens that are valid for a session.

    What a client holds stays valid until it is heard again after the welcome that gave it a new
    one: a welcome that is lost, or several, lock nobody out.
    """

    current: str
    previous: str

    def accept(self, token: str | None) -> bool:
        """Whether ``token`` is one of them."""
        # Hashes of 256 random bits: comparing them in constant time would hide nothing.
        return token is not None and hash_token(token) in (self.current, self.previous)

    def rotate(self, used: str | None) -> str:
        """A new token for a client that came with ``used``."""
        given = hash_token(used) if used is not None else ""
        if not (given and given == self.previous):
            self.previous = self.current
        token = new_token()
        self.current = hash_token(token)
        return token

    def confirm(self) -> bool:
        """The client was heard: only the new one is valid from now on. Whether that is news."""
        news = bool(self.previous)
        self.previous = ""
        return news
