"""
The journal: it stores the changes of all sessions of a worker, many in one commit.

A session tells the journal that it has something to store (:meth:`Journal.note`). The journal asks
all such sessions for their changes, has the store write them in one transaction and one cache call,
and tells each session that its change is stored. Meanwhile changes for the next batch gather. There
is no timer: an idle journal stores at once, and batches grow with the load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone
from msgspec import Struct

from chatsessions.conf import settings
from chatsessions.exceptions import CacheFailed, StoreUnavailable
from chatsessions.timers import CATCH_UP, is_overdue

from .database import is_transient
from .log import Entry

if TYPE_CHECKING:
    from chatsessions.models import ChatSession

logger = logging.getLogger("chatsessions.journal")

#: Seconds between the tries of a failing commit: doubled from the first to the last.
FIRST_RETRY = 0.05
LAST_RETRY = 1.0
#: Seconds between two log messages that nothing can be stored.
REMINDER = 60.0


# Objects that are created for every message are Structs: a dataclass takes several times as long.
# Those that have only values cannot be in a cycle, so the garbage collector skips them (gc=False).


class Position(Struct, kw_only=True, gc=False):
    """The columns of a session's row that change with every event."""

    accepted: int
    handled: int
    running: int | None
    head: int
    events_in: int
    events_out: int
    turns_failed: int
    #: The bytes of the log entries that are kept.
    log_bytes: int = 0
    #: When a client was last connected. The last field: ``sql`` adapts it for the database.
    last_seen_at: datetime

    @classmethod
    def of(cls, row: ChatSession) -> Position:
        columns = {name: getattr(row, name) for name in cls.__struct_fields__}
        if row.last_seen_at is None:  # a new row
            columns["last_seen_at"] = timezone.now()
        return cls(**columns)

    @property
    def is_idle(self) -> bool:
        """Whether no turn is running or waiting."""
        return self.running is None and self.handled >= self.accepted


class Claim(Struct, kw_only=True, frozen=True, gc=False):
    """
    The columns of a row that must be unchanged since it was read, so that its session is claimed.

    The last owner counts as dead, but may have gone on meanwhile and written once more.
    """

    generation: int
    head: int
    handled: int
    state_revision: int
    running: int | None
    aside: int | None
    end_reason: str

    @classmethod
    def on(cls, row: ChatSession) -> Claim:
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class Rating(Struct, kw_only=True, gc=False):
    """Feedback of the user on one message, which has the entry ``seq``."""

    message: str
    seq: int
    #: ``up`` or ``down``; None if it was taken back.
    value: str | None
    comment: str


class Change(Struct, kw_only=True):
    """The changes of one session that one commit stores."""

    session_id: UUID
    #: The id in hexadecimal, as SQLite and the keys of the cache have it.
    session_hex: str
    generation: int
    #: The session's own position object until the journal takes the change, then a copy.
    position: Position
    entries: list[Entry] = []
    #: All values of user_session as one JSON text; None if they have not changed.
    state: bytes | None = None
    #: How often the values were written, by this owner and earlier ones.
    state_revision: int = 0
    #: Other columns to write, by field name.
    fields: dict[str, Any] = {}
    #: The values that the row must have, if this change claims the session.
    claims: Claim | None = None
    #: Whether the row is new; ``fields`` then have all the columns that it needs.
    insert: bool = False
    #: The statuses of turns that did not end as ``done``: ``n`` and status.
    outcomes: list[tuple[int, str]] = []
    #: Feedback, the latest last.
    ratings: list[Rating] = []
    #: Delete the entries up to this one.
    trim: int | None = None
    #: Delete the oldest entries, of this many bytes in all. The store sets ``trim`` accordingly.
    trim_bytes: int = 0
    #: The first entry that must not be deleted.
    needed: int | None = None
    #: How many bytes are deleted; None until the store has found out.
    trimmed_bytes: int | None = None


class Batch(Struct):
    """The changes of many sessions that are stored together."""

    changes: list[Change]
    #: The changes whose rows are not stored yet: all of them at first.
    pending: list[Change]
    #: The errors of changes that cannot be stored, now or later, by session.
    refused: dict[UUID, Exception] = {}
    #: The changes of a commit whose response was lost: they may be stored or not.
    doubtful: list[Change] = []
    #: Whether a response was ever lost: that commit may arrive late.
    was_in_doubt: bool = False

    @property
    def accepted(self) -> list[Change]:
        """The changes that are not refused."""
        return [change for change in self.changes if change.session_id not in self.refused]


class ChangeSource(ABC):
    """The interface through which the journal stores one session."""

    __slots__ = ()

    id: UUID

    @abstractmethod
    def take_change(self, now: datetime) -> Change | None:
        """
        Return the change to store; None if there is none.

        The journal asks again only after this change is stored or refused.
        """

    @abstractmethod
    def committed(self, change: Change) -> None:
        """Note that ``change`` is stored, so that its entries can be sent."""

    @abstractmethod
    def refused(self, change: Change | None, error: Exception) -> None:
        """Note that ``change`` cannot be stored, now or later."""

    @abstractmethod
    def delayed(self, error: StoreUnavailable) -> None:
        """Note that nothing was stored for ``STORE_TIMEOUT`` seconds; the journal keeps trying."""


class Journal:
    """Commits the changes of one worker's sessions, many at a time, each session's in order."""

    def __init__(
        self, write: Callable[[Batch], asyncio.Future[None]], now: Callable[[], datetime]
    ) -> None:
        #: Stores a batch in the writer's thread.
        self._write = write
        #: Returns the database's time: the times of entries are the same for all workers.
        self.now = now
        #: The sessions that have something to store, in the order of their calls of ``note()``.
        self._noted: dict[ChangeSource, None] = {}
        #: The sessions whose changes are being written.
        self._writing: list[ChangeSource] = []
        self._task: asyncio.Task[None] | None = None
        #: Whether the task was cancelled: then each remaining batch is tried once.
        self._cancelled = False
        self._room: asyncio.Event | None = None
        #: How many entries wait to be stored, in all sessions.
        self.waiting = 0
        #: Why nothing can be stored; None while storing works.
        self.failure: StoreUnavailable | None = None
        #: When the current batch was begun, by ``time.monotonic()``, and its last error.
        self._begun_at = 0.0
        self._last_error: Exception | None = None
        self._reminder: asyncio.TimerHandle | None = None
        #: Batches committed so far.
        self.batches = 0

    # For the sessions

    def note(self, session: ChangeSource) -> None:
        """Store the changes of ``session`` soon. Call it in the worker's event loop."""
        self._noted[session] = None
        if self._task is None:
            # In an empty context, as it writes for all sessions.
            self._task = asyncio.get_running_loop().create_task(
                self._drain(), name="chatsessions-journal", context=Context()
            )
            self._task.add_done_callback(self._drained)

    @property
    def stuck_for(self) -> float | None:
        """For how many seconds nothing could be stored; None if less than ``STORE_TIMEOUT``."""
        if self.failure is None:
            return None
        return time.monotonic() - self._begun_at

    @property
    def is_full(self) -> bool:
        """Whether ``emit()`` has to wait."""
        return self.waiting >= settings.MAX_JOURNAL_ENTRIES

    async def room(self) -> None:
        """Wait until the journal is not full. Raises ``StoreUnavailable``."""
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
        """Stop. The batch that is being written is stored or refused; other changes are dropped."""
        self._noted.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # The writer

    async def _drain(self) -> None:
        while self._noted:
            # One pass of the event loop, so that changes of the same moment share a batch.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self._cancelled = True
            changes = self._gather()
            if not changes:
                continue
            batch = Batch(changes, list(changes))
            self._begun_at = time.monotonic()
            self._last_error = None
            loop = asyncio.get_running_loop()
            self._reminder = loop.call_later(settings.STORE_TIMEOUT, self._time_out)
            try:
                await self._persist(batch)
            except Exception as error:
                if not is_transient(error):  # else the journal was cancelled
                    logger.exception("A commit failed for a reason of the program's own")
                batch.refused = {change.session_id: error for change in changes}
            finally:
                self._reminder.cancel()
                for change in changes:
                    self.waiting -= len(change.entries)
            self._tell(batch)

    def _drained(self, task: asyncio.Task[None]) -> None:
        self._writing = []
        self._task = None
        self._cancelled = False
        if self._room is not None:
            self._wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("The journal failed; it is started again", exc_info=error)
        for session in self._noted:  # if any session is left, start again
            self.note(session)
            break

    def _gather(self) -> list[Change]:
        """Return the changes of the noted sessions, and keep these sessions in ``_writing``."""
        noted, self._noted = self._noted, {}
        self._writing, changes = [], []
        now = self.now()
        for session in noted:
            try:
                change = session.take_change(now)
            except Exception as error:
                logger.exception("Session %s cannot say what to store", session.id)
                _refuse(session, None, error)
            else:
                if change is not None:
                    self._writing.append(session)
                    changes.append(change)
        return changes

    def _tell(self, batch: Batch) -> None:
        """Tell the sessions whether their changes are stored or refused."""
        if self.failure is not None:
            logger.warning("The store takes commits again.")
            self.failure = None
        self.batches += 1
        if self._room is not None:
            self._wake()
        for session, change in zip(self._writing, batch.changes, strict=True):
            if change.session_id in batch.refused:
                _refuse(session, change, batch.refused[change.session_id])
                continue
            try:
                session.committed(change)
            except Exception:  # the other sessions are told all the same
                logger.exception("Session %s failed to go on after a commit", session.id)

    async def _persist(self, batch: Batch) -> None:
        """
        Store a batch, and try again as long as the error :func:`is_transient`.

        Raises any other error, and every error after the journal was cancelled.
        """
        delay = FIRST_RETRY
        while True:
            try:
                written = self._write(batch)
                while not written.done():  # a cancellation does not stop the writer's thread
                    try:
                        await asyncio.wait([written])
                    except asyncio.CancelledError:
                        self._cancelled = True
                return written.result()
            except Exception as error:
                if self._cancelled or not is_transient(error):
                    raise
                self._failed(batch, error)
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                self._cancelled = True
            delay = min(2 * delay, LAST_RETRY)

    def _failed(self, batch: Batch, error: Exception) -> None:
        """Log why a commit failed: as a warning, or as debug if it is the same error again."""
        is_known = str(error) == str(self._last_error)
        logger.log(
            logging.DEBUG if is_known else logging.WARNING,
            "A commit of %d sessions failed, trying again: %s",
            len(batch.changes),
            _where(error),
        )
        self._last_error = error

    def _time_out(self) -> None:
        """
        Call :meth:`_fail`, after a hold-up of the event loop ``CATCH_UP`` seconds later.

        The commit may have succeeded during the hold-up.
        """
        # Not a Timer, which would take another object and two calls for each batch.
        loop = asyncio.get_running_loop()
        if self._reminder is not None and is_overdue(loop, self._reminder):
            self._reminder = loop.call_later(CATCH_UP, self._fail)
        else:
            self._fail()

    def _fail(self) -> None:
        """Tell all sessions that wait that the batch failed for ``STORE_TIMEOUT`` seconds."""
        self.failure = StoreUnavailable(settings.STORE_TIMEOUT)
        self._remind()
        self._wake()
        for session in [*self._writing, *self._noted]:
            session.delayed(self.failure)

    def _remind(self) -> None:
        """Log that nothing can be stored, now and every minute."""
        reason = "no answer yet" if self._last_error is None else _where(self._last_error)
        logger.error(
            "Nothing could be stored for %d s, and %d sessions wait for it: %s",
            self.stuck_for or 0,
            len(self._writing) + len(self._noted),
            reason,
        )
        self._reminder = asyncio.get_running_loop().call_later(REMINDER, self._remind)

    def _wake(self) -> None:
        """Wake the code that waits for room, so that it checks again."""
        if self._room is not None:
            self._room.set()
            self._room = None


def _where(error: Exception) -> str:
    """Return the error with the alias of the cache or database that failed."""
    if isinstance(error, CacheFailed):
        return f"the cache {settings.CACHE!r}: {error}"
    return f"the database {settings.DATABASE!r}: {error}"


def _refuse(session: ChangeSource, change: Change | None, error: Exception) -> None:
    """Tell a session that its change is refused, and log what that raises."""
    try:
        session.refused(change, error)
    except Exception:
        logger.exception("Session %s failed to go on after a commit", session.id)
