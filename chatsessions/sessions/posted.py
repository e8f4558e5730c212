"""``PostedEvents`` takes the events and answers of HTTP requests, which have no numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from django.utils.translation import gettext
from msgspec import Raw, Struct

from chatsessions.exceptions import SessionConnected
from chatsessions.protocol import frames
from chatsessions.protocol.frames import message_key
from chatsessions.storage.log import Entry, find_outcome, find_posted

from .asks import Asks
from .inbound import InboundEvents
from .outbound import SessionSink
from .pending import SessionLog
from .subscribers import Subscribers
from .turns import Turns

T = TypeVar("T")


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
        log: SessionLog,
        turns: Turns,
        *,
        inbound: InboundEvents,
        asks: Asks,
        sink: SessionSink,
        subscribers: Subscribers,
        submit: Callable[[frames.ClientEvent, Any, int | None], None],
        check_open: Callable[[], None],
    ) -> None:
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
                self._submit(frames.ClientEvent(n, name, Raw(raw)), data, about)
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
            ask = self._asks.find(call)
            by = None if ask is None else ask.turn
            asking = next((turn for turn in self._turns.running if turn.n == by), None)
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
            raise SessionConnected(self._log.session_id)

    async def _find(self, key: str) -> Entry | None:
        """
        Return the message that was posted with the id ``key``, and count it for the rate limit.

        Raises ``FrameError`` ``rate_limited`` before it looks.
        """
        n = self._inbound.next_number
        self._inbound.check_pace(n)
        if self._log.head > self._log.stored:
            await self._sink.flush()
        known = await self._read(find_posted, message_key(key))
        if known is not None:
            self._inbound.charge(n)
        return known

    async def _repeated(self, name: str, known: Entry) -> Posted:
        """Return the turn and the outcome of an event that was posted before."""
        n, outcome = known.n or 0, None
        if n in self._turns.handled:
            await self._sink.flush()
            outcome = await self._read(find_outcome, n)
        head = self._log.stored
        return Posted(turn=n, name=name, after=known.seq, outcome=outcome, head=head)

    async def _read(self, find: Callable[..., T], *args: Any) -> T:
        detail = gettext("It could not be looked up whether this was sent before; try again.")
        return await self._inbound.read(find, *args, detail=detail)
