"""
The workers that live, and what they have in common: what only the database can tell.

These run with ``manage.py check --database``, and before ``migrate``.
"""

from __future__ import annotations

from uuid import uuid4

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import InMemoryChannelLayer
from django.conf import settings as django_settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import Error, Warning  # noqa: A004
from django.db import connections, transaction
from django.utils.module_loading import import_string

from chatsessions.conf import settings
from chatsessions.models import Worker
from chatsessions.storage.worker_rows import (
    MAX_CLOCK_SKEW,
    WorkerRows,
)

from .cache import cache_in_use
from .registry import Found, by_store, database_check, message_id

#: What commits are made for: each statement sees what others have committed before it.
ISOLATION = "read committed"
#: How a database is asked for the isolation that its transactions have.
ISOLATION_QUERY = {
    "postgresql": "SHOW transaction_isolation",
    "mysql": "SELECT @@transaction_isolation",
}


def _living() -> list[Worker]:
    rows = WorkerRows(uuid4())
    workers = Worker.objects.using(settings.DATABASE).alive().timed().order_by("started_at")
    return [worker for worker in workers if rows.is_alive(worker)]


def _names(workers: list[Worker]) -> str:
    shown = [str(worker) for worker in workers[:5]]
    return ", ".join(shown) + (" …" if len(workers) > len(shown) else "")


@database_check
def check_workers_share_a_cache() -> Found:
    workers, cache = _living(), cache_in_use()
    if len(workers) > 1 and cache is not None and issubclass(cache[2], LocMemCache):
        yield by_store(
            "E012",
            "W020",
            f"{len(workers)} workers live ({_names(workers)}), and CACHES[{cache[0]!r}] is "
            f"{cache[2].__name__}, of which each process has its own: what one worker puts there "
            "no other finds.",
            hint="Write django.core.cache.backends.redis.RedisCache, or run one worker.",
        )


@database_check
def check_workers_share_a_layer() -> Found:
    workers = _living()
    layers = getattr(django_settings, "CHANNEL_LAYERS", {})
    backend = layers.get(DEFAULT_CHANNEL_LAYER, {}).get("BACKEND")
    if len(workers) < 2:
        return
    try:
        reaches = backend and not issubclass(import_string(backend), InMemoryChannelLayer)
    except (ImportError, TypeError):
        return  # Channels names it where the layer is used first
    if not reaches:
        what = "is in memory" if backend else "is not there"
        yield Warning(
            f"{len(workers)} workers live ({_names(workers)}), and "
            f"CHANNEL_LAYERS[{DEFAULT_CHANNEL_LAYER!r}] {what}: they cannot reach each other, nor "
            "the sessions that another one has.",
            hint="Write 'channels_redis.pubsub.RedisPubSubChannelLayer', or run one worker.",
            id=message_id("W021"),
        )


@database_check
def check_sqlite_has_one_host() -> Found:
    hosts = sorted({worker.hostname for worker in _living()})
    if len(hosts) > 1 and connections[settings.DATABASE].vendor == "sqlite":
        yield Error(
            f"Workers live on {len(hosts)} hosts ({', '.join(hosts)}), and "
            f"DATABASES[{settings.DATABASE!r}] is SQLite: over a network its locks do not hold, "
            "and two workers may own one session.",
            hint="Write the engine of PostgreSQL, or run all workers on the host that has the "
            "file.",
            id=message_id("E013"),
        )


@database_check
def check_clocks() -> Found:
    for worker in _living():
        ahead = worker.clock_ahead.total_seconds()
        if abs(ahead) > MAX_CLOCK_SKEW:
            yield Warning(
                f"The clock of worker {worker} is {abs(ahead):.0f} s "
                f"{'ahead of' if ahead > 0 else 'behind'} the database's: times in its logs and "
                "transcripts are wrong by that much, and its deadlines for others too.",
                hint=f"Set the clock of {worker.hostname}, and have a time service keep it, such "
                "as chrony or systemd-timesyncd. Who lives is decided by the database's clock.",
                id=message_id("W022"),
            )


@database_check
def check_isolation() -> Found:
    connection = connections[settings.DATABASE]
    query = ISOLATION_QUERY.get(connection.vendor)
    if query is None:
        return
    # In a transaction as the journal's are: the level of the settings comes with its beginning.
    with transaction.atomic(using=settings.DATABASE), connection.cursor() as cursor:
        cursor.execute(query)
        found = str(cursor.fetchone()[0]).lower().replace("-", " ")
    if found != ISOLATION:
        yield Warning(
            f"Transactions in DATABASES[{settings.DATABASE!r}] are {found!r}: commits that meet "
            "another worker's fail and are tried again, or see what is never committed.",
            hint=f"Take 'isolation_level' out of its OPTIONS, or have it be {ISOLATION!r}; "
            "CHATSESSIONS['DATABASE'] may name an alias of its own.",
            id=message_id("W023"),
        )


@database_check
def check_transactions() -> Found:
    connection = connections[settings.DATABASE]
    if not connection.features.supports_transactions:
        yield Error(
            f"DATABASES[{settings.DATABASE!r}] has no transactions: a crash in the middle of a "
            "commit leaves half of it.",
            hint="Write the engine of PostgreSQL or SQLite; on MySQL, have tables be InnoDB.",
            id=message_id("E014"),
        )
