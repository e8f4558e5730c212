"""What goes out of a session: events and streams, those of blocks outside of its turns too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.utils.translation import gettext_lazy

from chatsessions.conf import settings
from chatsessions.exceptions import StorageError
from chatsessions.handlers.emitter import Sink, Streaming, Turn, encode_data
from chatsessions.handlers.session import Session, in_language_of, printable
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Outbox
from chatsessions.storage.database import Executors
from chatsessions.storage.journal import Journal
from chatsessions.storage.log import Entry, find_message
from chatsessions.storage.worker_rows import WorkerRows

from .asks import Asks, OfferedActions, SettingsForm
from .pending import SessionLog, SessionValues
from .subscribers import Subscribers

#: How often the text of an open stream is stored, in seconds: what a crash may cost of it.
CHECKPOINT = 1.0
#: Tokens that may wait for the journal before the handler does.
MAX_WAITING = 1000


@dataclass(slots=True, eq=False)
class _Open:
    """A message that is being streamed."""

    stream: Streaming
    turn: Turn | None
    #: The entry that opened it.
    seq: int
    #: Of the next token.
    index: int = 0
    #: The entry that its last tokens wait for, once it is closed.
    held_until: int = 0


class SessionSink(Sink):
    """
    Takes what the emitters of all turns and visitors make.

    Entries go into the log. Tokens are held back until the entries before them are stored, and the
    texts of open messages are stored from time to time.
    """

    def __init__(
        self,
        session: Session,
        log: SessionLog,
        subscribers: Subscribers,
        *,
        loop: asyncio.AbstractEventLoop,
        journal: Journal,
        rows: WorkerRows,
        asks: Asks,
        offers: OfferedActions,
        form: SettingsForm,
        values: SessionValues,
        claim_again: Callable[[], None],
        threads: Executors,
    ) -> None:
        self.loop = loop
        self._session = session
        self._journal = journal
        self._rows = rows
        self._log = log
        self._subscribers = subscribers
        self._asks = asks
        self._offers = offers
        self._form = form
        self._values = values
        #: Writes once more to the row whose the session is.
        self._claim_again = claim_again
        self._threads = threads
        #: Of the worker's pauses: how many there were when the session was known to be its, and
        #: when that was asked.
        self._pauses = self._asked = rows.pauses
        self._open: dict[str, _Open] = {}
        #: Those that are closed, and have tokens in the outbox.
        self._closing: list[_Open] = []
        self._outbox: Outbox[frames.ServerFrame] = Outbox(log.stored)
        self._checkpointed = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # For emitters: events

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        """Add an event to the log; return its ``seq``."""
        self._log.check(turn)
        self._values.check(turn)
        return self._log.append(name, data, turn=None if turn is None else turn.n)

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        """Offer ``actions`` with a message, instead of what it did."""
        self._offers.offer(message, actions)

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        """Offer an action no more, and take it off its message."""
        self._log.check(turn)
        message = self._offers.withdraw(action)
        if message is None:
            return
        await self.flush()
        event = await self._threads.read(find_message, self._session.id, message)
        if event is not None:
            event["actions"] = self._offers.of(message)
            self.append("message_update", encode_data("message_update", event), turn)

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        """Set the settings' inputs from now on, and their values."""
        self._log.check(turn)
        self._values.check(turn)
        self._form.declare(inputs, values, turn=None if turn is None else turn.n)

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        """Ask the client, and wait for its answer. Raises ``TimeoutError``."""
        self._log.check(turn)
        self._values.check(turn)
        return await self._asks.call(kind, data, timeout=timeout, turn=turn)

    # For emitters: streams

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        """Stream what the last event has opened."""
        self._open[stream.id] = _Open(stream, turn, self._log.head)
        self._checkpoint()

    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        """
        Add a token to an open stream, or with ``replaces`` set all of its text.

        The text of a stream that is not open comes with its next event.
        """
        self._log.check(turn)
        if replaces:
            stream.replace_content(text)
        else:
            stream.add_content(text)
        found = self._open.get(stream.id)
        if found is None:
            return
        frame: frames.ServerFrame
        if replaces:
            frame = frames.Stream(stream.id, found.index, text)
        else:
            frame = frames.Token(stream.id, found.index, text)
            found.index += 1
        if not self._outbox.hold(self._log.head, frame):
            self._tell(frame)
        if self.loop.time() - self._checkpointed > CHECKPOINT:
            self._checkpoint()
        elif self._timer is None:  # for what comes last before a pause
            self._timer = self.loop.call_later(CHECKPOINT, self._checkpoint_late)

    def close_stream(self, stream_id: str) -> None:
        """End a stream, whose last event is still to come."""
        found = self._open.pop(stream_id, None)
        if found is None:
            return
        if self._outbox.waiting:
            found.held_until = self._log.head
            self._closing.append(found)
        self._checkpoint()

    def find_stream(self, stream_id: str) -> Streaming | None:
        """Return the open stream with this id."""
        found = self._open.get(stream_id)
        return None if found is None else found.stream

    # For emitters: what is too much

    @property
    def is_crowded(self) -> bool:
        """Whether :meth:`room` would wait."""
        log = self._log
        return (
            log.head - log.stored > settings.MAX_UNCOMMITTED
            or len(self._outbox.waiting) > MAX_WAITING
            or self._journal.waiting >= settings.MAX_JOURNAL_ENTRIES
        )

    async def room(self) -> None:
        """Wait while too much waits to be stored. Raises ``StoreUnavailable``."""
        while self.is_crowded:
            if self._journal.is_full:
                await self._journal.room()
            else:
                await self.flush()

    async def flush(self, turn: Turn | None = None) -> None:
        """Wait until everything so far is stored. Raises ``StoreUnavailable``."""
        self._log.check(None)
        self._values.check(turn)
        if self._journal.failure is not None:
            raise self._journal.failure
        await self._log.flushed()
        self._values.raise_error()

    # For the session

    def release(self, entries: Sequence[Entry]) -> None:
        """Tell ``entries``, which are stored now, and the tokens between them, in order."""
        outbox, subscribers = self._outbox, self._subscribers
        if not outbox.waiting:
            outbox.stored = self._log.stored
            if entries:
                subscribers.entries(entries)
            return
        for entry in entries:
            subscribers.entries([entry])
            for frame in outbox.release(entry.seq):
                self._tell(frame)
        for frame in outbox.release(self._log.stored):
            self._tell(frame)
        self._closing = [found for found in self._closing if found.held_until > self._log.stored]

    @property
    def so_far(self) -> list[frames.Stream]:
        """What a connection that has the log needs beside it: what is open in the stored log."""
        return [
            frames.Stream(found.stream.id, found.index, found.stream.content)
            for found in (*self._closing, *self._open.values())
            # Of one that has said nothing yet, its entry says all.
            if found.seq <= self._log.stored and (found.index or found.stream.content)
        ]

    def texts(self) -> dict[str, str]:
        """Return the text so far of each open message, by id."""
        return {found.stream.id: found.stream.content for found in list(self._open.values())}

    def has_open(self, turn: Turn) -> bool:
        """Return True if ``turn`` has streams that are not closed."""
        return any(found.turn is turn for found in self._open.values())

    def close_streams(self, turn: Turn) -> StorageError | None:
        """
        Close what ``turn``, which is over, has left open.

        Return the error of a message that cannot be sent as it is; what can be is sent of it.
        """
        error = None
        if not self._open:
            return None
        for stream in [found.stream for found in self._open.values() if found.turn is turn]:
            with in_language_of(self._session):
                stream.end_stream(cut=turn.stopped)
            self.close_stream(stream.id)
            try:
                event = stream.as_event()
                self._log.say(stream.update_name, event, turn=turn.n)
                self._offers.offer(stream.id, event.get("actions", []))
            except StorageError as refused:
                error = refused
                self._log.say(stream.update_name, _salvaged(stream.as_event()), turn=turn.n)
        return error

    # Inside

    def _tell(self, frame: frames.ServerFrame) -> None:
        """
        Tell ``frame``, unless somebody may have taken the session. Then the row is asked first.

        What streams is told without being stored, so its commits do not say.
        """
        pauses = self._rows.pauses
        if pauses == self._pauses:
            self._subscribers.frame(frame)
        elif pauses != self._asked:
            self._asked = pauses
            self._claim_again()
            self._log.then(partial(self._made_sure, pauses))

    def _made_sure(self, pauses: int) -> None:
        """Tell all that was not told meanwhile: the session is still ours."""
        self._pauses = pauses
        for stream in self.so_far:
            self._tell(stream)

    def _checkpoint_late(self) -> None:
        self._timer = None
        if self._open:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Store the text of open streams with the next commit, for whoever takes over."""
        self._checkpointed = self.loop.time()
        streams: list[dict[str, Any]] = [found.stream.as_event() for found in self._open.values()]
        self._log.set(streams=streams)
        self._log.note()


#: Keys of a streamed message or step that can be sent whatever a handler has made of the others.
_SAFE_KEYS = ("id", "created_at", "streaming", "files", "parent", "start", "end")
#: Its texts, and which part of MAX_EVENT_BYTES each may have characters, of up to six bytes.
_TEXT_SHARES = {
    "content": 8,
    "input": 16,
    "output": 16,
    "error": 100,
    "author": 100,
    "name": 100,
    "type": 100,
}


def _salvaged(event: dict[str, Any]) -> dict[str, Any]:
    """Return what can be sent of a streamed message or step that cannot be sent as it is."""
    limit = settings.MAX_EVENT_BYTES
    return {key: event[key] for key in _SAFE_KEYS if key in event} | {
        key: printable(event[key])[: limit // share]
        for key, share in _TEXT_SHARES.items()
        if key in event
    }


#: What a client is told of a block that left a message unfinished.
WRITER_STOPPED = gettext_lazy("What was writing this has stopped.")


def new_writer() -> Turn:
    """Return what stands for a block outside of turns, as a turn does for a handler."""
    return Turn(None, "session_context")


@dataclass(slots=True)
class Writer:
    """A block of ``session_context()`` in another process."""

    #: The worker there; None if it did not say.
    worker: UUID | None
    turn: Turn
    heard_at: float = 0.0


class Writers:
    """The blocks elsewhere that stream into a session, by their numbers."""

    __slots__ = ("_log", "_loop", "_session", "_sink", "_writers")

    def __init__(self, session: Session, log: SessionLog, sink: SessionSink) -> None:
        self._session = session
        self._log = log
        self._sink = sink
        self._loop = sink.loop
        self._writers: dict[str, Writer] = {}

    def heard(self, number: str, worker: UUID | None) -> Turn:
        """Note that a block was heard of, and return what its streams are known by."""
        writer = self._writers.setdefault(number, Writer(worker, new_writer()))
        writer.heard_at = self._loop.time()
        return writer.turn

    def settle(self, number: str) -> None:
        """Forget a block that streams nothing (any more)."""
        writer = self._writers.get(number)  # of changes at the same time the first one does it
        if writer is not None and not self._sink.has_open(writer.turn):
            del self._writers[number]

    @property
    def is_writing(self) -> bool:
        """Whether somebody is in the middle of a message."""
        return bool(self._writers)

    def suspects(self) -> dict[str, Writer]:
        """Return the blocks that were silent for longer than one that lives."""
        late = self._loop.time() - settings.WORKER_HEARTBEAT
        return {number: one for number, one in self._writers.items() if one.heard_at < late}

    def is_lost(self, writer: Writer) -> bool:
        """Return True if a block has been silent for so long that it counts as dead."""
        return self._loop.time() - writer.heard_at > settings.WORKER_STALE

    def interrupt(self, number: str) -> None:
        """Close what a block has left open, and say that it was interrupted."""
        writer = self._writers.pop(number, None)
        if writer is not None:
            self.close(writer.turn, interrupted=True)

    def interrupt_all(self) -> None:
        """Close what all blocks have left open."""
        for number in list(self._writers):
            self.interrupt(number)

    def close(self, turn: Turn, *, interrupted: bool) -> None:
        """Close what ``turn`` has left open."""
        if self._sink.has_open(turn):
            turn.stopped = interrupted
            self._sink.close_streams(turn)
            if interrupted:
                with in_language_of(self._session):
                    detail = str(WRITER_STOPPED)
                self._log.say("error", {"code": "interrupted", "detail": detail})
        self._log.note()
