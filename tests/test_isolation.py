"""Two who write the same session at once: PostgreSQL's levels of isolation, and its locks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from psycopg import IsolationLevel, OperationalError

from chatsessions import Chat, user_session
from chatsessions.context import use_context
from chatsessions.exceptions import OwnershipLost
from chatsessions.models import ChatSession
from chatsessions.store.standstill import end_standstills
from chatsessions.worker import Worker

from .support.database import OtherConnection, another_connection
from .support.sessions import Client, until
from .support.storage import state_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connections["default"].vendor != "postgresql", reason="make postgres runs it"
    ),
]

LEVELS = [
    IsolationLevel.READ_COMMITTED,
    IsolationLevel.REPEATABLE_READ,
    IsolationLevel.SERIALIZABLE,
]


@pytest.fixture(params=LEVELS, ids=lambda level: level.name.lower())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> IsolationLevel:
    """The isolation of connections that are made from now on, such as a worker's own."""
    options = connections["default"].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "isolation_level", request.param)
    found: IsolationLevel = request.param
    return found


@contextmanager
def somebody_else_writes(client: Client, change: str) -> Iterator[OtherConnection]:
    """In a transaction that is open during the block, and committed at its end."""
    with another_connection() as other:
        other.execute("BEGIN")
        table = ChatSession._meta.db_table
        other.execute(f"UPDATE {table} SET {change} WHERE id = ?", client.live.id)  # noqa: S608
        yield other
        other.execute("COMMIT")


def waiters(other: OtherConnection) -> int:
    """How many wait for a lock."""
    ((found,),) = other.rows("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return int(found)


async def change_meanwhile(client: Client, change: str) -> asyncio.Task[None]:
    """The worker commits a value while somebody else writes the same row."""

    async def set_value() -> None:
        with use_context(client.live.context(None)) as context:
            user_session["value"] = 1
            await context.emitter.emit("changed")
            await context.emitter.flush()

    with somebody_else_writes(client, change) as other:
        task = asyncio.create_task(set_value())
        await until(lambda: waiters(other))
    return task


@pytest.mark.usefixtures("level")
async def test_a_commit_that_meets_another_is_stored(worker: Worker, chat: Chat) -> None:
    client = await Client.open(worker, chat)
    await (await change_meanwhile(client, "user_agent = 'changed'"))
    assert await state_of(client.live) == {"value": 1}
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.user_agent, row.head) == ("changed", 1)
    assert await row.events.acount() == 1


@pytest.mark.usefixtures("level")
async def test_a_commit_that_meets_the_claim_of_another_owner_changes_nothing(
    worker: Worker, chat: Chat
) -> None:
    client = await Client.open(worker, chat)
    task = await change_meanwhile(client, "generation = generation + 1, worker_id = NULL")
    with pytest.raises(OwnershipLost):
        await task
    await until(lambda: client.live.id not in worker.live)
    assert await state_of(client.live) == {}
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.generation, row.head, row.worker_id) == (2, 0, None)
    assert not await row.events.aexists()


async def test_a_transaction_that_stands_still_is_ended(
    worker: Worker, chat: Chat, settings: Any
) -> None:
    """As that of a worker that is paused while it sends a commit, where no watch of its own is."""
    times = {"WORKER_STALE": 0.5, "WORKER_HEARTBEAT": 0.1}
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, **times}
    client = await Client.open(worker, chat)
    with another_connection() as paused:
        paused.execute("SET idle_in_transaction_session_timeout = 0")
        paused.execute("BEGIN")
        paused.execute_in_pipeline(
            f"UPDATE {ChatSession._meta.db_table} SET head = 7 WHERE id = ?",  # noqa: S608
            [(client.live.id,)],
        )
        with use_context(client.live.context(None)) as context:
            await context.emitter.emit("changed")
            await asyncio.wait_for(context.emitter.flush(), 10)
        with pytest.raises(OperationalError, match="administrator command"):
            paused.execute("COMMIT")
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.head == 1


async def test_a_transaction_that_is_in_nobodys_way_is_let_be(
    worker: Worker, chat: Chat, settings: Any
) -> None:
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_STALE": 0.3}
    client = await Client.open(worker, chat)
    table = ChatSession._meta.db_table
    with another_connection() as idle, another_connection() as other:
        idle.execute("BEGIN")
        idle.execute(f"SELECT * FROM {table} WHERE id = ? FOR KEY SHARE", client.live.id)  # noqa: S608
        with use_context(client.live.context(None)) as context:
            await context.emitter.emit("changed")
            await context.emitter.flush()
        await until(lambda: _idles_for(other, 0.3))
        assert await worker.threads.read(end_standstills) == 0
        idle.execute("ROLLBACK")


def _idles_for(other: OtherConnection, seconds: float) -> bool:
    ((found,),) = other.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' "
        "AND state_change < clock_timestamp() - make_interval(secs => ?)",
        seconds,
    )
    return bool(found)
