"""Check PostgreSQL and Redis at the start of the demo, and let one process migrate at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django.db.utils import OperationalError

#: The number of the advisory lock for the demo's migrations.
MIGRATION_LOCK = 0xC4A75E55


class ServiceUnreachable(Exception):
    """A service of the settings does not answer."""


def check_reachable() -> None:
    """Check that each service of the settings answers. Raises ``ServiceUnreachable``."""
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
    from redis.exceptions import RedisError  # installed if REDIS_URL is set

    try:
        cache.get("demo:ping")
    except RedisError as error:
        raise ServiceUnreachable(
            f"Redis does not answer: {error}\n"
            "See that it runs where REDIS_URL says, and takes its password; or unset REDIS_URL."
        ) from error


@contextmanager
def migrating_alone() -> Iterator[None]:
    """Let one process migrate at a time. SQLite needs no lock: the demo is one process then."""
    if connection.vendor != "postgresql":
        yield
        return
    # A separate connection holds the lock, which ends with it, however this process ends.
    holder = connection.copy()
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        yield
    finally:
        holder.close()
