"""The checks that ask a service: the database that workers share, and Redis."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Warning, run_checks  # noqa: A004
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from chatsessions.models import Worker
from chatsessions.storage.worker_rows import pid_space

from .faults.cluster.redis_server import RedisServer
from .support.ports import free_port
from .support.storage import dead_worker_row, worker_row
from .test_checks import BACKENDS, cache, chatsessions, command, found, ids

REDIS_CACHE = f"{BACKENDS}.redis.RedisCache"
PUBSUB_LAYER = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
SHARED: dict[str, Any] = {
    "CACHES": {"default": {"BACKEND": REDIS_CACHE, "LOCATION": "redis://127.0.0.1:1"}},
    "CHANNEL_LAYERS": PUBSUB_LAYER,
}

with_rows = pytest.mark.django_db


def asked(**overrides: Any) -> list[CheckMessage]:
    """What the checks find that ask the database."""
    with override_settings(**overrides):
        return run_checks(tags=["chatsessions"], databases=["default"])


# Workers


@pytest.fixture
def two_workers(db: None) -> list[Worker]:
    return [worker_row(hostname="web-1", pid=7), worker_row(hostname="web-1", pid=8)]


@with_rows
def test_one_worker_may_have_everything_in_memory() -> None:
    worker_row()
    assert asked() == []


@with_rows
def test_workers_that_are_dead_do_not_count() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    worker_row()
    dead_worker_row()
    worker_row(pid=process.pid, pid_space=pid_space())
    assert asked() == []


@pytest.mark.usefixtures("two_workers")
def test_workers_with_a_cache_in_memory() -> None:
    (message,) = asked(CHANNEL_LAYERS=PUBSUB_LAYER)
    assert (ids([message]), type(message)) == (["W020"], Warning)
    assert "2 workers live (web-1:7, web-1:8)" in message.msg
    assert "CACHES['default'] is LocMemCache" in message.msg
    assert "RedisCache" in str(message.hint)


@pytest.mark.usefixtures("two_workers")
def test_workers_whose_only_store_is_in_memory() -> None:
    only = chatsessions(USER_SESSION_STORE="cache")
    (message,) = asked(CHANNEL_LAYERS=PUBSUB_LAYER, **only)
    assert (ids([message]), type(message)) == (["E012"], Error)


@pytest.mark.usefixtures("two_workers")
def test_workers_with_a_layer_in_memory() -> None:
    (message,) = asked(CACHES=SHARED["CACHES"])
    assert (ids([message]), type(message)) == (["W021"], Warning)
    assert "CHANNEL_LAYERS['default'] is in memory" in message.msg
    assert "channels_redis.pubsub" in str(message.hint)


@pytest.mark.usefixtures("two_workers")
def test_workers_that_share_everything() -> None:
    assert asked(**SHARED) == []


@pytest.mark.usefixtures("two_workers")
def test_workers_without_a_layer() -> None:
    found = asked(CACHES=SHARED["CACHES"], CHANNEL_LAYERS={})
    assert ids(found) == ["W021"]
    assert "CHANNEL_LAYERS['default'] is not there" in found[0].msg


@pytest.mark.usefixtures("two_workers")
def test_a_layer_that_channels_complains_of() -> None:
    layer = {"default": {"BACKEND": "no.such.Layer"}}
    assert "W021" not in ids(asked(CACHES=SHARED["CACHES"], CHANNEL_LAYERS=layer))


@pytest.mark.usefixtures("two_workers")
def test_nobody_is_asked_unless_the_database_is_named() -> None:
    assert found() == []
    assert found(deploy=True) == []
    with override_settings(CHATSESSIONS={"DATABASE": "other"}):
        assert run_checks(tags=["chatsessions"], databases=["default"]) == found(
            CHATSESSIONS={"DATABASE": "other"}
        )


@with_rows
def test_workers_of_several_hosts_on_sqlite() -> None:
    for host in ("web-1", "web-2"):
        worker_row(hostname=host)
    if connection.vendor != "sqlite":
        assert asked(**SHARED) == []
        return
    (message,) = asked(**SHARED)
    assert (ids([message]), type(message)) == (["E013"], Error)
    assert "on 2 hosts (web-1, web-2)" in message.msg
    assert "PostgreSQL" in str(message.hint)


@with_rows
@pytest.mark.parametrize(
    ("minutes", "says"), [(10, "600 s ahead of the database's"), (-10, "600 s behind the")]
)
def test_a_clock_that_is_off(minutes: int, says: str) -> None:
    now = timezone.now()
    worker_row(hostname="web-1", pid=7, clock_at=now + timedelta(minutes=minutes), heartbeat_at=now)
    worker_row(hostname="web-1", clock_at=now + timedelta(seconds=1), heartbeat_at=now)
    (message,) = asked(**SHARED)
    assert (ids([message]), type(message)) == (["W022"], Warning)
    assert "The clock of worker web-1:7 is" in message.msg
    assert says in message.msg
    assert "chrony" in str(message.hint)


@with_rows
def test_a_database_without_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """MySQL's MyISAM, which is not at hand."""
    monkeypatch.setattr(connection.features, "supports_transactions", False)
    (message,) = asked()
    assert (ids([message]), type(message)) == (["E014"], Error)
    assert "InnoDB" in str(message.hint)


# As a command


def test_before_the_tables_are_there_nothing_is_said(tmp_path: Path) -> None:
    assert command(tmp_path, "--database", "default")[0] == []


def test_before_the_tables_are_there_on_postgresql(tmp_path: Path, database_url: str) -> None:
    assert command(tmp_path, "--database", "default", DATABASE_URL=database_url)[0] == []


@pytest.mark.parametrize(
    ("option", "isolation"),
    [
        ("isolation_level=2", None),
        ("isolation_level=3", "repeatable read"),
        # Of the database, set by whoever runs it, and seen in no settings file.
        ("options=-c%20default_transaction_isolation%3Dserializable", "serializable"),
    ],
)
def test_the_isolation_of_transactions(
    tmp_path: Path, database_url: str, option: str, isolation: str | None
) -> None:
    url = f"{database_url}?{option}"
    found, said = command(tmp_path, "--database", "default", DATABASE_URL=url)
    assert found == ([] if isolation is None else ["W023"])
    assert isolation is None or f"Transactions in DATABASES['default'] are {isolation!r}" in said


# Redis


@pytest.mark.parametrize(
    "location",
    [["redis://127.0.0.1:1", "redis://127.0.0.1:2"], "redis://127.0.0.1:1;redis://127.0.0.1:2"],
)
@pytest.mark.parametrize(("store", "number"), [("cached_db", "W018"), ("cache", "E011")])
def test_a_cache_with_replicas(location: object, store: str, number: str) -> None:
    caches = {"default": {"BACKEND": REDIS_CACHE, "LOCATION": location}}
    (message,) = found(CACHES=caches, **chatsessions(USER_SESSION_STORE=store))
    assert (ids([message]), type(message)) == ([number], Error if store == "cache" else Warning)
    assert "CACHES['default']['LOCATION'] has 2 servers: RedisCache" in message.msg
    assert "first server alone" in str(message.hint)


def redis_cache(server: RedisServer, *, store: str = "cache", login: str = "") -> dict[str, Any]:
    location = f"redis://{login}127.0.0.1:{server.port}/0"
    caches = {"default": {"BACKEND": REDIS_CACHE, "LOCATION": location}}
    return {"CACHES": caches, "ASGI_APPLICATION": None, **chatsessions(USER_SESSION_STORE=store)}


@pytest.fixture
def small_redis(redis_server: RedisServer) -> RedisServer:
    """It has a limit, and throws the oldest away beyond it."""
    with redis_server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    yield redis_server
    with redis_server.client() as client:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_evicts_the_only_copy(small_redis: RedisServer) -> None:
    settings = redis_cache(small_redis)
    (message,) = found(deploy=True, **settings)
    assert (ids([message]), type(message)) == (["W019"], Warning)
    assert "maxmemory-policy 'allkeys-lru'" in message.msg
    assert "noeviction" in str(message.hint)
    assert found(**settings) == []
    # With a copy in the row nothing is lost.
    assert found(deploy=True, **redis_cache(small_redis, store="cached_db")) == []


def test_a_redis_that_evicts_nothing(small_redis: RedisServer) -> None:
    with small_redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        assert found(deploy=True, **redis_cache(small_redis)) == []
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "0")
        assert found(deploy=True, **redis_cache(small_redis)) == []


def test_a_redis_that_may_not_be_asked(small_redis: RedisServer) -> None:
    with small_redis.client() as client:
        client.acl_setuser("guest", enabled=True, passwords=["+pw"], categories=["+@all"])
        client.acl_setuser("guest", keys=["*"], commands=["-config"])
        try:
            assert found(deploy=True, **redis_cache(small_redis, login="guest:pw@")) == []
        finally:
            client.acl_deluser("guest")


def test_a_redis_that_is_not_there() -> None:
    server = RedisServer()
    server.port = free_port()
    try:
        assert found(deploy=True, **redis_cache(server)) == []
    finally:
        server.discard()


def test_only_redis_is_asked() -> None:
    other = cache("locmem.LocMemCache", store="cache", MAX_ENTRIES=100_000)
    assert found(deploy=True, ASGI_APPLICATION=None, **other) == []
