"""``CHATSESSIONS`` itself: what is written there, and how one value goes with another."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings as django_settings
from django.core.checks import Error

from chatsessions.conf import settings

from .registry import Found, by_store, check, message_id


@check()
def check_settings() -> Found:
    given = getattr(django_settings, "CHATSESSIONS", {})
    if not isinstance(given, Mapping):
        yield Error(
            f"CHATSESSIONS is {given!r}, which is not a dict.",
            hint="Write CHATSESSIONS = {...}, or leave it out to have every default.",
            id=message_id("E001"),
        )
        return
    known = {setting.name for setting in settings.all()}
    for problem in settings.problems():
        number = "E003" if problem.name in known else "E002"
        yield Error(problem.message, hint=problem.hint, id=message_id(number))


@check()
def check_worker_stale() -> Found:
    stale, heartbeat = settings.WORKER_STALE, settings.WORKER_HEARTBEAT
    if stale <= 2 * heartbeat:
        yield Error(
            f"CHATSESSIONS['WORKER_STALE'] is {stale!r} and WORKER_HEARTBEAT {heartbeat!r}: one "
            "late heartbeat, and a living worker's sessions are taken from it.",
            hint=f"Write a WORKER_STALE above {2 * heartbeat!r} (three heartbeats is usual), or a "
            "shorter WORKER_HEARTBEAT.",
            id=message_id("E004"),
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
