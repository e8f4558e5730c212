"""
Checks that query the database: for the live workers, and for how it runs transactions.

These checks run with ``manage.py check --database``, and before ``migrate``.
"""

from __future__ import annotations

from uuid import uuid4

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import InMemoryChannelLayer
from django.conf import settings as django_settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import Tags
from django.db import connections, transaction
from django.utils.module_loading import import_string

from chatsessions.conf import settings
from chatsessions.models import Worker
from chatsessions.storage.worker_rows import MAX_CLOCK_SKEW, WorkerRows

from .registry import Found, by_store, check, error, warning
from .stores import cache_in_use

#: The isolation that the journal needs: a statement sees what others committed before it.
ISOLATION = "read committed"
#: The query for the isolation of transactions, by vendor.
ISOLATION_QUERY = {
    "postgresql": "SHOW transaction_isolation",
    "mysql": "SELECT @@transaction_isolation",
}


def _living() -> list[Worker]:
    """Return the workers that are alive, oldest first."""
    rows = WorkerRows(uuid4())
    workers = Worker.objects.using(settings.DATABASE).alive().timed().order_by("started_at")
    return [worker for worker in workers if rows.is_alive(worker)]


def _names(workers: list[Worker]) -> str:
    shown = [str(worker) for worker in workers[:5]]
    return ", ".join(shown) + (" …" if len(workers) > len(shown) else "")


@check(Tags.database)
def check_workers_share_a_cache() -> Found:
    workers, cache = _living(), cache_in_use(LocMemCache)
    if len(workers) > 1 and cache is not None:
        yield by_store(
            "E012",
            "W020",
            f"{len(workers)} workers live ({_names(workers)}), and CACHES[{cache.alias!r}] is "
            f"{cache.backend.__name__}, which every process has for itself: no worker finds what "
            "another one has stored.",
            hint="Write django.core.cache.backends.redis.RedisCache, or run one worker.",
        )


@check(Tags.database)
def check_workers_share_a_layer() -> Found:
    workers = _living()
    layers = getattr(django_settings, "CHANNEL_LAYERS", {})
    backend = layers.get(DEFAULT_CHANNEL_LAYER, {}).get("BACKEND")
    if len(workers) < 2:
        return
    try:
        reaches = backend and not issubclass(import_string(backend), InMemoryChannelLayer)
    except (ImportError, TypeError):
        return  # Channels reports this when the layer is first used
    if not reaches:
        what = "is in memory" if backend else "is not there"
        yield warning(
            "W021",
            f"{len(workers)} workers live ({_names(workers)}), and "
            f"CHANNEL_LAYERS[{DEFAULT_CHANNEL_LAYER!r}] {what}: they cannot reach each other, nor "
            "the sessions that another one has.",
            hint="Write 'channels_redis.pubsub.RedisPubSubChannelLayer', or run one worker.",
        )


@check(Tags.database)
def check_sqlite_has_one_host() -> Found:
    hosts = sorted({worker.hostname for worker in _living()})
    if len(hosts) > 1 and connections[settings.DATABASE].vendor == "sqlite":
        yield error(
            "E013",
            f"Workers live on {len(hosts)} hosts ({', '.join(hosts)}), and "
            f"DATABASES[{settings.DATABASE!r}] is SQLite: over a network its locks do not hold, "
            "and two workers may own one session.",
            hint="Write the engine of PostgreSQL, or run all workers on the host that has the "
            "file.",
        )


@check(Tags.database)
def check_clocks() -> Found:
    for worker in _living():
        ahead = worker.clock_ahead.total_seconds()
        if abs(ahead) > MAX_CLOCK_SKEW:
            yield warning(
                "W022",
                f"The clock of worker {worker} is {abs(ahead):.0f} s "
                f"{'ahead of' if ahead > 0 else 'behind'} the database's: the times of its "
                "messages are wrong by that much, and its deadlines for others too.",
                hint=f"Set the clock of {worker.hostname}, and have a time service keep it, such "
                "as chrony or systemd-timesyncd. Who lives is decided by the database's clock.",
            )


@check(Tags.database)
def check_isolation() -> Found:
    connection = connections[settings.DATABASE]
    query = ISOLATION_QUERY.get(connection.vendor)
    if query is None:
        return
    # In a transaction, as in the journal: only there the isolation level of the settings applies.
    with transaction.atomic(using=settings.DATABASE), connection.cursor() as cursor:
        cursor.execute(query)
        found = str(cursor.fetchone()[0]).lower().replace("-", " ")
    if found != ISOLATION:
        yield warning(
            "W023",
            f"Transactions in DATABASES[{settings.DATABASE!r}] are {found!r}: commits that meet "
            "another worker's fail and are tried again, or see what is never committed.",
            hint=f"Take 'isolation_level' out of its OPTIONS, or have it be {ISOLATION!r}; "
            "CHATSESSIONS['DATABASE'] may name an alias of its own.",
        )


@check(Tags.database)
def check_transactions() -> Found:
    connection = connections[settings.DATABASE]
    if not connection.features.supports_transactions:
        yield error(
            "E014",
            f"DATABASES[{settings.DATABASE!r}] has no transactions: a crash in the middle of a "
            "commit leaves half of it.",
            hint="Write the engine of PostgreSQL or SQLite; on MySQL, have tables be InnoDB.",
        )
