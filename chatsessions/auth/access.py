"""
Access control: what a consumer requires of a user, and the tokens of anonymous clients.

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
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.db import Error as DatabaseError
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy

from chatsessions.exceptions import AccessRefused, ChatError

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    User = AbstractBaseUser | AnonymousUser

logger = logging.getLogger("chatsessions.logins")

NOT_ALLOWED = gettext_lazy("This is not allowed.")


@contextmanager
def fail_closed(message: str, *args: object) -> Iterator[None]:
    """
    Refuse the user, and log ``message``, if the project's own code fails inside the block.

    ``AccessRefused`` and database errors are raised as they are.
    """
    try:
        yield
    except (AccessRefused, DatabaseError):
        raise
    except Exception as error:
        logger.exception(message, *args)
        raise AccessRefused("forbidden", NOT_ALLOWED) from error


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
        Return the requirements that a consumer's class or ``as_asgi()`` was given.

        Raises ``ChatError`` if ``login_required`` is not a bool, or a permission is empty or not a
        string.
        """
        if not isinstance(login_required, bool):
            raise ChatError(f"login_required={login_required!r}: write True or False.")
        given: object = permission_required
        if given is None:
            permissions: tuple[object, ...] = ()
        elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
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
        Return the requirements of ``by``, the class of a consumer or a view, with ``initkwargs``.

        An iterator of permissions in ``initkwargs`` is replaced by a tuple, as the first client
        would use it up. Raises what :meth:`of` raises.
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
        Raise ``AccessRefused`` unless ``user`` meets the requirements.

        The code is ``unauthorized`` for a user who is not logged in, and ``forbidden`` for one who
        lacks a permission, or whose permissions cannot be found out. Synchronous, as it calls the
        authentication backends. Raises database errors.
        """
        with fail_closed("The permissions of a user could not be looked at"):
            if (user.is_authenticated or not self.login_required) and self.allows(user):
                return
            if not user.is_authenticated:
                raise AccessRefused("unauthorized", gettext_lazy("Log in first."))
            raise AccessRefused("forbidden", gettext_lazy("A permission is missing."))

    def allows(self, user: User) -> bool:
        """Return True if ``user`` has the permissions. Synchronous, as :meth:`check`."""
        has_perms = getattr(user, "has_perms", None)  # a custom user model may have none
        return not self.permissions or (has_perms is not None and bool(has_perms(self.permissions)))


def owner_of(user: User) -> str:
    """
    Return a keyed hash of ``user``; the empty string for an anonymous user.

    A page stores the hash with its data, to know whose data they are. The hash is the same after
    each login, and nobody can find out the user from it without the ``SECRET_KEY``.
    """
    if not user.is_authenticated:
        return ""
    return salted_hmac("chatsessions.owner", str(user.pk), algorithm="sha256").hexdigest()[:32]


def is_owner(owner_id: Any, user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return True if ``user`` owns a session; all anonymous users count as the same."""
    return bool(owner_id == user.pk)


# Tokens, with which anonymous clients come back to their sessions


def new_token(session_id: UUID | None = None) -> str:
    """
    Return a random token of 256 bits, with which an anonymous client comes back to its session.

    With ``session_id`` the token also has the session's id, for clients that send only one value.
    """
    token = secrets.token_urlsafe(32)
    return token if session_id is None else f"{session_id.hex}.{token}"


def token_after(used: str | None, session_id: UUID) -> str:
    """
    Return the token that a client gets when it comes back to a session with the token ``used``.

    All connections that come with the same token get the same next token, at every worker and in
    any order. So a connection that the client has given up cannot invalidate the token of another
    connection. Only the server can compute the next token, with the ``SECRET_KEY``. Without
    ``used`` the token is random.
    """
    if used is None:
        return new_token()
    value = session_id.bytes + used.encode(errors="replace")
    digest = salted_hmac("chatsessions.token_after", value, algorithm="sha256").digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def session_of_token(token: str) -> str | None:
    """Return the id of the session that a token names; None if it names none."""
    found, dot, _ = token.partition(".")
    return found if dot else None


def hash_token(token: str) -> str:
    """Return the hash of a token, to store it. A fast hash is enough for 256 random bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Tokens:
    """
    The hashes of a session's two valid tokens; "" stands for none.

    ``previous`` is the token that the client last came with, ``current`` the one that it was given
    then. Both are valid until the client sends something on a connection that was given
    ``current``, so that a lost welcome does not lock the client out.
    """

    current: str
    previous: str

    def accept(self, token_hash: str | None) -> bool:
        """Return True if the token with this hash is valid."""
        # Hashes of 256 random bits need no comparison in constant time.
        return bool(token_hash) and token_hash in (self.current, self.previous)

    def rotate(self, used: str | None, given: str) -> None:
        """Note that a client which came with the token ``used`` was given the token ``given``."""
        if given == self.current:
            return  # another connection has come with the same token
        if not (used and used == self.previous):
            self.previous = self.current
        self.current = given

    def confirm(self) -> bool:
        """Make the previous token invalid; return True if it was valid."""
        news = bool(self.previous)
        self.previous = ""
        return news
