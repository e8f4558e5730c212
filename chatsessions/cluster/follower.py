"""
``LogFollower``: follow a session that another worker owns, for the subscribers here.

The follower reads the stored log from a position on. Hints add the frames that are not in the log.
A hint may be lost, or come late: after the session's row has shown the same news.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import msgspec

from chatsessions.handlers.chat import ANSWER, START
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Handled
from chatsessions.sessions.subscribers import Standing, Subscribers
from chatsessions.storage.database import Executors
from chatsessions.storage.log import MESSAGE_EVENTS, Entry, find_events, read_entries
from chatsessions.storage.store import Peek

from .commands import HintPart

logger = logging.getLogger("chatsessions.cluster")

#: The most entries of the log that are read at a time.
CHUNK = 200
#: Events that may open a stream.
STREAM_EVENTS = (*MESSAGE_EVENTS, "step", "step_update")
#: The most tokens of one message that wait for a lost one.
MAX_AHEAD = 1000


class LogFollower:
    """Sends ``subscribers`` a session's log, its tokens and the statuses of its turns."""

    def __init__(
        self,
        session_id: UUID,
        threads: Executors,
        *,
        give_up: Callable[[str], None],
        misses: Callable[[], None],
    ) -> None:
        self.subscribers = Subscribers()
        self.streams = OpenStreams()
        self.turns = TurnStatuses(Handled(), running=None)
        self.is_ending = False
        self._session_id = session_id
        self._threads = threads
        #: Called with the reason when the log can no longer be followed.
        self._give_up = give_up
        #: Called when tokens may be lost, so that the owner has to be asked for the text.
        self._misses = misses
        #: The position and state of the session that the subscribers have reached.
        self._standing = Standing()
        #: Held while the log is read.
        self._reading = asyncio.Lock()
        self._is_over = False

    def begin(self, standing: Standing) -> None:
        """Follow the session from ``standing``."""
        self._standing = standing
        self.streams.restate(standing.streams)
        handled = Handled(standing.handled, standing.handled_ahead)
        self.turns = TurnStatuses(handled, running=standing.turn, name=standing.turn_name)

    async def begin_again(self, standing: Standing) -> None:
        """Send all entries up to ``standing``, before one more subscriber joins there."""
        self._standing.first = standing.first
        self._standing.numbered = standing.numbered
        await self.read_up_to(standing.stored)

    def stop(self) -> Subscribers:
        """Send nothing more; return the subscribers."""
        self._is_over = True
        subscribers, self.subscribers = self.subscribers, Subscribers()
        return subscribers

    def standing(self) -> Standing:
        """Return the position and state of the session that the subscribers have reached."""
        streams = list(self.streams.so_far.values())
        head = self._standing.stored
        turn, name = self.turns.running
        return msgspec.structs.replace(
            self._standing, head=head, turn=turn, turn_name=name, streams=streams
        )

    # News

    async def take_part(self, part: HintPart) -> None:
        """Send the news of one part of a hint."""
        await self.read_up_to(part.head)
        for raw in part.frames:
            self.tell(raw, head=part.head)
        if part.idle is not None:
            self._standing.is_idle, self.is_ending = part.idle, part.ending

    async def take_standing(self, standing: Standing) -> None:
        """
        Send the news of the owner's standing: the log, and the open streams.

        The streams are ignored if the subscribers have later entries already, which may have closed
        them.
        """
        await self.read_up_to(standing.stored)
        if standing.stored < self._standing.stored:
            return
        for piece in self.streams.restate(standing.streams):
            self.subscribers.frame(piece)

    async def take_row(self, peek: Peek) -> None:
        """Send the news of the session's row: the log, and the turns that run or have ended."""
        await self.read_up_to(peek.head)
        handled = Handled(peek.handled, peek.handled_ahead)
        running = (peek.running, peek.aside)
        numbers = self.turns.not_told(handled, peek.accepted, running)
        if numbers:
            find = partial(find_events, self._session_id, numbers)
            for n, name, outcome in await self._threads.read(find):
                if name != ANSWER:  # an answer has no turn
                    status = "running" if n in running else outcome
                    self._tell_turn(frames.TurnStatus(n, name, status))
            if 0 in numbers:
                self._tell_turn(frames.TurnStatus(0, START, "done"))
        for n, name in self.turns.overdue:  # nothing says any more how it ended
            self._tell_turn(frames.TurnStatus(n, name, "done"))
        if self._standing.stored == peek.head:
            self._standing.is_idle = peek.running is None and peek.handled >= peek.accepted
            self.is_ending = bool(peek.end_reason)

    async def read_up_to(self, head: int) -> None:
        """Send the log up to ``head``."""
        async with self._reading:
            while self._standing.stored < head and not self._is_over:
                # Not beyond ``head``: frames that belong before the next entries may still come.
                limit = min(CHUNK, head - self._standing.stored)
                entries = await self.read_log(self._standing.stored, limit)
                if not entries or entries[0].seq != self._standing.stored + 1:
                    self._give_up("its log was cut off meanwhile")
                    return
                self._standing.stored = entries[-1].seq
                for entry in entries:
                    self._note(entry)
                self.subscribers.entries(entries)

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Return at most ``limit`` stored entries after ``after``, oldest first."""
        read = partial(read_entries, self._session_id, after=after, limit=limit)
        return await self._threads.read(read)

    def _note(self, entry: Entry) -> None:
        if entry.n is not None:
            self._standing.received = max(self._standing.received, entry.n)
            if entry.name != ANSWER:
                self._standing.is_idle = False
        self.streams.stored(entry)

    def tell(self, raw: msgspec.Raw, *, head: int = 0) -> None:
        """Send a frame of the owner, which belongs after entry ``head`` of the log."""
        frame = _decoded(raw)
        if isinstance(frame, frames.PIECES):
            for piece in self.streams.told(frame, head=head):
                self.subscribers.frame(piece)
            if self.streams.lack_something:
                self._misses()
        elif isinstance(frame, frames.TurnStatus):
            self._tell_turn(frame)
        elif frame is not None:
            self.subscribers.frame(frame)

    def _tell_turn(self, frame: frames.TurnStatus) -> None:
        if self.turns.is_new(frame):
            self.subscribers.frame(frame)


class OpenStreams:
    """
    The text so far of each open stream, from the entries and frames that have come.

    If a token is lost, later ones wait until the owner has sent the text so far.
    """

    def __init__(self) -> None:
        self.so_far: dict[str, frames.Stream] = {}
        #: By message: the entry that has opened its stream; 0 if it is not known.
        self._since: dict[str, int] = {}
        #: By message: the tokens that came after a lost one.
        self._ahead: dict[str, list[frames.Token]] = {}
        #: Whether a token of an open stream may be lost.
        self._is_torn = False

    @property
    def lack_something(self) -> bool:
        """Whether the owner has to be asked for the texts so far."""
        return bool(self._ahead) or (self._is_torn and bool(self.so_far))

    def tear(self) -> None:
        """Note that a hint was lost, which may have had tokens of any stream."""
        self._is_torn = True

    def told(
        self, frame: frames.Token | frames.Stream, *, head: int
    ) -> list[frames.Token | frames.Stream]:
        """
        Take a frame that belongs after entry ``head`` of the log; return the frames to send.

        Nothing is sent for a stream that was closed since, or closed and opened again.
        """
        before = self.so_far.get(frame.message)
        if before is None or head < self._since[frame.message] or frame.index < before.index:
            return []
        if isinstance(frame, frames.Stream):
            return self._put(frame)
        if frame.index > before.index:
            ahead = self._ahead.setdefault(frame.message, [])
            if len(ahead) < MAX_AHEAD:
                ahead.append(frame)
            return []
        text = before.content + frame.text
        self.so_far[frame.message] = frames.Stream(frame.message, frame.index + 1, text)
        return [frame]

    def restate(self, streams: Sequence[frames.Stream]) -> list[frames.Token | frames.Stream]:
        """Take the owner's open streams; return the frames to send."""
        told: list[frames.Token | frames.Stream] = []
        for stream in streams:
            before = self.so_far.get(stream.message)
            index = -1 if before is None else before.index
            # A late answer may have less text than was sent since; then it is ignored.
            if stream.index > index or (self._is_torn and stream.index == index):
                told += self._put(stream)
        self._ahead.clear()
        self._is_torn = False
        return told

    def _put(self, stream: frames.Stream) -> list[frames.Token | frames.Stream]:
        before = self.so_far.get(stream.message)
        is_cleared = before is not None and bool(before.content)
        self.so_far[stream.message] = stream
        self._since.setdefault(stream.message, 0)
        told: list[frames.Token | frames.Stream] = []
        if stream.has_text or is_cleared:
            told.append(stream)
        for token in self._ahead.pop(stream.message, ()):
            told += self.told(token, head=self._since[stream.message])
        return told

    def stored(self, entry: Entry) -> None:
        """Take an entry of the log."""
        if self.so_far:
            closed = entry.closes or ""
            self.so_far.pop(closed, None)
            self._ahead.pop(closed, None)
        if b'"streaming":true' in entry.data and entry.name in STREAM_EVENTS:
            with suppress(msgspec.ValidationError):  # an application's own event of that name
                opened = msgspec.json.decode(entry.data, type=_Opened)
                if opened.streaming:
                    text = opened.content or opened.output
                    self.so_far[opened.id] = frames.Stream(opened.id, 0, text)
                    self._since[opened.id] = entry.seq


class _Opened(msgspec.Struct):
    """The keys of an entry that may open the stream of a message or step."""

    id: str
    streaming: bool
    content: str = ""
    output: str = ""


class TurnStatuses:
    """Which statuses of turns were sent to the subscribers, and which are still to send."""

    def __init__(self, handled: Handled, *, running: int | None, name: str = "") -> None:
        self._handled = handled
        #: The names of the running turns, by their numbers.
        self._running = {} if running is None else {running: name}
        #: The final status that was sent, by the number of the turn.
        self.ended: dict[int, str] = {}

    @property
    def running(self) -> tuple[int | None, str]:
        """The number and the name of the running turn, of the earlier one if there are two."""
        return min(self._running.items(), default=(None, ""))

    @property
    def overdue(self) -> list[tuple[int, str]]:
        """Number and name of running turns that have ended, and whose events are not kept."""
        return [(n, name) for n, name in self._running.items() if n and n in self._handled]

    def is_new(self, frame: frames.TurnStatus) -> bool:
        """Take the status of a turn; return False if it was sent before."""
        n = frame.turn
        if n in self.ended or (frame.status == "running" and n in self._running):
            return False
        if frame.status == "running":
            self._running[n] = frame.name
        else:
            self._running.pop(n, None)
            self.ended[n] = frame.status
        return True

    def not_told(
        self, handled: Handled, accepted: int, running: Collection[int | None]
    ) -> list[int]:
        """
        Return the numbers of the turns whose status in the row was not sent yet.

        The row says that events up to ``accepted`` are accepted, that the turns of ``handled`` have
        ended, and that those of ``running`` run.
        """
        before, self._handled = self._handled, handled
        ended = [
            n
            for n in range(before.up_to + 1, accepted + 1)
            if n in handled and n not in before and n not in self.ended
        ]
        begun = [
            n
            for n in running
            if n and n not in self._running and n not in self.ended and n not in before
        ]
        start = [0] if 0 in self._running and 0 not in running else []
        return [*start, *ended, *begun]


def _decoded(raw: msgspec.Raw) -> frames.ServerFrame | None:
    """Return a frame of the owner, or None if only another release knows it."""
    try:
        return frames.decode_server(bytes(raw).decode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        logger.warning("A frame from a session's owner is not known here: %s", error)
        return None
