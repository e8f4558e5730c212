"""Sessions whose owner is another worker: who that is, and what is asked of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from chatsessions.auth.tokens import hash_token
from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, OwnerUnreachable
from chatsessions.models import ChatSession, Worker
from chatsessions.storage.worker_rows import WorkerRows

from .commands import (
    Alive,
    Answer,
    Attach,
    Attached,
    Broadcast,
    Busy,
    Command,
    Done,
    How,
    NotResumed,
    decode_answer,
    encode,
)
from .link import LOOK_AGAIN, LinkHost, OwnerLink
from .relay import Move, Relay
from .rpc import NoAnswer
from .visit_relay import VisitRelay

logger = logging.getLogger("chatsessions.relay")

Link = TypeVar("Link", bound=OwnerLink)

#: Sessions of one owner that are asked for at a time.
MAX_ATTACHING = 50
#: Owners that are remembered.
MAX_OWNERS = 1000
#: Seconds before an owner is asked once more that has just let a session go.
SOON = 0.02


class DirectoryHost(LinkHost, Protocol):
    """The worker that asks others."""

    id: UUID
    rows: WorkerRows


@dataclass(frozen=True, slots=True)
class Owner:
    """Another worker that lives and holds a session."""

    id: UUID
    name: str
    #: Where it is reached; empty if there is no way.
    channel: str
    #: Whether it is another event loop of this process.
    is_here: bool


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks for a session."""

    #: The user's id, None for an anonymous one.
    user: str | None
    #: The token that they came with, and the one that they are given.
    used: str | None = field(repr=False)
    given: str = field(repr=False)
    #: How many connections the session had when they came.
    connections: int


class OwnedElsewhere(OwnerUnreachable):
    """Another worker that can be reached holds the session."""

    def __init__(self, session_id: UUID, owner: Owner) -> None:
        super().__init__(session_id, owner.name)
        self.held_id = session_id
        self.channel = owner.channel


class WorkerDirectory:
    """One worker's way to the sessions of the others."""

    def __init__(self, host: DirectoryHost) -> None:
        self._host = host
        #: By the channel of an owner that gave no sign: done when it does, or is dead.
        self._silences: dict[str, asyncio.Task[None]] = {}
        #: By session: who answered for it last, to be asked again without looking at its row.
        self._last_owners: dict[UUID, OwnedElsewhere] = {}
        self._rooms: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def owner_of(self, row: ChatSession) -> Owner | None:
        """Who else holds a session, as far as its row says; None if nobody living does."""
        worker = row.worker
        if worker is None or worker.pk == self._host.id or not self._host.rows.is_alive(worker):
            return None
        channel = worker.channel if self._host.mail.channel else ""
        is_here = self._host.rows.is_of_this_process(worker)
        return Owner(worker.pk, str(worker), channel, is_here)

    def refuse(self, row: ChatSession) -> None:
        """
        Leave a session to another worker that holds it.

        Raises ``OwnedWorkerDirectory`` if that can be asked, ``OwnerUnreachable`` if it cannot.
        """
        owner = self.owner_of(row)
        if owner is not None:
            raise (
                OwnedElsewhere(row.pk, owner)
                if owner.channel
                else OwnerUnreachable(row.pk, owner.name, is_here=owner.is_here)
            )

    def last_owner(self, session_id: UUID) -> OwnedElsewhere | None:
        """Who answered last for a session. It may have let it go since, and says so then."""
        return self._last_owners.get(session_id)

    def remember_owner(self, owned: OwnedElsewhere) -> None:
        """``owned`` is right: its owner has answered."""
        if len(self._last_owners) >= MAX_OWNERS:
            self._last_owners.clear()
        self._last_owners[owned.held_id] = owned

    def forget_owner(self, session_id: UUID) -> None:
        """The session's row has to say who owns it."""
        self._last_owners.pop(session_id, None)

    async def ask(self, channel: str, command: Command, *, number: str | None = None) -> Answer:
        """
        The owner's answer. Raises ``NoAnswer`` after ``LOOK_AGAIN`` seconds without a sign, and
        what the owner raised.
        """
        raw = await self._host.mail.ask(
            channel, encode(command), patience=LOOK_AGAIN, number=number
        )
        return decode_answer(raw)

    async def attach(
        self, row: ChatSession, owner: Owner, visitor: Visitor, *, how: How, move: Move
    ) -> Relay | NotResumed | Busy | None:
        """
        Ask ``owner`` for a session, for a connection here.

        None if it is to be looked for again: it was given away, or there was no sign of the owner.
        While there is none, however many wait for sessions of its, one asks.
        """

        def link() -> Relay:
            return Relay(
                self._host,
                row.pk,
                generation=row.generation,
                owner=owner.channel,
                token=visitor.given,
                move=move,
            )

        return await self._ask_for(owner, visitor, how, link)

    async def visit(
        self, row: ChatSession, owner: Owner, visitor: Visitor
    ) -> VisitRelay | NotResumed | Busy | None:
        """As :meth:`attach`, for a request."""

        def link() -> VisitRelay:
            return VisitRelay(
                self._host,
                row.pk,
                generation=row.generation,
                owner=owner.channel,
                name=owner.name,
            )

        return await self._ask_for(owner, visitor, "visit", link)

    async def _ask_for(
        self, owner: Owner, visitor: Visitor, how: How, link: Callable[[], Link]
    ) -> Link | NotResumed | Busy | None:
        room = self._rooms.setdefault(owner.channel, asyncio.Semaphore(MAX_ATTACHING))
        async with room:
            silence = self._silences.get(owner.channel)
            if silence is None:
                return await self._attach(owner, visitor, how, link())
        await asyncio.wait([silence], timeout=settings.WORKER_STALE)
        return None

    async def _attach(
        self, owner: Owner, visitor: Visitor, how: How, link: Link
    ) -> Link | NotResumed | Busy | None:
        command = Attach(
            session=link.id,
            relay=link.number,
            channel=self._host.mail.channel,
            user=visitor.user,
            used=None if visitor.used is None else hash_token(visitor.used),
            given=hash_token(visitor.given),
            connections=visitor.connections,
            how=how,
        )
        try:
            answer = await self.ask(owner.channel, command)
        except NoAnswer:
            link.abandon()
            self._wait_for(owner)
            return None
        except BaseException as error:
            link.abandon()
            if type(error) is not ChatSessionsError:
                raise
            # It does not know the command, as another release may not, or failed at it.
            logger.warning("Worker %s does not give its sessions away: %s", owner.name, error)
            await asyncio.sleep(LOOK_AGAIN)
            return None
        if isinstance(answer, Attached):
            link.attached(answer)
            return link
        link.leave()
        if isinstance(answer, NotResumed | Busy):
            return answer
        await asyncio.sleep(SOON)
        return None

    def _wait_for(self, owner: Owner) -> None:
        """Until there is a sign of ``owner``, or it is dead, nobody else asks it."""
        if owner.channel not in self._silences:
            silence = self._host.loop.create_task(
                self._silence(owner), name="chatsessions-silence", context=Context()
            )
            self._silences[owner.channel] = silence
            self._host.own(silence)

    async def _silence(self, owner: Owner) -> None:
        logger.warning("Worker %s gives no sign; its sessions are waited for", owner.name)
        try:
            while await self._host.read(partial(self._host.rows.lives, owner.id)):
                with suppress(NoAnswer):
                    with suppress(ChatSessionsError):  # whatever it says, it is there
                        await self.ask(owner.channel, Alive(relay=""))
                    return
        finally:
            del self._silences[owner.channel]

    async def broadcast(self, command: Broadcast, workers: Sequence[Worker]) -> int:
        """
        Have every one of ``workers`` do it; how many sessions got it.

        Raises ``OwnerUnreachable`` before anything is done if there is no way to one of them.
        """
        for worker in workers:
            if not (worker.channel and self._host.mail.channel):
                raise OwnerUnreachable(None, str(worker))
        return sum(await asyncio.gather(*(self._broadcast(command, one) for one in workers)))

    async def _broadcast(self, command: Broadcast, worker: Worker) -> int:
        number, deadline = uuid4().hex, self.deadline()
        while True:
            try:
                answer = await self.ask(worker.channel, command, number=number)
            except NoAnswer as error:
                if not await self._host.read(partial(self._host.rows.lives, worker.pk)):
                    return 0  # it died, and its sessions have no connection
                if self._host.loop.time() > deadline:
                    raise OwnerUnreachable(None, str(worker), silent=True) from error
            else:
                return int(answer.value) if isinstance(answer, Done) else 0

    def deadline(self) -> float:
        """When an owner that gives no sign, and is not dead either, is given up."""
        patience = settings.WORKER_STALE + 2 * settings.WORKER_HEARTBEAT
        return self._host.loop.time() + patience
