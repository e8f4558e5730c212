"""The cache that holds ``user_session``: that it is there, and that it keeps what it is given."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.core.checks import Error, Tags, Warning  # noqa: A004
from django.utils.module_loading import import_string

from chatsessions.conf import settings

from .registry import Found, by_store, check, message_id

logger = logging.getLogger("chatsessions.checks")

#: A cache that culls below this is taken for one that nobody sized.
FEW_ENTRIES = 10_000
#: What Django takes where MAX_ENTRIES is left out.
DJANGO_MAX_ENTRIES = 300
#: How long Redis may take to say how it is configured, in seconds.
REDIS_PATIENCE = 2


def cache_in_use() -> tuple[str, Mapping[str, Any], type] | None:
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
    cache = cache_in_use()
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
    cache = cache_in_use()
    if cache is None or cache[2] is LocMemCache:
        return  # where that is small, sessions have one of their own
    if not issubclass(cache[2], (LocMemCache, FileBasedCache, DatabaseCache)):
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
    cache = cache_in_use()
    if cache is not None and issubclass(cache[2], DatabaseCache):
        yield Warning(
            f"CACHES[{cache[0]!r}] is {cache[2].__name__}, a table in the database: each "
            "user_session is queried and written there one by one, outside the journal's batch.",
            hint="Write django.core.cache.backends.redis.RedisCache or PyMemcacheCache, or "
            "LocMemCache for a single process; CHATSESSIONS['CACHE'] may name an alias of its own.",
            id=message_id("W004"),
        )


@check(Tags.caches)
def check_cache_replicas() -> Found:
    cache = cache_in_use()
    if cache is None or not issubclass(cache[2], RedisCache):
        return
    # As Django reads it.
    location = cache[1].get("LOCATION", "")
    servers = re.split("[;,]", location) if isinstance(location, str) else list(location)
    if len(servers) > 1:
        yield by_store(
            "E011",
            "W018",
            f"CACHES[{cache[0]!r}]['LOCATION'] has {len(servers)} servers: {cache[2].__name__} "
            "writes to the first and reads from the others, which may not have a value yet that "
            "was just written.",
            hint="Write the first server alone; CHATSESSIONS['CACHE'] may name an alias of its "
            "own.",
        )


@check(Tags.caches, deploy=True)
def check_cache_eviction() -> Found:
    cache = cache_in_use()
    if settings.USER_SESSION_STORE != "cache" or cache is None:
        return  # what is evicted is in the row
    if issubclass(cache[2], RedisCache):
        policy = _eviction(cache[1], cache[2])
        if policy is not None:
            yield Warning(
                f"The Redis of CACHES[{cache[0]!r}] has maxmemory-policy {policy!r}: when its "
                "memory is full it throws user sessions away, and CHATSESSIONS["
                "'USER_SESSION_STORE'] is 'cache', so they are nowhere else.",
                hint="Set maxmemory-policy to noeviction in redis.conf, or write "
                "'USER_SESSION_STORE': 'cached_db'.",
                id=message_id("W019"),
            )


def _eviction(config: Mapping[str, Any], backend: type[RedisCache]) -> str | None:
    """How a full Redis makes room, if it has a limit and does; None if it cannot be asked."""
    patience = {"socket_timeout": REDIS_PATIENCE, "socket_connect_timeout": REDIS_PATIENCE}
    params = {**config, "OPTIONS": {**config.get("OPTIONS", {}), **patience}}
    location = params.pop("LOCATION", "")
    params.pop("BACKEND")
    try:
        client = backend(location, params)._cache.get_client(write=True)
        with client:
            found = client.config_get("maxmemory*")
    except Exception as error:  # forbidden by who manages it, or not reachable from here
        logger.debug("Redis does not say how it is configured: %s", error)
        return None
    policy = str(found.get("maxmemory-policy", "noeviction"))
    return policy if policy != "noeviction" and found.get("maxmemory") != "0" else None
