"""What of a session is not stored yet: of its log and its row, and of its values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
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

from .turns import Turns


class SessionLog:
    """
    Numbers a session's entries, and gathers what is stored next.

    That is one :class:`~chatsessions.storage.journal.Change`, with the entries, the values and the
    columns of the row since the last one. The journal takes it from ``source``.
    """

    __slots__ = (
        "_journal",
        "_leaving",
        "_limit",
        "_limit_bytes",
        "_next",
        "_source",
        "_state_revision",
        "_taken",
        "_then",
        "_waiters",
        "entries",
        "first",
        "generation",
        "handled",
        "head",
        "heard",
        "is_closed",
        "is_noted",
        "is_stored",
        "over",
        "position",
        "stored",
    )

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
    ) -> None:
        self._journal = journal
        self._source = source
        self.position = position
        #: The last entry there is, the last that is stored, and the first that is kept.
        self.head = self.stored = position.head
        self.first = first
        #: Up to which event all turns have ended, as it is stored.
        self.handled = position.handled
        #: Called with each new entry.
        self.heard: Callable[[Entry], None] | None = None
        # Some slack, so that a full log is not trimmed at every entry.
        self._limit = settings.MAX_LOG_ENTRIES + max(1, settings.MAX_LOG_ENTRIES // 20)
        self._limit_bytes = settings.MAX_LOG_BYTES + settings.MAX_LOG_BYTES // 20
        #: How often the values were written, what was taken last included.
        self._state_revision = state_revision
        #: By which the store knows this owner.
        self.generation = generation
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
        #: The entries that the journal is storing now.
        self._leaving: list[Entry] = []
        #: Whether anything is stored: the session is this worker's, and not only to be.
        self.is_stored = False
        #: Whether the journal knows that there is something.
        self.is_noted = False
        #: Whether nothing more is stored: the session is not this worker's any more.
        self.is_closed = False
        #: Why the session has ended, if it is closed for that.
        self.over: str | None = None
        self._then: list[Callable[[], None]] = []
        self._taken: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def unstored(self) -> list[Entry]:
        """The entries that are not known to be stored, oldest first."""
        return self._leaving + self.entries

    def check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not change the session any more."""
        if turn is not None and turn.stopped:
            raise TurnStopped
        if self.is_closed:
            session_id = self._next.session_id
            if self.over is not None:
                raise SessionOver(session_id, self.over)
            raise OwnershipLost(session_id)

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
        """Add an entry, a client's event if it has an ``n``; return its ``seq``."""
        position = self.position
        seq = self.head = position.head = self.head + 1
        position.log_bytes += len(data)
        if n is None:
            position.events_out += 1
        entry = Entry(seq, n, turn, name, data, datetime.now(settings.zone), key)
        self.entries.append(entry)
        if self.heard is not None:
            self.heard(entry)
        if not self.is_closed:
            self._journal.waiting += 1
            if not self.is_noted:
                self.note()
        return seq

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None:
        """Add an event of our own, whatever state the session is in."""
        self.append(name, encode_data(name, data), turn=turn)

    def set(self, **columns: Any) -> None:
        """Set columns of the row other than its position."""
        self._next.fields.update(columns)

    def set_state(self, state: bytes) -> None:
        """Set all values of user_session, as one JSON text."""
        self._next.state = state

    def set_outcome(self, n: int, status: str) -> None:
        """Set the status of event ``n``, which came to another end than done."""
        self._next.outcomes.append((n, status))

    def set_feedback(self, rating: Rating) -> None:
        """Set what the user thinks of an answer."""
        self._next.ratings.append(rating)

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
                self._next.trim = last
        else:
            self._next.trim_bytes = self.position.log_bytes - settings.MAX_LOG_BYTES
            self._next.needed = needed

    # Waiting

    def note(self) -> None:
        """Tell the journal that there is something to store."""
        if not self.is_noted and not self.is_closed and self._source is not None:
            self.is_noted = True
            self._journal.note(self._source)

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when everything so far is stored."""
        self._then.append(callback)
        if not self.is_noted:
            self.note()

    def when_stored(self) -> asyncio.Future[None]:
        """Return a future that is done when everything so far is stored, however long it takes."""
        future = asyncio.get_running_loop().create_future()
        self.then(partial(_resolve, future))
        return future

    def flushed(self) -> asyncio.Future[None]:
        """As :meth:`when_stored`, but it fails with what keeps the store from taking it."""
        future = self.when_stored()
        self._waiters.add(future)
        future.add_done_callback(self._waiters.discard)
        return future

    # For the journal

    def take(self) -> Change:
        """Return everything so far, to be stored. What comes later goes into the next change."""
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
        change.position = structs.replace(position)  # the session's own changes meanwhile
        self._leaving = change.entries
        self._taken, self._then = self._then, []
        return change

    def committed(self, change: Change) -> None:
        """Note that ``change`` is stored."""
        self.is_stored = True
        self.stored = change.position.head
        self.handled = change.position.handled
        self._leaving = []
        if change.trim is not None:
            self.first = change.trim + 1
        if change.trimmed_bytes:
            self.position.log_bytes = max(0, self.position.log_bytes - change.trimmed_bytes)

    def wake(self) -> None:
        """Call back those who waited for what was stored last."""
        taken, self._taken = self._taken, []
        for callback in taken:
            callback()

    def fail(self, error: Exception) -> None:
        """Raise ``error`` for those who wait for a flush; what is gathered stays."""
        for future in list(self._waiters):
            if not future.done():
                future.set_exception(error)

    def close(self, over: str | None) -> None:
        """Store nothing more. ``over`` is why the session has ended, None if it goes on."""
        self.is_closed = True
        self.over = over
        self._journal.waiting -= len(self.entries)
        self.entries = self._next.entries = []


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SessionValues:
    """Looks for changes in the ``user_session``, and says who hears of one that is refused."""

    def __init__(
        self,
        session: Session,
        encoded: dict[str, bytes],
        *,
        log: SessionLog,
        turns: Turns,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[[str, StorageError], None] | None = None,
    ) -> None:
        self._log = log
        self._turns = turns
        self._loop = loop
        self._thread = threading.get_ident()
        self.user_session = UserSession(
            session,
            encoded,
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=self.before_change,
            after_change=self.after_change,
            keep=keep,
        )
        #: What could not be stored and nobody was told; it surfaces at the next emit or flush.
        self.error: StorageError | None = None

    # Around a change

    def before_change(self) -> None:
        """Raise if the running code may not change the session any more."""
        context = current_context.get()
        self._log.check(None if context is None else context.turn)

    def after_change(self) -> None:
        """See that a change is stored. Those of a turn go with its next event or its end."""
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
        Store what has changed, and return the error of a value that cannot be stored any more.

        With ``drop`` that one falls back to what is stored.
        """
        user_session = self.user_session
        error = user_session.look(drop=drop) if user_session.touched else None
        state = user_session.take_state()
        if state is not None:
            self._log.set_state(state)
        return error

    def look_between(self, *, is_used: bool) -> None:
        """
        Look at a moment that nobody has chosen.

        Who works with a value that cannot be stored (``is_used``) hears of it when they send the
        next message, or at the end, and may mend it until then.
        """
        if is_used:
            self.look(drop=False)
        else:
            self.error = self.look() or self.error

    def used(self) -> None:
        """
        Look again: code outside of turns is through with the values it got out.

        While a turn runs, a value that cannot be stored is for that turn to mend, or to fail of.
        """
        self.look_between(is_used=self._turns.job is not None)
        self.settle(None)

    def settle(self, turn: Turn | None) -> None:
        """Look no longer at what ``turn`` got out, unless another one runs."""
        if not self._turns.has_other(turn):
            self.user_session.settle()

    def check(self, turn: Turn | None) -> None:
        """
        Raise what keeps a value from being stored, before ``turn`` tells of it.

        ``turn`` may stand for a block outside of turns. What a running turn has changed is that
        turn's to hear of, and nobody else's; and nobody without a turn works with values.
        """
        if self.error is not None:
            self.raise_error()
        if (
            self.user_session.touched
            and turn is not None
            and (self._turns.job is None or self._turns.is_running(turn))
        ):
            self.user_session.check()

    def raise_error(self) -> None:
        """Raise what could not be stored, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def write(self) -> None:
        """Store all values again, whatever has changed."""
        self._log.set_state(self.user_session.as_json())
        self._log.note()
