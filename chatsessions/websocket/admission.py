"""
:class:`Admission`: the checks that a client has to pass, and the client's ``ConnectRequest``.

A client has to pass the checks to get a session, and while it is connected.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseError
from django.utils.functional import Promise
from django.utils.translation import gettext

from chatsessions.auth.access import NOT_ALLOWED, Access
from chatsessions.auth.env import log_error
from chatsessions.auth.logins import Login
from chatsessions.cluster.connect_request import ConnectRequest, User
from chatsessions.exceptions import (
    AccessRefused,
    CacheFailed,
    FrameError,
    SessionUnavailable,
    StoreUnavailable,
    TooManySessions,
)
from chatsessions.handlers.session import Session
from chatsessions.protocol import frames
from chatsessions.protocol.frames import CloseCode
from chatsessions.storage.database import unavailable
from chatsessions.workers.worker import get_worker

logger = logging.getLogger("chatsessions.connection")

Scope = dict[str, Any]
#: The ``authorize(scope, session)`` of a consumer.
Authorize = Callable[[Scope, Session], Awaitable[bool]]

#: For a client that asks for no language; Chainlit has the same default.
DEFAULT_LANGUAGE = "en-US"


#: The errors with which a client is refused, or cannot be served now.
REFUSALS = (
    AccessRefused,
    FrameError,
    SessionUnavailable,
    TooManySessions,
    DatabaseError,
    StoreUnavailable,
    CacheFailed,
)


class Admission:
    """
    The checks that one connection or request has to pass: login, permissions, ``authorize()``.

    ``revoked`` is called with the reason, a sentence, when the login is lost later; ``renewed`` is
    called with the user after each later check that the login has passed.
    """

    def __init__(
        self,
        scope: Scope,
        access: Access,
        authorize: Authorize,
        *,
        renewed: Callable[[User], None],
        revoked: Callable[[Promise], None],
    ) -> None:
        self._scope = scope
        self._access = access
        self._authorize = authorize
        self._on_renewed = renewed
        self._on_revoked = revoked
        self._login: Login | None = None
        #: Why the user may no longer be connected; None while they may.
        self.login_lost: Promise | None = None

    @property
    def user(self) -> User:
        """The user of the connection."""
        return self._scope.get("user") or AnonymousUser()

    async def watch(self) -> None:
        """Check the login again from time to time. Raises errors of Django's session store."""
        worker = get_worker()
        if worker.closing:
            return  # no more sessions are opened
        session = self._scope.get("session")
        if session is None or hasattr(session, "_session_cache"):
            self._login = self._find_login()
        else:  # the Django session was not read yet
            self._login = await worker.threads.check(self._find_login)
        if self._login is not None:
            worker.logins.add(self._login)

    def _find_login(self) -> Login | None:
        return Login.of(self._scope, self._access, renewed=self._renewed, revoked=self._revoked)

    def leave(self) -> None:
        """Stop checking the login: the connection is gone."""
        if self._login is not None:
            get_worker().logins.discard(self._login)
            self._login = None

    async def check(self) -> None:
        """
        Check login and permissions.

        Raises ``AccessRefused``, ``SessionUnavailable``, and database errors.
        """
        self.ensure_login()
        if get_worker().closing:
            raise SessionUnavailable
        if self._access.permissions:
            await get_worker().threads.check(self._access.check, self.user)
        else:
            self._access.check(self.user)
        self.ensure_login()

    async def admit(self, session: Session, *, env: Mapping[str, str] | None = None) -> None:
        """
        Ask ``authorize()`` about the session that would be opened. Raises ``AccessRefused``.

        ``env`` has keys of the client that are not in the session yet; they are hidden in the log.
        """
        try:
            allowed = bool(await self._authorize(self._scope, session))
        except Exception as error:
            hidden = {**session.env, **(env or {})}
            log_error(logger, hidden, "authorize() failed: nobody comes in", error=error)
            raise AccessRefused("forbidden", NOT_ALLOWED) from error
        if not allowed:
            raise AccessRefused("forbidden", NOT_ALLOWED)
        self.ensure_login()

    def ensure_login(self) -> None:
        """Raise ``AccessRefused`` if the login was lost meanwhile."""
        if self.login_lost is not None:
            raise AccessRefused("unauthorized", self.login_lost)

    def _renewed(self, user: User) -> None:
        self._scope["user"] = user
        self._on_renewed(user)

    def _revoked(self, detail: Promise) -> None:
        self.login_lost = detail
        self._on_revoked(detail)


def refusal_of(error: Exception) -> tuple[frames.Error | None, CloseCode]:
    """Return the error frame and the close code for one of ``REFUSALS``."""
    match error:
        case AccessRefused():
            return frames.Error(error.code, str(error.detail)), CloseCode.NOT_ALLOWED
        case FrameError(code="rate_limited"):
            return frames.error_of(error), CloseCode.RATE_LIMITED
        case FrameError():  # the same hello would be refused again
            return frames.Error(error.code, error.detail), CloseCode.PROTOCOL_VIOLATION
        case SessionUnavailable():
            return None, CloseCode.SHUTTING_DOWN
        case TooManySessions():
            detail = gettext("There are too many sessions.")
            return frames.Error("forbidden", detail), CloseCode.TOO_MANY_SESSIONS
    code, detail = unavailable(error, "A session could not be opened")
    return frames.Error(code, detail), CloseCode.SHUTTING_DOWN


def connect_request(scope: Scope, *, language: str | None = None, **asked: Any) -> ConnectRequest:
    """Return the request of a connection with ``scope``; ``asked`` are its other fields."""
    client = scope.get("client")
    return ConnectRequest(
        user=scope.get("user") or AnonymousUser(),
        language=language or language_of(scope),
        asked_language=language or "",
        ip=valid_ip(client[0] if client else None),
        user_agent=_header(scope, b"user-agent").decode("latin-1"),
        **asked,
    )


def language_of(scope: Scope) -> str:
    """Return the language that a connection's headers ask for."""
    return first_language(_header(scope, b"accept-language"))


def _header(scope: Scope, name: bytes) -> bytes:
    """Return the value of the last header ``name`` (in lower case); empty if there is none."""
    headers: dict[bytes, bytes] = {key.lower(): value for key, value in scope.get("headers") or []}
    return headers.get(name, b"")


def first_language(header: bytes) -> str:
    """Return the first language of an ``Accept-Language`` header."""
    tag = header.decode("latin-1").split(",")[0].split(";")[0].strip()
    return tag[:35] if tag and tag != "*" else DEFAULT_LANGUAGE


def valid_ip(host: str | None) -> str | None:
    """Return ``host`` if it is an IP address, else None."""
    try:
        return str(ip_address(host)) if host else None
    except ValueError:
        return None  # the peer of a unix socket has no address
