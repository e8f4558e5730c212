"""
The store: it writes sessions to the database and to Django's cache, and reads them from there.

Everything here is synchronous. The journal and the worker call it in threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from django.core.cache import BaseCache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Min

from chatsessions.conf import settings
from chatsessions.exceptions import CacheFailed
from chatsessions.models import ChatSession, SessionEvent

from .conversation import ConversationMessage
from .database import is_pooled, is_transient
from .journal import Batch, Change, Claim
from .log import Entry, entries_of
from .sql import Statements
from .worker_rows import WorkerRows

logger = logging.getLogger("chatsessions.store")


def is_stored(change: Change) -> bool:
    """
    Return True if the rows have something that only ``change`` can have written.

    For a change that writes nothing unique it returns False; such a change can be stored again.
    """
    if change.entries:
        last = change.entries[-1]
        log = SessionEvent.objects.using(settings.DATABASE).filter(session=change.session_id)
        log = log.filter(seq=last.seq, created_at=last.created_at, n=last.n, name=last.name)
        found = log.first()
        return found is not None and found.data == msgspec.json.decode(last.data)
    row = ChatSession.objects.using(settings.DATABASE).filter(pk=change.session_id)
    if change.insert:
        return row.exists()
    if change.claims is None:
        return False
    # Has this change claimed the session, and not that of another worker?
    claimed = row.filter(generation=change.generation, worker=change.fields.get("worker_id"))
    position = change.position
    return claimed.filter(head=position.head, last_seen_at=position.last_seen_at).exists()


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A session as its owner loads it."""

    row: ChatSession
    #: The columns that have to be unchanged when the session is claimed.
    claim: Claim
    #: All values of user_session as one JSON text.
    state: bytes
    #: Whether the cache has dropped the values, so that they are lost.
    state_lost: bool
    #: The first entry of the log that is kept.
    first: int
    #: The accepted events whose turns have not ended.
    pending: list[Entry]
    #: The latest messages of the session and its thread, if they were asked for.
    said: list[ConversationMessage] | None = None


@dataclass(frozen=True, slots=True)
class Peek:
    """The few columns that say whether a session has changed, and who owns it."""

    generation: int
    worker_id: UUID | None
    status: str
    end_reason: str
    user_id: Any
    connections: int
    head: int
    accepted: int
    handled: int
    handled_ahead: list[int]
    running: int | None
    aside: int | None


#: The columns that hold a session's content.
CONTENTS = (
    "state",
    "chat_context",
    "streams",
    "asks",
    "actions",
    "inputs",
    "applied",
    "handled_ahead",
)
#: The fewest entries for which a cache in local memory must have room.
MIN_LOCAL_ENTRIES = 100_000
#: The most values that are kept for a failing cache and written again later: the latest ones.
MAX_UNCACHED = 1000


class Store:
    """The database and the cache that the settings name."""

    def __init__(self, worker: WorkerRows | None = None) -> None:
        #: The rows of workers, for the worker whose sessions are written.
        self._worker = worker
        self._caches = threading.local()
        self._uncached: dict[str, bytes] = {}
        self._statements: Statements | None = None
        #: The driver's connection that was set up.
        self._prepared: Any = None

    # Writing

    def commit(self, batch: Batch) -> None:
        """
        Store a batch: its rows in one transaction, its values in the cache with one call.

        If the transaction fails for a reason that does not pass by itself, each change is tried
        alone, and those that cannot be stored are put into ``batch.refused``. Raises the error if
        it :func:`is_transient`: the same batch may be tried again, and changes that are stored by
        then are not stored twice.
        """
        cache_first = settings.USER_SESSION_STORE == "cache"
        if cache_first and batch.pending:
            # The cache first, so that a crash in between leaves no entries without their values.
            try:
                self.cache_states(batch.pending)
            except CacheFailed as error:
                self._refuse_uncached(batch, error)
        worker = self._worker
        if worker is not None and time.monotonic() - worker.beats[1] > settings.WORKER_STALE:
            # After a pause of the process another worker may have deleted this worker's row, to
            # which the sessions refer.
            worker.restore()
        if batch.pending:
            self.write(batch)
        if not cache_first:
            self.cache_states(batch.accepted if batch.refused else batch.changes)

    def _refuse_uncached(self, batch: Batch, error: CacheFailed) -> None:
        """
        Refuse the sessions whose values the cache does not take, and go on with the others.

        Values may be too large for the cache. Raises ``error`` if it takes nothing at all.
        """
        if not error.keys or not self._cache_takes_anything():
            raise error
        taken = []
        for change in batch.pending:
            if _key(change.session_hex, change.generation) in error.keys:
                batch.refused[change.session_id] = error
            else:
                taken.append(change)
        batch.pending = taken

    def _cache_takes_anything(self) -> bool:
        try:
            return not self.cache.set_many({"chatsessions:probe": b"1"}, timeout=1)
        except Exception:
            logger.warning("The cache takes nothing", exc_info=True)
            return False

    def write(self, batch: Batch) -> None:
        """Store the rows of a batch."""
        if batch.doubtful:
            self._settle_doubt(batch)
        try:
            try:
                self._write(batch, batch.pending)
            except IntegrityError:
                # This worker's row may be gone, for instance if the tables were flushed.
                if self._worker is None or not self._worker.restore():
                    raise
                self._write(batch, batch.pending)
            batch.pending = []
        except Exception as error:
            if is_transient(error):
                raise
            logger.warning(
                "A commit to the database %r failed as a whole; each session is tried by itself: "
                "%s",
                settings.DATABASE,
                error,
            )
            self._store_one_by_one(batch)

    def _store_one_by_one(self, batch: Batch) -> None:
        while batch.pending:
            change = batch.pending[0]
            try:
                self._write(batch, [change])
            except Exception as error:
                if is_transient(error):
                    raise
                if not (batch.was_in_doubt and is_stored(change)):
                    batch.refused[change.session_id] = error
            del batch.pending[0]

    def _write(self, batch: Batch, changes: Sequence[Change]) -> None:
        connection = connections[settings.DATABASE]
        connection.ensure_connection()
        statements = self._statements
        if statements is None or connection.connection is not self._prepared:
            statements = self._prepare(connection)
        with transaction.atomic(using=settings.DATABASE):
            if connection.vendor == "postgresql" and is_pooled(connection):
                _limit_waiting(connection, for_transaction=True)
            self._write_rows(statements, changes)
            batch.doubtful = list(changes)
        batch.doubtful = []

    def _prepare(self, connection: BaseDatabaseWrapper) -> Statements:
        """Set up a new connection, and return the statements for it."""
        if connection.vendor == "postgresql" and not is_pooled(connection):
            _limit_waiting(connection, for_transaction=False)
        elif connection.vendor == "sqlite":
            _prepare_sqlite(connection)
        if self._statements is None or self._statements.connection is not connection:
            self._statements = Statements(connection)
        self._prepared = connection.connection
        return self._statements

    def _settle_doubt(self, batch: Batch) -> None:
        """Find out whether a commit whose response was lost was stored."""
        batch.was_in_doubt = True
        if any(map(is_stored, batch.doubtful)):  # then all are: it was one transaction
            stored = {change.session_id for change in batch.doubtful}
            batch.pending = [one for one in batch.pending if one.session_id not in stored]
        batch.doubtful = []

    def cache_states(self, changes: Iterable[Change]) -> None:
        """
        Put the values of ``changes`` into the cache with one call.

        A failure raises ``CacheFailed`` under ``USER_SESSION_STORE="cache"``. Under ``cached_db``
        it is logged, and the values are written with the next call.
        """
        states = dict(self._uncached)
        for change in changes:
            if change.state is not None:
                states[_key(change.session_hex, change.generation)] = b"%d:%b" % (
                    change.state_revision,
                    change.state,
                )
        if not states:
            return
        try:
            failed = self.cache.set_many(states, timeout=settings.CACHE_TIMEOUT)
        except Exception as error:
            self._cache_failed(CacheFailed(str(error)), states)
        else:
            self._uncached = {}
            if failed:
                message = f"{len(failed)} of {len(states)} values were not taken"
                self._cache_failed(CacheFailed(message, failed), states)

    def _cache_failed(self, error: CacheFailed, states: dict[str, bytes]) -> None:
        if settings.USER_SESSION_STORE == "cache":
            raise error
        logger.warning("The cache failed; user_session is safe in the database: %s", error)
        left = [(key, state) for key, state in states.items() if key in (error.keys or states)]
        self._uncached = dict(left[-MAX_UNCACHED:])

    def _write_rows(self, statements: Statements, changes: Sequence[Change]) -> None:
        new: list[Change] = []
        known: list[Change] = []
        for change in changes:
            if change.trim is not None or change.trim_bytes:
                statements.choose_trimmed(change)
            (new if change.insert else known).append(change)
        if new:
            statements.insert(new)
        if known:
            statements.update(known)
        statements.insert_entries(changes)
        for change in changes:
            if change.outcomes or change.trim is not None:
                statements.update_outcomes(change)
            if change.ratings:
                statements.write_ratings(change)

    # Reading

    def find(self, session_id: UUID) -> ChatSession | None:
        """
        Return a session's row without its contents, or None if there is no such session.

        This is enough to decide whether a client is refused; values may take a megabyte.
        """
        rows = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id).timed()
        row = rows.select_related("worker").defer(*CONTENTS).first()
        return None if row is None else _with_time(row)

    def load(self, session_id: UUID) -> Loaded | None:
        """Return a session with all that its owner needs, or None if there is no such session."""
        return next(iter(self.load_all([session_id])), None)

    def load_all(self, session_ids: Collection[UUID]) -> list[Loaded]:
        """Return several sessions as :meth:`load` does, without those that do not exist."""
        rows = ChatSession.objects.using(settings.DATABASE).select_related("user", "worker")
        rows = rows.timed().defer("state").filter(pk__in=session_ids)
        found = [_with_time(row) for row in rows]
        if not found:
            return []
        states, log = self.read_states(found), SessionEvent.objects.using(settings.DATABASE)
        events = log.filter(session__in=[row.pk for row in found]).order_by()
        firsts = dict(events.values_list("session").annotate(first=Min("seq")))
        return [
            Loaded(
                row=row,
                claim=Claim.on(row),
                state=states[row.pk][0],
                state_lost=states[row.pk][1],
                first=firsts.get(row.pk, row.head + 1),
                pending=entries_of(log.filter(session=row.pk, n__gt=row.handled).order_by("n"))
                if row.accepted > row.handled
                else [],
            )
            for row in found
        ]

    def read_state(self, row: ChatSession) -> tuple[bytes, bool]:
        """Do for one row what :meth:`read_states` does for several."""
        return self.read_states([row])[row.pk]

    def read_states(self, rows: Collection[ChatSession]) -> dict[UUID, tuple[bytes, bool]]:
        """
        Return the values of each of ``rows`` as JSON, and whether the cache has lost them.

        The rows may be read without ``state``. The cache is read first. Under ``cached_db`` the
        database is read for values that the cache lacks, or has in another revision than the row;
        under ``cache`` a cache that fails raises ``CacheFailed``.
        """
        if settings.USER_SESSION_STORE == "cache":
            kept = self._read_cache(rows)
            return {
                row.pk: (kept[row.pk][1], False) if row.pk in kept else (b"", row.state_bytes > 0)
                for row in rows
            }
        wanted = {row.pk: row.state_revision for row in rows if row.state_bytes}
        try:
            cached = self._read_cache([row for row in rows if row.pk in wanted])
        except CacheFailed as error:
            logger.warning("The cache failed; user_session is read from the database: %s", error)
            cached = {}
        found = {pk: state for pk, (revision, state) in cached.items() if revision == wanted[pk]}
        if missing := wanted.keys() - found.keys():
            stored = ChatSession.objects.using(settings.DATABASE).filter(pk__in=missing)
            for pk, state in stored.values_list("pk", "state"):
                found[pk] = state.encode()
        return {row.pk: (found.get(row.pk, b""), False) for row in rows}

    def _read_cache(self, rows: Collection[ChatSession]) -> dict[UUID, tuple[int, bytes]]:
        """Return the values of ``rows`` that the cache has, each with its revision."""
        keys = {cache_key(row.pk, row.generation): row.pk for row in rows}
        try:
            found = self.cache.get_many(keys) if keys else {}
        except Exception as error:
            raise CacheFailed(str(error)) from error
        return {keys[key]: parts for key, value in found.items() if (parts := _parts(value))}

    def touch(self, held: Mapping[UUID, int]) -> list[UUID]:
        """
        Make the cache keep sessions' values for another ``CACHE_TIMEOUT`` seconds.

        ``held`` has the sessions' generations by id. Returns the sessions whose values the cache
        does not have. Raises the errors of the cache.
        """
        timeout = settings.CACHE_TIMEOUT
        return [
            session_id
            for session_id, generation in held.items()
            if not self.cache.touch(cache_key(session_id, generation), timeout=timeout)
        ]

    @property
    def cache(self) -> BaseCache:
        """The cache, with one client per thread, as not all clients are thread-safe."""
        cache: BaseCache | None = getattr(self._caches, "cache", None)
        if cache is None:
            cache = self._caches.cache = connect_cache(settings.CACHE)
        return cache


def connect_cache(alias: str) -> BaseCache:
    """
    Return the cache of an alias in ``CACHES``, or a larger one if it is a small local-memory cache.

    Django's default cache keeps 300 entries and drops others, also those of live sessions. A larger
    one can replace it, as no other process reads it.
    """
    cache = caches.create_connection(alias)
    if type(cache) is not LocMemCache or cache._max_entries >= MIN_LOCAL_ENTRIES:
        return cache
    config = {**caches.settings[alias], "OPTIONS": {"MAX_ENTRIES": MIN_LOCAL_ENTRIES}}
    return LocMemCache(f"chatsessions:{config.get('LOCATION', '')}", config)


def _with_time(row: ChatSession) -> ChatSession:
    """Copy ``read_at`` to the row's worker, if that was read with the row."""
    if row.worker is not None:
        row.worker.read_at = row.read_at
    return row


def _prepare_sqlite(connection: Any) -> None:
    """
    Let readers and commits wait for each other as little as possible.

    A transaction takes its lock when it begins, so that it does not fail later because of another
    writer. Write-ahead logging is switched on, so that readers do not wait for commits, unless an
    ``init_command`` sets ``journal_mode``, as a file on a network disk needs.
    """
    connection.transaction_mode = connection.transaction_mode or "IMMEDIATE"
    command = connection.settings_dict["OPTIONS"].get("init_command") or ""
    if "journal_mode" not in command.lower():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")


def _limit_waiting(connection: BaseDatabaseWrapper, *, for_transaction: bool) -> None:
    """
    Limit how long a transaction of the journal may block others, and may itself wait.

    If a worker is paused in the middle of a commit, PostgreSQL ends its transaction when the worker
    counts as dead; otherwise workers that claim its sessions would wait for it. A commit that waits
    too long for a lock is given up and tried again, so that heartbeats are written in between.
    """
    stale = settings.WORKER_STALE * 1000
    limits = (("idle_in_transaction_session_timeout", stale), ("lock_timeout", stale / 3))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(%s, %s, %s), set_config(%s, %s, %s)",
            [
                one
                for name, milliseconds in limits
                for one in (name, f"{max(1, int(milliseconds))}ms", for_transaction)
            ],
        )


def peek_at(session_id: UUID) -> Peek | None:
    """Return the :class:`Peek` of a session, or None if there is no such session."""
    rows = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id)
    found = rows.values_list(*Peek.__annotations__).first()
    return None if found is None else Peek(*found)


def cache_key(session_id: UUID, generation: int) -> str:
    """
    Return the key of a session's values in the cache, which are kept as ``revision:values``.

    Under ``USER_SESSION_STORE="cache"`` the key has the owner's generation, so that nobody reads
    values of an owner that has lost the session. Under ``cached_db`` outdated values are recognized
    by the row's revision.
    """
    return _key(session_id.hex, generation)


def _parts(value: object) -> tuple[int, bytes] | None:
    """Return revision and values from a cache entry; None if it is something else."""
    revision, _, state = value.partition(b":") if isinstance(value, bytes) else (b"", b"", b"")
    return (int(revision), state) if revision.isdigit() else None


def _key(session_hex: str, generation: int) -> str:
    if settings.USER_SESSION_STORE == "cache":
        return f"chatsessions:{session_hex}:{generation}"
    return f"chatsessions:{session_hex}"
