"""``Session``: what an application reads of a session. Pure data; the owner keeps it current."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from uuid import UUID

from django.utils.crypto import salted_hmac

from chatsessions.exceptions import OwnershipLost

if TYPE_CHECKING:
    import os

    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from chatsessions.files.storage import ChatFile


class Files(Protocol):
    """What a session needs of whoever keeps its files."""

    async def all(self) -> list[ChatFile]: ...

    async def save(
        self,
        name: str,
        content: bytes | str | BinaryIO | None,
        path: str | os.PathLike[str] | None,
        mime: str | None,
    ) -> ChatFile: ...


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
    #: Who keeps its files; the owner sets it.
    kept_by: Files | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def user_id(self) -> Any:
        """The primary key of the user, None for an anonymous one."""
        return self.user.pk

    async def files(self) -> list[ChatFile]:
        """
        The session's files, the user's and the application's, oldest first.

        Raises what the database raises.
        """
        return await self._kept_by().all()

    async def save_file(
        self,
        name: str,
        content: bytes | str | BinaryIO | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        mime: str | None = None,
    ) -> ChatFile:
        """
        Keep a file for the session, to be sent with ``Message(…, files=[file])``.

        ``content`` is text, bytes or a file opened for reading in binary; or ``path`` names a
        file to copy. ``name`` is for showing. ``mime`` is its type; left out, it is that of the
        name. It goes when the session is deleted.

        Raises ``FileRefused`` beyond ``MAX_FILE_BYTES``, ``MAX_FILES_PER_SESSION`` and
        ``MAX_FILES_BYTES_PER_SESSION``; ``TypeError`` for both or neither of ``content`` and
        ``path``; ``ValueError`` for a ``mime`` that is none; ``OSError`` for a path that cannot
        be read; ``SessionOver``, ``TurnStopped``, ``StoreUnavailable``; and what the storage and
        the database raise. Nothing is kept then.
        """
        return await self._kept_by().save(name, content, path, mime)

    def _kept_by(self) -> Files:
        if self.kept_by is None:
            raise OwnershipLost(self.id)
        return self.kept_by

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "user" and hasattr(self, name):
            raise AttributeError(
                "A session's user cannot be set here: it would be forgotten, and the row would "
                "still say somebody else. Give a session that has no user to one with "
                "chatsessions.assign_user(session, user)."
            )
        object.__setattr__(self, name, value)

    def renew_user(self, user: AbstractBaseUser | AnonymousUser) -> None:
        """For the owner: handlers see the user as ``user`` is now."""
        object.__setattr__(self, "user", user)

    def __str__(self) -> str:
        return str(self.id)


def is_owner(owner_id: Any, user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether ``user`` is who the session belongs to; all anonymous users count as the same."""
    return bool(owner_id == user.pk)


def new_token(session_id: UUID | None = None) -> str:
    """
    What lets an anonymous client come back: 256 bits, as the random token of a session.

    With ``session_id`` it also says whose it is, for clients that have room for one word only.
    """
    token = secrets.token_urlsafe(32)
    return token if session_id is None else f"{session_id.hex}.{token}"


def token_after(used: str | None, session_id: UUID) -> str:
    """
    The token that a client of a session gets when it comes back with ``used``.

    Every connection that comes with the same token gets the same one, whichever worker it comes
    to and in whatever order: of connections that a client has given up, none can take a token
    from it that it got by another. Only the server can tell what follows a token: it needs the
    ``SECRET_KEY``. Without ``used`` it is a random one.
    """
    if used is None:
        return new_token()
    value = session_id.bytes + used.encode(errors="replace")
    digest = salted_hmac("chatsessions.token_after", value, algorithm="sha256").digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def session_of_token(token: str) -> str | None:
    """The session that a token says it belongs to, if it does."""
    found, dot, _ = token.partition(".")
    return found if dot else None


def hash_token(token: str) -> str:
    """What is stored of a token. A fast hash will do: there is nothing to guess in 256 bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Tokens:
    """
    The hashes of the tokens that are valid for a session; "" stands for none.

    ``previous`` is what the client came with last, ``current`` what it was given then. Both are
    valid until the client is heard on a connection that was given ``current``: a lost welcome
    locks nobody out, however many there are.
    """

    current: str
    previous: str

    def accept(self, token_hash: str | None) -> bool:
        """Whether the token with this hash is valid."""
        # Hashes of 256 random bits: comparing them in constant time would hide nothing.
        return bool(token_hash) and token_hash in (self.current, self.previous)

    def rotate(self, used: str | None, given: str) -> None:
        """Give the token hashed as ``given`` to a client that came with that of ``used``."""
        if given == self.current:
            return  # another connection has come with the same token
        if not (used and used == self.previous):
            self.previous = self.current
        self.current = given

    def confirm(self) -> bool:
        """Let only the current token be valid; return whether the other one was."""
        news = bool(self.previous)
        self.previous = ""
        return news
