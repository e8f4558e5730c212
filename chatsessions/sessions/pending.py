"""``PendingChange``: what a session has changed since its last commit, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.storage.journal import Change, Claim, Position
from chatsessions.storage.log import Entry


class SessionLog:
    """The positions of one log: entries are numbered, stored, and dropped when too many."""

    __slots__ = ("_limit", "_limit_bytes", "first", "head", "stored")

    def __init__(self, *, head: int, first: int) -> None:
        #: The last entry there is, the last that is stored, and the first that is kept.
        self.head = self.stored = head
        self.first = first
        # Some slack, so that a full log is not trimmed at every entry.
        self._limit = settings.MAX_LOG_ENTRIES + max(1, settings.MAX_LOG_ENTRIES // 20)
        self._limit_bytes = settings.MAX_LOG_BYTES + settings.MAX_LOG_BYTES // 20

    def number(self) -> int:
        """The ``seq`` of one more entry."""
        self.head += 1
        return self.head

    @property
    def is_full(self) -> bool:
        """Whether so much is kept that the oldest are to go."""
        return self.head - self.first >= self._limit

    def excess(self, size: int) -> int:
        """How many bytes are to go of a log that has ``size``; 0 while it has few enough."""
        return size - settings.MAX_LOG_BYTES if size > self._limit_bytes else 0

    def trim(self, needed: int | None) -> int | None:
        """
        Up to which entry a log that is full can be cut, None if it cannot.

        From entry ``needed`` on all are kept: an event that waits is run from its entry after a
        crash.
        """
        last = self.head - settings.MAX_LOG_ENTRIES
        if needed is not None:
            last = min(last, needed - 1)
        return last if last >= self.first else None

    def committed(self, change: Change) -> None:
        """``change`` is stored."""
        self.stored = change.position.head
        if change.trim is not None:
            self.first = change.trim + 1


class PendingChange:
    """Gathers one session's next :class:`~chatsessions.storage.journal.Change`."""

    __slots__ = ("_leaving", "_next", "_state_revision", "_taken", "_then", "_waiters", "is_stored")

    def __init__(
        self,
        session_id: UUID,
        *,
        generation: int,
        position: Position,
        claims: Claim | None,
        state_revision: int = 0,
    ) -> None:
        #: How often the values were written, what was taken last included.
        self._state_revision = state_revision
        self._next = Change(
            session_id=session_id,
            session_hex=session_id.hex,
            generation=generation,
            position=position,
            claims=claims,
            insert=claims is None,  # a session that nobody held before is a new row
        )
        #: Whether anything is stored: the session is this worker's, and not only to be.
        self.is_stored = False
        #: The entries that the journal is storing now.
        self._leaving: list[Entry] = []
        self._then: list[Callable[[], None]] = []
        self._taken: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def generation(self) -> int:
        """By which the store knows this owner."""
        return self._next.generation

    def append(self, entry: Entry) -> None:
        self._next.entries.append(entry)

    @property
    def unstored(self) -> list[Entry]:
        """The entries that are not known to be stored, oldest first."""
        return self._leaving + self._next.entries

    def set(self, **fields: Any) -> None:
        """Columns of the row other than its position."""
        self._next.fields.update(fields)

    def set_state(self, state: bytes) -> None:
        """All values of user_session as one JSON text."""
        self._next.state = state

    def set_outcome(self, n: int, status: str) -> None:
        """Event ``n`` came to another end than done."""
        self._next.outcomes.append((n, status))

    def trim(self, seq: int) -> None:
        """Entries up to ``seq`` are no longer kept."""
        self._next.trim = seq

    def trim_bytes(self, size: int, *, needed: int | None) -> None:
        """The oldest entries before ``needed``, of ``size`` bytes, are no longer kept."""
        self._next.trim_bytes = size
        self._next.needed = needed

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when everything so far is stored."""
        self._then.append(callback)

    def waiter(self) -> asyncio.Future[None]:
        """Done when everything so far is stored, or fails with what keeps it from being."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.add(future)
        future.add_done_callback(self._waiters.discard)
        self.then(lambda: None if future.done() else future.set_result(None))
        return future

    def take(self) -> Change:
        """Everything so far, to be stored. What comes after it goes into the next."""
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
        change.position = position.copy()
        self._leaving = change.entries
        self._taken, self._then = self._then, []
        return change

    def stored(self) -> None:
        """What was taken last is stored."""
        self.is_stored = True
        taken, self._taken, self._leaving = self._taken, [], []
        for callback in taken:
            callback()

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits; what is gathered stays."""
        for future in list(self._waiters):
            if not future.done():
                future.set_exception(error)

    def discard(self) -> int:
        """Forget the entries that will never be stored; how many there are."""
        count = len(self._next.entries)
        self._next.entries = []
        return count
