"""Group commit: what shares a transaction, what leaves when, and what a failing store does."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.db.models import F
from django.db.utils import OperationalError

from chatsessions import Chat, Message, OwnershipLost, StoreUnavailable, context, user_session
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.exceptions import FrameError
from chatsessions.handlers.context import use_context
from chatsessions.models import ChatSession, SessionEvent, Worker
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.storage import journal
from chatsessions.storage.store import Loaded
from chatsessions.workers.worker import Worker as RunningWorker

from .support.database import another_connection, failing, locked, poisoned
from .support.sessions import Client, eventually, hold_up, until
from .support.storage import SpyCache, state_of

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

SESSIONS = ChatSession._meta.db_table
EVENTS = SessionEvent._meta.db_table
#: No statement of a heartbeat comes between those that a test counts.
NO_HEARTBEAT = {"WORKER_HEARTBEAT": 3600, "WORKER_STALE": 7201}


@pytest.fixture
async def worker(worker: RunningWorker) -> AsyncIterator[RunningWorker]:
    """A worker whose journal, at the end of the test, has nothing left to store."""
    yield worker
    await worker.journal.settled()
    assert worker.journal.waiting == 0


async def record_statements(worker: RunningWorker) -> list[str]:
    """What the writer thread executes from now on."""
    statements: list[str] = []

    def record(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args)

    await worker.threads.write(
        lambda: connections["default"].execute_wrappers.append(record)  # it is that thread's own
    )
    return statements


# What a session does


async def change(live: LiveSession, value: Any, *, flush: bool = True) -> None:
    """Set and emit ``value``, as code outside of turns."""
    with use_context(live.context(None)):
        user_session["value"] = value
        await context.emitter.emit("changed", value)
        if flush:
            await context.emitter.flush()


async def flush(live: LiveSession) -> None:
    await live.context(None).emitter.flush()


async def open_many(worker: RunningWorker, chat: Chat, count: int) -> list[Client]:
    clients = await asyncio.gather(*(Client.open(worker, chat) for _ in range(count)))
    await worker.journal.settled()
    return clients


async def log_of(live: LiveSession) -> list[tuple[int, Any]]:
    rows = SessionEvent.objects.filter(session=live.id).order_by("seq")
    return [(row.seq, row.data) async for row in rows]


# Cancelled


def the_journal() -> asyncio.Task[Any]:
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "chatsessions-journal"]
    return task


async def test_what_is_being_written_is_stored_though_the_journal_is_cancelled(
    worker: RunningWorker, chat: Chat
) -> None:
    """It was in the database, and who waited for it never heard."""
    client, other = await open_many(worker, chat, 2)
    with locked():
        first = asyncio.create_task(change(client.live, 1))
        await asyncio.sleep(0.1)  # it is taken, and waits for the database
        second = asyncio.create_task(change(other.live, 2))
        await asyncio.sleep(0)
        the_journal().cancel()
        await asyncio.sleep(0.05)
        the_journal().cancel()
        await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        await asyncio.gather(first, second)
        await change(client.live, 3)
    assert await state_of(client.live) == {"value": 3}
    assert await log_of(client.live) == [(1, 1), (2, 3)]
    assert await log_of(other.live) == [(1, 2)]


async def test_what_cannot_be_stored_is_refused_when_the_journal_is_cancelled(
    worker: RunningWorker, chat: Chat
) -> None:
    """Its callers waited for ever, and later changes were never written."""
    client, other = await open_many(worker, chat, 2)
    with failing(client.live.id):
        waiting = asyncio.create_task(change(client.live, 1))
        await asyncio.sleep(0.2)  # it is tried again and again
        the_journal().cancel()
        async with asyncio.timeout(20):
            with pytest.raises(DatabaseError):
                await waiting
    async with asyncio.timeout(20):
        await change(other.live, 2)
    assert await log_of(other.live) == [(1, 2)]


async def test_a_journal_cancelled_before_it_began_begins_again(
    worker: RunningWorker, chat: Chat
) -> None:
    [client] = await open_many(worker, chat, 1)
    with use_context(client.live.context(None)):
        user_session["value"] = 1
        await context.emitter.emit("changed", 1)
    the_journal().cancel()
    async with asyncio.timeout(20):
        await flush(client.live)
    assert await log_of(client.live) == [(1, 1)]


# Group commit


async def test_many_sessions_share_one_transaction_and_one_cache_call(
    cache: type[SpyCache], worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = NO_HEARTBEAT
    clients = await open_many(worker, chat, 30)
    statements = await record_statements(worker)
    cache.calls.clear()
    batches = worker.journal.batches
    await asyncio.gather(*(change(client.live, n) for n, client in enumerate(clients)))
    assert worker.journal.batches == batches + 1
    if connections["default"].vendor == "postgresql":  # whose driver begins by itself
        with another_connection() as other:
            assert len(other.rows(f"SELECT DISTINCT xmin FROM {SESSIONS}")) == 1  # noqa: S608
    else:
        assert sum(sql.startswith("BEGIN") for sql in statements) == 1
    assert len(statements) <= 4  # the bulk update, the bulk insert
    (call,) = cache.calls
    assert len(call) == 30
    for n, client in enumerate(clients):
        assert await state_of(client.live) == {"value": n}
        assert await log_of(client.live) == [(1, n)]


async def test_new_sessions_share_batches(worker: RunningWorker, chat: Chat) -> None:
    """A storm of connections is a few transactions."""
    await worker.start()
    journal = worker.journal
    batches = journal.batches
    with locked():
        opening = asyncio.create_task(open_many(worker, chat, 100))
        await until(lambda: len({*journal._noted, *journal._writing}) == 100)
    clients = await opening
    assert journal.batches - batches <= 5
    assert await ChatSession.objects.connected().acount() == len(clients) == 100


async def test_what_comes_while_it_writes_is_the_next_batch(
    worker: RunningWorker, chat: Chat
) -> None:
    clients = await open_many(worker, chat, 20)
    batches = worker.journal.batches
    with locked():
        tasks = [asyncio.create_task(change(clients[0].live, 0))]
        await asyncio.sleep(0.02)  # until it is the writer that waits
        for round_ in range(5):
            for n, client in enumerate(clients[1:]):
                tasks.append(asyncio.create_task(change(client.live, n, flush=round_ == 4)))
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert worker.journal.batches == batches + 2
    assert await SessionEvent.objects.acount() == 1 + 5 * 19


async def test_an_idle_journal_costs_nothing(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = NO_HEARTBEAT
    (client,) = await open_many(worker, chat, 1)
    statements = await record_statements(worker)
    client.live.log.note()
    await worker.journal.settled()
    before = worker.journal.batches
    statements.clear()
    await asyncio.sleep(0.05)
    assert statements == []
    assert worker.journal.batches == before


async def test_each_sessions_order_is_kept(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_event("count")
    async def count(data: int) -> None:
        for number in range(3):
            user_session["last"] = [data, number]
            await context.emitter.emit("counted", [data, number])
            await asyncio.sleep(0)

    clients = await open_many(worker, chat, 5)
    for data in range(1, 21):
        for client in clients:
            client.send("count", data)
        await asyncio.sleep(0)
    for client in clients:
        assert await client.outcome(20) == "done"
        counted = [data for name, data in client.events if name == "counted"]
        assert counted == [[data, number] for data in range(1, 21) for number in range(3)]
        assert [entry.seq for entry in client.log] == list(range(1, 81))
        stored = await log_of(client.live)
        assert stored == [(entry.seq, msgspec.json.decode(entry.data)) for entry in client.log]
        assert await state_of(client.live) == {"last": [20, 2]}


async def test_nothing_is_told_before_it_is_stored(worker: RunningWorker, chat: Chat) -> None:
    seen: list[str] = []

    @chat.on_event("say")
    async def say(data: str) -> None:
        seen.append(data)
        await context.emitter.emit("said", data)

    (client,) = await open_many(worker, chat, 1)
    client.frames.clear()
    with locked():
        client.send("say", "hello")
        await asyncio.sleep(0.05)
        assert (client.log, client.frames, seen) == ([], [], [])  # nor is the turn begun
    assert await client.outcome(1) == "done"
    assert client.events == [("said", "hello")]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.accepted, row.handled, row.running, row.head) == (1, 1, None, 2)


async def test_done_is_told_after_the_last_commit(worker: RunningWorker, chat: Chat) -> None:
    go, handled = asyncio.Event(), asyncio.Event()

    @chat.on_event("say")
    async def say() -> None:
        await go.wait()
        user_session["said"] = True
        await context.emitter.emit("said")
        handled.set()

    (client,) = await open_many(worker, chat, 1)
    n = client.send("say")
    await until(lambda: client.live.turns.job and client.live.turns.job.started)
    with locked():
        go.set()
        await handled.wait()
        await asyncio.sleep(0.05)
        assert (client.outcomes, client.events) == ({}, [])
        assert await state_of(client.live) == {}
    assert await client.outcome(n) == "done"
    assert await state_of(client.live) == {"said": True}


# A store that fails


async def test_a_failing_commit_is_tried_again_with_back_off(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "chatsessions.journal")
    (client,) = await open_many(worker, chat, 1)

    def tries() -> list[float]:
        found = {r.created for r in caplog.records if "trying again" in r.getMessage()}
        return sorted(found)

    with failing():
        waiter = asyncio.create_task(change(client.live, 1))
        await until(lambda: len(tries()) >= 4)
        assert not waiter.done()
    await waiter
    pauses = [later - sooner for sooner, later in zip(tries(), tries()[1:], strict=False)]
    assert pauses[0] >= 0.045
    assert pauses[1] >= 0.09
    assert pauses[2] >= 0.18
    assert worker.journal.failure is None
    assert await log_of(client.live) == [(1, 1)]


async def test_a_store_that_stays_away_is_told_and_nothing_is_lost(
    worker: RunningWorker, chat: Chat, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    @chat.on_event("work")
    async def work(data: int) -> None:
        ran.append(data)

    client, other = await open_many(worker, chat, 2)
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.2}
    with failing():
        with pytest.raises(StoreUnavailable) as raised:
            await change(client.live, 1)
        assert raised.value.seconds == 0.2
        assert isinstance(worker.journal.failure, StoreUnavailable)
        # Who comes later hears of it at once.
        settings.CHATSESSIONS = {"STORE_TIMEOUT": 3600}
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(change(other.live, 2), 60)
        # An event is not accepted, and may be sent again.
        with pytest.raises(FrameError) as refused:
            client.send("work", 1)
        assert (refused.value.code, refused.value.n) == ("storage_unavailable", 1)
        assert refused.value.retry_after is not None
        await asyncio.wait_for(change(client.live, 3, flush=False), 60)
    await until(lambda: worker.journal.failure is None)
    await flush(client.live)
    await flush(other.live)
    assert await log_of(client.live) == [(1, 1), (2, 3)]
    assert await state_of(client.live) == {"value": 3}
    assert await log_of(other.live) == [(1, 2)]
    assert await state_of(other.live) == {"value": 2}
    assert ran == []
    assert "The store takes commits again." in caplog.text


async def test_a_commit_that_ended_while_the_loop_was_held_up_is_no_failure(
    worker: RunningWorker,
    chat: Chat,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    [client] = await open_many(worker, chat, 1)
    await worker.journal.settled()
    write = worker.journal._write

    def write_and_block(batch: journal.Batch) -> asyncio.Future[None]:
        written = write(batch)
        worker.loop.call_soon(hold_up, 1)
        return written

    monkeypatch.setattr(worker.journal, "_write", write_and_block)
    await change(client.live, 1)
    assert "Nothing could be stored" not in caplog.text
    assert await log_of(client.live) == [(1, 1)]


async def test_a_store_that_stays_away_is_told_after_a_hold_up_too(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    [client] = await open_many(worker, chat, 1)
    await worker.journal.settled()
    with failing():
        flushed = asyncio.create_task(change(client.live, 1))
        await until(lambda: worker.journal._reminder is not None)
        hold_up(1)
        with pytest.raises(StoreUnavailable):
            await flushed
    await until(lambda: worker.journal.failure is None)


async def test_a_worker_that_stores_nothing_says_so_again_and_again(
    worker: RunningWorker,
    chat: Chat,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In its log, with the database that it is about, and in its row until it stores again."""
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1, "WORKER_HEARTBEAT": 0.05}
    monkeypatch.setattr(journal, "REMINDER", 0.1)

    def said() -> list[str]:
        return [text for text in caplog.messages if text.startswith("Nothing could be stored for")]

    async def is_stuck() -> bool:
        return (await Worker.objects.aget(pk=worker.id)).stuck_since is not None

    (client,) = await open_many(worker, chat, 1)
    with failing():
        with pytest.raises(StoreUnavailable):
            await change(client.live, 1)
        await until(lambda: len(said()) >= 3)
        await eventually(is_stuck)
    assert "1 sessions wait for it: the database 'default': " in said()[-1]
    await until(lambda: worker.journal.failure is None)
    known = len(said())

    async def is_well() -> bool:
        return not await is_stuck()

    await eventually(is_well)
    assert len(said()) == known
    assert caplog.text.count("trying again") == 1


@pytest.mark.skipif(connections["default"].vendor != "sqlite", reason="of SQLite")
async def test_a_disk_that_is_full_passes(worker: RunningWorker, chat: Chat) -> None:
    (client,) = await open_many(worker, chat, 1)

    def limit_pages(more: int) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("VACUUM")  # pages that other tests have left free are room as well
            cursor.execute("PRAGMA page_count")
            (pages,) = cursor.fetchone()
            cursor.execute(f"PRAGMA max_page_count = {pages + more}")

    await worker.threads.write(limit_pages, 0)
    waiter = asyncio.create_task(change(client.live, "x" * 100_000))
    await until(lambda: isinstance(worker.journal._last_error, OperationalError))
    assert "full" in str(worker.journal._last_error)
    assert not client.live.closed
    await worker.threads.write(limit_pages, 10_000)
    await waiter
    assert await log_of(client.live) == [(1, "x" * 100_000)]


async def test_an_event_that_waits_for_the_store_is_told_so(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    @chat.on_event("work")
    async def work() -> None:
        await context.emitter.emit("worked")

    (client,) = await open_many(worker, chat, 1)

    def told() -> list[frames.Error]:
        return [frame for frame in client.frames if isinstance(frame, frames.Error)]

    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    with failing():
        n = client.send("work")
        await until(told)
        assert {(error.code, error.n) for error in told()} == {("storage_unavailable", n)}
        assert (client.outcomes, client.log) == ({}, [])
        settings.CHATSESSIONS = {}
    assert await client.outcome(n) == "done"
    assert [entry.seq for entry in client.log] == [1, 2]


async def test_a_turn_whose_flush_fails_has_failed(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    go = asyncio.Event()

    @chat.on_event("work")
    async def work() -> None:
        await go.wait()
        user_session["kept"] = True
        await context.emitter.flush()

    (client,) = await open_many(worker, chat, 1)
    n = client.send("work")
    await until(lambda: client.live.turns.job and client.live.turns.job.started)
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    with failing():
        go.set()
        await until(lambda: client.live.turns.job is None)
        assert client.outcomes == {}
        settings.CHATSESSIONS = {}
    assert await client.outcome(n) == "failed"
    assert await state_of(client.live) == {"kept": True}


async def test_a_cache_that_fails_is_tried_again_under_cache(
    cache: type[SpyCache], worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """Rows that are stored are not written again."""
    settings.CHATSESSIONS = {"USER_SESSION_STORE": "cache", "STORE_TIMEOUT": 0.1}
    (client,) = await open_many(worker, chat, 1)
    statements = await record_statements(worker)
    cache.raises = True
    with pytest.raises(StoreUnavailable):
        await change(client.live, 1)
    assert client.events == []
    cache.raises = False
    await until(lambda: client.events)
    await worker.journal.settled()
    assert sum(EVENTS in sql for sql in statements) == 1
    assert [list(call.values()) for call in cache.calls] == [[b'1:{"value":1}']]


async def test_values_that_the_cache_never_takes_are_their_own_sessions_trouble(
    cache: type[SpyCache], worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": "cache"}
    sick, healthy = await open_many(worker, chat, 2)
    cache.max_bytes = 1000
    results = await asyncio.gather(
        change(sick.live, "x" * 2000), change(healthy.live, 1), return_exceptions=True
    )
    assert isinstance(results[0], Exception)
    assert results[1] is None
    assert await log_of(healthy.live) == [(1, 1)]
    await until(lambda: sick.closed)
    assert sick.closed == [(frames.CloseCode.SHUTTING_DOWN, None)]
    assert await log_of(sick.live) == []


@pytest.mark.parametrize("fault", ["raises", "refuses"])
async def test_a_cache_that_fails_is_survived_under_cached_db(
    cache: type[SpyCache],
    worker: RunningWorker,
    chat: Chat,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    (client, other) = await open_many(worker, chat, 2)
    setattr(cache, fault, True)
    await change(client.live, 1)
    assert await state_of(client.live) == {"value": 1}
    assert "The cache failed; user_session is safe in the database" in caplog.text
    setattr(cache, fault, False)
    await change(other.live, 2)
    assert sorted(cache.calls[-1].values()) == [b'1:{"value":1}', b'1:{"value":2}']


# Bounds


async def test_a_session_with_too_much_uncommitted_waits(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_UNCOMMITTED": 5}
    emitted: list[int] = []

    async def emit() -> None:
        for number in range(1, 21):
            emitted.append(await client.live.context(None).emitter.emit("number", number))

    (client,) = await open_many(worker, chat, 1)
    with locked():
        task = asyncio.create_task(emit())
        await until(lambda: len(emitted) == 5)
        await asyncio.sleep(0.05)
        assert emitted == [1, 2, 3, 4, 5]
    await task
    assert emitted == list(range(1, 21))
    await flush(client.live)
    assert await log_of(client.live) == [(number, number) for number in range(1, 21)]


@pytest.mark.parametrize("limit", [{"MAX_UNCOMMITTED": 2}, {"MAX_JOURNAL_ENTRIES": 3}], ids=str)
async def test_a_waiting_emit_hears_of_a_store_that_stays_away(
    worker: RunningWorker, chat: Chat, settings: Settings, limit: dict[str, int]
) -> None:
    (client,) = await open_many(worker, chat, 1)
    emitter = client.live.context(None).emitter
    settings.CHATSESSIONS = limit | {"STORE_TIMEOUT": 0.1}
    with failing():
        for number in range(2):
            await emitter.emit("number", number)
        with pytest.raises(StoreUnavailable):
            await emitter.emit("number", 2)
        settings.CHATSESSIONS = limit
    await until(lambda: worker.journal.failure is None)
    await flush(client.live)
    # What was emitted is kept, also where the emit had to say that it is not stored.
    assert await log_of(client.live) == [(1, 0), (2, 1), (3, 2)]


async def test_a_full_journal_makes_everybody_wait(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_JOURNAL_ENTRIES": 6}
    busy, other = await open_many(worker, chat, 2)
    with locked():
        for number in range(5):
            await asyncio.wait_for(busy.live.context(None).emitter.emit("number", number), 1)
        task = asyncio.create_task(other.live.context(None).emitter.emit("number", 0))
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done
        assert worker.journal.is_full
    assert await task == 1
    assert not worker.journal.is_full


# One session's trouble


async def test_a_row_that_cannot_be_written_is_isolated(worker: RunningWorker, chat: Chat) -> None:
    sick, *healthy = clients = await open_many(worker, chat, 4)
    with poisoned(sick.live.id):
        results = await asyncio.gather(
            *(change(client.live, n) for n, client in enumerate(clients)), return_exceptions=True
        )
    assert results[1:] == [None] * 3
    assert isinstance(results[0], Exception)
    assert sick.live.closed
    assert sick.live.id not in worker.live
    await until(lambda: sick.closed)
    assert sick.closed == [(frames.CloseCode.SHUTTING_DOWN, None)]
    assert sick.log == []
    assert await log_of(sick.live) == []
    for n, client in enumerate(healthy, start=1):
        assert client.events == [("changed", n)]
        assert await state_of(client.live) == {"value": n}


async def test_a_session_that_cannot_even_be_given_up_is_nobody_elses_trouble(
    worker: RunningWorker,
    chat: Chat,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @chat.on_message
    async def echo(message: Message) -> None:
        await Message(message.content).send()

    broken, other = await Client.open(worker, chat), await Client.open(worker, chat)
    await worker.journal.settled()
    with monkeypatch.context() as patched:
        patched.setattr(broken.live, "user_session", None)
        patched.setattr(LiveSession, "discard", None)
        broken.live.log.note()
        assert await other.run("message", {"content": "still here"}) == "done"
    assert other.texts == ["still here"]
    assert "cannot say what to store" in caplog.text
    assert await broken.run("message", {"content": "here as well"}) == "done"


async def test_a_session_that_cannot_be_given_up_is_given_up_later(
    worker: RunningWorker, chat: Chat, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """It stayed with a worker that did not have it, and other workers could never have it."""
    settings.CHATSESSIONS = {"WORKER_HEARTBEAT": 0.1}
    (sick,) = await open_many(worker, chat, 1)
    with poisoned(sick.live.id):
        with pytest.raises(DatabaseError):
            await change(sick.live, 1)
        await until(lambda: "housekeeping failed" in caplog.text)
    row = ChatSession.objects.filter(pk=sick.live.id)
    await eventually(row.filter(worker=None, status=ChatSession.Status.AWAY).aexists)


async def test_a_poisoned_row_and_a_store_that_fails_in_between(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """While changes are tried one by one the database may go: nothing is written twice."""
    caplog.set_level(logging.DEBUG, "chatsessions.journal")
    sick, healthy, unlucky = clients = await open_many(worker, chat, 3)
    with poisoned(sick.live.id):
        with failing(unlucky.live.id):
            tasks = [asyncio.create_task(change(client.live, 1)) for client in clients]
            await until(lambda: caplog.text.count("trying again") >= 2)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1:] == [None, None]
    assert (sick.live.closed, healthy.live.closed, unlucky.live.closed) == (True, False, False)
    for client in (healthy, unlucky):
        await change(client.live, 2)
        assert await log_of(client.live) == [(1, 1), (2, 2)]
        assert client.events == [("changed", 1), ("changed", 2)]


async def test_tables_that_are_flushed_under_a_running_server_refuse_nobody(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """The worker's row is gone, which sessions refer to: it is made again, at once."""
    settings.CHATSESSIONS = NO_HEARTBEAT
    (gone,) = await open_many(worker, chat, 1)
    await sync_to_async(call_command)("flush", verbosity=0, interactive=False)
    client = await asyncio.wait_for(Client.open(worker, chat), 60)
    await change(client.live, 1)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.worker_id == worker.id
    assert await Worker.objects.filter(pk=worker.id).aexists()
    assert not client.live.closed
    with pytest.raises(OwnershipLost):  # that session is gone with its row
        await change(gone.live, 1)


@pytest.mark.parametrize(
    ("connections", "code"),
    [
        pytest.param(1, frames.CloseCode.TAKEN_OVER, id="for a newer connection"),
        pytest.param(0, frames.CloseCode.SHUTTING_DOWN, id="for a call from outside"),
    ],
)
async def test_a_session_that_another_worker_took_writes_nothing(
    worker: RunningWorker, chat: Chat, connections: int, code: frames.CloseCode
) -> None:
    taken, kept = await open_many(worker, chat, 2)
    await change(taken.live, "before")
    rows = ChatSession.objects.filter(pk=taken.live.id)
    await rows.aupdate(generation=F("generation") + 1, connections=F("connections") + connections)
    lost, stored = await asyncio.gather(
        change(taken.live, "after"), change(kept.live, "after"), return_exceptions=True
    )
    assert isinstance(lost, OwnershipLost)
    assert stored is None
    assert taken.live.id not in worker.live
    with pytest.raises(OwnershipLost):
        await change(taken.live, "later")
    await until(lambda: taken.closed)
    assert taken.closed == [(code, None)]
    assert await log_of(taken.live) == [(1, "before")]
    assert await state_of(taken.live) == {"value": "before"}
    assert await state_of(kept.live) == {"value": "after"}
    row = await rows.aget()
    assert (row.head, row.generation) == (1, 2)


async def test_a_session_that_another_worker_took_and_ended(
    worker: RunningWorker, chat: Chat
) -> None:
    [taken] = await open_many(worker, chat, 1)
    await change(taken.live, "before")
    await ChatSession.objects.filter(pk=taken.live.id).aupdate(
        generation=F("generation") + 1,
        status=ChatSession.Status.ENDED,
        end_reason=ChatSession.EndReason.EXPIRED,
    )
    with pytest.raises(OwnershipLost):
        await change(taken.live, "after")
    await until(lambda: taken.closed)
    assert taken.closed == [(frames.CloseCode.SESSION_ENDED, ChatSession.EndReason.EXPIRED)]


async def test_a_claim_that_another_worker_was_faster_with(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was taken from this connection: it is told to come back, not that it was replaced."""
    (client,) = await open_many(worker, chat, 1)
    client.leave()
    await until(lambda: not worker.live)
    load = worker.store.load

    def too_slow(session_id: UUID) -> Loaded | None:
        loaded = load(session_id)
        ChatSession.objects.filter(pk=session_id).update(generation=F("generation") + 1)
        return loaded

    monkeypatch.setattr(worker.store, "load", too_slow)
    arrival = ConnectRequest(
        user=AnonymousUser(), session_id=str(client.live.id), token=client.token
    )
    opened = await worker.open(chat, arrival)
    opened.live.client.connect(client, welcome=lambda: None)
    await until(lambda: client.closed)
    assert client.closed == [(frames.CloseCode.SHUTTING_DOWN, None)]
    assert not worker.live


async def test_a_session_that_is_claimed_and_released_while_the_next_reads_its_row(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    (client,) = await open_many(worker, chat, 1)
    client.leave()
    await until(lambda: not worker.live)
    load = worker.store.load

    def slow(session_id: UUID) -> Loaded | None:
        loaded = load(session_id)
        time.sleep(0.05)
        return loaded

    monkeypatch.setattr(worker.store, "load", slow)
    arrival = ConnectRequest(
        user=AnonymousUser(), session_id=str(client.live.id), token=client.token
    )
    gone, stays = Client(client.live), Client(client.live)
    welcomed = asyncio.Event()

    async def come_and_go() -> None:
        opened = await worker.open(chat, arrival)
        opened.live.client.connect(gone, welcome=lambda: None)
        opened.live.client.disconnect(gone, 1001)

    async def come_and_stay() -> None:
        opened = await worker.open(chat, arrival)
        opened.live.client.connect(stays, welcome=welcomed.set)

    await asyncio.gather(come_and_go(), come_and_stay())
    await until(lambda: welcomed.is_set() or stays.closed)
    assert (gone.closed, stays.closed) == ([], [])


async def test_a_session_whose_row_is_deleted_is_over(worker: RunningWorker, chat: Chat) -> None:
    (client,) = await open_many(worker, chat, 1)
    await ChatSession.objects.filter(pk=client.live.id).adelete()
    with pytest.raises(OwnershipLost):
        await change(client.live, 1)
    await until(lambda: client.closed)
    assert client.closed == [(frames.CloseCode.SESSION_ENDED, "admin")]
    assert not await ChatSession.objects.aexists()


async def test_a_running_turn_of_a_lost_session_is_cancelled(
    worker: RunningWorker, chat: Chat
) -> None:
    cancelled = asyncio.Event()

    @chat.on_event("work")
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    (client,) = await open_many(worker, chat, 1)
    client.send("work")
    await until(lambda: client.live.turns.job and client.live.turns.job.started)
    await ChatSession.objects.aupdate(generation=F("generation") + 1)
    client.live.log.note()
    await asyncio.wait_for(cancelled.wait(), 5)
    await until(lambda: client.closed)


# Where the log is kept


async def test_the_log_keeps_its_newest_entries(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_LOG_ENTRIES": 20}
    (client,) = await open_many(worker, chat, 1)
    live = client.live
    for number in range(1, 61):
        await live.context(None).emitter.emit("number", number)
        if number % 7 == 0:
            await flush(live)
    await flush(live)
    log = await log_of(live)
    # Some slack, so that not every entry costs a delete, and never less than promised.
    assert 20 <= len(log) <= 20 + 1 + 7
    assert log == [(number, number) for number in range(live.log.first, 61)]


async def test_what_waits_for_its_turn_is_kept_however_small_the_log(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """After a crash it is run from its entry."""
    settings.CHATSESSIONS = {"MAX_LOG_ENTRIES": 10}
    go_on = asyncio.Event()

    @chat.on_event("wait")
    async def wait() -> None:
        for number in range(40):
            await context.emitter.emit("number", number)
        await context.emitter.flush()
        await go_on.wait()

    (client,) = await open_many(worker, chat, 1)
    first, second = client.send("wait"), client.send("wait")
    await until(lambda: client.log[-1:] and client.log[-1].seq == 42)
    await flush(client.live)
    rows = SessionEvent.objects.filter(session=client.live.id)
    assert await rows.filter(n__in=[first, second]).acount() == 2
    go_on.set()
    assert await client.outcome(second) == "done"
    await flush(client.live)
    assert await rows.acount() <= 12


async def test_a_handler_in_a_thread_goes_on_while_its_values_are_committed(
    worker: RunningWorker, chat: Chat
) -> None:
    """What it deletes stays deleted: many short turns, each beside its own commits."""
    done: dict[str, Any] = {}

    @chat.on_event("churn")
    def churn(turn: int) -> None:
        for number in range(60):
            key = f"key {number * turn % 7}"
            user_session[key] = done[key] = [turn, number]
            user_session[key].append(turn)
            done[key].append(turn)
            gone = f"key {number * 3 % 7}"
            assert user_session.pop(gone, None) == done.pop(gone, None)

    client = await Client.open(worker, chat)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for turn in range(1, 60):
            assert await client.run("churn", turn) == "done"
            assert await state_of(client.live) == done
    finally:
        sys.setswitchinterval(before)
