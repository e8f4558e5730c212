"""A session's unstored changes: of its log, its row and its values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import structs

from chatsessions.conf import settings
from chatsessions.exceptions import OwnershipLost, SessionOver, StorageError, TurnStopped
from chatsessions.handlers.context import current_context
from chatsessions.handlers.emitter import Turn, encode_data
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import UserSession
from chatsessions.storage.journal import Change, ChangeSource, Claim, Journal, Position, Rating
from chatsessions.storage.log import Entry

from .tasks import SessionTasks
from .turns import Turns


class SessionLog:
    """
    Numbers a session's entries, and gathers the next change to store.

    A :class:`~chatsessions.storage.journal.Change` has the entries, the values and the columns of
    the row since the last one. The journal takes it from ``source``.
    """

    def __init__(
        self,
        session_id: UUID,
        position: Position,
        journal: Journal,
        source: ChangeSource | None,
        *,
        first: int,
        generation: int,
        claims: Claim | None = None,
        state_revision: int = 0,
        handled_ahead: list[int] | None = None,
    ) -> None:
        self.session_id = session_id
        self.journal = journal
        self._source = source
        self.position = position
        #: The numbers of the last entry, the last stored one, and the oldest one that is kept.
        self.head = self.stored = position.head
        self.first = first
        #: As stored: the turns of all events up to ``handled`` have ended, and so have those of the
        #: later events in ``handled_ahead``.
        self.handled = position.handled
        self.handled_ahead = handled_ahead or []
        #: Called with each new entry.
        self.heard: Callable[[Entry], None] | None = None
        # 5% more, so that a full log is not trimmed at every entry.
        self._limit = settings.MAX_LOG_ENTRIES + max(1, settings.MAX_LOG_ENTRIES // 20)
        self._limit_bytes = settings.MAX_LOG_BYTES + settings.MAX_LOG_BYTES // 20
        #: How often the values were written, including the change that was taken last.
        self._state_revision = state_revision
        #: The number of this owner, counted up; the store refuses changes of earlier owners.
        self.generation = generation
        self._next = Change(
            session_id=session_id,
            session_hex=session_id.hex,
            generation=generation,
            position=position,
            claims=claims,
            insert=claims is None,  # a session that no worker has owned is a new row
        )
        #: The entries to be stored next.
        self.entries = self._next.entries = []
        #: The entries that the journal is storing now.
        self._leaving: list[Entry] = []
        #: Whether a commit was made, so that this worker owns the session.
        self.is_stored = False
        #: Whether the journal knows that there is something to store.
        self.is_noted = False
        #: Whether nothing more is stored: this worker no longer owns the session.
        self.is_closed = False
        #: The end reason, if the log is closed because the session has ended.
        self.over: str | None = None
        self._then: list[Callable[[], None]] = []
        self._taken: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def unstored(self) -> list[Entry]:
        """The entries that are not known to be stored, oldest first."""
        return self._leaving + self.entries

    def check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may no longer change the session."""
        if turn is not None and turn.stopped:
            raise TurnStopped
        if self.is_closed:
            if self.over is not None:
                raise SessionOver(self.session_id, self.over)
            raise OwnershipLost(self.session_id)

    # What is gathered

    def append(
        self,
        name: str,
        data: bytes,
        *,
        n: int | None = None,
        turn: int | None = None,
        key: str | None = None,
    ) -> int:
        """Add an entry and return its ``seq``. An entry with an ``n`` is a client's event."""
        position = self.position
        seq = self.head = position.head = self.head + 1
        position.log_bytes += len(data)
        if n is None:
            position.events_out += 1
        entry = Entry(seq, n, turn, name, data, self.journal.now(), key)
        self.entries.append(entry)
        if self.heard is not None:
            self.heard(entry)
        if not self.is_closed:
            self.journal.waiting += 1
            if not self.is_noted:
                self.note()
        return seq

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None:
        """Add an event of the server, whatever state the session is in."""
        self.append(name, encode_data(name, data), turn=turn)

    def set(self, **columns: Any) -> None:
        """Set columns of the row that are not part of its position."""
        self._next.fields.update(columns)

    def set_state(self, state: bytes) -> None:
        """Set all values of ``user_session``, as one JSON text."""
        self._next.state = state

    def set_outcome(self, n: int, status: str) -> None:
        """Set the status of event ``n``, whose turn ended in another way than ``done``."""
        self._next.outcomes.append((n, status))

    def set_feedback(self, rating: Rating) -> None:
        """Store feedback on an answer with the next commit."""
        self._next.ratings.append(rating)

    @property
    def is_long(self) -> bool:
        """Whether the log is so long that its oldest entries have to be dropped."""
        is_full = self.head - self.first >= self._limit
        return is_full or self.position.log_bytes > self._limit_bytes

    def trim(self, needed: int | None) -> None:
        """
        Drop the oldest entries of a long log with the next commit.

        Entries from ``needed`` on are kept: after a crash a waiting event is run from its entry.
        """
        if self.head - self.first >= self._limit:
            last = self.head - settings.MAX_LOG_ENTRIES
            if needed is not None:
                last = min(last, needed - 1)
            if last >= self.first:
                self._next.trim = last
        else:
            self._next.trim_bytes = self.position.log_bytes - settings.MAX_LOG_BYTES
            self._next.needed = needed

    # Waiting

    def note(self) -> None:
        """Tell the journal that there is something to store."""
        if not self.is_noted and not self.is_closed and self._source is not None:
            self.is_noted = True
            self.journal.note(self._source)

    def then(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when everything so far is stored."""
        self._then.append(callback)
        if not self.is_noted:
            self.note()

    def when_stored(self) -> asyncio.Future[None]:
        """Return a future that is done when everything so far is stored, however long it takes."""
        future = asyncio.get_running_loop().create_future()
        self.then(partial(_resolve, future))
        return future

    def flushed(self) -> asyncio.Future[None]:
        """Return a future like that of :meth:`when_stored`, in which :meth:`fail` can raise."""
        future = self.when_stored()
        self._waiters.add(future)
        future.add_done_callback(self._waiters.discard)
        return future

    # For the journal

    def take(self) -> Change:
        """Return the change with everything so far. Later changes go into the next one."""
        change, position = self._next, self.position
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
        change.position = structs.replace(position)  # a copy: the session goes on changing its own
        self._leaving = change.entries
        self._taken, self._then = self._then, []
        return change

    def committed(self, change: Change) -> None:
        """Note that ``change`` is stored."""
        self.is_stored = True
        self.stored = change.position.head
        self.handled = change.position.handled
        self.handled_ahead = change.fields.get("handled_ahead", self.handled_ahead)
        self._leaving = []
        if change.trim is not None:
            self.first = change.trim + 1
        if change.trimmed_bytes:
            self.position.log_bytes = max(0, self.position.log_bytes - change.trimmed_bytes)

    def wake(self) -> None:
        """Call the callbacks that waited for the last commit."""
        taken, self._taken = self._taken, []
        for callback in taken:
            callback()

    def fail(self, error: Exception) -> None:
        """Raise ``error`` in the code that awaits :meth:`flushed`. The unstored change is kept."""
        for future in list(self._waiters):
            if not future.done():
                future.set_exception(error)

    def close(self, over: str | None) -> None:
        """Store nothing more. ``over`` is the end reason, None if the session has not ended."""
        self.is_closed = True
        self.over = over
        self.journal.waiting -= len(self.entries)
        self.entries = self._next.entries = []


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SessionValues:
    """Finds changes in ``user_session``, and raises the errors of values that cannot be stored."""

    def __init__(
        self,
        session: Session,
        encoded: dict[str, bytes],
        *,
        log: SessionLog,
        turns: Turns,
        tasks: SessionTasks,
        keep: Callable[[str, StorageError], None] | None = None,
    ) -> None:
        self._log = log
        self._turns = turns
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        #: How many blocks of code outside of turns use the values here.
        self.blocks = 0
        self.user_session = UserSession(
            session,
            encoded,
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=self.before_change,
            after_change=self.after_change,
            keep=keep,
        )
        #: The error of a value that could not be stored, until an emit or a flush raises it.
        self.error: StorageError | None = None

    # Around a change

    def before_change(self) -> None:
        """Raise if the running code may no longer change the session."""
        context = current_context.get()
        self._log.check(None if context is None else context.turn)

    def after_change(self) -> None:
        """Have a change stored: that of a running turn with the turn's next event or its end."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._log.note)
            return
        context, job = current_context.get(), self._turns.job
        turn = None if context is None else context.turn
        if turn is None or (
            (job is None or job.turn is not turn) and not self._turns.is_running(turn)
        ):
            self._loop.call_soon(self._log.note)

    # Looking for changes inside values

    def look(self, *, drop: bool = True) -> StorageError | None:
        """
        Store the changed values, and return the error of one that can no longer be stored.

        With ``drop`` that value is reset to the stored one.
        """
        user_session = self.user_session
        error = user_session.look(drop=drop) if user_session.touched else None
        state = user_session.take_state()
        if state is not None:
            self._log.set_state(state)
        return error

    def look_between(self, *, is_used: bool) -> None:
        """
        Look for changes between events.

        While code uses the values (``is_used``), a value that cannot be stored is not reported:
        that code gets the error with its next message or at its end, and can correct the value
        until then.
        """
        if is_used:
            self.look(drop=False)
        else:
            self.error = self.look() or self.error
        if not self._turns.has_other(None):
            self.user_session.tell_again()  # code outside of turns has no end that is looked at

    def used(self) -> None:
        """
        Look for changes after code outside of turns has used values.

        While a turn runs, the error of a value that cannot be stored is left to that turn.
        """
        self.look_between(is_used=self._turns.has_other(None))
        self.settle(None)

    def settle(self, turn: Turn | None) -> None:
        """Stop watching the values that ``turn`` has read, unless other code may use values."""
        if self._turns.has_other(turn):
            return
        if self._tasks or self.blocks:
            self.user_session.tell_again()
        else:
            self.user_session.settle()

    def check(self, turn: Turn | None) -> None:
        """
        Raise the error of a value that cannot be stored, before ``turn`` sends anything.

        ``turn`` may stand for a block outside of turns. While a turn runs, only that turn gets the
        error; code without a turn does not use values.
        """
        if self.error is not None:
            self.raise_error()
        if (
            self.user_session.touched
            and turn is not None
            and (self._turns.is_running(turn) or not self._turns.has_other(turn))
        ):
            self.user_session.check()

    def raise_error(self) -> None:
        """Raise the kept error, if there is one, and forget it."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def write(self) -> None:
        """Store all values again, changed or not."""
        self._log.set_state(self.user_session.as_json())
        self._log.note()
