"""Times as handlers and clients see them: with an offset, whatever ``USE_TZ`` is."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings as django_settings
from django.utils import timezone


def now() -> datetime:
    """This moment, in UTC. What goes into the database is ``settings.now()`` instead."""
    return datetime.now(UTC)


def with_offset(at: datetime) -> datetime:
    """``at``; without an offset, as under ``USE_TZ=False``, it is a time of ``TIME_ZONE``."""
    if at.tzinfo is not None:
        return at
    if django_settings.TIME_ZONE is None:
        return at.astimezone()  # of the host
    return timezone.make_aware(at, timezone.get_default_timezone())


def for_database(at: datetime) -> datetime:
    """``at``, which has an offset, for a query: without one under ``USE_TZ=False``."""
    if django_settings.USE_TZ:
        return at
    if django_settings.TIME_ZONE is None:
        return at.astimezone().replace(tzinfo=None)
    return timezone.make_naive(at, timezone.get_default_timezone())
