"""
The journal: group commit, the only place that writes sessions.

Sessions hand it nothing; they tell it that they have something to store (:meth:`Journal.note`).
A single writer takes what all of them have at that moment, stores it in one transaction and one
cache call, and tells each of them. While it writes, the next batch gathers by itself: no timer,
nothing waits when the journal is idle, and batches grow with the load. What may leave its row
behind (:mod:`chatsessions.store.lag`) needs the cache alone; its row follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connections

from .conf import settings
from .exceptions import StoreUnavailable
from .store.changes import Batch, Change
from .store.lag import LAG
from .store.store import TRANSIENT, CacheFailed, Store

logger = logging.getLogger("chatsessions.journal")

T = TypeVar("T")

#: Seconds between the tries of a failing commit: doubled from the first to the last.
FIRST_RETRY = 0.05
LAST_RETRY = 1.0


class Writes(Protocol):
    """What the journal asks of a session."""

    @property
    def id(self) -> UUID: ...

    def take_change(self, now: datetime, *, row_is_due: bool) -> Change | None:
        """
        What there is to store now. It is not asked again before this is stored or refused.

        One whose row has been behind for long enough has to bring it up to date.
        """

    def committed(self, change: Change) -> None:
        """``change`` is stored: what it covers may be told."""

    def refused(self, change: Change | None, error: Exception) -> None:
        """``change`` cannot be stored, now or later."""

    def delayed(self, error: StoreUnavailable) -> None:
        """The store takes nothing for ``STORE_TIMEOUT``; it is tried further."""


class Threads:
    """
    Where the store runs: one thread that writes and one that reads, with connections of their own.

    Under ``JOURNAL_INLINE`` both are the caller's thread, so that a ``TestCase`` sees all of it.
    """

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="chatsessions-journal")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="chatsessions-reader")

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        return await self.start_write(function, *args)

    def start_write(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """As :meth:`write`, for a caller that has to learn the outcome even if it is cancelled."""
        return self._start(self._writer, function, *args)

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        return await self._start(self._reader, _with_fresh_connection, function, *args)

    def read_now(self, function: Callable[[], T]) -> T:
        """
        As :meth:`read`, and the event loop waits for it: where nothing else will do.

        Raises ``RuntimeError`` under ``JOURNAL_INLINE``, where it would wait for itself.
        """
        if settings.JOURNAL_INLINE:
            raise RuntimeError(
                "With JOURNAL_INLINE nothing can be read while the event loop waits; "
                "call 'await chat_context.aget()' first."
            )
        return self._reader.submit(_with_fresh_connection, function).result()

    async def close(self) -> None:
        """Wait for what runs, and close the threads' connections."""
        for executor in (self._writer, self._reader):
            if not settings.JOURNAL_INLINE:
                await self._start(executor, connections.close_all)
            executor.shutdown(wait=False)

    def _start(
        self, executor: ThreadPoolExecutor, function: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        if settings.JOURNAL_INLINE:
            # Not database_sync_to_async: it closes a connection that is in a transaction.
            return asyncio.ensure_future(sync_to_async(function)(*args))
        return asyncio.get_running_loop().run_in_executor(executor, function, *args)


def _with_fresh_connection(function: Callable[..., T], *args: Any) -> T:
    """One more try on a new connection, for one that the database had closed meanwhile."""
    try:
        return function(*args)
    except TRANSIENT:
        connections[settings.DATABASE].close_if_unusable_or_obsolete()
        return function(*args)


class Journal:
    """Commits the changes of one worker's sessions, many at a time, each session's in order."""

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store
        self._threads = threads
        #: In the order in which they came.
        self._noted: dict[Writes, None] = {}
        self._writing: list[tuple[Writes, Change]] = []
        #: Sessions whose rows are behind, and those of them whose rows are to be written next.
        self._behind: dict[Writes, None] = {}
        self._due: dict[Writes, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        #: Whether the task was cancelled: it tries each batch that is left once, and ends.
        self._cancelled = False
        self._room: asyncio.Event | None = None
        self._entries = 0
        #: None, or why the store is not taking commits.
        self.failure: StoreUnavailable | None = None
        #: Batches committed so far.
        self.batches = 0

    # For the sessions

    def note(self, session: Writes) -> None:
        """``session`` has something to store. To be called in the worker's event loop."""
        self._noted[session] = None
        if self._task is None:
            # Of nobody's context: it writes for all, and outlives whoever was first.
            self._task = asyncio.get_running_loop().create_task(
                self._drain(), name="chatsessions-journal", context=Context()
            )
            self._task.add_done_callback(self._drained)

    def count(self, entries: int) -> None:
        """``entries`` more wait to be stored."""
        self._entries += entries

    @property
    def is_full(self) -> bool:
        """Whether emitting should wait."""
        return self._entries >= settings.MAX_JOURNAL_ENTRIES

    async def room(self) -> None:
        """Wait until the journal is less than full. Raises ``StoreUnavailable``."""
        while self.is_full:
            if self.failure is not None:
                raise self.failure
            self._room = self._room or asyncio.Event()
            await self._room.wait()

    async def settled(self) -> None:
        """Wait until there is nothing to store."""
        self._catch_up()
        while self._task is not None:
            await asyncio.wait([self._task])
            self._catch_up()

    async def abandon(self) -> None:
        """Stop trying: what is being written is stored or refused, the rest is lost."""
        if self._timer is not None:
            self._timer.cancel()
        self._noted.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # The writer

    async def _drain(self) -> None:
        while self._noted:
            # One turn of the loop, so that what happens at the same time shares a batch.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self._cancelled = True
            self._writing = gathered = self._gather()
            # What needs no row does not wait for those that do.
            lagging = [one for one in gathered if one[1].lags]
            others = [one for one in gathered if not one[1].lags]
            await self._commit(lagging)
            await self._commit(others)

    def _drained(self, task: asyncio.Task[None]) -> None:
        self._writing = []
        self._task = None
        self._cancelled = False
        self._wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("The journal failed; it is started again", exc_info=error)
        for session in self._noted:  # since then, or before it was cancelled
            self.note(session)
            break

    def _gather(self) -> list[tuple[Writes, Change]]:
        noted, self._noted = self._noted, {}
        due, self._due = self._due, {}
        batch = []
        now = settings.now()
        for session in noted:
            try:
                change = session.take_change(now, row_is_due=session in due)
            except Exception as error:
                logger.exception("Session %s cannot say what to store", session.id)
                _tell(session, None, error)
            else:
                if change is not None:
                    batch.append((session, change))
        return batch

    async def _commit(self, batch: list[tuple[Writes, Change]]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(settings.STORE_TIMEOUT, self._fail)
        stored = Batch([change for _, change in batch], self._store.pauses())
        try:
            await self._persist(stored)
        except (*TRANSIENT, CacheFailed) as error:
            stored.refused = {change.session_id: error for change in stored.changes}
        except Exception as error:
            logger.exception("A commit failed for a reason of the program's own")
            stored.refused = {change.session_id: error for change in stored.changes}
        finally:
            deadline.cancel()
            self._entries -= sum(len(change.entries) for _, change in batch)
        if self.failure is not None:
            logger.warning("The store takes commits again.")
            self.failure = None
        self.batches += 1
        self._wake()
        for session, change in batch:
            if change.lags:
                self._behind[session] = None
            else:
                self._behind.pop(session, None)
            refusal = stored.refused.get(change.session_id) if stored.refused else None
            _tell(session, change, refusal)
        if self._behind and self._timer is None:
            self._timer = loop.call_later(LAG, self._catch_up)

    def _catch_up(self) -> None:
        """Write the rows that are behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.update(self._behind)
        self._behind = {}
        for session in self._due:
            self.note(session)

    async def _persist(self, batch: Batch) -> None:
        """
        Try until it does not fail for a reason that may pass.

        Once the journal is cancelled, the failure of what is being tried is raised.
        """
        delay = FIRST_RETRY
        while True:
            try:
                if batch.lags and self._store.is_near:
                    return self._store.commit(batch)
                written = self._threads.start_write(self._store.commit, batch)
                while not written.done():  # its thread goes on, whoever cancels the journal
                    try:
                        await asyncio.wait([written])
                    except asyncio.CancelledError:
                        self._cancelled = True
                return written.result()
            except (*TRANSIENT, CacheFailed) as error:
                count = len(batch.changes)
                if self._cancelled:
                    raise
                logger.warning("A commit of %d sessions failed, trying again: %s", count, error)
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                self._cancelled = True
            delay = min(2 * delay, LAST_RETRY)

    def _fail(self) -> None:
        """The batch has been tried for ``STORE_TIMEOUT``: say so to whoever waits for it."""
        self.failure = StoreUnavailable(settings.STORE_TIMEOUT)
        logger.error("%s", self.failure)
        self._wake()
        for session in [session for session, _ in self._writing] + list(self._noted):
            session.delayed(self.failure)

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


def _tell(session: Writes, change: Change | None, error: Exception | None) -> None:
    """One session's trouble with the news is not its neighbours'."""
    try:
        if error is not None:
            session.refused(change, error)
        elif change is not None:
            session.committed(change)
    except Exception:
        logger.exception("Session %s failed to go on after a commit", session.id)
