"""
Settings of a project's stores: SQLite and local memory, or PostgreSQL and Redis by their URLs.

Error messages do not repeat a URL, since it may contain a password.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

#: How long a service may take to answer, in seconds. Then it counts as unavailable.
TIMEOUT = 5
POSTGRES_EXAMPLE = "postgresql://user:password@127.0.0.1:5432/name"
REDIS_EXAMPLE = "redis://127.0.0.1:6379/0"
LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


def secret_key(folder: Path) -> str:
    """Return the key in the file ``secret_key`` of ``folder``; make it at the first start."""
    path = folder / "secret_key"
    if not path.exists():
        # Several processes may start at once, and none may read half a key.
        new = path.with_suffix(f".{os.getpid()}")
        new.touch(mode=0o600)
        new.write_text(get_random_secret_key())
        with suppress(FileExistsError):
            path.hardlink_to(new)
        new.unlink()
    return path.read_text()


def sqlite(path: Path) -> dict[str, Any]:
    """Return ``DATABASES["default"]`` for a SQLite file."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # Readers never wait for the one writer. A transaction takes its lock at the beginning,
            # instead of failing half way.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
            # A checkpoint waits for the disk. Fewer of them make a larger -wal file (40 MB).
            "PRAGMA wal_autocheckpoint=10000;",
            "timeout": 10,
        },
    }


def local_memory() -> dict[str, Any]:
    """Return ``CACHES["default"]`` for one process, with room for its sessions."""
    return {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # With the default of 300, values of sessions in use would be thrown away.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }


def postgres(url: str) -> dict[str, Any]:
    """Return ``DATABASES["default"]`` for a ``DATABASE_URL``."""
    parts = _split(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"DATABASE_URL is no URL of PostgreSQL. Write {POSTGRES_EXAMPLE} (a password's special "
            "characters percent-encoded), or leave it out: then SQLite is used."
        )
    if not parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"DATABASE_URL names no database. Write one at its end: {POSTGRES_EXAMPLE}."
        )
    _need("psycopg", "DATABASE_URL", "psycopg[binary]", extra="postgres")
    _need("dj_database_url", "DATABASE_URL", "dj-database-url", extra="postgres")
    import dj_database_url  # not needed with SQLite

    config: dict[str, Any] = {**dj_database_url.parse(url)}
    config["OPTIONS"] = {"connect_timeout": TIMEOUT, **config.get("OPTIONS", {})}
    return config


def redis_cache(url: str, prefix: str) -> dict[str, Any]:
    """Return ``CACHES["default"]`` for a ``REDIS_URL``."""
    _check_redis(url)
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        # Without timeouts a stalled Redis would hold up every commit.
        "OPTIONS": {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT},
    }


def redis_layer(url: str, prefix: str, kind: str) -> dict[str, Any]:
    """Return ``CHANNEL_LAYERS["default"]`` for a ``REDIS_URL``; ``kind`` is a key of ``LAYERS``."""
    _check_redis(url)
    if kind not in LAYERS:
        raise ImproperlyConfigured(
            f"CHANNEL_LAYER is {kind!r}. Write one of {', '.join(LAYERS)}, or leave it out."
        )
    # The core layer waits 5 s for a message; redis-py 8 itself times out after 5 s by default.
    host = {"address": url, "socket_timeout": 2 * TIMEOUT} if kind == "core" else url
    return {"BACKEND": LAYERS[kind], "CONFIG": {"hosts": [host], "prefix": prefix}}


def _check_redis(url: str) -> None:
    parts = _split(url)
    database = parts.path.strip("/")
    remote = parts.scheme in ("redis", "rediss") and parts.hostname
    socket = parts.scheme == "unix" and database
    if not socket and not (remote and (not database or database.isdigit())):
        raise ImproperlyConfigured(
            f"REDIS_URL is no URL of Redis. Write {REDIS_EXAMPLE} (rediss:// with TLS, "
            "unix:///path for a socket), or leave it out: then there is one process."
        )
    _need("channels_redis", "REDIS_URL", "channels-redis", extra="redis")


def _split(url: str) -> SplitResult:
    """Return the parts of a URL; empty ones for a text that is none."""
    nothing = urlsplit("")
    try:
        parts = urlsplit(url)
        return nothing if parts.port == 0 else parts
    except ValueError:  # such as a port that is no number
        return nothing


def _need(module: str, variable: str, package: str, *, extra: str) -> None:
    if find_spec(module) is None:
        raise ImproperlyConfigured(
            f"{variable} is set, and {package} is not installed. Run "
            f"pip install 'chatsessions[{extra}]'."
        )
