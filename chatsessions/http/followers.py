"""``HttpSubscriber``: what a request without a connection hears of its session."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TypeGuard

from chatsessions.cluster.served import Visited
from chatsessions.conf import settings
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.changes import Entry
from chatsessions.websocket.subscriber import (
    REPLAY_CHUNK,
    event_frame,
)
from chatsessions.workers.limits import Replay

#: Frames that are told between the log's entries.
Told = frames.ServerFrame


class HttpSubscriber(Subscriber):
    """
    Follows a session from an entry on: what is stored already, then what comes.

    Hears from when it is made; ``frames()`` gives, once. It ends with the session or its owner,
    and if it is ``bounded`` when the reader is so slow that more waits for it than a connection
    may leave unacknowledged. Entries up to ``known`` were there before it came.
    """

    def __init__(
        self, served: Visited, after: int, *, known: int, replay: Replay, bounded: bool = True
    ) -> None:
        self.served = served
        self.replay = replay
        self._position = after
        self._known = known
        self._bounded = bounded
        self._start = served.stored
        self._streams = served.open_streams
        self._queue: deque[tuple[Told | Entry, int]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._closed = False
        #: Why the session has ended, if it did meanwhile.
        self.ended: str | None = None
        served.follow(self)

    def stop(self) -> None:
        """Hear no more."""
        self._closed = True
        self._news.set()
        self.served.unfollow(self)

    def abandon(self) -> None:
        """Hear no more, and forget what was not read."""
        self.stop()
        self._queue.clear()

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._put(entry, len(entry.data))

    def frame(self, frame: frames.ServerFrame) -> None:
        self._put(frame, len(frame.text) if isinstance(frame, frames.Token) else 0)

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        if ended is not None:
            self.ended = ended
            self._put(frames.Ended(ended), 0)
        self.stop()

    def _put(self, item: Told | Entry, size: int) -> None:
        if self._closed:
            return
        self._queue.append((item, size))
        self._bytes += size
        self._news.set()
        if self._bounded and (
            len(self._queue) > settings.MAX_UNACKED_EVENTS
            or (self._bytes > settings.MAX_UNACKED_BYTES and len(self._queue) > 1)
        ):
            self.stop()

    # Reading

    @property
    def has_more(self) -> bool:
        """Whether something waits to be read."""
        return bool(self._queue)

    async def frames(self, *, quiet: float | None = None) -> AsyncIterator[Told | None]:
        """
        What is told, in order; None whenever nothing was for ``quiet`` seconds.

        An event of the client's own is told as ``accepted`` when it comes, and as an ``event``
        with its ``n`` when it was there before.
        """
        async for entry in self._stored(self._start):
            yield self._frame_of(entry)
        told = {stream.message: stream.index for stream in self._streams}
        for stream in self._streams:
            yield stream
        while True:
            while self._queue:
                item, size = self._queue.popleft()
                self._bytes -= size
                frame = self._told(item, told)
                if frame is not None:
                    yield frame
            if self._closed:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(quiet):
                    await self._news.wait()
            except TimeoutError:
                yield None

    def _told(self, item: Told | Entry, streams: dict[str, int]) -> Told | None:
        if not isinstance(item, Entry):
            old = isinstance(item, frames.Token) and item.index < streams.get(item.message, 0)
            return None if old else item
        if item.seq <= self._position:
            return None
        self._position = item.seq
        return self._frame_of(item)

    def _frame_of(self, entry: Entry) -> Told:
        if entry.n is None or entry.seq <= self._known:
            return event_frame(entry)
        return frames.Accepted(entry.n, entry.seq)

    async def _stored(self, up_to: int) -> AsyncIterator[Entry]:
        """The entries that were stored before; those that are no longer kept are left out."""
        self._position = max(self._position, self.served.first - 1)
        while self._position < up_to:
            await self.replay.room()
            entries = await self.served.read_log(self._position, REPLAY_CHUNK)
            if not entries:
                return
            self.replay.took(sum(len(entry.data) for entry in entries))
            for entry in entries:
                if entry.seq > self._position:
                    self._position = entry.seq
                    yield entry


def is_end_of(frame: Told, turn: int) -> bool:
    """Whether ``frame`` says that ``turn`` has come to its end."""
    return is_end(frame) and frame.turn == turn


def is_end(frame: Told) -> TypeGuard[frames.TurnStatus]:
    """Whether ``frame`` says that a turn has come to its end."""
    return isinstance(frame, frames.TurnStatus) and frame.status != "running"
