"""
Who may come in: what a consumer requires of a user, and the tokens of anonymous clients.

The module ``logins`` checks later that users still meet the requirements.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from django.db import Error as DatabaseError
from django.utils.crypto import salted_hmac
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from chatsessions.exceptions import ChatError

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    User = AbstractBaseUser | AnonymousUser

logger = logging.getLogger("chatsessions.logins")

NOT_ALLOWED = gettext_lazy("This is not allowed.")


class Refused(Exception):
    """
    A user is refused before anything was made or taken over for them.

    ``code`` is one of the protocol's error codes; ``detail`` is a sentence, in whose language it
    is shown, or what the protocol says of the code. The connection is closed with 4502.
    """

    def __init__(
        self, code: Literal["unauthorized", "forbidden", "missing_env"], detail: str | Promise
    ) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


@contextmanager
def fail_closed(message: str, *args: object) -> Iterator[None]:
    """
    Refuse a user whom the project's own code could not be asked about, and log ``message``.

    Refusals and errors of the database are raised as they are.
    """
    try:
        yield
    except (Refused, DatabaseError):
        raise
    except Exception as error:
        logger.exception(message, *args)
        raise Refused("forbidden", NOT_ALLOWED) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one consumer or view requires of a user."""

    login_required: bool = False
    #: The user needs all of these, written as ``app_label.codename``.
    permissions: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, *, login_required: bool = False, permission_required: str | Iterable[str] | None = None
    ) -> Self:
        """
        Make it of what a consumer's class or ``as_asgi()`` was given.

        Raises ``ChatError`` if ``login_required`` is no bool, or a permission no non-empty string.
        """
        if not isinstance(login_required, bool):
            raise ChatError(f"login_required={login_required!r}: write True or False.")
        given: object = permission_required
        if given is None:
            permissions: tuple[object, ...] = ()
        elif isinstance(given, str):
            permissions = (given,)
        elif isinstance(given, Iterable) and not isinstance(given, bytes):
            permissions = tuple(given)
        else:
            permissions = (given,)
        if not all(isinstance(one, str) and one.strip() for one in permissions):
            raise ChatError(
                f"permission_required={permission_required!r}: write a permission such as "
                "'app_label.codename', a list of them, or None."
            )
        return cls(login_required=login_required, permissions=tuple(map(str, permissions)))

    @classmethod
    def declared(cls, by: Any, initkwargs: dict[str, Any]) -> Self:
        """
        Return what ``by``, the class of a consumer or a view, asks with its ``initkwargs``.

        An iterator of permissions becomes a tuple in them: the first client would use it up.
        Raises what :meth:`of` raises.
        """
        given = initkwargs.get("permission_required", by.permission_required)
        access = cls.of(
            login_required=initkwargs.get("login_required", by.login_required),
            permission_required=given,
        )
        if isinstance(given, Iterator):
            initkwargs["permission_required"] = access.permissions
        return access

    def check(self, user: User) -> None:
        """
        Raise ``Refused`` unless ``user`` meets the requirements.

        The code is ``unauthorized`` for somebody who is not logged in, and ``forbidden`` for a user
        who lacks a permission, or whose permissions cannot be asked for. Synchronous: they are
        asked of the authentication backends. Raises what the database raises.
        """
        with fail_closed("The permissions of a user could not be looked at"):
            if self.login_required and not user.is_authenticated:
                raise Refused("unauthorized", gettext_lazy("Log in first."))
            if self.allows(user):
                return
            if not user.is_authenticated:
                raise Refused("unauthorized", gettext_lazy("Log in first."))
            raise Refused("forbidden", gettext_lazy("A permission is missing."))

    def allows(self, user: User) -> bool:
        """Return True if ``user`` has the permissions. Synchronous, as :meth:`check`."""
        has_perms = getattr(user, "has_perms", None)  # a user model of one's own may have none
        return not self.permissions or (has_perms is not None and bool(has_perms(self.permissions)))


def owner_of(user: User) -> str:
    """
    Return a keyed hash of ``user``; the empty string for somebody who is not logged in.

    A page stores it beside what it remembers, to know whose that is. It is the same after each
    login, and tells nothing to anybody without the ``SECRET_KEY``.
    """
    if not user.is_authenticated:
        return ""
    return salted_hmac("chatsessions.owner", str(user.pk), algorithm="sha256").hexdigest()[:32]


def is_owner(owner_id: Any, user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return True if ``user`` owns a session; all anonymous users count as the same."""
    return bool(owner_id == user.pk)


# Tokens, by which anonymous clients come back to their sessions


def new_token(session_id: UUID | None = None) -> str:
    """
    Return a random token of 256 bits, by which an anonymous client comes back to its session.

    With ``session_id`` the token also names the session, for clients that send only one word.
    """
    token = secrets.token_urlsafe(32)
    return token if session_id is None else f"{session_id.hex}.{token}"


def token_after(used: str | None, session_id: UUID) -> str:
    """
    Return the token that a client gets when it comes back to a session with the token ``used``.

    All connections that come with the same token get the same next token, at every worker and in
    any order. So a connection that the client has given up cannot make the token invalid that
    another connection was given. Only the server can compute the next token: it takes the
    ``SECRET_KEY``. Without ``used`` the token is random.
    """
    if used is None:
        return new_token()
    value = session_id.bytes + used.encode(errors="replace")
    digest = salted_hmac("chatsessions.token_after", value, algorithm="sha256").digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def session_of_token(token: str) -> str | None:
    """Return the session that a token names, if it names one."""
    found, dot, _ = token.partition(".")
    return found if dot else None


def hash_token(token: str) -> str:
    """Return the hash of a token, to be stored. It may be fast: nobody guesses 256 bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Tokens:
    """
    The hashes of a session's two valid tokens; "" stands for none.

    ``previous`` is the token that the client came with last, ``current`` the one that it was given
    then. Both are valid until the client is heard on a connection that was given ``current``, so
    that a client is not locked out if welcomes get lost.
    """

    current: str
    previous: str

    def accept(self, token_hash: str | None) -> bool:
        """Return True if the token with this hash is valid."""
        # These are hashes of 256 random bits: a comparison in constant time would hide nothing.
        return bool(token_hash) and token_hash in (self.current, self.previous)

    def rotate(self, used: str | None, given: str) -> None:
        """Note that a client which came with the token ``used`` was given the token ``given``."""
        if given == self.current:
            return  # another connection has come with the same token
        if not (used and used == self.previous):
            self.previous = self.current
        self.current = given

    def confirm(self) -> bool:
        """Make the previous token invalid; return whether it was valid."""
        news = bool(self.previous)
        self.previous = ""
        return news
