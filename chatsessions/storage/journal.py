"""
The journal: group commit, the only place that writes sessions.

Sessions hand it nothing; they tell it that they have something to store (:meth:`Journal.note`).
A single writer takes what all of them have at that moment, stores it in one transaction and one
cache call, and tells each of them. While it writes, the next batch gathers by itself: no timer,
nothing waits when the journal is idle, and batches grow with the load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context
from datetime import datetime
from typing import Protocol
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.exceptions import StoreUnavailable

from .changes import (
    Batch,
    Change,
)
from .connections import is_transient
from .executors import Executors
from .store import (
    CacheFailed,
    Store,
)

logger = logging.getLogger("chatsessions.journal")

#: Seconds between the tries of a failing commit: doubled from the first to the last.
FIRST_RETRY = 0.05
LAST_RETRY = 1.0
#: Seconds between the log's lines that say that nothing can be stored.
REMINDER = 60.0


class Writes(Protocol):
    """What the journal asks of a session."""

    @property
    def id(self) -> UUID: ...

    def take_change(self, now: datetime) -> Change | None:
        """What there is to store now. It is not asked again before this is stored or refused."""

    def committed(self, change: Change) -> None:
        """``change`` is stored: what it covers may be told."""

    def refused(self, change: Change | None, error: Exception) -> None:
        """``change`` cannot be stored, now or later."""

    def delayed(self, error: StoreUnavailable) -> None:
        """The store takes nothing for ``STORE_TIMEOUT``; it is tried further."""


class Journal:
    """Commits the changes of one worker's sessions, many at a time, each session's in order."""

    def __init__(self, store: Store, threads: Executors) -> None:
        self._store = store
        self._threads = threads
        #: In the order in which they came.
        self._noted: dict[Writes, None] = {}
        self._writing: list[tuple[Writes, Change]] = []
        self._task: asyncio.Task[None] | None = None
        #: Whether the task was cancelled: it tries each batch that is left once, and ends.
        self._cancelled = False
        self._room: asyncio.Event | None = None
        self._entries = 0
        #: None, or why the store is not taking commits.
        self.failure: StoreUnavailable | None = None
        #: When the batch under way was begun, by ``time.monotonic()``, and what it failed with.
        self._begun_at = 0.0
        self._last_error: Exception | None = None
        self._reminder: asyncio.TimerHandle | None = None
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
    def stuck_for(self) -> float | None:
        """For how many seconds nothing could be stored; None unless that is ``STORE_TIMEOUT``."""
        if self.failure is None:
            return None
        return time.monotonic() - self._begun_at

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
        while self._task is not None:
            await asyncio.wait([self._task])

    async def abandon(self) -> None:
        """Stop trying: what is being written is stored or refused, the rest is lost."""
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
            self._writing = self._gather()
            if self._writing:
                await self._commit(self._writing)

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
        batch = []
        now = settings.now()
        for session in noted:
            try:
                change = session.take_change(now)
            except Exception as error:
                logger.exception("Session %s cannot say what to store", session.id)
                _tell(session, None, error)
            else:
                if change is not None:
                    batch.append((session, change))
        return batch

    async def _commit(self, batch: list[tuple[Writes, Change]]) -> None:
        self._begun_at = time.monotonic()
        self._last_error = None
        self._reminder = asyncio.get_running_loop().call_later(settings.STORE_TIMEOUT, self._fail)
        stored = Batch([change for _, change in batch])
        try:
            await self._persist(stored)
        except Exception as error:
            if not _may_pass(error):  # else it was cancelled
                logger.exception("A commit failed for a reason of the program's own")
            stored.refused = {change.session_id: error for change in stored.changes}
        finally:
            self._reminder.cancel()
            self._entries -= sum(len(change.entries) for _, change in batch)
        if self.failure is not None:
            logger.warning("The store takes commits again.")
            self.failure = None
        self.batches += 1
        self._wake()
        for session, change in batch:
            refusal = stored.refused.get(change.session_id) if stored.refused else None
            _tell(session, change, refusal)

    async def _persist(self, batch: Batch) -> None:
        """
        Try until it does not fail for a reason that may pass.

        Once the journal is cancelled, the failure of what is being tried is raised.
        """
        delay = FIRST_RETRY
        while True:
            try:
                written = self._threads.start_write(self._store.commit, batch)
                while not written.done():  # its thread goes on, whoever cancels the journal
                    try:
                        await asyncio.wait([written])
                    except asyncio.CancelledError:
                        self._cancelled = True
                return written.result()
            except Exception as error:
                if self._cancelled or not _may_pass(error):
                    raise
                self._failed(batch, error)
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                self._cancelled = True
            delay = min(2 * delay, LAST_RETRY)

    def _failed(self, batch: Batch, error: Exception) -> None:
        """Say what a commit failed with; loudly if it is not what it failed with before."""
        is_known = str(error) == str(self._last_error)
        logger.log(
            logging.DEBUG if is_known else logging.WARNING,
            "A commit of %d sessions failed, trying again: %s",
            len(batch.changes),
            _where(error),
        )
        self._last_error = error

    def _fail(self) -> None:
        """The batch has been tried for ``STORE_TIMEOUT``: say so to whoever waits for it."""
        self.failure = StoreUnavailable(settings.STORE_TIMEOUT)
        self._remind()
        self._wake()
        for session in [session for session, _ in self._writing] + list(self._noted):
            session.delayed(self.failure)

    def _remind(self) -> None:
        """Say in the log that nothing can be stored, now and every minute."""
        reason = "no answer yet" if self._last_error is None else _where(self._last_error)
        logger.error(
            "Nothing could be stored for %d s, and %d sessions wait for it: %s",
            self.stuck_for or 0,
            len(self._writing) + len(self._noted),
            reason,
        )
        self._reminder = asyncio.get_running_loop().call_later(REMINDER, self._remind)

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


def _may_pass(error: Exception) -> bool:
    return isinstance(error, CacheFailed) or is_transient(error)


def _where(error: Exception) -> str:
    """What failed, with the alias of the cache or of the database that it came from."""
    if isinstance(error, CacheFailed):
        return f"the cache {settings.CACHE!r}: {error}"
    return f"the database {settings.DATABASE!r}: {error}"


def _tell(session: Writes, change: Change | None, error: Exception | None) -> None:
    """One session's trouble with the news is not its neighbours'."""
    try:
        if error is not None:
            session.refused(change, error)
        elif change is not None:
            session.committed(change)
    except Exception:
        logger.exception("Session %s failed to go on after a commit", session.id)
