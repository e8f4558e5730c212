"""What goes out of a session: entries, streams, and who streams from outside of its turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.exceptions import StorageError
from chatsessions.handlers.emitter import (
    Sink,
    Streaming,
    Turn,
    encode_data,
)
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Outbox
from chatsessions.storage.journal import Journal
from chatsessions.storage.log import Entry

from .asks import Asks, OfferedActions
from .pending import PendingChange, SessionLog
from .ports import Host

#: How often the text of an open stream is stored, in seconds: what a crash may cost of it.
CHECKPOINT = 1.0
#: Tokens that may wait for the journal before the handler does.
MAX_WAITING = 1000


class Hearers(Protocol):
    """Whoever hears what comes of a session."""

    def tell_entries(self, entries: Sequence[Entry]) -> None: ...

    def tell(self, frame: frames.ServerFrame) -> None: ...


class StreamsHost(Protocol):
    """What the streams need of their session."""

    loop: asyncio.AbstractEventLoop
    draft: PendingChange
    log: SessionLog

    def tell(self, frame: frames.ServerFrame) -> None: ...

    def note(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Open:
    """A message that is being streamed."""

    stream: Streaming
    turn: Turn | None
    #: The entry that opened it.
    seq: int
    #: Of the next token.
    index: int = 0


class Streams:
    """Keeps tokens behind the entries they belong to, and stores the texts of open messages."""

    __slots__ = ("_checkpointed", "_host", "_open", "_outbox", "_timer")

    def __init__(self, host: StreamsHost) -> None:
        self._host = host
        self._open: dict[str, _Open] = {}
        self._outbox: Outbox[frames.ServerFrame] = Outbox(host.log.stored)
        self._checkpointed = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def open(self, stream: Streaming, turn: Turn | None) -> None:
        """The last entry has opened ``stream``."""
        self._open[stream.id] = _Open(stream, turn, self._host.log.head)
        self._checkpoint(self._host.loop.time())

    def find(self, stream_id: str) -> Streaming | None:
        """The open stream with this id."""
        found = self._open.get(stream_id)
        return None if found is None else found.stream

    def add(self, stream_id: str, token: str) -> None:
        """One more token of an open stream; of another one it comes with the next event."""
        found = self._open.get(stream_id)
        if found is not None:
            frame = frames.Token(stream_id, found.index, token)
            found.index += 1
            self._put(frame)

    def replace(self, stream_id: str, text: str) -> None:
        """Another text for all of an open stream."""
        found = self._open.get(stream_id)
        if found is not None:
            self._put(frames.Stream(stream_id, found.index, text))

    def close(self, stream_id: str) -> None:
        """No more tokens belong to the stream."""
        if self._open.pop(stream_id, None) is not None:
            self._checkpoint(self._host.loop.time())

    @property
    def is_crowded(self) -> bool:
        """Whether much waits for the journal."""
        return len(self._outbox) > MAX_WAITING

    # For the session

    def release(self, entries: Sequence[Entry], hearers: Hearers) -> None:
        """``entries`` are stored and leave now, and so do the tokens between them, in order."""
        outbox = self._outbox
        if not outbox:
            if entries:
                hearers.tell_entries(entries)
        else:
            for entry in entries:
                hearers.tell_entries([entry])
                for frame in outbox.release(entry.seq):
                    hearers.tell(frame)
        for frame in outbox.release(self._host.log.stored):
            hearers.tell(frame)

    @property
    def so_far(self) -> list[frames.Stream]:
        """What a connection that has the log needs beside it."""
        return [
            frames.Stream(stream_id, found.index, found.stream.content)
            for stream_id, found in self._open.items()
            if found.seq <= self._host.log.stored
        ]

    @property
    def texts(self) -> dict[str, str]:
        """The text so far of each, by id."""
        return {found.stream.id: found.stream.content for found in list(self._open.values())}

    def has_open(self, turn: Turn) -> bool:
        """Whether ``turn`` has streams that are not closed."""
        return any(found.turn is turn for found in self._open.values())

    def take(self, turn: Turn) -> list[Streaming]:
        """Close the streams that ``turn`` has left open."""
        if not self._open:
            return []
        left = [found.stream for found in self._open.values() if found.turn is turn]
        for stream in left:
            stream.end_stream()
            self.close(stream.id)
        return left

    def _put(self, frame: frames.ServerFrame) -> None:
        if not self._outbox.hold(self._host.log.head, frame):
            self._host.tell(frame)
        now = self._host.loop.time()
        if now - self._checkpointed > CHECKPOINT:
            self._checkpoint(now)
        elif self._timer is None:  # for what comes last before a pause
            self._timer = self._host.loop.call_later(CHECKPOINT, self._checkpoint_late)

    def _checkpoint_late(self) -> None:
        self._timer = None
        if self._open:
            self._checkpoint(self._host.loop.time())

    def _checkpoint(self, now: float) -> None:
        """The text of open streams is stored with the next commit, for whoever takes over."""
        self._checkpointed = now
        streams: list[dict[str, Any]] = [found.stream.as_event() for found in self._open.values()]
        self._host.draft.set(streams=streams)
        self._host.note()


class SinkHost(Protocol):
    """What a sink needs of its session."""

    host: Host
    loop: asyncio.AbstractEventLoop
    draft: PendingChange
    log: SessionLog
    asks: Asks
    offers: OfferedActions

    @property
    def id(self) -> UUID: ...

    @property
    def journal(self) -> Journal: ...

    def check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not change the session any more."""

    def check_values(self, turn: Turn | None) -> None:
        """Raise what keeps a change inside a value from being stored."""

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        """One more entry of the server's in the log."""

    def tell(self, frame: frames.ServerFrame) -> None: ...

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The settings' inputs from now on, and their values."""

    def note(self) -> None: ...


class SessionSink(Sink):
    """Takes what the emitters of all turns and visitors make, and holds them back."""

    def __init__(self, host: SinkHost) -> None:
        self.loop = host.loop
        self._host = host
        self.streams = Streams(host)
        #: What a commit could not store; it surfaces at the next emit or flush.
        self.error: StorageError | None = None

    # Sink

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        self._check(turn)
        return self._host.emit(name, data, turn=None if turn is None else turn.n)

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self.streams.open(stream, turn)

    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        self._host.check(turn)
        if replaces:
            stream.replace_content(text)
            self.streams.replace(stream.id, text)
        else:
            stream.add_content(text)
            self.streams.add(stream.id, text)

    def close_stream(self, stream_id: str) -> None:
        self.streams.close(stream_id)

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        self._host.offers.offer(message, actions)

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        self._host.check(turn)
        message = self._host.offers.withdraw(action)
        if message is None:
            return
        await self.flush()
        event = await self._host.host.find_message(self._host.id, message)
        if event is not None:
            event["actions"] = self._host.offers.of(message)
            self.append("message_update", encode_data("message_update", event), turn)

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        self._check(turn)
        self._host.declare_settings(inputs, values, turn=None if turn is None else turn.n)

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        self._check(turn)
        return await self._host.asks.call(kind, data, timeout=timeout, turn=turn)

    @property
    def is_crowded(self) -> bool:
        return self._is_ahead or self._host.journal.is_full

    @property
    def _is_ahead(self) -> bool:
        """Whether more of this session waits to be stored than may."""
        log = self._host.log
        return log.head - log.stored > settings.MAX_UNCOMMITTED or self.streams.is_crowded

    async def room(self) -> None:
        while self._is_ahead:
            await self.flush()
        if self._host.journal.is_full:
            await self._host.journal.room()

    async def flush(self, turn: Turn | None = None) -> None:
        self._host.check(None)
        self.raise_error()
        self._host.check_values(turn)
        if self._host.journal.failure is not None:
            raise self._host.journal.failure
        waiter = self._host.draft.waiter()
        self._host.note()
        await waiter
        self.raise_error()

    def _check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not tell the client anything now."""
        self._host.check(turn)
        self.raise_error()
        self._host.check_values(turn)

    # For the session

    def raise_error(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


DETAIL = "What was writing this has stopped."


def new_writer() -> Turn:
    """What the streams of one block are known by."""
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

    __slots__ = ("_close_streams", "_loop", "_streams", "_writers")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Streams,
        *,
        close_streams: Callable[[Turn, bool], None],
    ) -> None:
        self._loop = loop
        self._streams = streams
        self._close_streams = close_streams
        self._writers: dict[str, Writer] = {}

    def heard(self, number: str, worker: UUID | None) -> Turn:
        """A block was heard of; what its streams are known by."""
        writer = self._writers.setdefault(number, Writer(worker, new_writer()))
        writer.heard_at = self._loop.time()
        return writer.turn

    def settle(self, number: str) -> None:
        """Forget a block that streams nothing (any more)."""
        writer = self._writers.get(number)  # of changes at the same time the first one does it
        if writer is not None and not self._streams.has_open(writer.turn):
            del self._writers[number]

    @property
    def is_writing(self) -> bool:
        """Whether somebody is in the middle of a message."""
        return bool(self._writers)

    def suspects(self) -> dict[str, Writer]:
        """Those that were not heard of for as long as one that lives would be silent at most."""
        late = self._loop.time() - settings.WORKER_HEARTBEAT
        return {number: one for number, one in self._writers.items() if one.heard_at < late}

    def is_lost(self, writer: Writer) -> bool:
        """Whether it has been silent for so long that it counts as dead."""
        return self._loop.time() - writer.heard_at > settings.WORKER_STALE

    def interrupt(self, number: str) -> None:
        """Close what a block has left open, and say that it was interrupted."""
        writer = self._writers.pop(number, None)
        if writer is not None:
            self._close_streams(writer.turn, True)

    def interrupt_all(self) -> None:
        """Nobody writes any more."""
        for number in list(self._writers):
            self.interrupt(number)
