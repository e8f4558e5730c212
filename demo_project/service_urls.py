"""
Settings for PostgreSQL and Redis, made of ``DATABASE_URL`` and ``REDIS_URL``.

What is wrong with a URL is told in words, without the URL: it may hold a password.
"""

from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured

#: How long a service may take to answer, in seconds. One that is stalled is as one that is down.
TIMEOUT = 5
POSTGRES_EXAMPLE = "postgresql://user:password@127.0.0.1:5432/name"
REDIS_EXAMPLE = "redis://127.0.0.1:6379/0"
LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


def postgres(url: str) -> dict[str, Any]:
    """``DATABASES["default"]`` for a ``DATABASE_URL``."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"DATABASE_URL is no URL of PostgreSQL. Write {POSTGRES_EXAMPLE} (a password's special "
            "characters percent-encoded), or leave it out: then the demo keeps SQLite in var/."
        )
    if not parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"DATABASE_URL names no database. Write one at its end: {POSTGRES_EXAMPLE}."
        )
    _need("psycopg", "DATABASE_URL", "psycopg[binary]")
    _need("dj_database_url", "DATABASE_URL", "dj-database-url")
    import dj_database_url  # the embedded default does without it

    config: dict[str, Any] = {**dj_database_url.parse(url)}
    config["OPTIONS"] = {"connect_timeout": TIMEOUT, **config.get("OPTIONS", {})}
    return config


def redis_cache(url: str, prefix: str) -> dict[str, Any]:
    """``CACHES["default"]`` for a ``REDIS_URL``."""
    _check_redis(url)
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        # Without them a stalled Redis would hold up every commit for as long as it is stalled.
        "OPTIONS": {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT},
    }


def redis_layer(url: str, prefix: str, kind: str) -> dict[str, Any]:
    """``CHANNEL_LAYERS["default"]`` for a ``REDIS_URL``; ``kind`` is one of ``LAYERS``."""
    _check_redis(url)
    if kind not in LAYERS:
        raise ImproperlyConfigured(
            f"CHANNEL_LAYER is {kind!r}. Write one of {', '.join(LAYERS)}, or leave it out."
        )
    return {"BACKEND": LAYERS[kind], "CONFIG": {"hosts": [url], "prefix": prefix}}


def _check_redis(url: str) -> None:
    parts = _split(url)
    database = "" if parts is None else parts.path.strip("/")
    remote = parts is not None and parts.scheme in ("redis", "rediss") and parts.hostname
    socket = parts is not None and parts.scheme == "unix" and database
    if not socket and not (remote and (not database or database.isdigit())):
        raise ImproperlyConfigured(
            f"REDIS_URL is no URL of Redis. Write {REDIS_EXAMPLE} (rediss:// with TLS, "
            "unix:///path for a socket), or leave it out: then the demo is one process."
        )
    _need("channels_redis", "REDIS_URL", "channels-redis")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:  # such as a port that is no number
        return None


def _need(module: str, variable: str, package: str) -> None:
    if find_spec(module) is None:
        raise ImproperlyConfigured(
            f"{variable} is set, and {package} is not installed. Run "
            f"pip install '{package}', or make demo, which installs what it needs."
        )
