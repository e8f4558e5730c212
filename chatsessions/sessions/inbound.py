"""``InboundEvents`` appends each event and each answer of a client to the log, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

import msgspec
from django.db import Error as DatabaseError
from django.utils.translation import gettext

from chatsessions.conf import settings
from chatsessions.exceptions import FrameError
from chatsessions.handlers.chat import ANSWER
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Gate, RateLimit
from chatsessions.storage.database import Executors
from chatsessions.storage.files import RETRY_AFTER, SessionFiles
from chatsessions.storage.log import find_answer, find_last_message, find_seq
from chatsessions.storage.store import Loaded

from .asks import Asks
from .pending import SessionLog
from .tasks import SessionTasks
from .turns import Turns

T = TypeVar("T")


class InboundEvents:
    """Takes the events and answers of a client, by their numbers."""

    def __init__(
        self,
        log: SessionLog,
        turns: Turns,
        loaded: Loaded | None,
        *,
        posted_from: int | None,
        tell: Callable[[frames.ServerFrame], None],
        tasks: SessionTasks,
        asks: Asks,
        files: SessionFiles,
        threads: Executors,
    ) -> None:
        self._log = log
        self._turns = turns
        #: Sends the connection a frame that is not in the log.
        self._tell = tell
        self._tasks = tasks
        self._asks = asks
        self._files = files
        self._threads = threads
        #: The number of the user's last message; None until it is known.
        self.last_message: int | None = None
        #: Whether events are taken; if not, the connection is about to be closed.
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        pending = [] if loaded is None else loaded.pending
        self.gate = Gate(
            RateLimit(
                rate=settings.EVENTS_PER_SECOND, burst=settings.EVENT_BURST, now=self._loop.time()
            ),
            max_pending=settings.MAX_PENDING_EVENTS,
            max_strikes=settings.MAX_RATE_LIMITED,
            accepted=log.position.accepted,
            seqs={entry.n: entry.seq for entry in pending if entry.n is not None},
            # Enough for all events that wait or run.
            seqs_kept=max(256, settings.MAX_PENDING_EVENTS + 1),
        )
        #: The number of the first event that came by HTTP and that the client's connection does not
        #: know of yet; None if there is none.
        self.posted_from = posted_from
        #: How many questions were answered since the first event whose turn has not ended.
        self._answers_ahead = 0
        #: The numbers of repeated events that are too old for the gate to remember.
        self._asked: set[int] = set()
        self._finder: asyncio.Task[None] | None = None

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self.gate.accepted + 1

    def admit(self, n: int, *, overtakes: bool = False) -> bool:
        """
        Return True if event ``n`` is new, False if it was taken before or no events are taken.

        For a repeated event the client gets the same ``accepted`` frame again, if the event is
        stored. An event that ``overtakes`` the queue is taken however long the queue is. Raises
        ``FrameError`` if the event cannot be accepted now.
        """
        if not self.is_open:
            return False
        pending, crowded = 0, False
        if not overtakes:
            if self._turns.queue:
                pending = self._turns.pending
                crowded = pending > 0 and self._turns.pending_bytes > settings.MAX_PENDING_BYTES
            if self._turns.handled.runs:
                # Turns that overtook a waiting one are remembered until that one ends.
                pending += max(0, self._turns.handled.count_ahead - self._answers_ahead)
        if self.gate.admit(
            n,
            now=self._loop.time(),
            pending=pending,
            storing=self._log.journal.failure is None,
            crowded=crowded,
        ):
            return True
        self._answer_repeat(n)
        return False

    def take(self, n: int, name: str, data: bytes, *, key: str | None = None) -> None:
        """Append an admitted event to the log. ``key`` identifies a message if it is repeated."""
        position = self._log.position
        seq = self._log.append(name, data, n=n, key=key)
        self.gate.take(n, seq, needed=position.handled + 1)
        position.accepted = n
        position.events_in += 1
        if name == "message":
            self.last_message = n

    def answer(self, answer: frames.Answer, data: Any) -> None:
        """
        Take the answer to a question. Raises ``FrameError`` if it cannot be accepted.

        An answer to a question that is no longer open is refused after it was appended to the log:
        it has used its number.
        """
        # The queue waits for an answer to an open question, so its length does not matter then.
        overtakes = self._asks.find(answer.call) is not None
        if not self.admit(answer.n, overtakes=overtakes):
            return
        self._asks.check(answer.call, data, n=answer.n)
        raw = msgspec.json.encode({"call": answer.call, "data": answer.data})
        self.take(answer.n, ANSWER, raw)
        self.mark_handled(answer.n)  # an answer has no turn, whose end would do this
        self._answers_ahead += overtakes and bool(self._turns.handled.runs)
        if not self._asks.answer(answer.call, data):
            raise FrameError("call_closed", gettext("This question is no longer open."), n=answer.n)

    async def look_up(self, event: frames.ClientEvent, data: Any) -> int | None:
        """
        Check a new event against the database; await it before the event is admitted.

        Returns the number of the entry that feedback is about; None if there is no such entry, or
        for another event. Raises ``FrameError`` if a message names files that are not this
        session's, or if the database fails.
        """
        if event.n != self.next_number:
            return None  # a repeat needs no check
        if event.name == "message" and data.get("replaces") and self.last_message is None:
            self.charge(event.n)
            found = await self.read(find_last_message, n=event.n)
            self.last_message = self.last_message or found
        if event.name == "message" and data.get("files"):
            self.charge(event.n)
            await self._files.check(event.n, data["files"])
        elif event.name == "feedback":
            self.charge(event.n)
            return await self.read(find_answer, data["message"], n=event.n)
        return None

    async def read(
        self, find: Callable[..., T], *args: Any, n: int | None = None, detail: str | None = None
    ) -> T:
        """
        Return what ``find`` finds in the log, for event ``n``.

        Raises ``FrameError`` ``storage_unavailable`` with ``detail`` if the database fails.
        """
        try:
            return await self._threads.read(find, self._log.session_id, *args)
        except DatabaseError as error:
            detail = detail or gettext("Try again in a moment.")
            raise FrameError("storage_unavailable", detail, n=n, retry_after=RETRY_AFTER) from error

    async def check_answer_files(self, answer: frames.Answer, data: Any) -> None:
        """
        Raise ``FrameError`` if files are not this session's or not what the question asks for.

        Await it before :meth:`answer`. After an error the question stays open.
        """
        ask = self._asks.find(answer.call)
        if ask is not None and ask.event["kind"] == "files" and answer.n == self.next_number:
            self.charge(answer.n)
            await self._files.check_answer(answer.n, data, ask.event)

    def mark_handled(self, n: int) -> None:
        """Store that event ``n`` has been handled."""
        handled = self._turns.handled
        if handled.add(n):
            self._log.set(handled_ahead=handled.ahead)
        if not handled.runs:
            self._answers_ahead = 0
        self._log.position.handled = handled.up_to

    @property
    def stored(self) -> int:
        """The highest number of an event that is stored."""
        n = self._log.position.accepted
        while (self.gate.seq_of(n) or 0) > self._log.stored:
            n -= 1
        return n

    @property
    def numbered(self) -> int:
        """The highest stored number that the client itself may have given, over a connection."""
        stored = self.stored
        return stored if self.posted_from is None else min(stored, self.posted_from - 1)

    def mark_posted(self, n: int) -> None:
        """Note that ``n`` is the number of a posted event; only the first such number is stored."""
        if self.posted_from is None:
            self.set_posted_from(n)

    def set_posted_from(self, n: int | None) -> None:
        """Store the number of the first posted event; None when the connection knows of it."""
        self.posted_from = n
        self._log.set(posted_from=n)

    @property
    def not_stored(self) -> range:
        """The numbers of the events that are accepted and not stored yet."""
        return range(self.stored + 1, self._log.position.accepted + 1)

    def check_pace(self, n: int) -> None:
        """
        Raise ``FrameError`` ``rate_limited`` if event ``n`` comes too early.

        Called before a database query that finds out whether the event is a repeat.
        """
        self.gate.check_pace(n, now=self._loop.time())

    def charge(self, n: int) -> None:
        """
        Count event ``n`` for the rate limit before it is admitted, as it costs a database query.

        Raises ``FrameError`` ``rate_limited``.
        """
        self.gate.charge(n, now=self._loop.time())

    def _answer_repeat(self, n: int) -> None:
        seq = self.gate.seq_of(n)
        if seq is None:
            self._asked.add(n)
            if self._finder is None:
                self._finder = self._loop.create_task(self._find(), context=Context())
                self._tasks.own(self._finder)
        elif seq <= self._log.stored:
            self._tell(frames.Accepted(n, seq))

    async def _find(self) -> None:
        """
        Answer repeats of old events; an entry that is no longer kept has ``seq`` 0.

        It runs one query at a time, and one for all repeats of an event, because repeats are not
        rate limited.
        """
        try:
            while self._asked:
                n = self._asked.pop()
                seq = await self._threads.read(find_seq, self._log.session_id, n)
                self._tell(frames.Accepted(n, seq or 0))
        finally:
            self._finder = None
