"""``PostedEvents`` takes the events and answers of HTTP requests, which have no numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

from django.db import Error as DatabaseError
from django.utils.translation import gettext
from msgspec import Raw, Struct

from chatsessions.exceptions import FrameError, SessionConnected
from chatsessions.handlers.emitter import Turn
from chatsessions.protocol import frames
from chatsessions.protocol.frames import message_key
from chatsessions.storage.database import Executors
from chatsessions.storage.files import RETRY_AFTER
from chatsessions.storage.log import Entry, find_outcome, find_posted

from .asks import Asks
from .inbound import InboundEvents
from .outbound import SessionSink
from .pending import SessionLog
from .subscribers import Subscribers
from .turns import Turns

T = TypeVar("T")


class Submit(Protocol):
    """The type of ``LiveSession.submit``."""

    def __call__(
        self, event: frames.ClientEvent, data: Any, *, about: int | None = None
    ) -> None: ...


class Posted(Struct, tag="posted", kw_only=True):
    """The response to a posted event: its turn, and the entry after which its results begin."""

    turn: int
    name: str
    after: int
    #: How the turn has ended; None if it has not.
    outcome: str | None = None
    #: The last stored entry of the log.
    head: int


class PostedEvents:
    """Takes posted events and answers one after another, and gives each the next number."""

    def __init__(
        self,
        session_id: UUID,
        log: SessionLog,
        turns: Turns,
        *,
        inbound: InboundEvents,
        asks: Asks,
        sink: SessionSink,
        subscribers: Subscribers,
        submit: Submit,
        check_open: Callable[[], None],
        threads: Executors,
    ) -> None:
        self._session_id = session_id
        self._log = log
        self._turns = turns
        self._inbound = inbound
        self._asks = asks
        self._sink = sink
        self._subscribers = subscribers
        #: Takes an event that has a number, and queues its turn.
        self._submit = submit
        #: Raises if the session takes nothing more.
        self._check_open = check_open
        self._threads = threads
        #: Held while an event or answer is taken.
        self._lock = asyncio.Lock()

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None = None) -> Posted:
        """
        Take an event. If an earlier message has the same ``key``, return the turn of that one.

        ``raw`` is the JSON of ``data``. Raises ``FrameError`` if the event cannot be accepted now,
        ``SessionConnected``, ``SessionOver``, ``StoreUnavailable``.
        """
        inbound = self._inbound
        async with self._lock:
            known = None if key is None else await self._find(key)
            if known is None:
                n = inbound.next_number
                about = await inbound.look_up(frames.ClientEvent(n, name, Raw(raw)), data)
                self._check()
                before = self._log.head
                n = inbound.next_number
                self._submit(frames.ClientEvent(n, name, Raw(raw)), data, about=about)
                inbound.mark_posted(n)
                return Posted(turn=n, name=name, after=before, head=self._log.stored)
        return await self._repeated(name, known)

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """
        Take the answer to a question, like :meth:`post`; return the turn that asked.

        If a hook asked, or a task that outlived its turn, no running turn asked: the result then
        has the number of the answer itself, and the outcome ``done``.
        """
        inbound = self._inbound
        async with self._lock:
            n = inbound.next_number
            await inbound.check_answer_files(frames.Answer(n, call, Raw(raw)), data)
            self._check()
            before = self._log.head
            asking = self._running(self._asks.turn_of(call))
            n = inbound.next_number
            try:
                inbound.answer(frames.Answer(n, call, Raw(raw)), data)
            finally:
                if self._log.position.accepted == n:  # it has the number, even if it was refused
                    inbound.mark_posted(n)
        if asking is not None:
            turn, name = asking.n or 0, asking.name
            return Posted(turn=turn, name=name, after=before, head=self._log.stored)
        await self._sink.flush()
        return Posted(turn=n, name="answer", after=before, outcome="done", head=self._log.stored)

    def _check(self) -> None:
        self._check_open()
        if self._subscribers.connection is not None:
            raise SessionConnected(self._session_id)

    def _running(self, n: int | None) -> Turn | None:
        """Return turn ``n`` if it runs, else None."""
        return next((turn for turn in self._turns.running if turn.n == n), None)

    async def _find(self, key: str) -> Entry | None:
        """
        Return the message that was posted with the id ``key``, and count it for the rate limit.

        Raises ``FrameError`` ``rate_limited`` before it looks.
        """
        n = self._inbound.next_number
        self._inbound.check_pace(n)
        if self._log.head > self._log.stored:
            await self._sink.flush()
        find = partial(find_posted, self._session_id, message_key(key))
        known = await _looked_up(self._threads.read(find))
        if known is not None:
            self._inbound.charge(n)
        return known

    async def _repeated(self, name: str, known: Entry) -> Posted:
        """Return the turn and the outcome of an event that was posted before."""
        n, outcome = known.n or 0, None
        if n in self._turns.handled:
            await self._sink.flush()
            find = partial(find_outcome, self._session_id, n)
            outcome = await _looked_up(self._threads.read(find))
        head = self._log.stored
        return Posted(turn=n, name=name, after=known.seq, outcome=outcome, head=head)


async def _looked_up(look: Awaitable[T]) -> T:
    try:
        return await look
    except DatabaseError as error:
        detail = gettext("It could not be looked up whether this was sent before; try again.")
        raise FrameError("storage_unavailable", detail, retry_after=RETRY_AFTER) from error
