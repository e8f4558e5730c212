"""Check ``CHATSESSIONS``, the rest of the project's settings, and the ASGI application."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import metadata

from channels.auth import AuthMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import Tags
from django.core.management import get_commands
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.version import get_version_tuple

from chatsessions.conf import settings

from .registry import Found, by_store, check, error, warning

#: The first version of daphne that limits a websocket message, to DAPHNE_LIMIT bytes by default.
DAPHNE_WITH_LIMITS = (4, 2, 2)
DAPHNE_LIMIT = 1024 * 1024
#: Attributes in which ASGI middleware keeps the application that it wraps.
WRAPPED = ("inner", "application", "app")


# The settings of CHATSESSIONS


@check()
def check_settings() -> Found:
    given = getattr(django_settings, "CHATSESSIONS", {})
    if not isinstance(given, Mapping):
        yield error(
            "E001",
            f"CHATSESSIONS is {given!r}, which is not a dict.",
            hint="Write CHATSESSIONS = {...}, or leave it out to have every default.",
        )
        return
    known = {setting.name for setting in settings.all()}
    for problem in settings.problems():
        number = "E003" if problem.name in known else "E002"
        yield error(number, problem.message, hint=problem.hint)


@check()
def check_worker_stale() -> Found:
    stale, heartbeat = settings.WORKER_STALE, settings.WORKER_HEARTBEAT
    if stale <= 2 * heartbeat:
        yield error(
            "E004",
            f"CHATSESSIONS['WORKER_STALE'] is {stale!r} and WORKER_HEARTBEAT {heartbeat!r}: one "
            "late heartbeat, and a living worker's sessions are taken from it.",
            hint=f"Write a WORKER_STALE above {2 * heartbeat!r} (three heartbeats is usual), or a "
            "shorter WORKER_HEARTBEAT.",
        )


@check()
def check_cache_timeout() -> Found:
    timeout, age = settings.CACHE_TIMEOUT, settings.SESSION_AGE
    if timeout < age:
        yield by_store(
            "E007",
            "W001",
            f"CHATSESSIONS['CACHE_TIMEOUT'] is {timeout!r}, below SESSION_AGE ({age!r}): a "
            "session that may still be resumed has lost its user_session from the cache.",
            hint=f"Write a CACHE_TIMEOUT of at least {age!r}, or a shorter SESSION_AGE.",
        )


# Apps, servers and the time zone


@check()
def check_auth_installed() -> Found:
    if not apps.is_installed("django.contrib.auth"):
        yield error(
            "E009",
            "INSTALLED_APPS is without 'django.contrib.auth': a session's user, anonymous or "
            "not, comes from there.",
            hint="Add 'django.contrib.auth' and 'django.contrib.contenttypes', which it needs.",
        )


@check()
def check_runserver() -> Found:
    """Report a ``runserver`` without websockets. Only with ``DEBUG``, as it is for development."""
    app = get_commands().get("runserver", "")
    asgi = getattr(django_settings, "ASGI_APPLICATION", None)
    if django_settings.DEBUG and asgi and app.startswith("django."):
        yield warning(
            "W024",
            "runserver is Django's own here, and speaks no websockets: a page says that it cannot "
            "connect.",
            hint="Install daphne and put 'daphne' first in INSTALLED_APPS; or run another ASGI "
            "server, and silence this.",
        )


def _daphne_version() -> str | None:
    try:
        return metadata.version("daphne")
    except metadata.PackageNotFoundError:
        return None


@check(Tags.security)
def check_daphne() -> Found:
    version = _daphne_version()
    if version is not None and get_version_tuple(version) < DAPHNE_WITH_LIMITS:
        wanted = ".".join(map(str, DAPHNE_WITH_LIMITS))
        yield warning(
            "W010",
            f"daphne {version} is installed: before {wanted} it reads a websocket message of any "
            "size into memory, before MAX_FRAME_BYTES is looked at.",
            hint=f"Write daphne>={wanted} in the project's requirements.",
        )


@check()
def check_time_zone() -> Found:
    if django_settings.USE_TZ or not django_settings.TIME_ZONE:
        return
    zone = timezone.get_default_timezone()
    year = datetime.now(zone).year
    if len({datetime(year, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13)}) > 1:
        yield warning(
            "W011",
            f"USE_TZ is False and TIME_ZONE {django_settings.TIME_ZONE!r}: when the clocks go "
            "forward, every worker counts as dead and sessions expire an hour early.",
            hint="Write USE_TZ = True, or a TIME_ZONE without summer time, such as 'UTC'.",
        )


@check()
def check_frame_size() -> Found:
    limits = (
        getattr(django_settings, f"DAPHNE_WEBSOCKET_MAX_{what}_SIZE", DAPHNE_LIMIT)
        for what in ("MESSAGE", "FRAME")
    )
    # 0 means no limit.
    limit = min((limit for limit in limits if limit), default=None)
    if limit is None or _daphne_version() is None or limit >= settings.MAX_FRAME_BYTES:
        return
    yield warning(
        "W005",
        f"CHATSESSIONS['MAX_FRAME_BYTES'] is {settings.MAX_FRAME_BYTES!r}, but daphne lets "
        f"{limit!r} bytes through and closes the connection on a longer message.",
        hint=f"Write at most {limit!r}; or raise daphne's limits: "
        "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE and DAPHNE_WEBSOCKET_MAX_FRAME_SIZE for runserver, "
        "--websocket-max-message-size and --websocket-max-frame-size for daphne itself. Under "
        "another server, silence this.",
    )


# From ASGI_APPLICATION to each consumer


#: A consumer, its route, and the applications that a connection passes on its way there.
Way = tuple[type, str, tuple[object, ...]]


def _ways(
    application: object, base: type, route: str = "", passed: tuple[object, ...] = ()
) -> Iterator[Way]:
    """Yield the way through an ASGI application to each consumer that is a subclass of ``base``."""
    if any(application is one for one in passed):
        return
    # getattr() would evaluate lazy objects and properties.
    attributes = getattr(application, "__dict__", {})
    consumer = attributes.get("consumer_class")
    if isinstance(consumer, type) and issubclass(consumer, base):
        yield consumer, route, passed
    if isinstance(application, ProtocolTypeRouter):
        inside = [(application.application_mapping.get("websocket"), route)]
    elif isinstance(application, URLRouter):
        inside = [(one.callback, f"{route}{one.pattern}") for one in application.routes]
    else:
        inside = [(attributes[name], route) for name in WRAPPED if name in attributes]
    for inner, its_route in inside:
        yield from _ways(inner, base, its_route, (*passed, application))


@check(Tags.security, deploy=True)
def check_asgi_application() -> Found:
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        return
    try:
        application = import_string(path)
    except Exception as failure:  # the project's code may raise anything
        yield warning(
            "W013",
            f"ASGI_APPLICATION is {path!r}, which cannot be imported: "
            f"{type(failure).__name__}: {failure}",
            hint="Write the dotted path of the ASGI application and make its module importable; "
            "until then nobody looks for origin validation and login around the consumers.",
        )
        return
    # A project that uses consumers has imported them by now; checks may not import them.
    base = getattr(sys.modules.get("chatsessions.consumers"), "SessionConsumer", None)
    if base is not None:
        for way in _ways(application, base):
            yield from _unguarded(path, *way)


def _unguarded(path: str, consumer: type, route: str, passed: tuple[object, ...]) -> Found:
    what = f"ASGI_APPLICATION {path!r} leads to {consumer.__name__} at {route!r}"
    validators = [one for one in passed if isinstance(one, OriginValidator)]
    if not validators or "*" in validators[-1].allowed_origins:
        how = "an OriginValidator that allows '*'" if validators else "no OriginValidator"
        yield warning(
            "W014",
            f"{what} through {how}: any website can open a session in its visitors' names.",
            hint="Wrap it in channels.security.websocket.AllowedHostsOriginValidator, and write "
            "ALLOWED_HOSTS without '*'; or in OriginValidator with the origins themselves.",
        )
    if not any(isinstance(one, AuthMiddleware) for one in passed):
        yield warning(
            "W015",
            f"{what} through no AuthMiddleware: every session there is anonymous.",
            hint="Wrap it in channels.auth.AuthMiddlewareStack. Where middleware of your own "
            "sets scope['user'], silence this.",
        )
