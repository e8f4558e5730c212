"""
``Visit`` and ``HttpSubscriber``: clients that send a request and have no connection.

A visit holds its session while it lasts, may post an event to it, and follows the result: the log
from a position on, and the frames between its entries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from django.utils.functional import Promise

from chatsessions.cluster.connect_request import Admit
from chatsessions.cluster.visited import VisitedSession
from chatsessions.conf import settings
from chatsessions.exceptions import SessionOver
from chatsessions.handlers.chat import Chat
from chatsessions.protocol import frames
from chatsessions.sessions.posted import Posted
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.websocket.admission import Admission
from chatsessions.websocket.subscriber import REPLAY_CHUNK, event_frame
from chatsessions.workers.limits import Replay
from chatsessions.workers.worker import get_worker

from .requests import Credentials, Event

#: A frame that a subscriber yields.
Told = frames.ServerFrame


@dataclass(eq=False, repr=False)
class Visit:
    """The client of a request, and its session."""

    #: The session, or the proxy of a session that another worker owns.
    served: LiveSession | VisitedSession
    #: What the chat offers besides messages.
    offers: list[str]
    ip: str | None
    #: The token to resume the session with; empty for a logged-in user who sent none.
    token: str
    #: None if the session was resumed; otherwise why it is a new one.
    reason: str | None
    #: Watches the client's login until the visit is over.
    admission: Admission | None = None
    #: Whether the visit goes on after its request, and ends with an event stream.
    is_streamed: bool = False
    _over: bool = False
    _close_stream: Callable[[], None] | None = None
    _subscriber: HttpSubscriber | None = None

    def __post_init__(self) -> None:
        #: The ``seq`` of the last entry before the visit.
        self.before = self.served.standing().head

    @property
    def resumed(self) -> bool:
        """Whether the session was the client's before."""
        return self.reason is None

    @property
    def login_lost(self) -> Promise | None:
        """Why the user may no longer use the session; None while they may."""
        return None if self.admission is None else self.admission.login_lost

    async def post(self, event: Event, *, bounded: bool) -> tuple[Posted, HttpSubscriber]:
        """
        Post an event to the session, and follow its turn.

        Raises ``FrameError`` for an event that cannot be accepted now, ``SessionConnected``,
        ``SessionOver``, ``StoreUnavailable``, ``OwnerUnreachable``.
        """
        events = self.served.posted
        if event.call is None:
            posted = await events.post(event.name, event.raw, event.data, key=event.key)
            if self.reason is not None:
                posted.after = 0  # the answer also has what on_chat_start has sent
        else:
            posted = await events.answer(event.call, event.raw, event.data)
        subscriber = self.follow(posted.after, known=self.before, bounded=bounded)
        if posted.outcome is not None:  # all that came of it is stored
            subscriber.end(frames.TurnStatus(posted.turn, posted.name, posted.outcome))
        return posted, subscriber

    def follow(
        self, after: int, *, known: int | None = None, bounded: bool = True
    ) -> HttpSubscriber:
        """
        Follow the session after entry ``after``, until the visit is over.

        ``known`` is the last entry that counts as old; by default the last stored one.
        """
        known = self.served.standing().stored if known is None else known
        replay = get_worker().limits.replay(self.served.id, self.ip)
        self._subscriber = HttpSubscriber(
            self.served, after, known=known, replay=replay, bounded=bounded
        )
        if self.login_lost is not None:
            self._subscriber.stop()
        return self._subscriber

    def open_stream(self) -> None:
        """
        Count the visit as an open event stream, until it is over.

        Raises ``FrameError`` ``busy`` if there are too many.
        """
        self._close_stream = get_worker().limits.open_stream(self.served.id, self.ip)

    def abandon(self) -> None:
        """End the visit, and drop what was not read."""
        if self._subscriber is not None:
            self._subscriber.abandon()
        self.leave()

    def stop(self) -> None:
        """Stop following the session. Its turns go on."""
        if self._subscriber is not None:
            self._subscriber.stop()

    def leave(self) -> None:
        """End the visit and let the session go. Further calls do nothing."""
        if not self._over:
            self._over = True
            self.stop()
            if self._close_stream is not None:
                self._close_stream()
            if self.admission is not None:
                self.admission.leave()
            self.served.release()


async def begin_visit(chat: Chat, asked: Credentials, *, make: bool = True, admit: Admit) -> Visit:
    """
    Open the requested session, or with ``make`` a new one if there is none.

    With ``make`` a new session also replaces the one in Django's session if that has ended.
    ``admit`` is called with the session before it is made or taken. Raises what
    ``SessionRegistry.receive`` raises.
    """
    worker, request = get_worker(), asked.connect
    try:
        found, reason = await worker.receive(chat, request, make=make, admit=admit)
    except SessionOver as error:
        if not (asked.kept and make):
            raise
        request = replace(request, session_id=None, token=None)
        found, _ = await worker.receive(chat, request, admit=admit)
        reason = error.reason
    token = request.token or ""
    if reason is not None:
        token = found.client.issue_token(None, named=True)
    return Visit(found, chat.offers, request.ip, token, reason)


class HttpSubscriber(Subscriber):
    """
    Follows a session from an entry on: first the stored entries, then new entries and frames.

    It collects the new ones from its creation on; ``frames()`` yields each of them once. It ends
    with the session or its owner. A ``bounded`` subscriber also ends when more waits for its reader
    than a connection may leave unacknowledged. Entries up to ``known`` count as old.
    """

    def __init__(
        self,
        served: LiveSession | VisitedSession,
        after: int,
        *,
        known: int,
        replay: Replay,
        bounded: bool,
    ) -> None:
        self.served = served
        self.replay = replay
        self._position = after
        self._known = known
        self._bounded = bounded
        self._queue: deque[tuple[Told | Entry, int]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._closed = False
        #: The index of the next piece of each open stream whose text was told as a whole.
        self._told: dict[str, int] = {}
        #: Why the session has ended, if it did meanwhile.
        self.ended: str | None = None
        #: Whether stored entries were dropped before they were read.
        self.has_gap = False
        now = served.follow(self)
        self._start = now.stored
        self._first = now.first
        self._streams = [one for one in now.streams if one.has_text]

    def stop(self) -> None:
        """Collect nothing more."""
        self._closed = True
        self._news.set()
        self.served.unfollow(self)

    def end(self, status: frames.TurnStatus) -> None:
        """Collect nothing more; ``status``, the end of a turn, comes last."""
        self.stop()
        self._queue.append((status, 0))

    def abandon(self) -> None:
        """Collect nothing more, and drop what was not read."""
        self.stop()
        self._queue.clear()

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._put(entry, len(entry.data))

    def frame(self, frame: frames.ServerFrame) -> None:
        size = 0
        if isinstance(frame, frames.Token):
            size = len(frame.text)
        elif isinstance(frame, frames.Stream):
            size = len(frame.content)
        self._put(frame, size)

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
        """Whether an entry or frame waits that the reader does not have yet."""
        return any(not self._is_old(item) for item, _ in self._queue)

    async def frames(self, *, quiet: float | None = None) -> AsyncIterator[Told | None]:
        """
        Yield the frames in order, and None whenever there was none for ``quiet`` seconds.

        A new event of the client is an ``accepted``; an old one is an ``event`` with its ``n``.
        """
        async for entry in self._stored(self._start):
            yield self._frame_of(entry)
        self._told = {stream.message: stream.index for stream in self._streams}
        for stream in self._streams:
            yield stream
        while True:
            while self._queue:
                item, size = self._queue.popleft()
                self._bytes -= size
                if self._is_old(item):
                    continue
                if isinstance(item, Entry):
                    if self._told:
                        self._told.pop(item.closes or "", None)  # a new stream counts from 0 again
                    self._position = item.seq
                    item = self._frame_of(item)
                yield item
            if self._closed:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(quiet):
                    await self._news.wait()
            except TimeoutError:
                yield None

    def _is_old(self, item: Told | Entry) -> bool:
        """Return True if the reader has this entry, or this piece of a stream, already."""
        if isinstance(item, Entry):
            return item.seq <= self._position
        return isinstance(item, frames.PIECES) and item.index < self._told.get(item.message, 0)

    def _frame_of(self, entry: Entry) -> Told:
        if entry.n is None or entry.seq <= self._known:
            return event_frame(entry)
        return frames.Accepted(entry.n, entry.seq)

    async def _stored(self, up_to: int) -> AsyncIterator[Entry]:
        """Yield the entries from the position to ``up_to`` that are still kept."""
        self._position = max(self._position, self._first - 1)
        while self._position < up_to:
            await self.replay.room()
            entries = await self.served.read_log(self._position, REPLAY_CHUNK)
            if not entries or entries[0].seq != self._position + 1:
                self.has_gap = True
            if not entries:
                return
            self.replay.took(sum(len(entry.data) for entry in entries))
            for entry in entries:
                if entry.seq > up_to:
                    return  # it was stored meanwhile, and is in the queue, behind the streams
                self._position = entry.seq
                yield entry


def is_end_of(frame: Told, turn: int) -> bool:
    """Return True if ``frame`` says that ``turn`` has ended."""
    return is_end(frame) and frame.turn == turn


def is_end(frame: Told) -> TypeGuard[frames.TurnStatus]:
    """Return True if ``frame`` says that a turn has ended."""
    return isinstance(frame, frames.TurnStatus) and frame.status != "running"
