"""``Session``: the data of a session, for its handlers. The owner keeps it up to date."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.utils import translation

from chatsessions.auth import env
from chatsessions.exceptions import OwnershipLost

if TYPE_CHECKING:
    import os

    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.utils.functional import Promise

    from chatsessions.files.storage import ChatFile
    from chatsessions.storage.files import SessionFiles


@dataclass(slots=True, kw_only=True)
class Session:
    """
    One conversation, as handlers see it (``context.session``).

    ``env`` has the client's own secrets. It is only in the owner's memory, and is not in the
    ``repr``.
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
    #: Whether the cache has thrown values away, under ``USER_SESSION_STORE="cache"``.
    state_lost: bool = False
    #: Whether this worker has loaded the session from its row; False if it has made the session.
    restored: bool = False
    #: Whether a client is connected now.
    connected: bool = False
    #: Lists and saves the session's files; the owner sets it.
    stored_files: SessionFiles | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def user_id(self) -> Any:
        """The primary key of the user; None for an anonymous user."""
        return self.user.pk

    async def files(self) -> list[ChatFile]:
        """
        Return the session's files, the user's and the application's, oldest first.

        Raises ``OwnershipLost`` for a session that this process has not opened, and what the
        database raises.
        """
        if self.stored_files is None:
            raise OwnershipLost(self.id)
        return await self.stored_files.all()

    async def save_file(
        self,
        name: str,
        content: bytes | str | BinaryIO | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        mime: str | None = None,
    ) -> ChatFile:
        """
        Save a file of the session and return it, to be sent with ``Message(…, files=[file])``.

        ``content`` is text, bytes or a file opened for reading in binary; ``path`` names a file to
        copy instead. ``name`` is what users see. ``mime`` is the type, by default that of the name.
        The file is deleted with the session.

        Raises ``FileRefused`` beyond ``MAX_FILE_BYTES``, ``MAX_FILES_PER_SESSION`` and
        ``MAX_FILES_BYTES_PER_SESSION``; ``TypeError`` for both or neither of ``content`` and
        ``path``; ``ValueError`` for an invalid ``mime``; ``OSError`` for a path that cannot be
        read; ``SessionOver``, ``TurnStopped``, ``StoreUnavailable``; and what the storage and the
        database raise. Nothing is saved then.
        """
        if self.stored_files is None:
            raise OwnershipLost(self.id)
        return await self.stored_files.save(name, content, path, mime)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "user" and hasattr(self, name):
            raise AttributeError(
                "A session's user cannot be set here: it would be forgotten, and the row would "
                "still say somebody else. Give a session that has no user to one with "
                "chatsessions.assign_user(session, user)."
            )
        object.__setattr__(self, name, value)

    def renew_user(self, user: AbstractBaseUser | AnonymousUser) -> None:
        """Replace the user, which only the owner may do."""
        object.__setattr__(self, "user", user)

    def __str__(self) -> str:
        return str(self.id)


def supported_language(tag: str) -> str:
    """Return the language of ``LANGUAGES`` that ``tag`` asks for, else ``LANGUAGE_CODE``."""
    try:
        return translation.get_supported_language_variant(tag)
    except (LookupError, ValueError):
        return settings.LANGUAGE_CODE


def error_text(session: Session, error: BaseException, otherwise: Promise) -> str:
    """
    Return the text for the client about a handler's ``error``, without the values of ``env``.

    It is ``otherwise`` in the session's language; under ``DEBUG`` it is the error's own text.
    """
    if settings.DEBUG:
        told = type(error).__name__
        with suppress(Exception):  # the application's __str__() can raise anything
            told = f"{told}: {error}"
    else:
        with in_language_of(session):
            told = str(otherwise)
    return env.hide(printable(told), session.env)


def in_language_of(session: Session) -> translation.override:
    """Return a context manager that activates the session's language."""
    return translation.override(supported_language(session.language))


def printable(text: str) -> str:
    """Return ``text`` with ``?`` for each lone surrogate, which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()
