"""``SessionSink``: what a session's emitters fill, on its way to the log and to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from . import frames
from .asks import Asks
from .conf import settings
from .delivery import Outbox
from .draft import Draft
from .emitter import Streaming, Turn, Volatile, encode_data
from .exceptions import StorageError
from .history import History
from .journal import Journal
from .log import SessionLog
from .offers import Offers

#: How often the text of an open stream is stored, in seconds: what a crash may cost of it.
STREAM_CHECKPOINT = 1.0
#: Tokens that may wait for the journal before the handler does.
MAX_WAITING_FRAMES = 1000


class SinkHost(Protocol):
    """What a sink needs of its session."""

    loop: asyncio.AbstractEventLoop
    draft: Draft
    log: SessionLog
    asks: Asks
    offers: Offers
    history: History

    @property
    def journal(self) -> Journal: ...

    def check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not change the session any more."""

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        """One more entry of the server's in the log."""

    def tell(self, frame: frames.ServerFrame) -> None: ...

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The settings' inputs from now on, and their values."""

    def note(self) -> None: ...


class SessionSink:
    """Appends entries, keeps tokens behind the entries they belong to, and stores open streams."""

    def __init__(self, host: SinkHost) -> None:
        self.loop = host.loop
        self._host = host
        self._outbox: Outbox[Volatile] = Outbox(host.log.stored)
        self._streams: dict[str, tuple[Streaming, Turn | None, int]] = {}
        self._checkpointed = 0.0
        #: What a commit could not store; it surfaces at the next emit or flush.
        self.error: StorageError | None = None

    # Sink

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        self._host.check(turn)
        self.raise_error()
        return self._host.emit(name, data, turn=None if turn is None else turn.n)

    def send_volatile(self, frame: Volatile, turn: Turn | None) -> None:
        self._host.check(turn)
        if not self._outbox.hold(self._host.log.head, frame):
            self._host.tell(frame)
        now = self.loop.time()
        if now - self._checkpointed > STREAM_CHECKPOINT:
            self._checkpoint(now)

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self._streams[stream.id] = (stream, turn, self._host.log.head)
        self._checkpoint(self.loop.time())

    def stream(self, stream_id: str) -> Streaming | None:
        """The open stream with this id."""
        found = self._streams.get(stream_id)
        return None if found is None else found[0]

    def close_stream(self, stream_id: str) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._checkpoint(self.loop.time())

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        self._host.offers.offer(message, actions)

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        self._host.check(turn)
        message = self._host.offers.withdraw(action)
        if message is None:
            return
        await self.flush()
        event = await self._host.history.find_message(message)
        if event is not None:
            event["actions"] = self._host.offers.of(message)
            self.append("message_update", encode_data("message_update", event), turn)

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        self._host.check(turn)
        self.raise_error()
        self._host.declare_settings(inputs, values, turn=None if turn is None else turn.n)

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        self.raise_error()
        return await self._host.asks.call(kind, data, timeout=timeout, turn=turn)

    async def room(self) -> None:
        host = self._host
        while (
            host.log.head - host.log.stored > settings.MAX_UNCOMMITTED
            or len(self._outbox) > MAX_WAITING_FRAMES
        ):
            await self.flush()
        if host.journal.is_full:
            await host.journal.room()

    async def flush(self) -> None:
        self.raise_error()
        self._host.check(None)
        if self._host.journal.failure is not None:
            raise self._host.journal.failure
        waiter = self._host.draft.waiter()
        self._host.note()
        await waiter
        self.raise_error()

    # For the session

    def raise_error(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    @property
    def is_ordered(self) -> bool:
        """Whether tokens wait that must keep their place between entries."""
        return len(self._outbox) > 0

    def release(self, seq: int, tell: Callable[[frames.ServerFrame], None]) -> None:
        """Everything up to entry ``seq`` is stored: the tokens behind it may leave."""
        for frame in self._outbox.release(seq):
            tell(frame)

    @property
    def open_streams(self) -> list[frames.Stream]:
        """What a connection that has the log needs beside it."""
        return [
            frames.Stream(stream.id, stream.index, stream.content)
            for stream, _, seq in self._streams.values()
            if seq <= self._host.log.stored
        ]

    @property
    def texts(self) -> dict[str, str]:
        """The text so far of each message that is being streamed, by id."""
        return {stream.id: stream.content for stream, _, _ in list(self._streams.values())}

    def take_streams(self, turn: Turn) -> list[Streaming]:
        """Close the streams that ``turn`` has left open."""
        left = [stream for stream, opened_by, _ in self._streams.values() if opened_by is turn]
        for stream in left:
            stream.end_stream()
            self.close_stream(stream.id)
        return left

    def _checkpoint(self, now: float) -> None:
        """The text of open streams is stored with the next commit, for whoever takes over."""
        self._checkpointed = now
        streams = [stream.as_event() for stream, _, _ in self._streams.values()]
        self._host.draft.set(streams=streams)
        self._host.note()
