"""``PendingChange``: what a session has changed since its last commit, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.handlers.emitter import encode_data
from chatsessions.storage.journal import Change, Claim, Journal, Position
from chatsessions.storage.log import Entry


class PendingChange:
    """Gathers one session's next :class:`~chatsessions.storage.journal.Change`."""

    __slots__ = (
        "_leaving",
        "_next",
        "_state_revision",
        "_taken",
        "_tell_journal",
        "_then",
        "_waiters",
        "entries",
        "is_closed",
        "is_noted",
        "is_stored",
    )

    def __init__(
        self,
        session_id: UUID,
        *,
        generation: int,
        position: Position,
        claims: Claim | None,
        state_revision: int = 0,
        tell_journal: Callable[[], None],
    ) -> None:
        #: How often the values were written, what was taken last included.
        self._state_revision = state_revision
        self._tell_journal = tell_journal
        self._next = Change(
            session_id=session_id,
            session_hex=session_id.hex,
            generation=generation,
            position=position,
            claims=claims,
            insert=claims is None,  # a session that nobody held before is a new row
        )
        #: The entries to be stored next.
        self.entries = self._next.entries = []
        #: Whether anything is stored: the session is this worker's, and not only to be.
        self.is_stored = False
        #: Whether the journal knows that there is something.
        self.is_noted = False
        #: Whether nothing more is stored: the session is not this worker's any more.
        self.is_closed = False
        #: The entries that the journal is storing now.
        self._leaving: list[Entry] = []
        self._then: list[Callable[[], None]] = []
        self._taken: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def generation(self) -> int:
        """By which the store knows this owner."""
        return self._next.generation

    @property
    def unstored(self) -> list[Entry]:
        """The entries that are not known to be stored, oldest first."""
        return self._leaving + self.entries

    # What is gathered

    def set(self, **fields: Any) -> None:
        """Set columns of the row other than its position."""
        self._next.fields.update(fields)

    def set_state(self, state: bytes) -> None:
        """Set all values of user_session, as one JSON text."""
        self._next.state = state

    def set_outcome(self, n: int, status: str) -> None:
        """Set the status of event ``n``, which came to another end than done."""
        self._next.outcomes.append((n, status))

    def trim(self, seq: int) -> None:
        """Drop the entries up to ``seq``."""
        self._next.trim = seq

    def trim_bytes(self, size: int, *, needed: int | None) -> None:
        """Drop the oldest entries before ``needed``, of ``size`` bytes."""
        self._next.trim_bytes = size
        self._next.needed = needed

    # Waiting

    def note(self) -> None:
        """Tell the journal that there is something to store."""
        if not self.is_noted and not self.is_closed:
            self.is_noted = True
            self._tell_journal()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when everything so far is stored."""
        self._then.append(callback)
        if not self.is_noted:
            self.note()

    def stored(self) -> asyncio.Future[None]:
        """Return a future that is done when everything so far is stored, however long it takes."""
        future = asyncio.get_running_loop().create_future()
        self.then(partial(_resolve, future))
        return future

    def flushed(self) -> asyncio.Future[None]:
        """As :meth:`stored`, but the future fails with what keeps the store from taking it."""
        future = self.stored()
        self._waiters.add(future)
        future.add_done_callback(self._waiters.discard)
        return future

    # For the journal

    def take(self) -> Change:
        """Return everything so far, to be stored. What comes later goes into the next change."""
        change, position = self._next, self._next.position
        if change.state is not None:
            self._state_revision += 1
            change.state_revision = self._state_revision
        self._next = Change(
            session_id=change.session_id,
            session_hex=change.session_hex,
            generation=change.generation,
            position=position,
        )
        self.entries = self._next.entries = []
        change.position = position.copy()
        self._leaving = change.entries
        self._taken, self._then = self._then, []
        return change

    def committed(self) -> None:
        """Call back those who waited for what was taken last: it is stored."""
        self.is_stored = True
        taken, self._taken, self._leaving = self._taken, [], []
        for callback in taken:
            callback()

    def fail(self, error: Exception) -> None:
        """Raise ``error`` for those who wait for a flush; what is gathered stays."""
        for future in list(self._waiters):
            if not future.done():
                future.set_exception(error)

    def close(self) -> int:
        """Store nothing more; return how many entries will never be stored."""
        self.is_closed = True
        count = len(self.entries)
        self.entries = self._next.entries = []
        return count


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SessionLog:
    """A session's log: it numbers entries, and knows which are stored and which are kept."""

    __slots__ = (
        "_journal",
        "_limit",
        "_limit_bytes",
        "first",
        "handled",
        "head",
        "heard",
        "pending",
        "position",
        "stored",
    )

    def __init__(
        self, pending: PendingChange, position: Position, *, first: int, journal: Journal
    ) -> None:
        self.pending = pending
        self.position = position
        #: The last entry there is, the last that is stored, and the first that is kept.
        self.head = self.stored = position.head
        self.first = first
        #: Up to which event all turns have ended, as it is stored.
        self.handled = position.handled
        #: Called with each new entry.
        self.heard: Callable[[Entry], None] | None = None
        self._journal = journal
        # Some slack, so that a full log is not trimmed at every entry.
        self._limit = settings.MAX_LOG_ENTRIES + max(1, settings.MAX_LOG_ENTRIES // 20)
        self._limit_bytes = settings.MAX_LOG_BYTES + settings.MAX_LOG_BYTES // 20

    def append(
        self,
        name: str,
        data: bytes,
        *,
        n: int | None = None,
        turn: int | None = None,
        key: str | None = None,
    ) -> int:
        """Add an entry, a client's event if it has an ``n``; return its ``seq``."""
        pending, position = self.pending, self.position
        seq = self.head = position.head = self.head + 1
        position.log_bytes += len(data)
        if n is None:
            position.events_out += 1
        entry = Entry(seq, n, turn, name, data, settings.now(), key)
        pending.entries.append(entry)
        if self.heard is not None:
            self.heard(entry)
        if not pending.is_closed:
            self._journal.count(1)
            if not pending.is_noted:
                pending.note()
        return seq

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None:
        """Add an event of our own, whatever state the session is in."""
        self.append(name, encode_data(name, data), turn=turn)

    @property
    def is_long(self) -> bool:
        """Whether so much is kept that the oldest entries are to go."""
        is_full = self.head - self.first >= self._limit
        return is_full or self.position.log_bytes > self._limit_bytes

    def trim(self, needed: int | None) -> None:
        """
        Drop the oldest entries of a log that is long, with the next commit.

        From entry ``needed`` on all are kept: an event that waits is run from its entry after a
        crash.
        """
        if self.head - self.first >= self._limit:
            last = self.head - settings.MAX_LOG_ENTRIES
            if needed is not None:
                last = min(last, needed - 1)
            if last >= self.first:
                self.pending.trim(last)
        else:
            excess = self.position.log_bytes - settings.MAX_LOG_BYTES
            self.pending.trim_bytes(excess, needed=needed)

    def committed(self, change: Change) -> None:
        """Take note that ``change`` is stored."""
        self.stored = change.position.head
        self.handled = change.position.handled
        if change.trim is not None:
            self.first = change.trim + 1
        if change.trimmed_bytes:
            self.position.log_bytes = max(0, self.position.log_bytes - change.trimmed_bytes)
