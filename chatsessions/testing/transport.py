"""A client's connection to a server, and one to an application in the same event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from channels.auth import UserLazyObject
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.test import AsyncClient

from chatsessions.protocol import frames

try:
    from channels.testing import WebsocketCommunicator
except ImportError as error:
    raise ImportError(
        "chatsessions.testing is built upon channels.testing, which needs daphne. Install both "
        'with: pip install "chatsessions[testing]"'
    ) from error

User = AbstractBaseUser | AnonymousUser
Headers = Mapping[str, str] | Iterable[tuple[bytes, bytes]]

#: The close code that a browser reports for a connection that ended without a close.
LOST = 1006
#: Marks the end of the output of an application that has returned or raised.
_RETURNED = "chatsessions.returned"


class TransportClosed(Exception):
    """The connection has ended; ``code`` is the websocket's close code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"closed with {code}")


class Transport(ABC):
    """One connection to a server, which carries texts in both directions."""

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises ``TransportClosed`` or ``OSError`` if the server refuses."""

    @abstractmethod
    async def send(self, text: str | bytes) -> None:
        """Send a text. If the connection ends meanwhile, the text is lost without an error."""

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Return the next text; raise ``TransportClosed`` at the end. May be cancelled."""

    @abstractmethod
    async def close(self, code: int = 1000) -> None:
        """Close in an orderly way, and wait for the other side."""


class ApplicationTransport(Transport):
    """
    A connection to an ASGI application that runs in the same event loop.

    :meth:`close` waits until the application has returned. ``crash`` is what it has raised, or a
    ``TimeoutError`` if it still runs ``patience`` seconds after the client has left.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        headers: list[tuple[bytes, bytes]],
        scope: dict[str, Any],
        patience: float,
    ) -> None:
        self._websocket = WebsocketCommunicator(
            application, path, headers=headers, subprotocols=[frames.SUBPROTOCOL]
        )
        self._websocket.scope.update(scope)
        self._patience = patience
        #: Whether the application accepted the handshake.
        self.accepted = False
        self.crash: BaseException | None = None

    async def open(self) -> None:
        self._websocket.input_queue.put_nowait({"type": "websocket.connect"})
        self._websocket.future.add_done_callback(self._returned)
        await self._next("websocket.accept")
        self.accepted = True

    async def send(self, text: str | bytes) -> None:
        self.put(text)

    def put(self, text: str | bytes) -> None:
        """Send a text without waiting."""
        key = "text" if isinstance(text, str) else "bytes"
        self._websocket.input_queue.put_nowait({"type": "websocket.receive", key: text})

    async def receive(self) -> str | bytes:
        message = await self._next("websocket.send")
        text: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        return text

    async def close(self, code: int = 1000) -> None:
        self._websocket.input_queue.put_nowait({"type": "websocket.disconnect", "code": code})
        try:
            await self._websocket.wait(timeout=self._patience)
        except Exception as error:  # noqa: BLE001, RUF100  # an application may raise anything
            self.crash = self.crash or error
        if self._websocket.future.cancelled():
            self.crash = TimeoutError(
                f"it went on for {self._patience:g} s after the client had left"
            )

    async def _next(self, wanted: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = await self._websocket.output_queue.get()
            if message["type"] == wanted:
                return message
            if message["type"] == "websocket.close":
                raise TransportClosed(message.get("code") or 1000)
            if message["type"] == _RETURNED:
                raise TransportClosed(LOST)

    def _returned(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            self.crash = self.crash or future.exception()
        self._websocket.output_queue.put_nowait({"type": _RETURNED})


def headers_of(headers: Headers, origin: str | None) -> list[tuple[bytes, bytes]]:
    """Return headers in the form of a scope, with ``origin`` unless they have one."""
    pairs = (
        ((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())
        if isinstance(headers, Mapping)
        else headers
    )
    found = [(name.lower(), value) for name, value in pairs]
    if origin is not None and not any(name == b"origin" for name, _ in found):
        found.append((b"origin", origin.encode("latin-1")))
    return found


def default_origin(application: object) -> str:
    """
    Return an origin that the validator around ``application`` allows.

    ``AllowedHostsOriginValidator`` reads ``ALLOWED_HOSTS`` when the application is made, and a test
    run may have changed the setting since.
    """
    allowed = _origins_of(application)
    hosts = django_settings.ALLOWED_HOSTS if allowed is None else allowed
    host = next((str(host).lstrip(".") for host in hosts if host != "*"), "localhost")
    return host if "://" in host else f"http://{host}"


def _origins_of(application: Any) -> Iterable[object] | None:
    """Return the origins that the outermost validator allows; None if there is no validator."""
    while application is not None:
        if hasattr(application, "allowed_origins"):
            origins: Iterable[object] = application.allowed_origins
            return origins
        if hasattr(application, "application_mapping"):
            application = application.application_mapping.get("websocket")
        else:
            application = getattr(application, "application", None)
    return None


async def login_cookie(user: User) -> list[tuple[bytes, bytes]]:
    """
    Return the cookie header of a real login, for an application with ``AuthMiddlewareStack``.

    The list is empty for an anonymous user, and in a project without Django's sessions.
    """
    if not user.is_authenticated or not apps.is_installed("django.contrib.sessions"):
        return []
    client = AsyncClient()
    await client.aforce_login(user)  # type: ignore[arg-type]  # any user model will do
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode("latin-1"))]


def scope_of(user: User | None) -> dict[str, Any]:
    """Return the keys of a scope for ``user``, without headers."""
    scope: dict[str, Any] = {"client": ("127.0.0.1", 50_000)}
    if user is not None:
        # AuthMiddleware also sets this object, and puts the user of the cookie into it.
        scope["user"] = UserLazyObject()
        scope["user"]._wrapped = user
    return scope
