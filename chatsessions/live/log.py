"""``SessionLog``: where a session's log stands, and what of it is kept."""

from __future__ import annotations

from chatsessions.conf import settings
from chatsessions.store.changes import Change


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
