"""What a connection brings along: headers, an origin, a login."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from channels.auth import UserLazyObject
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.test import AsyncClient

User = AbstractBaseUser | AnonymousUser
Headers = Mapping[str, str] | Iterable[tuple[bytes, bytes]]


def headers_of(headers: Headers, origin: str | None) -> list[tuple[bytes, bytes]]:
    """Headers as a scope has them, ``origin`` among them unless they name one."""
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
    An origin that the validator around ``application`` lets in.

    ``AllowedHostsOriginValidator`` reads ``ALLOWED_HOSTS`` when the application is made: a test run
    may have changed them since.
    """
    allowed = _origins_of(application)
    hosts = django_settings.ALLOWED_HOSTS if allowed is None else allowed
    host = next((str(host).lstrip(".") for host in hosts if host != "*"), "localhost")
    return host if "://" in host else f"http://{host}"


def _origins_of(application: Any) -> Iterable[object] | None:
    """What the outermost origin validator lets in; None if there is none."""
    while application is not None:
        if hasattr(application, "allowed_origins"):
            origins: Iterable[object] = application.allowed_origins
            return origins
        if hasattr(application, "application_mapping"):
            application = application.application_mapping.get("websocket")
        else:
            application = getattr(application, "application", None)
    return None


async def log_in(user: User) -> list[tuple[bytes, bytes]]:
    """
    The cookie of a real login, for an application with ``AuthMiddlewareStack``.

    None for an anonymous user, and in a project without Django's sessions.
    """
    if not user.is_authenticated or not apps.is_installed("django.contrib.sessions"):
        return []
    client = AsyncClient()
    await client.aforce_login(user)  # type: ignore[arg-type]  # any user model will do
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode("latin-1"))]


def scope_of(user: User | None) -> dict[str, Any]:
    """What of the scope is not a header."""
    scope: dict[str, Any] = {"client": ("127.0.0.1", 50_000)}
    if user is not None:
        # As AuthMiddleware has it: it looks at the cookie, and puts who it finds inside.
        scope["user"] = UserLazyObject()
        scope["user"]._wrapped = user
    return scope
