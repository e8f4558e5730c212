"""
Visits: clients that come by a request and have no connection.

A visit holds its session while it lasts, may give it an event, and follows what comes of that:
the log from a position on, and what is told between its entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import msgspec

from . import frames
from .admission import Admission
from .attachment import REPLAY_CHUNK, event_frame
from .chat import Chat
from .conf import settings
from .emitter import Turn
from .entrance import Admit, Arrival, anybody
from .exceptions import ChatSessionsError, SessionOver
from .live import LiveSession
from .store import Entry
from .worker import get_worker

#: Frames that are told between the log's entries.
Told = frames.ServerFrame


class SessionConnected(ChatSessionsError):
    """A websocket's client numbers the session's events now, and nobody beside it."""

    def __init__(self, session_id: UUID) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session {session_id} is connected by a websocket: send its events there, or when "
            "that is closed."
        )


@dataclass(frozen=True, slots=True)
class Posted:
    """An event of a visit: its turn, and behind which entry what comes of it begins."""

    turn: int
    name: str
    after: int
    #: Whether it had been posted before, and was not taken again.
    repeated: bool = False
    #: Whether no turn is to end: it was handled when it was taken.
    over: bool = False


class Visit:
    """Somebody who came by a request, and the session they have."""

    def __init__(self, live: LiveSession, *, token: str, reason: str | None) -> None:
        self.live = live
        #: What lets the client come back; empty for a logged-in owner who came without one.
        self.token = token
        #: None if the session was theirs; else why they have a new one.
        self.reason = reason
        #: The last entry before the visit.
        self.before = live.log.head
        #: Looks after the login of who came, until they leave.
        self.guard: Admission | None = None
        self._over = False
        self._follower: Follower | None = None

    @classmethod
    async def begin(
        cls, chat: Chat, arrival: Arrival, *, make: bool = True, admit: Admit = anybody
    ) -> Self:
        """
        Open the session asked for, or with ``make`` a new one where it is not there.

        ``admit`` is asked about it before it is made or taken. Raises what ``Worker.receive``
        raises.
        """
        live, reason = await get_worker().receive(chat, arrival, make=make, admit=admit)
        token = (
            (arrival.token or "") if reason is None else live.presence.issue_token(None, named=True)
        )
        visit = cls(live, token=token, reason=reason)
        if reason is None:
            live.session.user = arrival.user
            if arrival.env:
                live.session.env = arrival.env
        live.presence.visited()
        live.go()
        return visit

    @property
    def resumed(self) -> bool:
        return self.reason is None

    def follow(self, after: int, *, bounded: bool = True) -> Follower:
        """Follow the session behind entry ``after``, until the visit is over."""
        self._follower = Follower(self.live, after, bounded=bounded)
        if self.lost is not None:
            self._follower.stop()
        return self._follower

    @property
    def lost(self) -> str | None:
        """Why who came may not be here any more, if so."""
        return None if self.guard is None else self.guard.lost

    def stop(self) -> None:
        """Follow the session no further. What runs in it goes on."""
        if self._follower is not None:
            self._follower.stop()

    def leave(self) -> None:
        """Let the session go; once."""
        if not self._over:
            self._over = True
            self.stop()
            if self.guard is not None:
                self.guard.leave()
            self.live.holders -= 1
            self.live.note()

    async def given_back(self) -> None:
        """Wait until another process can take the session, if it can be let go at all."""
        await self.live.given_back()

    # Events

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None = None) -> Posted:
        """
        Give the session an event; one with the ``key`` of an earlier one is that one again.

        ``raw`` is the JSON of ``data``. Raises ``FrameError`` for one that cannot be accepted
        now, ``SessionConnected``, ``SessionOver``, ``StoreUnavailable``.
        """
        live = self.live
        async with live.posting:
            if key is not None:
                known = await self._find(key)
                if known is not None:
                    return Posted(known.n or 0, name, known.seq, repeated=True)
            n = live.inbox.gate.intake.expected
            await live.check_files(frames.ClientEvent(n, name, msgspec.Raw(raw)), data)
            self._check()
            before = 0 if self.reason else live.log.head
            n = live.post(name, raw, data)
        return Posted(n, name, before)

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """
        As :meth:`post`, for the answer to a question; its turn is the one that asked.

        If none asked that runs (a hook did, or a task that has outlived its turn), it is over.
        """
        live = self.live
        async with live.posting:
            n = live.inbox.gate.intake.expected
            await live.check_answer_files(frames.Answer(n, call, msgspec.Raw(raw)), data)
            self._check()
            before = live.log.head
            asking = self._running(live.asks.turn_of(call))
            n = live.post_answer(call, raw, data)
        if asking is None:
            return Posted(n, "answer", before, over=True)
        return Posted(asking.n or 0, asking.name, before)

    def _running(self, n: int | None) -> Turn | None:
        """Turn ``n``, if it runs."""
        turns = self.live.turns
        running = (job.turn for job in (turns.job, turns.aside) if job is not None)
        return None if n is None else next((turn for turn in running if turn.n == n), None)

    def _check(self) -> None:
        live = self.live
        if live.ending is not None or live.closed:
            raise SessionOver(live.id, live.ending or "app")
        if live.listener is not None:
            raise SessionConnected(live.id)

    async def _find(self, key: str) -> Entry | None:
        """The message that was posted with the id ``key``."""
        live = self.live
        if live.log.head > live.log.stored:
            await live.sink.flush()
        return await live.history.find_posted(key)


class Follower:
    """
    Follows a session from an entry on: what is stored already, then what comes.

    Hears from when it is made; ``frames()`` gives, once. It ends with the session or its owner,
    and if it is ``bounded`` when the reader is so slow that more waits for it than a connection
    may leave unacknowledged.
    """

    relayed = False

    def __init__(self, live: LiveSession, after: int, *, bounded: bool = True) -> None:
        self.live = live
        self._position = after
        self._bounded = bounded
        self._start = live.log.stored
        self._streams = live.sink.open_streams
        self._queue: list[Told | Entry] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._closed = False
        #: Why the session has ended, if it did meanwhile.
        self.ended: str | None = None
        live.presence.followers.add(self)

    def stop(self) -> None:
        """Hear no more."""
        self._closed = True
        self._news.set()
        self.live.presence.followers.discard(self)

    # Listener

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
        self._queue.append(item)
        self._bytes += size
        self._news.set()
        if self._bounded and (
            len(self._queue) > settings.MAX_UNACKED_EVENTS
            or (self._bytes > settings.MAX_UNACKED_BYTES and len(self._queue) > 1)
        ):
            self.stop()

    # Reading

    async def frames(self, *, quiet: float | None = None) -> AsyncIterator[Told | None]:
        """
        What is told, in order; None whenever nothing was for ``quiet`` seconds.

        An event of the client's own is told as ``accepted`` when it comes, and as an ``event``
        with its ``n`` when it was there before.
        """
        async for entry in self._stored(self._start):
            yield event_frame(entry)
        told = {stream.message: stream.index for stream in self._streams}
        for stream in self._streams:
            yield stream
        while True:
            queue, self._queue, self._bytes = self._queue, [], 0
            for item in queue:
                frame = self._told(item, told)
                if frame is not None:
                    yield frame
            if self._queue:
                continue
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
        return event_frame(item) if item.n is None else frames.Accepted(item.n, item.seq)

    async def _stored(self, up_to: int) -> AsyncIterator[Entry]:
        """The entries that were stored before; those that are no longer kept are left out."""
        self._position = max(self._position, self.live.log.first - 1)
        while self._position < up_to:
            entries = await self.live.history.read(self._position, REPLAY_CHUNK)
            if not entries:
                return
            for entry in entries:
                if entry.seq > self._position:
                    self._position = entry.seq
                    yield entry


def is_end_of(frame: Told, turn: int) -> bool:
    """Whether ``frame`` says that ``turn`` has come to its end."""
    return isinstance(frame, frames.TurnStatus) and frame.turn == turn and frame.status != "running"
