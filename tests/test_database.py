"""What runs in a worker's threads finds a database connection that works, whatever runs first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from django.db import connections
from django.db.utils import DatabaseError, InternalError, OperationalError

from chatsessions.models import ChatSession
from chatsessions.storage import database
from chatsessions.storage.database import READERS, Executors

from .support.database import another_connection
from .support.sessions import until

pytestmark = pytest.mark.django_db(transaction=True)

on_postgres = pytest.mark.skipif(
    connections["default"].vendor != "postgresql", reason="make postgres runs it"
)

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
KINDS: dict[str, Callable[[Executors], Run]] = {
    "write": lambda threads: threads.write,
    "read": lambda threads: threads.read,
    "read_ahead": lambda threads: threads.read_ahead,
    "check": lambda threads: threads.check,
    "handle": lambda threads: threads.handle,
    "do_files": lambda threads: threads.do_files,
}


@pytest.mark.parametrize(
    ("sql", "lacking"),
    [
        ("SELECT 1 FROM chatsessions_nothing", True),
        ("SELECT chatsessions_worker.absent FROM chatsessions_worker", True),
        ("INSERT INTO chatsessions_worker (absent) VALUES (1)", True),
        ("SELECT 1 FROM nothing_of_ours", False),
        ("SELECT chatsessions_ FROM", False),
        ("INSERT INTO chatsessions_worker (id) VALUES (NULL)", False),
    ],
)
def test_what_a_migration_would_bring_is_told_from_other_errors(sql: str, *, lacking: bool) -> None:
    with connections["default"].cursor() as cursor, pytest.raises(DatabaseError) as raised:
        cursor.execute(sql)
    assert database.is_unmigrated(raised.value) is lacking


@pytest.fixture
async def threads() -> AsyncIterator[Executors]:
    found = Executors()
    yield found
    await found.close()


def count() -> int:
    return ChatSession.objects.count()


def backend() -> Any:
    return connections["default"].connection


def pid() -> int:
    """The process of the database that serves the calling thread."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def cut(process: int) -> None:
    """End a connection, as a restart of the database does, or a pooler before it."""
    with another_connection() as other:
        other.rows("SELECT pg_terminate_backend(?, 5000)", process)


@on_postgres
@pytest.mark.parametrize("max_age", [0, 60, None])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_was_lost_while_nothing_ran_is_replaced(
    threads: Executors, kind: str, max_age: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", max_age)
    monkeypatch.setattr(database, "LOOK_INTERVAL", 0.0)
    run = KINDS[kind](threads)
    cut(await run(pid))
    assert await run(count) == 0


@on_postgres
@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_failed_is_not_used_again(threads: Executors, kind: str) -> None:
    run = KINDS[kind](threads)
    served_by: list[int] = []

    def fail() -> int:
        served_by.append(pid())
        cut(served_by[-1])
        return count()

    with pytest.raises(OperationalError):
        await run(fail)
    assert await run(pid) not in served_by


@on_postgres
async def test_a_connection_that_takes_no_writes_is_not_used_again(threads: Executors) -> None:
    def write() -> int:
        return ChatSession.objects.update(topic="")

    def become_standby() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")

    await threads.write(become_standby)
    with pytest.raises(InternalError) as raised:
        await threads.write(write)
    assert database.is_transient(raised.value)
    assert await threads.write(write) == 0


async def test_the_last_reads_of_what_is_opened_come_before_those_that_wait(
    threads: Executors,
) -> None:
    """A crowd that was too large to be let in within ten seconds was hardly let in at all."""
    one_may_go, all_may_go = threading.Event(), threading.Event()
    blocked: list[threading.Event] = []

    def block(until_set: threading.Event) -> None:
        blocked.append(until_set)
        until_set.wait(60)

    gates = [one_may_go, *[all_may_go] * (READERS - 1)]
    holding = [asyncio.create_task(threads.read(block, gate)) for gate in gates]
    await until(lambda: len(blocked) == READERS)
    order: list[str] = []
    reads = [asyncio.create_task(threads.read(order.append, name)) for name in "ab"]
    reads += [asyncio.create_task(threads.read_ahead(order.append, name)) for name in "cd"]
    await asyncio.sleep(0)  # they are submitted
    one_may_go.set()
    await asyncio.gather(*reads)
    assert order == ["c", "d", "a", "b"]
    all_may_go.set()
    await asyncio.gather(*holding)


@pytest.mark.parametrize(("max_age", "is_kept"), [(0, True), (None, True), (60, False)])
async def test_a_connection_is_kept_unless_it_is_older_than_conn_max_age(
    threads: Executors, max_age: int | None, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONN_MAX_AGE=0 is about requests: a commit does not connect anew."""
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", max_age)
    monkeypatch.setattr(database, "LOOK_INTERVAL", 0.0)
    first = await threads.write(lambda: (count(), backend())[1])

    def grow_old() -> None:
        if connections["default"].close_at is not None:
            connections["default"].close_at -= 61

    await threads.write(grow_old)
    second = await threads.write(lambda: (count(), backend())[1])
    assert (first is second) == is_kept
