"""
Rows that follow: ``EVENT_LOG="memory"`` with ``USER_SESSION_STORE="cache"``.

There a commit needs no database. The cache takes a session's values, and where it is not this
process' memory the session's position too; the row is written a moment later, once for all that has
happened since. Where a crash leaves nothing but the row, the session was less than
:data:`RESERVE` ahead of it.
"""

from __future__ import annotations

import time

from chatsessions.conf import settings

from .changes import Change
from .snapshots import State

#: Seconds that a row is behind at most.
LAG = 0.25
#: How many numbers, of events or of entries, it is behind at most.
RESERVE = 1000


def rows_lag() -> bool:
    """Whether the settings let rows follow."""
    return (
        settings.EVENT_LOG == "memory"
        and settings.USER_SESSION_STORE == "cache"
        and not settings.JOURNAL_INLINE
    )


class Lag:
    """How far one session's row is behind, and which of its changes may leave it there."""

    __slots__ = ("_accepted", "_has_values", "_head", "_not_before", "_pauses", "_state", "_taken")

    def __init__(self, *, has_values: bool) -> None:
        #: As the row has them, and whether it knows that there are values.
        self._head = self._accepted = 0
        self._has_values = has_values
        #: The values that the row has not heard of.
        self._state: State | None = None
        #: Of the worker's pauses: how many there were when the row was last known to be its, and
        #: when the latest change was taken.
        self._pauses: int | None = None
        self._taken = 0
        #: By ``time.monotonic()``: who has read the row in a pause, and claims it because it is as
        #: it was, does so before.
        self._not_before = 0.0

    def judge(self, change: Change, *, pauses: int, row_is_due: bool) -> None:
        """
        Say whether ``change`` does without the row, which is as well known as it can be then.

        One that does not brings the row all that it lacks.
        """
        self._taken = pauses
        change.lags = (
            not row_is_due
            # Since a pause the session may be another worker's: only its row can tell.
            and self._pauses == pauses
            and change.moves_only
            and change.position.head - self._head < RESERVE
            and change.position.accepted - self._accepted < RESERVE
            and (change.state is None or self._has_values)
            and (not self._not_before or time.monotonic() > self._not_before)
        )
        if change.state is not None:
            self._state = change.state
        elif self._state is not None and not change.lags:
            change.state = State(self._state.text, self._state.size)

    def stored(self, change: Change) -> None:
        """``change`` is stored, and in the row if it does not lag."""
        if change.lags:
            return
        if self._pauses not in (None, self._taken):
            self._not_before = time.monotonic() + settings.WORKER_STALE
        self._pauses = self._taken
        self._head, self._accepted = change.position.head, change.position.accepted
        if change.state is not None:
            self._has_values = True
            self._state = None
