"""What the project has around the sessions: apps, channel layer, daphne, time zone."""

from __future__ import annotations

from datetime import datetime
from importlib import metadata

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import Error, Tags, Warning  # noqa: A004
from django.core.management import get_commands
from django.utils import timezone
from django.utils.version import get_version_tuple

from chatsessions.conf import settings

from .registry import Found, check, message_id

#: From this version on daphne bounds a websocket message, to DAPHNE_LIMIT bytes unless told.
DAPHNE_WITH_LIMITS = (4, 2, 2)
DAPHNE_LIMIT = 1024 * 1024


@check()
def check_auth_installed() -> Found:
    if not apps.is_installed("django.contrib.auth"):
        yield Error(
            "INSTALLED_APPS is without 'django.contrib.auth': a session's user, anonymous or "
            "not, comes from there.",
            hint="Add 'django.contrib.auth' and 'django.contrib.contenttypes', which it needs.",
            id=message_id("E009"),
        )


@check()
def check_runserver() -> Found:
    """Only where one develops: elsewhere nobody uses it."""
    app = get_commands().get("runserver")
    name = app if isinstance(app, str) else getattr(app, "name", "")
    asgi = getattr(django_settings, "ASGI_APPLICATION", None)
    if django_settings.DEBUG and asgi and name.startswith("django."):
        yield Warning(
            "runserver is Django's own here, and speaks no websockets: a page says that it cannot "
            "connect.",
            hint="Install daphne and put 'daphne' first in INSTALLED_APPS; or run another ASGI "
            "server, and silence this.",
            id=message_id("W024"),
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
        yield Warning(
            f"daphne {version} is installed: before {wanted} it reads a websocket message of any "
            "size into memory, before MAX_FRAME_BYTES is looked at.",
            hint=f"Write daphne>={wanted} in the project's requirements.",
            id=message_id("W010"),
        )


@check()
def check_time_zone() -> Found:
    if django_settings.USE_TZ or not django_settings.TIME_ZONE:
        return
    zone = timezone.get_default_timezone()
    year = datetime.now(zone).year
    if len({datetime(year, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13)}) > 1:
        yield Warning(
            f"USE_TZ is False and TIME_ZONE {django_settings.TIME_ZONE!r}: when the clocks go "
            "forward, every worker counts as dead and sessions expire an hour early.",
            hint="Write USE_TZ = True, or a TIME_ZONE without summer time, such as 'UTC'.",
            id=message_id("W011"),
        )


@check()
def check_frame_size() -> Found:
    limits = (
        getattr(django_settings, f"DAPHNE_WEBSOCKET_MAX_{what}_SIZE", DAPHNE_LIMIT)
        for what in ("MESSAGE", "FRAME")
    )
    # For daphne 0 is "no limit".
    limit = min((limit for limit in limits if limit), default=None)
    if limit is None or _daphne_version() is None or limit >= settings.MAX_FRAME_BYTES:
        return
    yield Warning(
        f"CHATSESSIONS['MAX_FRAME_BYTES'] is {settings.MAX_FRAME_BYTES!r}, but daphne lets "
        f"{limit!r} bytes through and closes the connection on a longer message.",
        hint=f"Write at most {limit!r}; or raise daphne's limits: "
        "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE and DAPHNE_WEBSOCKET_MAX_FRAME_SIZE for runserver, "
        "--websocket-max-message-size and --websocket-max-frame-size for daphne itself. Under "
        "another server, silence this.",
        id=message_id("W005"),
    )
