"""Check the settings of the database, the cache and the file storage. No connection is made."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages
from django.db import router
from django.db.utils import load_backend
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from chatsessions.conf import settings

from .registry import Found, by_store, check, error, warning

logger = logging.getLogger("chatsessions.checks")

#: A cache with a smaller MAX_ENTRIES is reported.
FEW_ENTRIES = 10_000
#: Django's default of MAX_ENTRIES.
DJANGO_MAX_ENTRIES = 300
#: How long to wait for Redis to tell its configuration, in seconds.
REDIS_PATIENCE = 2

_ADVICE = (
    "Write STORAGES = {..., 'chats': {'BACKEND': 'django.core.files.storage.FileSystemStorage', "
    "'OPTIONS': {'location': BASE_DIR / 'chat-files'}}} and CHATSESSIONS = {'STORAGE': 'chats'}"
)


class Service(NamedTuple):
    """A database or a cache of the settings: its alias, its configuration and its class."""

    alias: str
    config: Mapping[str, Any]
    backend: Any


def _missing_alias(number: str, setting: str, place: str) -> Found:
    """Report a setting that names no alias of the Django setting ``place``."""
    alias, aliases = getattr(settings, setting), getattr(django_settings, place)
    if alias not in aliases:
        yield error(
            number,
            f"CHATSESSIONS[{setting!r}] is {alias!r}, which is no alias in {place}.",
            hint=f"Write one of {', '.join(map(repr, aliases))}, or add {alias!r} to {place}.",
        )


# The database


def _database() -> Service | None:
    """Return the database in use; None if its backend cannot be imported, which Django reports."""
    config: Mapping[str, Any] = django_settings.DATABASES.get(settings.DATABASE, {})
    try:
        module = load_backend(config.get("ENGINE", "django.db.backends.dummy"))
    except (ImproperlyConfigured, ImportError):
        return None
    return Service(settings.DATABASE, config, module.DatabaseWrapper)


@check()
def check_database_alias() -> Found:
    yield from _missing_alias("E006", "DATABASE", "DATABASES")


@check()
def check_users_are_in_the_same_database() -> Found:
    alias = settings.DATABASE
    if alias not in django_settings.DATABASES:
        return
    try:
        users = router.db_for_write(get_user_model())
    except (ImproperlyConfigured, LookupError):
        return  # Django's own checks report this
    if users not in django_settings.DATABASES or _place(users) == _place(alias):
        return
    yield error(
        "E015",
        f"CHATSESSIONS['DATABASE'] is {alias!r}, and users are in the database {users!r}: a "
        "session refers to its user by a foreign key, which cannot lead into another database.",
        hint=f"Write CHATSESSIONS = {{'DATABASE': {users!r}}}, or an alias of the same database.",
    )


def _place(alias: str) -> tuple[str, ...]:
    """Return what identifies a database; aliases with equal results are one database."""
    config: Mapping[str, Any] = django_settings.DATABASES[alias]
    return tuple(str(config.get(key) or "") for key in ("ENGINE", "NAME", "HOST", "PORT"))


@check()
def check_sqlite_journal_mode() -> Found:
    database = _database()
    if database is None or database.backend.vendor != "sqlite":
        return
    name = str(database.config.get("NAME"))
    if name == ":memory:" or "mode=memory" in name:
        return
    command = database.config.get("OPTIONS", {}).get("init_command") or ""
    said = re.search(r"journal_mode\s*[=(]\s*['\"]?(\w+)", command, re.IGNORECASE)
    if said is not None and said[1].lower() != "wal":
        yield warning(
            "W007",
            f"DATABASES[{database.alias!r}]['OPTIONS']['init_command'] is {command!r}, which "
            "switches write-ahead logging off: readers and the journal's writer wait for each "
            "other.",
            hint="Leave journal_mode out, and it is switched on. On a network's disk, where SQLite "
            "cannot have it, take PostgreSQL, or silence this.",
        )


@check()
def check_partial_unique() -> Found:
    database = _database()
    if database is not None and database.backend.features_class.supports_partial_indexes is False:
        alias, config, backend = database
        yield warning(
            "W009",
            f"DATABASES[{alias!r}]['ENGINE'] is {config['ENGINE']!r}: {backend.display_name} has "
            "no partial unique constraint, so the database does not refuse a client's event that "
            "is stored twice; the session's one owner alone does.",
            hint="Write the engine of PostgreSQL or SQLite. Otherwise silence this and Django's "
            "models.W036.",
        )


# The cache


def cache_in_use(*kinds: type) -> Service | None:
    """
    Return the cache in use if it is of one of these classes.

    Also return None if its backend cannot be imported, which Django reports.
    """
    config: Mapping[str, Any] = django_settings.CACHES.get(settings.CACHE, {})
    try:
        backend = import_string(config.get("BACKEND", ""))
    except ImportError:
        return None
    if not isinstance(backend, type) or not issubclass(backend, kinds):
        return None
    return Service(settings.CACHE, config, backend)


@check(Tags.caches)
def check_cache_alias() -> Found:
    yield from _missing_alias("E005", "CACHE", "CACHES")


@check(Tags.caches)
def check_cache_keeps() -> Found:
    if cache := cache_in_use(DummyCache):
        yield by_store(
            "E008",
            "W002",
            f"CACHES[{cache.alias!r}] is {cache.backend.__name__}, which keeps nothing, and "
            f"CHATSESSIONS['USER_SESSION_STORE'] is {settings.USER_SESSION_STORE!r}.",
            hint="Write a cache that every worker shares, such as "
            "django.core.cache.backends.redis.RedisCache, or LocMemCache for a single process.",
        )


@check(Tags.caches)
def check_cache_culling() -> Found:
    cache = cache_in_use(LocMemCache, FileBasedCache, DatabaseCache)
    if cache is None or cache.backend is LocMemCache:
        return  # sessions then have a local-memory cache of their own, which is large enough
    alias, config, backend = cache
    entries = config.get("OPTIONS", {}).get("MAX_ENTRIES", DJANGO_MAX_ENTRIES)
    if isinstance(entries, int) and entries < FEW_ENTRIES:
        yield warning(
            "W003",
            f"CACHES[{alias!r}]['OPTIONS']['MAX_ENTRIES'] is {entries}: with one entry more, "
            f"{backend.__name__} throws user sessions away that are in use.",
            hint="Write 'OPTIONS': {'MAX_ENTRIES': 100_000}, well above the number of sessions "
            f"within CACHE_TIMEOUT. Left out, it is {DJANGO_MAX_ENTRIES}.",
        )


@check(Tags.caches)
def check_cache_elsewhere() -> Found:
    if cache := cache_in_use(DatabaseCache):
        yield warning(
            "W004",
            f"CACHES[{cache.alias!r}] is {cache.backend.__name__}, a table in the database: each "
            "user_session is queried and written there one by one, outside the journal's batch.",
            hint="Write django.core.cache.backends.redis.RedisCache or PyMemcacheCache, or "
            "LocMemCache for a single process; CHATSESSIONS['CACHE'] may name an alias of its own.",
        )


@check(Tags.caches)
def check_cache_replicas() -> Found:
    cache = cache_in_use(RedisCache)
    if cache is None:
        return
    # Django's backend reads the setting in the same way.
    location = cache.config.get("LOCATION", "")
    servers = re.split("[;,]", location) if isinstance(location, str) else list(location)
    if len(servers) > 1:
        yield by_store(
            "E011",
            "W018",
            f"CACHES[{cache.alias!r}]['LOCATION'] has {len(servers)} servers: "
            f"{cache.backend.__name__} writes to the first and reads from the others, which may "
            "not have a value yet that was just written.",
            hint="Write the first server alone; CHATSESSIONS['CACHE'] may name an alias of its "
            "own.",
        )


@check(Tags.caches, deploy=True)
def check_cache_eviction() -> Found:
    cache = cache_in_use(RedisCache)
    if cache is None or settings.USER_SESSION_STORE != "cache":
        return  # an evicted value is also in the row
    policy = _eviction(cache.config, cache.backend)
    if policy is not None:
        yield warning(
            "W019",
            f"The Redis of CACHES[{cache.alias!r}] has maxmemory-policy {policy!r}: when its "
            "memory is full it throws user sessions away, and CHATSESSIONS["
            "'USER_SESSION_STORE'] is 'cache', so they are nowhere else.",
            hint="Set maxmemory-policy to noeviction in redis.conf, or write "
            "'USER_SESSION_STORE': 'cached_db'.",
        )


def _eviction(config: Mapping[str, Any], backend: type[RedisCache]) -> str | None:
    """Return the policy of a Redis that evicts keys; None if it does not, or cannot be asked."""
    patience = {"socket_timeout": REDIS_PATIENCE, "socket_connect_timeout": REDIS_PATIENCE}
    params = {**config, "OPTIONS": {**config.get("OPTIONS", {}), **patience}}
    location = params.pop("LOCATION", "")
    params.pop("BACKEND")
    try:
        client = backend(location, params)._cache.get_client(write=True)
        with client:
            found = client.config_get("maxmemory*")
    except Exception as failure:  # the command may be forbidden, or the server out of reach
        logger.debug("Redis does not say how it is configured: %s", failure)
        return None
    policy = str(found.get("maxmemory-policy", "noeviction"))
    return policy if policy != "noeviction" and found.get("maxmemory") != "0" else None


# The storage of files


@check(Tags.files)
def check_storage_alias() -> Found:
    yield from _missing_alias("E010", "STORAGE", "STORAGES")


@check(Tags.files)
def check_storage_has_a_place() -> Found:
    storage = _local_storage()
    # A storage without a location of its own writes to MEDIA_ROOT, which is empty by default.
    if storage is not None and not storage.base_location and _takes_files():
        yield warning(
            "W016",
            f"MEDIA_ROOT is empty, and is where STORAGES[{settings.STORAGE!r}] writes: sessions' "
            "files would lie in the working directory of the server.",
            hint=f"{_ADVICE}, or set MEDIA_ROOT.",
        )


@check(Tags.security, deploy=True)
def check_storage_is_private() -> Found:
    storage = _local_storage()
    if storage is None or not storage.base_location or not _takes_files():
        return
    served = django_settings.MEDIA_URL not in ("", "/")
    if served and storage.base_location == django_settings.MEDIA_ROOT:
        yield warning(
            "W017",
            f"STORAGES[{settings.STORAGE!r}] writes into MEDIA_ROOT, and MEDIA_URL is "
            f"{django_settings.MEDIA_URL!r}: if the web server serves that, everybody who learns "
            "a file's address has it, and a browser runs the pages and scripts among them.",
            hint=f"{_ADVICE}, outside of what is served.",
        )


def _local_storage() -> FileSystemStorage | None:
    """Return the storage in use if it writes to this machine's disk."""
    try:
        storage = storages[settings.STORAGE]
    except (InvalidStorageError, ImproperlyConfigured):
        return None  # reported by E010, or by Django
    return storage if isinstance(storage, FileSystemStorage) else None


def _takes_files() -> bool:
    """Return True if the project's URLs include the upload of files."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return False
    try:
        reverse("chatsessions:files", args=[UUID(int=0)])
    except (NoReverseMatch, ImportError, ImproperlyConfigured):
        return False  # Django reports a URLconf that cannot be imported
    return True
