"""Fixtures of the unit tests. Those of servers and browsers have a ``conftest.py`` of their own."""

from __future__ import annotations

import functools
import signal
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import hypothesis
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.management.color import no_style
from django.db import connections
from django.test import TransactionTestCase, override_settings
from django.urls import set_script_prefix

from chatsessions.handlers.chat import Chat, _chats, resolve_chat
from chatsessions.testing import ChatCommunicator
from chatsessions.workers.worker import Worker

from . import services
from .faults.cluster.postgres import ROLE, Postgres
from .faults.cluster.redis_server import RedisServer
from .support.database import another_connection
from .support.sessions import running_worker
from .support.storage import SpyCache

if TYPE_CHECKING:
    from pytest_django import Settings


def pytest_configure() -> None:
    """
    Let Hypothesis take its time, and make SIGINT raise ``KeyboardInterrupt``.

    A shell makes its background jobs ignore SIGINT.
    """
    # On a machine that is busy with other tests, the first input may take long.
    hypothesis.settings.register_profile(
        "busy", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None
    )
    hypothesis.settings.load_profile("busy")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:  # noqa: PT004, RUF100
    """
    Close the connections of tests' threads at the end.

    PostgreSQL cannot drop a database that has other connections.
    """
    yield
    if connections["default"].vendor == "postgresql":
        with another_connection() as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


#: Tables that migrations fill, and that no test changes.
FIXED_TABLES = {"auth_permission", "django_content_type"}


def delete_rows(case: TransactionTestCase) -> None:
    """
    Delete the rows that a test has stored.

    Django's own teardown also deletes permissions and content types and makes them again, which
    takes longer than most tests.
    """
    for alias in case._databases_names(include_mirrors=False):
        connections[alias].ops.execute_sql_flush(_deletions(alias))


@functools.cache  # no test adds a table, and to ask for them takes as long as to empty them
def _deletions(alias: str) -> list[str]:
    connection = connections[alias]
    tables = connection.introspection.django_table_names(only_existing=True)
    rest = [table for table in tables if table not in FIXED_TABLES]
    return connection.ops.sql_flush(no_style(), rest)


@pytest.fixture(scope="session", autouse=True)
def fast_teardown() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", delete_rows)
        yield


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Let ``ChatCommunicator`` wait for a minute, because other tests may keep the machine busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ChatCommunicator.__init__.__kwdefaults__, "timeout", 60.0)
        yield


@pytest.fixture(autouse=True)
def script_prefix() -> None:
    """Reset the script prefix, because Django keeps that of the last request."""
    set_script_prefix("/")


@pytest.fixture
def below_a_path() -> Iterator[str]:
    """
    Serve the site below the path ``/app/``, and return that path.

    ``STATIC_URL`` is set anew, because Django keeps it with the prefix until the setting changes.
    """
    with override_settings(STATIC_URL=django_settings.STATIC_URL):
        set_script_prefix("/app/")
        yield "/app/"
        set_script_prefix("/")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """The worker of the test's event loop. It leaves no task and no thread behind."""
    async with running_worker() as running:
        yield running
    # Close the connections of the thread that ran the queries of the test and of async handlers.
    await sync_to_async(connections.close_all)()


@pytest.fixture
def chat() -> Iterator[Chat]:
    """A routed chat with a unique name."""
    chat = resolve_chat(Chat(f"tests.{uuid4().hex}"))
    yield chat
    del _chats[chat.name]


@pytest.fixture
def cache(settings: Settings) -> Iterator[type[SpyCache]]:
    """
    A cache that records its calls.

    It has a name of its own, because local-memory caches of the same name share their values.
    """
    backend = f"{SpyCache.__module__}.{SpyCache.__qualname__}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "tests.spy"}}
    yield SpyCache
    SpyCache.refuses = SpyCache.raises = False
    SpyCache.max_bytes = 2**30
    SpyCache.calls.clear()
    SpyCache.asked.clear()
    SpyCache.timeouts.clear()
    SpyCache.touched.clear()
    SpyCache("tests.spy", {}).clear()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for this run of the tests, without databases."""
    services.need("postgres")
    with Postgres().started() as found:
        yield found


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database in PostgreSQL, for one test."""
    name = f"test_{uuid4().hex}"
    postgres.create_database(name)
    yield f"postgresql://{ROLE}@127.0.0.1:{postgres.port}/{name}"
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for this run of the tests."""
    services.need("redis-server")
    with RedisServer().started() as found:
        yield found


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """The URL of an empty Redis, for one test."""
    yield f"redis://127.0.0.1:{redis_server.port}/0"
    with redis_server.client() as client:
        client.flushall()
