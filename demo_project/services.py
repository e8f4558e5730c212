"""PostgreSQL and Redis at the start of the demo: are they there, and who migrates."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django.db.utils import OperationalError

#: The demo's migrations, among the advisory locks of its database.
MIGRATION_LOCK = 0xC4A75E55


class ServiceUnreachable(Exception):
    """A service that the demo was told of does not answer."""


def check_reachable() -> None:
    """Ask each service of the settings for a sign of life. Raises ``ServiceUnreachable``."""
    if connection.vendor == "postgresql":
        _check_postgres()
    cache = caches["default"]
    if isinstance(cache, RedisCache):
        _check_redis(cache)


def _check_postgres() -> None:
    config = connection.settings_dict
    try:
        connection.ensure_connection()
    except OperationalError as error:
        raise ServiceUnreachable(
            f"PostgreSQL does not let the demo in: {str(error).strip()}\n"
            "See that it runs, and that it has a user and a database as DATABASE_URL names them "
            f"(createuser {config['USER'] or '…'}; createdb {config['NAME']}); or unset "
            "DATABASE_URL."
        ) from error


def _check_redis(cache: RedisCache) -> None:
    from redis.exceptions import RedisError  # where REDIS_URL is set, it is there

    try:
        cache.get("demo:ping")
    except RedisError as error:
        raise ServiceUnreachable(
            f"Redis does not answer: {error}\n"
            "See that it runs where REDIS_URL says, and takes its password; or unset REDIS_URL."
        ) from error


@contextmanager
def migrating_alone() -> Iterator[None]:
    """Of the processes that start at once, one migrates at a time. SQLite's are one anyway."""
    if connection.vendor != "postgresql":
        yield
        return
    # A connection of its own: the lock ends with it, however this process does.
    holder = connection.copy()
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        yield
    finally:
        holder.close()
