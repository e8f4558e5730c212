"""The rows and the cache: what is loaded, under which key it lies, and which workers live."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.utils import OperationalError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chatsessions.exceptions import CacheFailed, OwnershipLost
from chatsessions.models import ChatSession, Worker
from chatsessions.storage import sql as bulk
from chatsessions.storage.journal import Batch, Change, Claim, Position
from chatsessions.storage.log import Entry, find_seq, read_entries
from chatsessions.storage.store import Store, cache_key
from chatsessions.storage.worker_rows import WorkerRows, _forget, pid_space

from .support.clocks import clock_off
from .support.database import overtaken
from .support.storage import SpyCache, dead_worker_row, session_row, worker_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache")]

NOW = timezone.now()
revisions = itertools.count(1)


@pytest.fixture
def cache_only(settings: Settings) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": "cache"}


def change_of(row: ChatSession, **fields: Any) -> Change:
    position = Position(
        accepted=0,
        handled=0,
        running=None,
        head=0,
        events_in=0,
        events_out=0,
        turns_failed=0,
        last_seen_at=timezone.now(),
    )
    given: dict[str, Any] = {
        "session_id": row.pk,
        "session_hex": row.pk.hex,
        "generation": row.generation,
        "position": position,
        "entries": [],
    }
    if "state" in fields:
        given["state_revision"] = next(revisions)
    return Change(**given | fields)


def cached(store: Store, row: ChatSession) -> bytes | None:
    """The values that the cache has."""
    found = store.cache.get(cache_key(row.pk, row.generation))
    return None if found is None else bytes(found.partition(b":")[2])


def entry(seq: int, n: int | None = None, data: bytes = b"{}") -> Entry:
    return Entry(seq, n, None if n is None else n, f"event {seq}", data, timezone.now())


def write(store: Store, changes: list[Change]) -> dict[UUID, Exception]:
    """Store the rows of ``changes``; what was refused."""
    batch = Batch(changes, list(changes))
    store.write(batch)
    return batch.refused


def commit(store: Store, *changes: Change) -> None:
    assert write(store, changes) == {}
    store.cache_states(changes)


# Loading


def test_an_unknown_session_is_none() -> None:
    assert Store().load(uuid4()) is None


def test_a_session_is_loaded_with_what_its_owner_needs() -> None:
    user = User.objects.create_user("ada")
    worker = worker_row()
    row = session_row(user=user, worker=worker, state='{"a":[1]}', state_bytes=9)
    store = Store()
    entries = [entry(4), entry(5, n=1), entry(6), entry(7, n=2, data=b'"\\u0000"'), entry(9, n=3)]
    commit(store, change_of(row, entries=entries))
    ChatSession.objects.update(accepted=3, handled=1, head=9)
    loaded = store.load(row.pk)
    assert loaded is not None
    assert (loaded.row.user, loaded.row.worker) == (user, worker)
    assert (loaded.state, loaded.state_lost) == (b'{"a":[1]}', False)
    assert loaded.first == 4
    assert [(pending.n, pending.data) for pending in loaded.pending] == [
        (2, b'"\\u0000"'),
        (3, b"{}"),
    ]


def test_the_first_entry_of_an_empty_log_is_the_next_one() -> None:
    loaded = Store().load(session_row(head=7).pk)
    assert loaded is not None
    assert (loaded.first, loaded.pending) == (8, [])


def test_the_log_is_read_in_pieces() -> None:
    row, other = session_row(), session_row()
    store = Store()
    commit(store, change_of(row, entries=[entry(seq, n=seq) for seq in range(1, 8)]))
    commit(store, change_of(other, entries=[entry(1)]))
    assert [found.seq for found in read_entries(row.pk, after=2, limit=3)] == [3, 4, 5]
    assert [found.seq for found in read_entries(row.pk, after=5, limit=30)] == [6, 7]
    assert find_seq(row.pk, 5) == 5
    assert find_seq(other.pk, 5) is None


# Writing


def test_a_whole_change_is_written() -> None:
    row = session_row(state='{"old":1}')
    store = Store()
    commit(store, change_of(row, entries=[entry(1, n=1), entry(2, n=2), entry(3, n=3)]))
    change = change_of(
        row,
        state=b'{"new":2}',
        fields={"chat_settings": {"theme": "dark"}},
        outcomes=[(2, "failed")],
        trim=1,
    )
    change.position.accepted = 3
    commit(store, change)
    row.refresh_from_db()
    assert (row.state, row.state_bytes, row.accepted) == ('{"new":2}', 9, 3)
    assert row.chat_settings == {"theme": "dark"}
    assert list(row.events.order_by("seq").values_list("n", "status")) == [(2, "failed"), (3, None)]


def test_much_is_written_in_several_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL; anywhere it is all written, and another owner's row is noticed."""
    monkeypatch.setattr(bulk, "MAX_BYTES", 2000)
    rows, store = [session_row() for _ in range(9)], Store()
    entries = [entry(seq, data=b'"%b"' % (b"x" * 100 * seq)) for seq in range(1, 31)]
    with CaptureQueriesContext(connection) as queries:
        commit(store, *(change_of(row, entries=entries, state=b"{}") for row in rows))
    if connection.vendor == "postgresql":
        arguments = [len(query["sql"]) for query in queries if "json_to_recordset" in query["sql"]]
        assert len(arguments) > 200
        assert max(arguments) < 4000
    for row in rows:
        assert read_entries(row.pk, after=0, limit=100) == entries
    stale = change_of(rows[-1], generation=7)
    assert isinstance(
        write(store, [*map(change_of, rows[:-1]), stale])[stale.session_id], OwnershipLost
    )


def test_rows_are_parted_where_one_argument_would_have_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "MAX_BYTES", 30)
    rows = [(1, "a"), (2, "b"), (3, "c" * 40), (4, "d"), (5, "e")]
    found = [msgspec.json.decode(values) for values in bulk.arrays(("n", "text"), rows)]
    assert [[row["n"] for row in given] for given in found] == [[1], [2], [3], [4], [5]]
    monkeypatch.setattr(bulk, "MAX_BYTES", 50)
    found = [msgspec.json.decode(values) for values in bulk.arrays(("n", "text"), rows)]
    assert [[row["n"] for row in given] for given in found] == [[1, 2], [3], [4, 5]]
    assert found[0] == [{"n": 1, "text": "a"}, {"n": 2, "text": "b"}]


# The values


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
def test_values_are_read_back(settings: Settings, kept_in: str) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": kept_in}
    row = session_row()
    store = Store()
    commit(store, change_of(row, state=b'{"a":1}'))
    row.refresh_from_db()
    assert row.state == ('{"a":1}' if kept_in == "cached_db" else "")
    assert row.state_bytes == 7
    assert store.read_state(row) == (b'{"a":1}', False)
    # Another process has the same cache and the same rows, and nothing else.
    assert Store().read_state(row) == (b'{"a":1}', False)


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
def test_a_session_without_values_has_lost_none(settings: Settings, kept_in: str) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": kept_in}
    assert Store().read_state(session_row()) == (b"", False)


@pytest.mark.usefixtures("cache_only")
def test_values_that_the_cache_has_thrown_away_are_missed() -> None:
    row = session_row()
    store = Store()
    commit(store, change_of(row, state=b'{"a":1}'))
    store.cache.clear()
    row.refresh_from_db()
    assert store.read_state(row) == (b"", True)
    loaded = store.load(row.pk)
    assert loaded is not None
    assert (loaded.state, loaded.state_lost) == (b"", True)


@pytest.mark.usefixtures("cache_only")
def test_where_only_the_cache_has_them_the_key_carries_the_generation() -> None:
    """A worker that lost the session writes where nobody reads."""
    row = session_row(generation=2)
    store = Store()
    assert cache_key(row.pk, 1) != cache_key(row.pk, 2) != cache_key(uuid4(), 2)
    assert row.pk.hex in cache_key(row.pk, 2)
    commit(store, change_of(row, state=b'{"owner":"new"}'))
    store.cache_states([change_of(row, generation=1, state=b'{"owner":"old"}')])
    row.refresh_from_db()
    assert store.read_state(row) == (b'{"owner":"new"}', False)


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
def test_every_key_has_a_timeout(settings: Settings, cache: type[SpyCache], kept_in: str) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": kept_in, "CACHE_TIMEOUT": 1234}
    store = Store()
    commit(store, *(change_of(session_row(), state=b"{}") for _ in range(3)))
    assert cache.timeouts == [1234]


def test_nothing_to_cache_is_no_call(cache: type[SpyCache]) -> None:
    commit(Store(), change_of(session_row(), entries=[entry(1)]))
    assert cache.timeouts == []


def test_what_the_cache_missed_does_not_overwrite_what_came_later(cache: type[SpyCache]) -> None:
    row = session_row()
    store = Store()
    cache.raises = True
    commit(store, change_of(row, state=b'{"a":1}'))
    cache.raises = False
    commit(store, change_of(row, state=b'{"a":2}'))
    assert cached(store, row) == b'{"a":2}'
    commit(store, change_of(session_row(), state=b"{}"))
    assert cached(store, row) == b'{"a":2}'


@pytest.mark.usefixtures("cache_only")
@pytest.mark.parametrize("fault", ["raises", "refuses"])
def test_a_cache_that_fails_is_an_error_under_cache(cache: type[SpyCache], fault: str) -> None:
    row = session_row()
    store = Store()
    setattr(cache, fault, True)
    with pytest.raises(CacheFailed):
        store.cache_states([change_of(row, state=b"{}")])


# Workers


def test_a_beat_makes_the_row_and_moves_it() -> None:
    rows = WorkerRows(uuid4())
    rows.beat()
    row = Worker.objects.get()
    assert (row.hostname, row.pid) == (socket.gethostname(), os.getpid())
    # SQLite's clock tells milliseconds.
    assert row.heartbeat_at >= NOW - timedelta(milliseconds=1)
    Worker.objects.update(heartbeat_at=row.heartbeat_at - timedelta(seconds=5))
    rows.beat()
    later = Worker.objects.get()
    assert later.heartbeat_at >= row.heartbeat_at
    assert later.started_at == row.started_at
    assert rows.is_alive(later)


def test_a_beat_makes_the_row_again_that_somebody_swept_away() -> None:
    worker_id = uuid4()
    rows = WorkerRows(worker_id)
    rows.beat()
    Worker.objects.all().delete()
    rows.beat()
    assert Worker.objects.get().pk == worker_id


def test_a_worker_leaves() -> None:
    rows = WorkerRows(uuid4())
    rows.beat()
    other = worker_row()
    rows.leave()
    rows.leave()
    assert list(Worker.objects.all()) == [other]


@pytest.fixture(scope="module")
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_who_is_alive(settings: Settings, dead_pid: int) -> None:
    settings.CHATSESSIONS = {"WORKER_STALE": 15}
    rows = WorkerRows(uuid4())
    here = pid_space()
    old = timezone.now() - timedelta(seconds=16)
    assert rows.is_alive(worker_row())
    assert rows.is_alive(worker_row(pid=dead_pid))  # elsewhere: the number says nothing
    # Nor in a container on the host's network, which has the host's name.
    contained = {"hostname": socket.gethostname(), "pid_space": "another one"}
    assert rows.is_alive(worker_row(pid=dead_pid, **contained))
    assert rows.is_alive(worker_row(pid_space=here, pid=os.getppid()))
    assert rows.is_alive(worker_row(pid_space=here, pid=os.getpid()))  # another event loop
    assert not rows.is_alive(worker_row(pid_space=here, pid=dead_pid))
    assert not rows.is_alive(worker_row(heartbeat_at=old))
    assert not rows.is_alive(worker_row(pid_space=here, pid=os.getppid(), heartbeat_at=old))


def test_a_row_that_is_gone_is_nobody_alive() -> None:
    row = worker_row()
    Worker.objects.all().delete()
    assert not WorkerRows(uuid4()).is_alive(row)


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_worker_whose_clock_is_off_neither_kills_nor_is_killed(minutes: int) -> None:
    off, right = WorkerRows(uuid4()), WorkerRows(uuid4())
    right.beat()
    connected = ChatSession.Status.CONNECTED
    theirs = session_row(status=connected, worker_id=right._id)
    store = Store()
    with clock_off(minutes):
        off.beat()
        own = session_row(status=connected, worker_id=off._id)
        assert off.sweep() == 0
        loaded = store.load(theirs.pk)
        assert loaded is not None
        assert loaded.row.worker is not None
        assert off.is_alive(loaded.row.worker)
        assert off.expired(10) == []
        assert set(Worker.objects.alive()) == set(Worker.objects.all())
        assert not ChatSession.objects.stale().exists()
    assert right.sweep() == 0
    loaded = store.load(own.pk)
    assert loaded is not None
    assert loaded.row.worker is not None
    assert right.is_alive(loaded.row.worker)
    assert set(Worker.objects.alive()) == set(Worker.objects.all())
    assert not ChatSession.objects.stale().exists()


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_worker_whose_clock_is_off_sees_who_is_dead(minutes: int) -> None:
    last_beat = timezone.now() - timedelta(minutes=1)
    dead = worker_row(heartbeat_at=last_beat)
    row = session_row(status=ChatSession.Status.CONNECTED, worker=dead)
    rows = WorkerRows(uuid4())
    with clock_off(minutes):
        rows.beat()
        assert list(Worker.objects.stale()) == [dead]
        assert list(ChatSession.objects.stale()) == [row]
        assert rows.sweep() == 1
    row.refresh_from_db()
    assert (row.status, row.disconnected_at) == ("away", last_beat)


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_worker_whose_clock_is_off_ends_nobodys_session_early(
    settings: Settings, minutes: int
) -> None:
    settings.CHATSESSIONS = {"SESSION_AGE": 300}
    now = timezone.now()
    away = session_row(disconnected_at=now - timedelta(seconds=200))
    over = session_row(disconnected_at=now - timedelta(seconds=400))
    rows = WorkerRows(uuid4())
    with clock_off(minutes):
        assert [one.id for one in rows.expired(10)] == [over.pk]
        for row in (away, over):
            loaded = Store().load(row.pk)
            assert loaded is not None
            assert loaded.row.is_expired() is (row == over)


@pytest.mark.parametrize("minutes", [10, 0, -10])
def test_a_worker_knows_the_databases_time(minutes: int) -> None:
    rows = WorkerRows(uuid4())
    for _ in range(2):  # with the row's first beat, and with any other
        before = timezone.now()
        with clock_off(minutes):
            rows.beat()
            now = rows.now()
        # Exact to what is not worth a correction.
        exact = timedelta(seconds=5)
        assert before - exact < now < timezone.now() + exact
    rows.beat()
    assert rows.clock_ahead == timedelta()  # the clock was set


@pytest.mark.parametrize(("minutes", "where"), [(10, "ahead of"), (-10, "behind"), (0, "")])
def test_a_clock_that_is_off_is_told(
    caplog: pytest.LogCaptureFixture, minutes: int, where: str
) -> None:
    rows = WorkerRows(uuid4())
    with clock_off(minutes):
        rows.beat()
        rows.sweep()
    told = [
        re.search(r"is (\d+) s (.+) the database's", one.getMessage()) for one in caplog.records
    ]
    assert [one and one[2] for one in told] == ([where] if minutes else [])
    # A slow machine takes its time between a look at its clock and the database's.
    assert all(one and abs(int(one[1]) - 600) < 60 for one in told)


def test_a_worker_that_comes_to_life_while_it_is_swept_is_kept() -> None:
    """Between being read and being forgotten it has beaten."""
    worker = worker_row(heartbeat_at=timezone.now() - timedelta(minutes=5))
    row = session_row(status=ChatSession.Status.CONNECTED, worker=worker)
    read = Worker.objects.timed().get()
    WorkerRows(worker.pk).beat()
    assert _forget(read) == 0
    row.refresh_from_db()
    assert (row.status, row.worker) == ("connected", worker)


def test_a_sweep_forgets_the_dead_and_their_connections(dead_pid: int) -> None:
    rows = WorkerRows(uuid4())
    rows.beat()
    stale = worker_row(heartbeat_at=timezone.now() - timedelta(minutes=5))
    crashed = worker_row(pid_space=pid_space(), pid=dead_pid)
    alive = worker_row()
    connected = ChatSession.Status.CONNECTED
    lost = [session_row(status=connected, worker=worker) for worker in (stale, crashed)]
    kept = session_row(status=connected, worker=alive)
    ended = session_row(status=ChatSession.Status.ENDED, end_reason="user")
    assert rows.sweep() == 2
    assert set(Worker.objects.values_list("pk", flat=True)) == {rows._id, alive.pk}
    for row in lost:
        row.refresh_from_db()
        assert (row.status, row.worker) == ("away", None)
        assert row.disconnected_at is not None
    kept.refresh_from_db()
    ended.refresh_from_db()
    assert (kept.status, kept.worker) == ("connected", alive)
    assert ended.status == "ended"
    assert rows.sweep() == 0


@pytest.mark.django_db(transaction=True)
def test_a_sweep_forgets_the_dead_though_others_commit_meanwhile() -> None:
    dead = dead_worker_row()
    row = session_row(status=ChatSession.Status.CONNECTED, worker=dead)
    with overtaken("UPDATE", ChatSession, by=session_row()):
        assert WorkerRows(uuid4()).sweep() == 1
    row.refresh_from_db()
    assert (row.status, row.worker) == ("away", None)


def test_a_client_of_a_crashed_server_is_away_since_the_crash(settings: Settings) -> None:
    """However long it had been silent: it was there, and gets all of SESSION_AGE to come back."""
    settings.CHATSESSIONS = {"SESSION_AGE": 3600}
    last_beat = timezone.now() - timedelta(minutes=1)
    row = session_row(
        status=ChatSession.Status.CONNECTED,
        worker=worker_row(heartbeat_at=last_beat),
        last_seen_at=timezone.now() - timedelta(hours=2),
        disconnected_at=None,
    )
    rows = WorkerRows(uuid4())
    rows.sweep()
    row.refresh_from_db()
    assert row.status == "away"
    assert not row.is_expired()
    assert rows.expired(10) == []


def test_who_has_been_away_for_too_long(settings: Settings) -> None:
    settings.CHATSESSIONS = {"SESSION_AGE": 60}
    now = timezone.now()
    ages = [100, 300, 200, 59]
    rows = [session_row(disconnected_at=now - timedelta(seconds=age)) for age in ages]
    long_ago = now - timedelta(days=1)
    session_row(status=ChatSession.Status.CONNECTED, disconnected_at=long_ago)
    session_row(status=ChatSession.Status.ENDED, disconnected_at=long_ago)
    worker = WorkerRows(uuid4())
    oldest_first = [rows[1].pk, rows[2].pk, rows[0].pk]
    assert [one.id for one in worker.expired(10)] == oldest_first
    assert [one.id for one in worker.expired(2)] == oldest_first[:2]


def test_expired_sessions_are_ended_without_a_look_into_the_table_that_is_updated(
    settings: Settings,
) -> None:
    """MySQL refuses a subquery on it (error 1093), and no session would ever end there."""
    settings.CHATSESSIONS = {"SESSION_AGE": 60, "UNUSED_SESSION_AGE": 30}
    now = timezone.now()
    used, unused, recent = (
        session_row(disconnected_at=now - timedelta(seconds=age), has_acted=has_acted)
        for age, has_acted in ((100, True), (40, False), (40, True))
    )
    ids = [used.pk, unused.pk, recent.pk]
    with CaptureQueriesContext(connection) as queries:
        assert WorkerRows(uuid4()).end_expired(ids) == 2
    updates = [one["sql"] for one in queries if one["sql"].startswith("UPDATE")]
    assert updates
    for sql in updates:
        assert 'FROM "chatsessions_chatsession"' not in sql
    recent.refresh_from_db()
    assert not recent.end_reason


def test_how_many_sessions_of_a_user_are_connected() -> None:
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    connected = ChatSession.Status.CONNECTED
    first = session_row(user=ada, status=connected)
    session_row(user=ada, status=connected)
    session_row(user=ada)
    session_row(user=bob, status=connected)
    session_row(status=connected)
    rows = WorkerRows(uuid4())
    assert rows.count_connected(ada.pk, None) == 2
    assert rows.count_connected(ada.pk, first.pk) == 1


# A commit whose answer is lost


class CutOff(Store):
    """Its connection breaks when the database has committed, and before it can say so."""

    cuts = 1

    def _write(self, batch: Batch, changes: Sequence[Change]) -> None:
        super()._write(batch, changes)
        if self.cuts:
            self.cuts -= 1
            batch.doubtful = list(changes)
            raise OperationalError("server closed the connection unexpectedly")


def write_again(changes: list[Change], *, cuts: int = 1) -> Batch:
    """As the journal does it: until it does not fail for a reason that may pass."""
    store, batch = CutOff(), Batch(changes, list(changes))
    store.cuts = cuts
    for _ in range(cuts):
        with pytest.raises(OperationalError):
            store.write(batch)
    store.write(batch)
    assert batch.pending == []
    return batch


def test_entries_whose_commit_was_not_confirmed_are_stored_once() -> None:
    row, other = session_row(), session_row()
    change = change_of(row, entries=[entry(1, n=1), entry(2)])
    change.position.head = 2
    batch = write_again([change, change_of(other, state=b"{}")])
    assert batch.refused == {}
    assert list(row.events.values_list("seq", flat=True)) == [1, 2]


def test_a_new_session_whose_commit_was_not_confirmed_is_there_once() -> None:
    row = session_row()
    fields = {"chat": "counter", "token_hash": "", "client_type": "webapp", "status": "away"}
    fields |= {"created_at": NOW, "thread_id": uuid4()}
    change = change_of(row, insert=True, fields=fields)
    change.session_id = new = uuid4()
    change.session_hex = new.hex
    assert write_again([change]).refused == {}
    assert ChatSession.objects.filter(pk=change.session_id).count() == 1


def test_a_claim_whose_commit_was_not_confirmed_holds() -> None:
    row = session_row()
    change = change_of(row, fields={"worker_id": worker_row().pk})
    change.claims, change.generation = Claim.on(row), row.generation + 1
    assert write_again([change]).refused == {}
    row.refresh_from_db()
    assert row.generation == change.generation


def test_a_claim_of_somebody_else_is_not_ours() -> None:
    row = session_row()
    change = change_of(row, fields={"worker_id": worker_row().pk})
    change.claims, change.generation = Claim.on(row), row.generation + 1
    ChatSession.objects.filter(pk=row.pk).update(
        generation=change.generation, worker=worker_row().pk
    )
    batch = Batch([change], [change], doubtful=[change])
    Store().write(batch)
    assert isinstance(batch.refused[row.pk], OwnershipLost)


def test_a_commit_that_arrives_after_all_is_known() -> None:
    """It was asked for, was not there yet, and is there when it is tried again."""
    row = session_row()
    change = change_of(row, entries=[entry(1)])
    batch = Batch([change], [change], was_in_doubt=True)
    commit(Store(), change)
    Store().write(batch)
    assert (batch.pending, batch.refused) == ([], {})
    assert row.events.count() == 1


def test_entries_of_somebody_else_are_not_ours() -> None:
    row = session_row()
    commit(Store(), change_of(row, entries=[entry(1, data=b'"theirs"')]))
    change = change_of(row, entries=[entry(1, data=b'"ours"')])
    batch = Batch([change], [change], doubtful=[change])
    Store().write(batch)
    assert list(batch.refused) == [row.pk]


@pytest.mark.parametrize(
    "written",
    [
        *({"generation": 9}, {"head": 9}, {"handled": 9}, {"state_revision": 1}),
        *({"running": 1}, {"running": None}, {"aside": 1}, {"end_reason": "user"}),
    ],
    ids=str,
)
def test_a_session_that_its_owner_has_written_since_it_was_read_is_not_claimed(
    written: dict[str, Any],
) -> None:
    """An owner that counted as dead, and woke up in the last moment."""
    row = session_row(running=2)
    change = change_of(row, fields={"worker_id": worker_row().pk})
    change.claims, change.generation = Claim.on(row), row.generation + 1
    ChatSession.objects.filter(pk=row.pk).update(**written)
    assert isinstance(write(Store(), [change])[row.pk], OwnershipLost)


def test_a_dead_worker_is_forgotten_as_its_own_beat_has_written_it(dead_pid: int) -> None:
    """By the database's clock, whose digits a comparison must not depend on."""
    dead, here = WorkerRows(uuid4()), WorkerRows(uuid4())
    dead.beat()
    here.beat()
    Worker.objects.filter(pk=dead._id).update(pid=dead_pid)
    row = session_row(status=ChatSession.Status.CONNECTED, worker_id=dead._id)
    assert here.sweep() == 1
    row.refresh_from_db()
    assert (row.status, row.worker_id) == (ChatSession.Status.AWAY, None)
    assert list(Worker.objects.values_list("pk", flat=True)) == [here._id]


def test_a_worker_that_was_paused_has_its_row_again_before_it_writes() -> None:
    rows = WorkerRows(uuid4())
    store = Store(rows)
    rows.beat()
    session = session_row()
    Worker.objects.all().delete()
    late, begun_at = rows.beats
    rows.beats = (late, begun_at - 16)  # longer than WORKER_STALE
    change = change_of(session, fields={"worker_id": rows._id})
    batch = Batch([change], [change])
    store.commit(batch)
    assert batch.refused == {}
    assert Worker.objects.get().pk == rows._id
    assert rows.beat()  # its sessions are to be claimed again
    assert not rows.beat()
