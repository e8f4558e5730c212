"""``SessionLog``: where a session's log stands, and what of it is kept."""

from __future__ import annotations

from collections import deque

from chatsessions.conf import settings
from chatsessions.store.changes import Change, Entry


class SessionLog:
    """
    The positions of one session's log: entries are numbered, stored, and dropped when too many.

    Under ``EVENT_LOG="memory"`` it also keeps the entries, as nobody else does.
    """

    __slots__ = ("_limit", "_limit_bytes", "_ring", "first", "head", "stored")

    def __init__(self, *, head: int, first: int) -> None:
        #: The last entry there is, the last that is stored, and the first that is kept.
        self.head = self.stored = head
        self.first = first
        # Some slack, so that a full log is not trimmed at every entry.
        self._limit = settings.MAX_LOG_ENTRIES + max(1, settings.MAX_LOG_ENTRIES // 20)
        self._limit_bytes = settings.MAX_LOG_BYTES + settings.MAX_LOG_BYTES // 20
        self._ring: deque[Entry] | None = None
        if settings.EVENT_LOG == "memory":
            self._ring = deque(maxlen=settings.MAX_LOG_ENTRIES)

    @property
    def in_memory(self) -> bool:
        """Whether the entries are gone when nobody holds the session."""
        return self._ring is not None

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
        if size <= self._limit_bytes or self.in_memory:
            return 0
        return size - settings.MAX_LOG_BYTES

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
        if self._ring is not None:
            self._ring.extend(change.entries)
            self.first = self._ring[0].seq if self._ring else self.stored + 1

    def remembered(self, after: int, limit: int) -> list[Entry] | None:
        """The next entries behind ``after``; None if they are read from the store."""
        if self._ring is None:
            return None
        return [entry for entry in self._ring if entry.seq > after][:limit]
