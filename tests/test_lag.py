"""Rows that follow: what is stored without them, when they are written, and what a crash leaves."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.core.cache.backends.locmem import LocMemCache

from chatsessions import Chat, context, frames, journal, user_session
from chatsessions.exceptions import FrameError, OwnershipLost, StoreUnavailable
from chatsessions.models import ChatSession
from chatsessions.store import lag
from chatsessions.store.changes import Entry
from chatsessions.store.lag import RESERVE
from chatsessions.store.store import CacheFailed
from chatsessions.worker import Worker

from .support.sessions import Client, eventually, running_worker
from .support.storage import SpyCache, worker_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _in_memory(settings: Settings) -> None:
    settings.CHATSESSIONS = {"EVENT_LOG": "memory", "USER_SESSION_STORE": "cache"}


@pytest.fixture
def near(settings: Settings) -> None:
    """The cache is this process' memory; each worker here has its own, as processes have."""
    backend = f"{LocMemCache.__module__}.{LocMemCache.__name__}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": uuid4().hex}}


@pytest.fixture
def _far(cache: type[SpyCache]) -> None:
    """The cache outlives workers."""


far = pytest.mark.usefixtures("_far")


@pytest.fixture(params=["near", "far"])
def anywhere(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue("near" if request.param == "near" else "_far")
    return str(request.param)


@pytest.fixture
def _never(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is written for having been behind for long."""
    monkeypatch.setattr(journal, "LAG", 3600)


never = pytest.mark.usefixtures("_never")


@pytest.fixture
def counter(chat: Chat) -> Chat:
    """Counts, and waits when asked to."""

    @chat.on_message
    async def count() -> None:
        user_session["count"] = user_session.get("count", 0) + 1
        await context.emitter.emit("count", user_session["count"])

    @chat.on_event("many")
    async def many(data: int) -> None:
        for number in range(data):
            await context.emitter.emit("number", number)

    @chat.on_event("wait")
    async def wait() -> None:
        await asyncio.Event().wait()

    return chat


async def row_of(client: Client) -> ChatSession:
    return await ChatSession.objects.aget(pk=client.live.id)


async def say(client: Client, times: int = 1) -> None:
    for _ in range(times):
        assert await client.run("message", {"content": "hello"}) == "done"


async def started(worker: Worker, chat: Chat) -> Client:
    """A client whose first message, which the session is called by, is in the row."""
    client = await Client.open(worker, chat)
    await say(client)
    await worker.journal.settled()
    return client


def pause(worker: Worker) -> None:
    """The worker was silent for an hour."""
    beats, begun_at = worker.rows._beats
    worker.rows._beats = (beats, begun_at - 3600)


def forget(settings: Settings) -> None:
    """The memory of a process is gone, and the cache that was in it."""
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "LOCATION": uuid4().hex}}


@asynccontextmanager
async def after_a_crash(
    worker: Worker, client: Client, settings: Settings | None = None
) -> AsyncIterator[Client]:
    """``client`` back, at the next worker. With ``settings`` the cache is gone as well."""
    await worker.close()  # nothing is stored any more
    if settings is not None:
        forget(settings)
    live = client.live
    async with running_worker() as second:
        yield await Client.open(second, live.chat, live.id, client.token)


# When rows are written


async def test_a_row_follows(worker: Worker, counter: Chat, anywhere: str) -> None:
    client = await Client.open(worker, counter)
    await say(client, 3)

    async def followed() -> bool:
        row = await row_of(client)
        return (row.accepted, row.handled, row.head, row.events_out) == (3, 3, 6, 3)

    await eventually(followed)
    row = await row_of(client)
    assert (row.running, row.events_in, row.state) == (None, 3, "")
    assert row.state_bytes == len('{"count":3}')


@never
async def test_until_then_it_is_behind(worker: Worker, counter: Chat, anywhere: str) -> None:
    client = await started(worker, counter)
    await say(client, 2)
    row = await row_of(client)
    assert (row.accepted, row.head) == (1, 2)
    assert client.events == [("count", 1), ("count", 2), ("count", 3)]


@never
async def test_what_waits_for_nothing_but_the_rows_settles(
    worker: Worker, counter: Chat, anywhere: str
) -> None:
    client = await Client.open(worker, counter)
    await say(client)
    await worker.journal.settled()
    assert (await row_of(client)).head == 2


@never
async def test_another_column_takes_the_position_along(
    worker: Worker, counter: Chat, anywhere: str
) -> None:
    client = await Client.open(worker, counter)
    await say(client, 2)
    client.leave()

    async def away() -> bool:
        return (await row_of(client)).status == ChatSession.Status.AWAY

    await eventually(away)
    row = await row_of(client)
    assert (row.accepted, row.head, row.state_bytes) == (2, 4, len('{"count":2}'))


@never
async def test_a_row_is_never_so_far_behind_that_numbers_could_be_given_twice(
    worker: Worker, counter: Chat, anywhere: str
) -> None:
    client = await Client.open(worker, counter)
    await worker.journal.settled()
    for _ in range(5):
        assert await client.run("many", 300) == "done"
        assert client.live.log.stored - (await row_of(client)).head < RESERVE
    assert (await row_of(client)).head > 0


async def test_a_shutdown_leaves_nothing_behind(counter: Chat, anywhere: str) -> None:
    async with running_worker() as worker:
        client = await Client.open(worker, counter)
        await say(client, 3)
        await worker.shut_down()
    row = await row_of(client)
    assert (row.accepted, row.handled, row.head, row.worker_id) == (3, 3, 6, None)


@pytest.mark.parametrize(
    "changed",
    [{"EVENT_LOG": "database"}, {"USER_SESSION_STORE": "cached_db"}, {"JOURNAL_INLINE": True}],
)
async def test_with_other_settings_no_row_is_behind(
    counter: Chat, settings: Settings, changed: dict[str, Any]
) -> None:
    settings.CHATSESSIONS = settings.CHATSESSIONS | changed
    async with running_worker() as worker:
        client = await Client.open(worker, counter)
        await say(client)
        assert (await row_of(client)).head == 2


# What a client sees


@pytest.mark.parametrize("name", ["message", "many", "nobody's"])
async def test_frames_come_in_their_order(
    worker: Worker, counter: Chat, anywhere: str, name: str
) -> None:
    """Also where a turn need not wait until it is stored that it runs."""
    client = await started(worker, counter)
    told: list[tuple[str, int | None]] = []

    class Ear:
        relayed = False

        def entries(self, entries: Sequence[Entry]) -> None:
            told.extend(("accepted" if entry.n else entry.name, entry.n) for entry in entries)

        def frame(self, frame: frames.ServerFrame) -> None:
            if isinstance(frame, frames.TurnStatus):
                told.append((frame.status, frame.turn))

        def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
            raise AssertionError(code)

    client.live.presence.listener = Ear()
    data = {"content": "hello"} if name == "message" else 2
    for n in (2, 3, 4):
        client.live.submit(frames.ClientEvent(n, name, msgspec.Raw(b"2")), data)
    ends = "failed" if name == "nobody's" else "done"
    await eventually(_async(lambda: (ends, 4) in told))
    for n in (2, 3, 4):
        mine = [what for what, of in told if of == n]
        assert mine == ["accepted", "running", ends]
        said = {"message": ["count"], "many": ["number"] * 2, "nobody's": ["error"]}[name]
        begun, ended = told.index(("running", n)), told.index((ends, n))
        assert [what for what, of in told[begun:ended] if of is None] == said


async def test_however_much_waits_that_nobody_handles_is_through(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    settings.CHATSESSIONS = settings.CHATSESSIONS | {
        "MAX_PENDING_EVENTS": 1000,
        "EVENT_BURST": 1000,
    }
    client = await started(worker, counter)
    client.send("wait")
    await eventually(_async(lambda: client.live.turns.number == 2))
    last = [client.send("nobody's") for _ in range(400)][-1]
    client.live.stop()
    assert await client.outcome(last) == "failed"


# Whose the session is


@never
async def test_since_a_pause_nothing_is_stored_without_the_row(
    worker: Worker, counter: Chat, anywhere: str
) -> None:
    """Somebody may have taken the session meanwhile."""
    client = await Client.open(worker, counter)
    await say(client)
    other = await sync_to_async(worker_row)()
    taken = ChatSession.objects.filter(pk=client.live.id)
    await taken.aupdate(generation=client.live.draft.generation + 1, worker=other)
    pause(worker)
    client.send("message", {"content": "hello"})
    await eventually(_async(lambda: client.closed == [(frames.CloseCode.TAKEN_OVER, None)]))
    assert client.events == [("count", 1)]
    assert client.live.closed


@never
async def test_some_time_after_a_pause_in_which_nobody_came_rows_follow_again(
    worker: Worker, counter: Chat, anywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await started(worker, counter)
    pause(worker)
    for count in (2, 3):
        await say(client)
        assert (await row_of(client)).accepted == count
    later = time.monotonic() + 60
    monkeypatch.setattr(lag, "time", SimpleNamespace(monotonic=lambda: later))
    await say(client)
    assert (await row_of(client)).accepted == 3
    assert client.events[-1] == ("count", 4)


@far
@never
async def test_who_has_read_the_row_before_its_owner_woke_up_cannot_claim_it(
    worker: Worker, counter: Chat
) -> None:
    client = await started(worker, counter)
    second = Worker(asyncio.get_running_loop())
    try:
        await second.start()
        loaded = await second.entrance.read(client.live.id)  # its owner is dead, so it seems
        assert loaded is not None
        pause(worker)
        await worker._say_alive()
        await worker.journal.settled()
        await say(client)
        taken = second.entrance._hold(counter, loaded)
        with pytest.raises(OwnershipLost):
            await taken.sink.flush()
        assert client.events[-1] == ("count", 2)
    finally:
        await second.close()


@far
@never
async def test_what_is_stored_in_a_pause_is_not_told_without_the_row(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await started(worker, counter)
    live = client.live
    other = await sync_to_async(worker_row)()
    cache_states = worker.store.cache_states

    def stand_still(changes: Any) -> None:
        cache_states(changes)
        taken = ChatSession.objects.filter(pk=live.id)
        taken.update(generation=live.draft.generation + 1, worker=other)
        pause(worker)
        monkeypatch.setattr(worker.store, "cache_states", cache_states)

    monkeypatch.setattr(worker.store, "cache_states", stand_still)
    told = len(client.log)
    client.send("message", {"content": "hello"})
    await eventually(_async(lambda: client.closed))
    assert client.closed == [(frames.CloseCode.TAKEN_OVER, None)]
    assert client.log[told:] == []


def _async(condition: Any) -> Any:
    async def check() -> bool:
        return bool(condition())

    return check


async def test_a_commit_in_memory_asks_no_database_in_the_event_loop(
    worker: Worker, counter: Chat, near: None
) -> None:
    """Whenever a pause is noticed: there is nothing between the two that could stand still."""
    client = await started(worker, counter)
    worker.store.pauses = itertools.count().__next__
    await say(client, 2)
    assert client.events[-1] == ("count", 3)
    assert not client.live.closed


# What others need of the database


@never
async def test_who_needs_no_row_does_not_wait_for_who_does(
    worker: Worker, counter: Chat, near: None
) -> None:
    one, two = await started(worker, counter), await started(worker, counter)
    one.live.append("x", b"1")
    two.live.draft.set(topic="other")
    two.live.note()
    head = one.live.log.head
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert one.live.log.stored == head
    await eventually(_async(lambda: worker.journal._task is None))
    assert (await row_of(one)).head == head - 1
    assert (await row_of(two)).topic == "other"


# What a crash leaves


@far
@never
async def test_a_cache_elsewhere_knows_all(worker: Worker, counter: Chat) -> None:
    client = await Client.open(worker, counter)
    await say(client, 3)
    waits = client.send("wait")
    await eventually(_async(lambda: len(client.frames) == 7))
    assert (await row_of(client)).head < 7
    async with after_a_crash(worker, client) as again:
        assert again.live.position.accepted == waits
        assert await again.outcome(waits) == "interrupted"
        assert not again.live.session.state_lost
        await say(again)
        assert again.events[-1] == ("count", 4)
        with pytest.raises(FrameError, match="the next event is 6, not 8"):
            again.send_as(8)


@never
async def test_this_process_memory_is_gone_and_the_client_goes_on(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    """The numbers that were given in the last moment are known to the client alone."""
    client = await started(worker, counter)
    await say(client, 2)
    async with after_a_crash(worker, client, settings) as again:
        assert again.resumed
        assert again.live.session.state_lost
        # No number of an entry is given twice; that some are gone the client is told.
        assert again.live.first > client.live.log.head + 1
        assert again.live.received == 1
        again._n = 3
        await say(again)
        assert again.events == [("count", 1)]
        assert again.live.received == 4
        assert again.live.position.handled == 4
        with pytest.raises(FrameError, match="the next event is 5, not 6"):
            again.send_as(6)
        await again.live.journal.settled()
        row = await row_of(again)
        assert (row.accepted, row.handled, row.handled_ahead) == (4, 4, [])


@never
async def test_without_a_cache_the_session_is_as_the_row_has_it(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    """A quarter of a second ago: what ran then counts as interrupted."""
    client = await started(worker, counter)
    n = client.send("wait")
    await eventually(_async(lambda: len(client.frames) == 3))
    await worker.journal.settled()
    async with after_a_crash(worker, client, settings) as again:
        assert await again.outcome(n) == "interrupted"


@never
async def test_a_client_that_knows_nothing_goes_on_too(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    """A reloaded page numbers from what it is told."""
    client = await started(worker, counter)
    await say(client, 3)
    async with after_a_crash(worker, client, settings) as again:
        await say(again, 2)
        assert again.events == [("count", 1), ("count", 2)]


@never
async def test_files_of_the_first_event_after_a_crash_are_looked_at(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    client = await Client.open(worker, counter)
    await say(client, 3)
    async with after_a_crash(worker, client, settings) as again:
        foreign = {"content": "mine", "files": [str(uuid4())]}
        with pytest.raises(FrameError, match="file"):
            await again.live.check_files(frames.ClientEvent(4, "message", None), foreign)


@never
async def test_a_number_beyond_all_that_can_have_been_given_is_a_gap(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    client = await Client.open(worker, counter)
    await say(client)
    async with after_a_crash(worker, client, settings) as again:
        with pytest.raises(FrameError, match=f"the next event is 2, not {RESERVE + 3}"):
            again.send_as(RESERVE + 3)


@far
@never
async def test_a_position_that_nobody_can_read_is_one_that_is_not_there(
    worker: Worker, counter: Chat, cache: type[SpyCache]
) -> None:
    """It may be from before an update."""
    client = await started(worker, counter)
    await say(client)
    key = f"chatsessions:{client.live.id.hex}:{client.live.draft.generation}:at"
    assert worker.store.cache.get(key)
    await worker.close()
    async with running_worker() as second:
        second.store.cache.set(key, b'{"where":7}')
        again = await Client.open(second, counter, client.live.id, client.token)
        assert again.live.received == 1
        again._n = 2
        await say(again)
        assert again.events == [("count", 3)]


@far
@never
async def test_what_the_cache_would_forget_is_written_again(
    worker: Worker, counter: Chat, cache: type[SpyCache]
) -> None:
    client = await Client.open(worker, counter)
    assert await client.run("many", 1) == "done"  # nothing is set
    await worker.journal.settled()
    cache.calls.clear()
    client.live.refresh_cache()
    await worker.journal.settled()
    keys = {key for call in cache.calls for key in call}
    assert keys == {f"chatsessions:{client.live.id.hex}:{client.live.draft.generation}:at"}


@far
@never
async def test_a_cache_that_fails_is_a_commit_that_fails(
    worker: Worker, counter: Chat, cache: type[SpyCache]
) -> None:
    client = await Client.open(worker, counter)
    await say(client)
    cache.raises = True
    n = client.send("message", {"content": "hello"})
    await asyncio.sleep(0.1)
    assert n not in client.outcomes
    assert client.events == [("count", 1)]
    cache.raises = False
    assert await client.outcome(n) == "done"
    assert client.events == [("count", 1), ("count", 2)]


@never
async def test_a_session_whose_values_the_cache_refuses_is_dropped_alone(
    worker: Worker, counter: Chat, cache: type[SpyCache]
) -> None:
    @counter.on_event("large")
    async def large() -> None:
        user_session["large"] = "x" * 2000

    clients = [await Client.open(worker, counter) for _ in range(2)]
    for client in clients:
        await say(client)
    cache.max_bytes = 1000
    clients[0].send("large")
    await eventually(_async(lambda: clients[0].live.closed))
    await say(clients[1])
    assert clients[1].events == [("count", 1), ("count", 2)]


async def test_a_session_of_a_row_that_is_older_than_its_owner_s_memory_is_claimed(
    worker: Worker, counter: Chat, cache: type[SpyCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is compared with what was read of it, not with where the session stands."""
    monkeypatch.setattr(journal, "LAG", 3600)
    client = await Client.open(worker, counter)
    await say(client, 2)
    assert (await row_of(client)).head < 4
    async with after_a_crash(worker, client) as again:
        assert (again.live.stored, again.live.received) == (4, 2)
        await again.live.journal.settled()
        row = await row_of(again)
        assert (row.head, row.accepted, row.generation) == (4, 2, client.live.draft.generation + 1)


async def test_after_an_orderly_restart_a_page_keeps_what_it_shows(
    counter: Chat, near: None, settings: Settings
) -> None:
    """The row is exact: no number is left out."""
    async with running_worker() as worker:
        client = await Client.open(worker, counter)
        await say(client, 3)
        head, live = client.live.log.head, client.live
        await worker.shut_down()
    forget(settings)
    for _ in range(2):
        async with running_worker() as second:
            again = await Client.open(second, counter, live.id, client.token)
            client.token = again.token
            assert (again.live.first, again.live.received) == (head + 1, 3)
            await second.shut_down()


@never
@pytest.mark.parametrize("name", ["message", "action"])
async def test_a_first_event_that_is_refused_is_not_passed_over(
    worker: Worker, counter: Chat, near: None, settings: Settings, name: str
) -> None:
    """What comes behind it shares its fate, as ever."""
    client = await started(worker, counter)
    await say(client, 2)  # 1, 2, 3 are accepted; the row knows of 1
    data = {"content": "four", "id": "x", "name": "y", "payload": {}}
    async with after_a_crash(worker, client, settings) as again:
        journal = again.live.journal
        if name == "message":
            journal.failure = StoreUnavailable(1.0)
        with pytest.raises(FrameError, match=r"could not be stored|action"):
            again.send_as(4, name, data)
        journal.failure = None
        with pytest.raises(FrameError):
            again.send_as(5, "message", {"content": "five"})
        assert again.live.received == 3
        for n in (4, 5):
            again.send_as(n, "message", {"content": str(n)})
            assert await again.outcome(n) == "done"


@far
@never
async def test_an_old_cache_does_not_take_the_row_back(worker: Worker, counter: Chat) -> None:
    client = await started(worker, counter)
    key = f"chatsessions:{client.live.id.hex}:{client.live.draft.generation}:at"
    old = worker.store.cache.get(key)
    await say(client, 3)
    await worker.journal.settled()
    row = await row_of(client)
    worker.store.cache.set(key, old)  # a replica that lagged was promoted
    async with after_a_crash(worker, client) as again:
        assert again.live.position.accepted >= row.accepted
        assert again.live.log.head >= row.head


@far
@never
async def test_a_cache_that_fails_for_the_position_is_a_cache_that_fails(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await started(worker, counter)
    get = worker.store.cache.get

    def failing(key: str, *args: Any) -> Any:
        if key.endswith(":at"):
            raise ConnectionError("gone")
        return get(key, *args)

    monkeypatch.setattr(worker.store.cache, "get", failing)
    with pytest.raises(CacheFailed):
        await worker.threads.read(worker.store.load, client.live.id)


@never
async def test_values_that_are_gone_are_said_to_be(
    worker: Worker, counter: Chat, near: None, settings: Settings
) -> None:
    """Also those that were set first in the last moment."""
    client = await Client.open(worker, counter)
    assert await client.run("many", 1) == "done"
    await worker.journal.settled()
    await say(client)
    async with after_a_crash(worker, client, settings) as again:
        assert "count" not in again.live.user_session
        assert again.live.session.state_lost


@far
@never
async def test_after_a_crash_the_row_says_how_large_the_values_are(
    worker: Worker, counter: Chat
) -> None:
    client = await started(worker, counter)
    client.live.user_session["more"] = "x" * 100
    await say(client)
    async with after_a_crash(worker, client) as again:
        await again.live.journal.settled()
        size = len('{"count":2,"more":""}') + 100
        assert (await row_of(again)).state_bytes == size
