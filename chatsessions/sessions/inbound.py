"""``InboundEvents``: take each of a client's events into the log, once."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Protocol
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import (
    Gate,
    Handled,
    Intake,
    RateLimit,
    Verdict,
)
from chatsessions.storage.journal import Journal, Position
from chatsessions.storage.store import Loaded

from .pending import PendingChange, SessionLog
from .ports import Host
from .tasks import SessionTasks
from .turns import Turns


class InboundHost(Protocol):
    """What an inbox needs of its session."""

    host: Host
    loop: asyncio.AbstractEventLoop
    turns: Turns
    tasks: SessionTasks
    log: SessionLog
    position: Position
    draft: PendingChange
    handled: Handled

    @property
    def id(self) -> UUID: ...

    @property
    def journal(self) -> Journal: ...

    def append(
        self, name: str, data: bytes, *, n: int | None = None, key: str | None = None
    ) -> int:
        """One more entry of the log; its ``seq``."""

    def tell(self, frame: frames.ServerFrame) -> None: ...


class InboundEvents:
    """The way in for what the client numbers."""

    def __init__(
        self, host: InboundHost, loaded: Loaded | None, *, posted_from: int | None
    ) -> None:
        self._host = host
        pending = [] if loaded is None else loaded.pending
        known = {entry.n: entry.seq for entry in pending if entry.n is not None}
        # What waits, and what runs, is always known.
        seqs_kept = max(256, settings.MAX_PENDING_EVENTS + 1)
        self.gate = Gate(
            Intake(host.position.accepted, known, seqs_kept=seqs_kept),
            RateLimit(
                rate=settings.EVENTS_PER_SECOND, burst=settings.EVENT_BURST, now=host.loop.time()
            ),
            max_pending=settings.MAX_PENDING_EVENTS,
            max_strikes=settings.MAX_RATE_LIMITED,
        )
        #: The first number that was given here, to what came by a request, and that the client's
        #: own connection has not heard of.
        self.posted_from = posted_from
        #: Repeats of events that are older than what the intake remembers.
        self._asked: set[int] = set()
        self._finder: asyncio.Task[None] | None = None

    def is_new(self, n: int) -> bool:
        """Whether event ``n`` is the next to be taken."""
        return self.gate.intake.judge(n) is Verdict.NEW

    def admit(self, n: int, *, overtakes: bool = False) -> bool:
        """
        Whether event ``n`` is new, and may be taken; false for one that was taken before.

        One that ``overtakes`` what waits is taken however much that is.

        A repeat is answered with the same ``accepted`` again, once it is stored. Raises
        ``FrameError`` for one that cannot be accepted now.
        """
        if self._is_admitted(n, overtakes):
            return True
        self._answer_repeat(n)
        return False

    def take(self, n: int, name: str, data: bytes, *, key: str | None = None) -> None:
        """Take an admitted event into the log. A message is known by ``key`` from then on."""
        seq = self._host.append(name, data, n=n, key=key)
        self.gate.intake.take(n, seq, needed=self._host.position.handled + 1)
        self._host.position.accepted = n
        self._host.position.events_in += 1

    def seq_of(self, n: int) -> int | None:
        """The entry that event ``n`` became, if it waits, runs or was taken lately."""
        return self.gate.intake.seq_of(n)

    @property
    def stored(self) -> int:
        """The highest number of an event that a crash cannot lose."""
        n = self._host.position.accepted
        while (self.seq_of(n) or 0) > self._host.log.stored:
            n -= 1
        return n

    @property
    def numbered(self) -> int:
        """The highest stored number that a connection's own client may have given."""
        stored = self.stored
        return stored if self.posted_from is None else min(stored, self.posted_from - 1)

    def has_posted(self, n: int) -> None:
        """Number ``n`` was given here."""
        if self.posted_from is None:
            self.set_posted_from(n)

    def set_posted_from(self, n: int | None) -> None:
        self.posted_from = n
        self._host.draft.set(posted_from=n)

    @property
    def not_stored(self) -> range:
        """The numbers of the events that a crash would still lose."""
        return range(self.stored + 1, self._host.position.accepted + 1)

    def check_pace(self, n: int) -> None:
        """
        Event ``n`` costs a look into the database, and is charged once it is known what it is.

        Raises ``FrameError`` ``rate_limited``.
        """
        self.gate.check_pace(n, now=self._host.loop.time())

    def charge(self, n: int) -> None:
        """
        Event ``n`` costs a look into the database before it can be admitted.

        Raises ``FrameError`` ``rate_limited``.
        """
        self.gate.charge(n, now=self._host.loop.time())

    def _is_admitted(self, n: int, overtakes: bool) -> bool:
        host = self._host
        return self.gate.admit(
            n,
            now=host.loop.time(),
            # What has overtaken a turn that waits for long is remembered until that one ends.
            pending=0 if overtakes else host.turns.pending + host.handled.count_ahead,
            storing=host.journal.failure is None,
            crowded=not overtakes and host.turns.pending_bytes > settings.MAX_PENDING_BYTES,
        )

    def _answer_repeat(self, n: int) -> None:
        seq = self.seq_of(n)
        if seq is None:
            self._asked.add(n)
            if self._finder is None:
                self._finder = self._host.loop.create_task(self._find(), context=Context())
                self._host.tasks.own(self._finder)
        elif seq <= self._host.log.stored:
            self._host.tell(frames.Accepted(n, seq))

    async def _find(self) -> None:
        """
        Repeats of events from long ago; 0 stands for an entry that is no longer kept.

        One look at a time, and one for however many repeats: they cost the client nothing.
        """
        try:
            while self._asked:
                n = self._asked.pop()
                seq = await self._host.host.find_seq(self._host.id, n)
                self._host.tell(frames.Accepted(n, seq or 0))
        finally:
            self._finder = None
