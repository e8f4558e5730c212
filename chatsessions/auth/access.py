"""
What a consumer requires of a user before it opens anything for them.

The module ``logins`` checks later that users still meet these requirements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from django.utils.crypto import salted_hmac

from chatsessions.exceptions import ChatError

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    User = AbstractBaseUser | AnonymousUser


class Refused(Exception):
    """
    A user is refused before anything was made or taken over for them.

    ``code`` is one of the protocol's error codes; ``detail`` is a sentence for a developer, or
    what the protocol says of the code. The connection is closed with 4502.
    """

    def __init__(
        self, code: Literal["unauthorized", "forbidden", "missing_env"], detail: str
    ) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


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
        who lacks a permission. Synchronous: permissions are asked of the authentication backends.
        """
        if self.login_required and not user.is_authenticated:
            raise Refused("unauthorized", "log in first")
        if self.allows(user):
            return
        if not user.is_authenticated:
            raise Refused("unauthorized", "log in first")
        raise Refused("forbidden", "a permission is missing")

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
