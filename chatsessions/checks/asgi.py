"""The way from ``ASGI_APPLICATION`` to each consumer: who may come, and as whom."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from channels.auth import AuthMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings as django_settings
from django.core.checks import Tags, Warning  # noqa: A004
from django.utils.module_loading import import_string

from .registry import Found, check, message_id

#: Where ASGI middleware keeps what it wraps: Channels', its origin validator's, everyone else's.
WRAPPED = ("inner", "application", "app")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What a connection passes on its way to a consumer."""

    route: str = ""
    origins: tuple[str, ...] = ("*",)
    authenticated: bool = False
    passed: tuple[object, ...] = ()

    def through(self, application: object) -> _Way:
        way = replace(self, passed=(*self.passed, application))
        if isinstance(application, OriginValidator):
            way = replace(way, origins=tuple(map(str, application.allowed_origins)))
        if isinstance(application, AuthMiddleware):
            way = replace(way, authenticated=True)
        return way


def _inside(application: object, way: _Way) -> Iterator[tuple[object, _Way]]:
    """What an ASGI application hands a websocket on to, as far as can be seen."""
    if isinstance(application, ProtocolTypeRouter):
        yield application.application_mapping.get("websocket"), way
    elif isinstance(application, URLRouter):
        for route in application.routes:
            yield route.callback, replace(way, route=f"{way.route}{route.pattern}")
    else:
        # Not getattr(): it would wake lazy objects and properties.
        attributes = getattr(application, "__dict__", {})
        yield from ((attributes[name], way) for name in WRAPPED if name in attributes)


def _ways(application: object, base: type, way: _Way) -> Iterator[tuple[type, _Way]]:
    """Every consumer that is a ``base``, and the way there."""
    if any(application is passed for passed in way.passed):
        return
    consumer = getattr(application, "__dict__", {}).get("consumer_class")
    if isinstance(consumer, type) and issubclass(consumer, base):
        yield consumer, way
    for inner, inner_way in _inside(application, way.through(application)):
        yield from _ways(inner, base, inner_way)


@check(Tags.security, deploy=True)
def check_asgi_application() -> Found:
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        return
    try:
        application = import_string(path)
    except Exception as error:  # a project's code: whatever it raises is the news
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, which cannot be imported: "
            f"{type(error).__name__}: {error}",
            hint="Write the dotted path of the ASGI application and make its module importable; "
            "until then nobody looks for origin validation and login around the consumers.",
            id=message_id("W013"),
        )
        return
    # Not imported here, since consumers come after checks: a project that uses them has done it.
    base = getattr(sys.modules.get("chatsessions.consumers"), "SessionConsumer", None)
    if base is not None:
        for consumer, way in _ways(application, base, _Way()):
            yield from _unguarded(f"ASGI_APPLICATION {path!r}", consumer, way)


def _unguarded(where: str, consumer: type, way: _Way) -> Found:
    what = f"{where} leads to {consumer.__name__} at {way.route!r}"
    if "*" in way.origins:
        validated = any(isinstance(passed, OriginValidator) for passed in way.passed)
        how = "an OriginValidator that allows '*'" if validated else "no OriginValidator"
        yield Warning(
            f"{what} through {how}: any website can open a session in its visitors' names.",
            hint="Wrap it in channels.security.websocket.AllowedHostsOriginValidator, and write "
            "ALLOWED_HOSTS without '*'; or in OriginValidator with the origins themselves.",
            id=message_id("W014"),
        )
    if not way.authenticated:
        yield Warning(
            f"{what} through no AuthMiddleware: every session there is anonymous.",
            hint="Wrap it in channels.auth.AuthMiddlewareStack. Where middleware of your own "
            "sets scope['user'], silence this.",
            id=message_id("W015"),
        )
