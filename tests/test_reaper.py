"""The housekeeping of a running worker: what has expired ends, who died is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from chatsessions import Chat, context, user_session
from chatsessions.handlers.context import use_context
from chatsessions.models import ChatSession, Worker
from chatsessions.storage.journal import Batch
from chatsessions.storage.store import Loaded, cache_key
from chatsessions.storage.worker_rows import WorkerRows
from chatsessions.workers import calls
from chatsessions.workers.worker import REAP_BATCH
from chatsessions.workers.worker import Worker as RunningWorker

from .support import storage
from .support.clocks import clock_off
from .support.database import failing, noted_statements, poisoned
from .support.sessions import Client, eventually, running_worker, until
from .support.storage import SpyCache, dead_worker_row, session_row, worker_row
from .test_remote import two_workers

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

expired_row = sync_to_async(storage.expired_row)

FAST = {"REAP_INTERVAL": 0.02, "SESSION_AGE": 60, "WORKER_HEARTBEAT": 0.05}


@pytest.fixture(autouse=True)
def fast(settings: Settings) -> None:
    settings.CHATSESSIONS = dict(FAST)


@pytest.fixture
def ends(chat: Chat) -> list[str]:
    """The reasons with which ``on_chat_end`` was called."""
    ends: list[str] = []
    chat.on_chat_end(lambda reason: ends.append(reason))
    return ends


def has(row: ChatSession, **fields: Any) -> Any:
    async def check() -> bool:
        return await ChatSession.objects.filter(pk=row.pk, **fields).aexists()

    return check


async def test_what_has_expired_ends_with_its_hook(worker: RunningWorker, chat: Chat) -> None:
    ends: list[str] = []

    @chat.on_chat_end
    async def over(reason: str) -> None:
        ends.append(reason)
        user_session["over"] = reason

    rows = [await expired_row(chat) for _ in range(3)]
    kept = await expired_row(chat, disconnected_at=timezone.now())
    await worker.start()
    for row in rows:
        await eventually(has(row, status="ended", end_reason="expired", worker=None))
    assert ends == ["expired"] * 3
    assert await has(rows[0], state='{"over":"expired"}')()
    assert await has(kept, status="away")()
    assert worker.live == {}


async def test_a_live_session_whose_client_stays_away_ends(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = FAST | {"SESSION_AGE": 0.05}
    client = await Client.open(worker, chat)
    client.leave()
    await eventually(has(ChatSession(pk=client.live.id), status="ended", end_reason="expired"))
    assert worker.live == {}


async def test_a_connected_session_never_expires(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = FAST | {"SESSION_AGE": 0.01}
    client = await Client.open(worker, chat)
    marker = await expired_row(chat)
    await eventually(has(marker, status="ended"))
    assert client.closed == []
    assert await has(ChatSession(pk=client.live.id), status="connected")()


@pytest.mark.parametrize("minutes", [10, -10])
async def test_a_client_is_away_since_it_left_whatever_its_workers_clock_says(
    worker: RunningWorker, chat: Chat, settings: Settings, minutes: int
) -> None:
    settings.CHATSESSIONS = FAST | {"SESSION_AGE": 300}
    began = timezone.now()
    with clock_off(minutes):
        client = await Client.open(worker, chat)
        client.leave()
        await eventually(has(ChatSession(pk=client.live.id), status="away"))
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.disconnected_at is not None
    assert abs(row.disconnected_at - began) < timedelta(seconds=30)


async def test_sessions_of_dead_workers_become_away(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    # They are away since the worker's last heartbeat, and would expire before anybody looks.
    settings.CHATSESSIONS = FAST | {"SESSION_AGE": 3600}
    dead = await sync_to_async(dead_worker_row)()
    row = await sync_to_async(session_row)(
        status=ChatSession.Status.CONNECTED, worker=dead, disconnected_at=None
    )
    await worker.start()
    await eventually(has(row, status="away", worker=None, disconnected_at__isnull=False))
    assert not await Worker.objects.filter(pk=dead.pk).aexists()
    assert await Worker.objects.filter(pk=worker.id).aexists()


async def test_a_session_of_a_living_worker_is_left_alone(
    worker: RunningWorker, chat: Chat
) -> None:
    other = await sync_to_async(worker_row)(heartbeat_at=timezone.now() + timedelta(minutes=1))
    row = await expired_row(chat, worker=other)
    marker = await expired_row(chat, disconnected_at=timezone.now() - timedelta(minutes=2))
    await worker.start()
    await eventually(has(marker, status="ended"))
    assert await has(row, status="away", worker=other, generation=1)()


async def test_the_heartbeat_beats(worker: RunningWorker) -> None:
    await worker.start()
    row = await Worker.objects.aget()

    async def later() -> bool:
        return (await Worker.objects.aget()).heartbeat_at > row.heartbeat_at

    await eventually(later)


async def test_an_end_that_a_crash_cut_short_is_finished(
    worker: RunningWorker, chat: Chat, ends: list[str]
) -> None:
    """The server died while on_chat_end ran. It runs once; the session is over all the same."""
    row = await expired_row(chat, end_reason="user")
    await worker.start()
    await eventually(has(row, status="ended", end_reason="user", worker=None))
    await until(lambda: worker.live == {})
    assert ends == []


async def test_a_hook_that_hangs_does_not_keep_others_from_ending(
    worker: RunningWorker, chat: Chat
) -> None:
    go = asyncio.Event()
    older = await expired_row(chat, disconnected_at=timezone.now() - timedelta(days=1))

    @chat.on_chat_end
    async def over() -> None:
        if context.session.id == older.pk:
            await go.wait()

    newer = await expired_row(chat)
    await worker.start()
    try:
        await eventually(has(newer, status="ended"))
    finally:
        go.set()
    await eventually(has(older, status="ended"))


async def test_a_row_that_cannot_be_written_does_not_keep_others_from_ending(
    worker: RunningWorker, chat: Chat
) -> None:
    older = await expired_row(chat, disconnected_at=timezone.now() - timedelta(days=1))
    newer = await expired_row(chat)
    with poisoned(older.pk):
        await worker.start()
        await eventually(has(newer, status="ended"))
        assert await has(older, status="away")()
    await eventually(has(older, status="ended"))


async def test_a_database_that_fails_is_tried_again(worker: RunningWorker, chat: Chat) -> None:
    row = await expired_row(chat)
    await worker.start()
    with failing():
        await asyncio.sleep(0.1)
        assert await has(row, status="away")()
    await eventually(has(row, status="ended"))


async def client_with_a_value(worker: RunningWorker, chat: Chat) -> tuple[Client, str]:
    """A client whose session has a value, and the key of its values in the cache."""
    client = await Client.open(worker, chat)
    with use_context(client.live.context(None)):
        user_session["value"] = [1]
    await client.live.context(None).emitter.flush()
    return client, cache_key(client.live.id, 1)


async def half_the_timeout_passes(worker: RunningWorker) -> None:
    """Of the cache entries, if they are kept for an hour; the worker then touches them."""
    worker._touched_at -= 1801
    before = worker._touched_at
    await until(lambda: worker._touched_at > before)


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
async def test_the_cache_keeps_the_values_of_a_live_session(
    cache: type[SpyCache], worker: RunningWorker, chat: Chat, settings: Settings, kept_in: str
) -> None:
    settings.CHATSESSIONS = FAST | {"USER_SESSION_STORE": kept_in, "CACHE_TIMEOUT": 3600}
    client, key = await client_with_a_value(worker, chat)
    await half_the_timeout_passes(worker)
    await worker.journal.settled()
    assert set(cache.touched) == {key}
    assert worker.store.cache.get(key) == b'1:{"value":[1]}'
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.state_revision == 1  # the row was not written for it


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
async def test_what_the_cache_has_thrown_away_is_written_again_where_nobody_else_has_it(
    worker: RunningWorker, chat: Chat, settings: Settings, kept_in: str
) -> None:
    settings.CHATSESSIONS = FAST | {"USER_SESSION_STORE": kept_in, "CACHE_TIMEOUT": 3600}
    _, key = await client_with_a_value(worker, chat)
    worker.store.cache.delete(key)
    await half_the_timeout_passes(worker)
    await worker.journal.settled()
    found = worker.store.cache.get(key)
    assert found == (b'2:{"value":[1]}' if kept_in == "cache" else None)


def make_expired(chat: Chat, count: int, **fields: Any) -> None:
    """So many rows of sessions that have expired, each a little later than the one before."""
    template = storage.expired_row(chat, **fields)
    values = {
        field.attname: getattr(template, field.attname)
        for field in ChatSession._meta.concrete_fields
        if field.name != "id"
    }
    first = template.disconnected_at
    assert first is not None
    rows = [
        ChatSession(**values | {"disconnected_at": first + timedelta(milliseconds=number)})
        for number in range(1, count)
    ]
    ChatSession.objects.bulk_create(rows, batch_size=1000)


async def left() -> int:
    return await ChatSession.objects.exclude(status="ended").acount()


@pytest.mark.parametrize(("count", "is_told"), [(2000, False), (300, True)])
async def test_the_reaper_goes_on_until_nothing_is_left(
    worker: RunningWorker, chat: Chat, settings: Settings, count: int, is_told: bool
) -> None:
    """Beyond 6,000 an hour they piled up. And clients are served meanwhile."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 3600}
    ends: list[str] = []
    if is_told:
        chat.on_chat_end(lambda reason: ends.append(reason))
    await sync_to_async(make_expired)(chat, count)
    client = await Client.open(worker, chat)
    biggest = 0
    write = worker.journal._write

    def count_rows(batch: Batch) -> asyncio.Future[None]:
        nonlocal biggest
        biggest = max(biggest, len(batch.changes))
        return write(batch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worker.journal, "_write", count_rows)
        ending = asyncio.create_task(worker._end_expired())
        await asyncio.sleep(0)
        assert await client.run("message", {"content": "hello"}) in ("done", "failed")
        assert not ending.done()
        await ending
    assert await left() == 1  # the client's
    assert ends == ["expired"] * (count if is_told else 0)
    assert biggest <= REAP_BATCH


async def test_sessions_that_end_with_a_hook_are_read_together(
    worker: RunningWorker, chat: Chat, ends: list[str], settings: Settings
) -> None:
    """Read one by one, 100,000 took a quarter of an hour of a worker's processor."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 3600}
    await sync_to_async(make_expired)(chat, 100, state='{"a":1}')
    with noted_statements() as statements:
        await worker._end_expired()
    assert ends == ["expired"] * 100
    loads = [sql for sql in statements if sql.startswith("SELECT") and '."state"' in sql]
    assert 0 < len(loads) <= 10


async def test_sessions_that_somebody_holds_or_looks_for_end_with_the_others(
    worker: RunningWorker, chat: Chat, ends: list[str], settings: Settings
) -> None:
    """What cannot be read together with them is taken by itself, when it is free."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 3600}
    await sync_to_async(make_expired)(chat, 10)
    ids = [pk async for pk in ChatSession.objects.values_list("pk", flat=True)]
    held = await worker.acquire(ids[0])
    async with worker.registry._lock_of(ids[1]):
        ending = asyncio.create_task(worker._end_expired())
        await asyncio.sleep(0.1)
        assert not ending.done()
    held.holders -= 1
    await ending
    await eventually(has(ChatSession(pk=ids[0]), status="ended"))
    assert await left() == 0
    assert ends == ["expired"] * 10


async def test_a_worker_that_stops_begins_no_end_that_it_would_cut_short(
    worker: RunningWorker, chat: Chat, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hook runs once: the next worker would store the end without it."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 3600, "SHUTDOWN_TIMEOUT": 0.3}
    ends: list[str] = []

    @chat.on_message
    async def hang() -> None:
        await asyncio.Event().wait()

    @chat.on_chat_end
    async def over(reason: str) -> None:
        await asyncio.sleep(0.5)
        ends.append(reason)

    client, row = await Client.open(worker, chat), await expired_row(chat)
    client.send("message", {"content": "keeps the worker waiting"})
    await until(lambda: client.live.turns.running)
    read_all = worker.registry.stored.read_all

    async def read_while_it_stops(ids: Collection[UUID]) -> list[Loaded]:
        loaded = await read_all(ids)
        await until(lambda: worker.closing)
        return loaded

    monkeypatch.setattr(worker.registry.stored, "read_all", read_while_it_stops)
    worker.start_task(worker._end_expired())
    await worker.shut_down()
    async with running_worker() as second:
        await second._end_expired()
    assert ends == ["expired"]
    assert await has(row, status="ended")()


async def test_workers_share_what_has_expired(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """None asks for the sessions that another one ends; all of them are somebody's."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 3600}
    await worker.start()
    others = [await sync_to_async(worker_row)() for _ in range(2)]
    await sync_to_async(make_expired)(chat, 90)
    shares = [
        {row.id for row in await worker.threads.read(WorkerRows(one).expired, 1000)}
        for one in (worker.id, *(other.pk for other in others))
    ]
    assert sum(map(len, shares)) == len(set().union(*shares)) == 90
    assert all(shares)
    await worker._end_expired()
    assert await left() == 90 - len(shares[0])


async def test_what_a_worker_leaves_undone_is_anybodys(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """One may live and end nothing, such as one whose hooks hang."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 20}
    await worker.start()
    await sync_to_async(worker_row)()
    await sync_to_async(make_expired)(chat, 40)  # four minutes ago, three rounds are one
    await worker._end_expired()
    assert await left() == 0


async def test_sessions_that_cannot_end_keep_none_from_ending(
    worker: RunningWorker, chat: Chat, ends: list[str], settings: Settings
) -> None:
    """More of them than are taken together, and the oldest."""
    settings.CHATSESSIONS = FAST | {"REAP_INTERVAL": 3600}
    await worker.start()
    await sync_to_async(make_expired)(chat, 250, state="{broken")
    await sync_to_async(make_expired)(
        chat, 20, disconnected_at=timezone.now() - timedelta(minutes=2)
    )
    await worker._end_expired()
    assert await left() == 250
    assert ends == ["expired"] * 20


#: For a client that has only connected, five minutes are too long, and it may come back.
UNUSED = FAST | {"REAP_INTERVAL": 3600, "SESSION_AGE": 3600, "UNUSED_SESSION_AGE": 60}


async def away_for_minutes(worker: RunningWorker, chat: Chat) -> Client:
    """A client that has connected and left five minutes ago, and done nothing else."""
    client = await Client.open(worker, chat)
    client.leave()
    await until(lambda: client.live.closed)
    row = ChatSession.objects.filter(pk=client.live.id)
    await row.aupdate(disconnected_at=timezone.now() - timedelta(minutes=5))
    return client


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("stays", [True, False])
async def test_a_client_that_comes_back_while_the_reaper_is_at_work_keeps_its_session(
    worker: RunningWorker,
    chat: Chat,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    stays: bool,
    is_told: bool,
) -> None:
    """Also one that leaves again, as it has been away for a moment only."""
    settings.CHATSESSIONS = UNUSED
    ends: list[str] = []
    chat.on_message(lambda: None)
    client = await away_for_minutes(worker, chat)
    if is_told:
        chat.on_chat_end(lambda reason: ends.append(reason))
        await away_for_minutes(worker, chat)  # another one, which ends
    found, is_back = asyncio.Event(), threading.Event()
    expired = worker.rows.expired

    def read_and_wait(*args: Any) -> list[ChatSession]:
        rows = expired(*args)
        worker.loop.call_soon_threadsafe(found.set)
        assert is_back.wait(10)
        return rows

    monkeypatch.setattr(worker.rows, "expired", read_and_wait)
    reaping = asyncio.create_task(worker._end_expired())
    await found.wait()
    back = await Client.open(worker, chat, client.live.id, client.token)
    assert back.resumed
    if not stays:
        back.leave()
        await until(lambda: back.live.closed)
    is_back.set()
    await reaping
    assert ends == ["expired"] * is_told
    assert back.closed == []
    kept = has(ChatSession(pk=client.live.id), end_reason="", status="away")
    if stays:
        assert await back.run("message", {"content": "still here"}) == "done"
        back.leave()
    await eventually(kept)
    await until(lambda: worker.live == {})


async def test_an_owner_ends_what_another_process_takes_for_expired_if_it_is(
    chat: Chat, settings: Settings
) -> None:
    """``clearchatsessions`` has found it a while ago; only the owner knows who has come since."""
    settings.CHATSESSIONS = UNUSED
    chat.on_message(lambda: None)
    async with two_workers() as (owner, other):
        away = await away_for_minutes(owner, chat)
        back = await Client.open(owner, chat, away.live.id, away.token)
        assert not await calls.expire(other, back.live.id)
        assert back.closed == []
        assert await back.run("message", {"content": "still here"}) == "done"
        held = await away_for_minutes(owner, chat)
        live = await owner.acquire(held.live.id)
        await live.sink.flush()
        assert await calls.expire(other, live.id)
        live.release()
        assert await has(ChatSession(pk=live.id), status="ended", end_reason="expired")()
