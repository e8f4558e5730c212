"""
``Commits``: what a session has changed, on its way into the store and back as news.

Entries get their numbers here, the journal takes from here what there is to store, and nothing
leaves for a client before the journal says that it is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.exceptions import (
    OwnershipLost,
    StorageError,
    StoreUnavailable,
)
from chatsessions.handlers.emitter import encode_data
from chatsessions.handlers.user_session import UserSession
from chatsessions.protocol import frames
from chatsessions.storage.journal import Change, ChangeSource, Position
from chatsessions.storage.log import Entry

from .history import ConversationCache
from .inbound import InboundEvents
from .outbound import SessionSink
from .pending import PendingChange, SessionLog
from .ports import Host
from .subscribers import Subscribers

logger = logging.getLogger("chatsessions.live")


class CommitsHost(Protocol):
    """What the commits need of their session."""

    host: Host
    draft: PendingChange
    log: SessionLog
    position: Position
    user_session: UserSession
    subscribers: Subscribers
    inbox: InboundEvents
    sink: SessionSink
    recall: ConversationCache
    closed: bool

    @property
    def id(self) -> UUID: ...

    @property
    def can_release(self) -> bool:
        """Whether nobody needs the session in memory."""

    @property
    def is_worked_with(self) -> bool:
        """Whether a turn, or a block outside of turns, works with the session's values."""

    def release(self) -> None:
        """It is stored that nobody owns the session."""

    def lose(self, error: Exception, *, held: bool) -> None:
        """The session cannot be stored, and is not this worker's any more."""


class Commits(ChangeSource):
    """One session's side of the journal."""

    __slots__ = ("_draft", "_host", "_journal", "_log", "_noted", "_position", "id")

    def __init__(self, host: CommitsHost) -> None:
        self.id = host.id
        self._host = host
        self._draft = host.draft
        self._log = host.log
        self._position = host.position
        self._journal = host.host.journal
        #: Whether the journal knows that there is something.
        self._noted = False

    # For the session

    def note(self) -> None:
        """There is something to store."""
        if not self._noted:
            self._note()

    def _note(self) -> None:
        if not self._host.closed:
            self._noted = True
            self._journal.note(self)

    def hold(self, *, held: bool) -> None:
        """Whether this worker owns the session, for the row."""
        self._draft.set(worker_id=self._host.host.id if held else None)

    def when_stored(self, callback: Callable[[], None]) -> None:
        """Call back when everything changed so far is stored."""
        self._draft.then(callback)
        if not self._noted:
            self._note()

    def append(
        self,
        name: str,
        data: bytes,
        *,
        n: int | None = None,
        turn: int | None = None,
        key: str | None = None,
    ) -> int:
        """One more entry of the log; its ``seq``."""
        seq = self._position.head = self._log.number()
        self._position.log_bytes += len(data)
        entry = Entry(seq, n, turn, name, data, settings.now(), key)
        self._draft.append(entry)
        host = self._host
        host.recall.take(entry)
        if not host.closed:
            self._journal.count(1)
            if not self._noted:
                self._note()
        return seq

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        """One more entry of the server's."""
        self._position.events_out += 1
        return self.append(name, data, turn=turn)

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None:
        """An entry of our own, whatever state the session is in."""
        self.emit(name, encode_data(name, data), turn=turn)

    def collect(self, *, drop: bool = True) -> StorageError | None:
        """
        Look for changes inside values, and return the error of one that cannot be stored any more.

        All others are stored. With ``drop`` that one falls back to what is stored.
        """
        error = self._host.user_session.look(drop=drop)
        state = self._host.user_session.take_state()
        if state is not None:
            self._draft.set_state(state)
        return error

    # For the journal

    def take_change(self, now: datetime) -> Change | None:
        host = self._host
        self._noted = False
        if host.closed:
            return None
        if host.user_session.is_dirty:
            self._collect_changes()
        host.recall.collect(self._draft)
        if host.can_release:
            self.hold(held=False)
        if self._log.is_full:
            self._trim()
        elif excess := self._log.excess(self._position.log_bytes):
            self._draft.trim_bytes(excess, needed=self._needed)
        if host.subscribers.listener is not None:
            self._position.last_seen_at = now
        return self._draft.take()

    def _collect_changes(self) -> None:
        """
        Look for changes inside values in the middle of whatever goes on.

        Who works with a value that cannot be stored hears of it when they send the next message,
        or at the end, and may mend it until then.
        """
        host = self._host
        if host.is_worked_with:
            self.collect(drop=False)
        else:
            host.sink.error = self.collect() or host.sink.error

    def _trim(self) -> None:
        trim = self._log.trim(self._needed)
        if trim is not None:
            self._draft.trim(trim)

    @property
    def _needed(self) -> int | None:
        """The first entry whose event waits or runs."""
        return self._host.inbox.seq_of(self._position.handled + 1)

    def committed(self, change: Change) -> None:
        self._log.committed(change)
        if change.trimmed_bytes:
            self._position.log_bytes = max(0, self._position.log_bytes - change.trimmed_bytes)
        # Stored: the entries may leave, and so may the tokens between them.
        self._host.sink.streams.release(change.entries, self._host.subscribers)
        self._draft.stored()
        if "worker_id" in change.fields and change.fields["worker_id"] is None:
            self._let_go()

    def _let_go(self) -> None:
        """It is stored that nobody owns the session: unless somebody needs it after all."""
        host = self._host
        if host.closed:
            return
        if host.can_release:
            host.release()
        else:
            self.hold(held=True)
            self.note()

    def refused(self, change: Change | None, error: Exception) -> None:
        if isinstance(error, OwnershipLost):
            logger.warning("Session %s is no longer held by this worker", self.id)
        else:
            logger.error("Session %s cannot be stored; it is dropped", self.id, exc_info=error)
        self._host.lose(error, held=change is None or change.claims is None)

    def delayed(self, error: StoreUnavailable) -> None:
        self._draft.fail(error)
        presence = self._host.subscribers
        for n in self._host.inbox.not_stored:
            presence.tell(frames.Error("storage_unavailable", str(error), n, 1.0))
        presence.tell_followers(frames.Error("storage_unavailable", str(error), retry_after=1.0))
