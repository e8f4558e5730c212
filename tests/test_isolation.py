"""Two who write the same session at once: PostgreSQL's levels of isolation, and its locks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from psycopg import IsolationLevel

from chatsessions import Chat, user_session
from chatsessions.exceptions import OwnershipLost
from chatsessions.handlers.context import use_context
from chatsessions.models import ChatSession
from chatsessions.models import Worker as WorkerRow
from chatsessions.storage.journal import Change
from chatsessions.storage.store import Store
from chatsessions.workers.worker import Worker

from .support.database import OtherConnection, another_connection
from .support.sessions import Client, eventually, until
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


async def test_a_transaction_of_somebody_elses_is_never_ended(
    worker: Worker, chat: Chat, settings: Any
) -> None:
    """Such as a developer's shell that has a session's row locked: the commit waits for it."""
    times = {"WORKER_STALE": 0.3, "WORKER_HEARTBEAT": 0.05}
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, **times}
    client = await Client.open(worker, chat)
    with somebody_else_writes(client, "user_agent = 'changed'") as shell:
        with use_context(client.live.context(None)) as context:
            await context.emitter.emit("changed")
            stored = asyncio.create_task(context.emitter.flush())
        beats = {await _heartbeat(worker)}

        async def beats_on() -> bool:
            beats.add(await _heartbeat(worker))
            return len(beats) >= 4 and max(beats) - min(beats) > timedelta(seconds=0.3)

        await eventually(beats_on)
        assert not stored.done()
        assert shell.rows("SELECT 1") == [(1,)]
    await asyncio.wait_for(stored, 90)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.user_agent, row.head) == ("changed", 1)


async def _heartbeat(worker: Worker) -> datetime:
    return (await WorkerRow.objects.aget(pk=worker.id)).heartbeat_at


async def test_a_transaction_of_a_worker_that_is_paused_is_ended_by_the_database(
    worker: Worker, chat: Chat, settings: Any
) -> None:
    """In the middle of any commit: of a new session, a claim, values or entries."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_STALE": 0.3}
    client = await Client.open(worker, chat)
    paused, resume = threading.Event(), threading.Event()

    def pause_before_commit(self: Store, statements: Any, changes: Sequence[Change]) -> None:
        write_rows(self, statements, changes)
        if not paused.is_set():
            paused.set()
            assert resume.wait(60), "the row stays locked"

    write_rows = Store._write_rows
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Store, "_write_rows", pause_before_commit)
        with use_context(client.live.context(None)) as context:
            await context.emitter.emit("changed")
            stored = asyncio.create_task(context.emitter.flush())
        await until(paused.is_set)
        with another_connection() as other:
            # It waits for the lock, and has it before the worker wakes up.
            table = ChatSession._meta.db_table
            await sync_to_async(other.execute)(
                f"UPDATE {table} SET user_agent = 'changed' WHERE id = ?",  # noqa: S608
                client.live.id,
            )
        resume.set()
        await asyncio.wait_for(stored, 90)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.user_agent, row.head) == ("changed", 1)
