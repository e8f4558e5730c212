"""
``LogFollower``: tells what comes of a session that another worker owns, to those who are here.

The stored log is followed by position. What hints tell beside it may be lost, and may come late:
behind what a look at the session's row has told already.
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

from .commands import Part

logger = logging.getLogger("chatsessions.cluster")

#: Entries of the log that are read at a time.
CHUNK = 200
#: Events that may open a stream.
STREAM_EVENTS = (*MESSAGE_EVENTS, "step", "step_update")
#: Tokens of one message that wait for those before them.
MAX_AHEAD = 1000


class LogFollower:
    """Tells ``subscribers`` a session's log, and beside it what streams and which turns run."""

    def __init__(
        self,
        session_id: UUID,
        threads: Executors,
        *,
        give_up: Callable[[str], None],
        misses: Callable[[], None],
    ) -> None:
        #: Who is told.
        self.subscribers = Subscribers()
        self.streams = OpenStreams()
        self.turns = TurnStatuses(Handled(), running=None)
        self.is_ending = False
        self._session_id = session_id
        self._threads = threads
        #: Called with the reason when the log cannot be followed any more.
        self._give_up = give_up
        #: Called when something is missed that the owner has to be asked for.
        self._misses = misses
        #: How the session stands, as far as the subscribers were told.
        self._standing = Standing()
        #: Held while the log is read.
        self._reading = asyncio.Lock()
        self._is_over = False

    def begin(self, standing: Standing) -> None:
        """Follow the session from how it stands."""
        self._standing = standing
        self.streams.restate(standing.streams)
        handled = Handled(standing.handled, standing.handled_ahead)
        self.turns = TurnStatuses(handled, running=standing.turn)

    async def begin_again(self, standing: Standing) -> None:
        """Tell all that is stored, for one more who is here from now on."""
        self._standing.first = standing.first
        self._standing.numbered = standing.numbered
        await self.read_up_to(standing.stored)

    def stop(self) -> Subscribers:
        """Tell nothing more; return who has been told."""
        self._is_over = True
        subscribers, self.subscribers = self.subscribers, Subscribers()
        return subscribers

    def standing(self) -> Standing:
        """Return how the session stands, as far as the subscribers have been told."""
        streams = list(self.streams.so_far.values())
        head = self._standing.stored
        return msgspec.structs.replace(self._standing, head=head, streams=streams)

    # What is told

    async def take_part(self, part: Part) -> None:
        """Tell what a hint says."""
        await self.read_up_to(part.head)
        for raw in part.frames:
            self.tell(raw, head=part.head)
        if part.idle is not None:
            self._standing.is_idle, self.is_ending = part.idle, part.ending

    async def take_standing(self, standing: Standing) -> None:
        """Tell what the owner says of how the session stands: the log, and what streams."""
        await self.read_up_to(standing.stored)
        for piece in self.streams.restate(standing.streams):
            self.subscribers.frame(piece)

    async def take_row(self, peek: Peek) -> None:
        """Tell what the session's row says: the log, and the turns that run or have ended."""
        await self.read_up_to(peek.head)
        handled = Handled(peek.handled, peek.handled_ahead)
        running = (peek.running, peek.aside)
        numbers = self.turns.not_told(handled, peek.accepted, running)
        if numbers:
            find = partial(find_events, self._session_id, numbers)
            for n, name, outcome in await self._threads.read(find):
                if name != ANSWER:  # that has no turn
                    status = "running" if n in running else outcome
                    self._tell_turn(frames.TurnStatus(n, name, status))
            if 0 in numbers:
                self._tell_turn(frames.TurnStatus(0, START, "done"))
        if self._standing.stored == peek.head:
            self._standing.is_idle = peek.running is None and peek.handled >= peek.accepted
            self.is_ending = bool(peek.end_reason)

    async def read_up_to(self, head: int) -> None:
        """Tell the log up to ``head``."""
        async with self._reading:
            while self._standing.stored < head and not self._is_over:
                # No further: frames that belong before what comes next are still on their way.
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
        """Return stored entries behind ``after``, oldest first."""
        read = partial(read_entries, self._session_id, after=after, limit=limit)
        return await self._threads.read(read)

    def _note(self, entry: Entry) -> None:
        if entry.n is not None:
            self._standing.received = max(self._standing.received, entry.n)
            if entry.name != ANSWER:
                self._standing.is_idle = False
        self.streams.stored(entry)

    def tell(self, raw: msgspec.Raw, *, head: int = 0) -> None:
        """Pass on a frame of the owner that was told when the log ended with ``head``."""
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
            is_running = frame.status == "running"
            self._standing.turn = frame.turn if is_running else None
            self._standing.turn_name = frame.name if is_running else ""
            self.subscribers.frame(frame)


class OpenStreams:
    """
    The text so far of each message that streams, by what was told of it.

    A token that comes behind a lost one waits until the owner has said what the text is.
    """

    def __init__(self) -> None:
        self.so_far: dict[str, frames.Stream] = {}
        #: The entries that have opened them.
        self._since: dict[str, int] = {}
        self._ahead: dict[str, list[frames.Token]] = {}
        #: Whether something may be lost of what is open.
        self._is_torn = False

    @property
    def lack_something(self) -> bool:
        """Whether the owner is to be asked for the texts so far."""
        return bool(self._ahead) or (self._is_torn and bool(self.so_far))

    def tear(self) -> None:
        """Note that a hint is lost, which may have been about any of them."""
        self._is_torn = True

    def told(
        self, frame: frames.Token | frames.Stream, *, head: int
    ) -> list[frames.Token | frames.Stream]:
        """
        Take a frame that was told when the log ended with ``head``; return what to pass on.

        What the log has closed by now, or closed and opened again, is told no more.
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
        self._add(before, frame)
        return [frame]

    def restate(self, streams: Sequence[frames.Stream]) -> list[frames.Token | frames.Stream]:
        """Take all that streams at the owner; return what to pass on."""
        told: list[frames.Token | frames.Stream] = []
        for stream in streams:
            before = self.so_far.get(stream.message)
            index = -1 if before is None else before.index
            # A late answer may say less than what was told meanwhile, which is not taken back.
            if stream.index > index or (self._is_torn and stream.index == index):
                told += self._put(stream)
        self._ahead.clear()
        self._is_torn = False
        return told

    def _put(self, stream: frames.Stream) -> list[frames.Token | frames.Stream]:
        self.so_far[stream.message] = stream
        self._since.setdefault(stream.message, 0)
        told: list[frames.Token | frames.Stream] = [stream]
        for token in self._ahead.pop(stream.message, ()):
            told += self.told(token, head=self._since[stream.message])
        return told

    def _add(self, before: frames.Stream, token: frames.Token) -> None:
        text = before.content + token.text
        self.so_far[token.message] = frames.Stream(token.message, token.index + 1, text)

    def stored(self, entry: Entry) -> None:
        """Take an entry of the log."""
        if self.so_far:
            closed = entry.closes or ""
            self.so_far.pop(closed, None)
            self._ahead.pop(closed, None)
        if b'"streaming":true' in entry.data and entry.name in STREAM_EVENTS:
            with suppress(msgspec.ValidationError):  # the application's own, by that name
                opened = msgspec.json.decode(entry.data, type=_Opened)
                if opened.streaming:
                    text = opened.content or opened.output
                    self.so_far[opened.id] = frames.Stream(opened.id, 0, text)
                    self._since[opened.id] = entry.seq


class _Opened(msgspec.Struct):
    """What an entry says of a message or a step that may stream from there on."""

    id: str
    streaming: bool
    content: str = ""
    output: str = ""


class TurnStatuses:
    """Which turns were told to run and to have ended, and which ends were not told."""

    def __init__(self, handled: Handled, *, running: int | None) -> None:
        self._handled = handled
        self._running = set() if running is None else {running}
        #: The status that was told, by the number of the turn.
        self.ended: dict[int, str] = {}

    def is_new(self, frame: frames.TurnStatus) -> bool:
        """Take what is told of a turn; return False if it was told before."""
        n = frame.turn
        if n in self.ended or (frame.status == "running" and n in self._running):
            return False
        if frame.status == "running":
            self._running.add(n)
        else:
            self._running.discard(n)
            self.ended[n] = frame.status
        return True

    def not_told(
        self, handled: Handled, accepted: int, running: Collection[int | None]
    ) -> list[int]:
        """
        Return the numbers of turns of which the row says more than was told.

        ``handled`` are those that have ended, of ``accepted`` events, and ``running`` those that
        run.
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
    """Return a frame that the owner tells, or None for one that only another release knows."""
    try:
        return frames.decode_server(bytes(raw).decode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        logger.warning("A frame from a session's owner is not known here: %s", error)
        return None
