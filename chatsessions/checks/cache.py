"""The cache that holds ``user_session``: that it is there, and that it keeps what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import Error, Tags, Warning  # noqa: A004
from django.utils.module_loading import import_string

from chatsessions.conf import settings

from .registry import Found, by_store, check, message_id

#: A cache that culls below this is taken for one that nobody sized.
FEW_ENTRIES = 10_000
#: What Django takes where MAX_ENTRIES is left out.
DJANGO_MAX_ENTRIES = 300


def _cache() -> tuple[str, Mapping[str, Any], type] | None:
    """Alias, configuration and backend class of the cache in use; None where one is missing."""
    alias = settings.CACHE
    config: Mapping[str, Any] = django_settings.CACHES.get(alias, {})
    try:
        backend = import_string(config.get("BACKEND", ""))
    except ImportError:
        return None  # Django names it wherever the cache is used first
    return (alias, config, backend) if isinstance(backend, type) else None


@check(Tags.caches)
def check_cache_alias() -> Found:
    if settings.CACHE not in django_settings.CACHES:
        yield Error(
            f"CHATSESSIONS['CACHE'] is {settings.CACHE!r}, which is no alias in CACHES.",
            hint=f"Write one of {', '.join(map(repr, django_settings.CACHES))}, or add "
            f"{settings.CACHE!r} to CACHES.",
            id=message_id("E005"),
        )


@check(Tags.caches)
def check_cache_keeps() -> Found:
    cache = _cache()
    if cache is None or not issubclass(cache[2], DummyCache):
        return
    yield by_store(
        "E008",
        "W002",
        f"CACHES[{cache[0]!r}] is {cache[2].__name__}, which keeps nothing, and "
        f"CHATSESSIONS['USER_SESSION_STORE'] is {settings.USER_SESSION_STORE!r}.",
        hint="Write a cache that every worker shares, such as "
        "django.core.cache.backends.redis.RedisCache, or LocMemCache for a single process.",
    )


@check(Tags.caches)
def check_cache_culling() -> Found:
    cache = _cache()
    if cache is None or not issubclass(cache[2], (LocMemCache, FileBasedCache, DatabaseCache)):
        return
    alias, config, backend = cache
    entries = config.get("OPTIONS", {}).get("MAX_ENTRIES", DJANGO_MAX_ENTRIES)
    if isinstance(entries, int) and entries < FEW_ENTRIES:
        yield Warning(
            f"CACHES[{alias!r}]['OPTIONS']['MAX_ENTRIES'] is {entries}: with one entry more, "
            f"{backend.__name__} throws user sessions away that are in use.",
            hint="Write 'OPTIONS': {'MAX_ENTRIES': 100_000}, well above the number of sessions "
            f"within CACHE_TIMEOUT. Left out, it is {DJANGO_MAX_ENTRIES}.",
            id=message_id("W003"),
        )


@check(Tags.caches)
def check_cache_elsewhere() -> Found:
    cache = _cache()
    if cache is not None and issubclass(cache[2], DatabaseCache):
        yield Warning(
            f"CACHES[{cache[0]!r}] is {cache[2].__name__}, a table in the database: each "
            "user_session is queried and written there one by one, outside the journal's batch.",
            hint="Write django.core.cache.backends.redis.RedisCache or PyMemcacheCache, or "
            "LocMemCache for a single process; CHATSESSIONS['CACHE'] may name an alias of its own.",
            id=message_id("W004"),
        )
