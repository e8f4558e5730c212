"""``WorkerDirectory``: find the worker that owns a session, and send it commands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, OwnerUnreachable
from chatsessions.models import ChatSession, Worker
from chatsessions.storage.database import Executors
from chatsessions.storage.worker_rows import WorkerRows

from .commands import Alive, Answer, Broadcast, Command, Done, decode_answer, encode
from .rpc import NoAnswer, RpcClient

logger = logging.getLogger("chatsessions.cluster")

#: The most sessions of one owner that are asked for at the same time.
MAX_ATTACHING = 50
#: The most owners that are remembered.
MAX_OWNERS = 1000
#: Seconds before the next try, when an owner has just released a session.
SOON = 0.02
#: Seconds without a sign of an owner before the session's row is read again.
LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Another worker that is alive and owns a session."""

    id: UUID
    name: str
    #: Its channel; empty if it cannot be reached.
    channel: str
    #: Whether it is another event loop of this process.
    is_here: bool


class OwnedElsewhere(OwnerUnreachable):
    """Another worker owns the session, and can be reached."""

    def __init__(self, session_id: UUID, owner: Owner) -> None:
        super().__init__(session_id, owner.name)
        self.channel = owner.channel


class WorkerDirectory:
    """What one worker knows about the others, and how it reaches them."""

    def __init__(
        self, worker_id: UUID, rpc: RpcClient, rows: WorkerRows, threads: Executors
    ) -> None:
        self.rpc = rpc
        self.rows = rows
        self.threads = threads
        self._worker_id = worker_id
        #: By the channel of a silent owner: a task that ends when the owner gives a sign or dies.
        self._silences: dict[str, asyncio.Task[None]] = {}
        #: By session: the owner that answered last, to ask it again without reading the row. It may
        #: have released the session since.
        self.last_owners: dict[UUID, OwnedElsewhere] = {}
        #: By the channel of an owner: limits how many of its sessions are asked for at a time.
        self._asking: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    # Who owns a session

    def owner_of(self, row: ChatSession) -> Owner | None:
        """Return the other, living worker that owns a session according to its row, or None."""
        worker = row.worker
        if worker is None or worker.pk == self._worker_id or not self.rows.is_alive(worker):
            return None
        channel = worker.channel if self.rpc.channel else ""
        return Owner(worker.pk, str(worker), channel, self.rows.is_of_this_process(worker))

    def refuse(self, row: ChatSession) -> None:
        """
        Raise if another worker owns a session.

        Raises ``OwnedElsewhere`` if that worker can be reached, ``OwnerUnreachable`` if it cannot.
        """
        owner = self.owner_of(row)
        if owner is not None:
            raise (
                OwnedElsewhere(row.pk, owner)
                if owner.channel
                else OwnerUnreachable(row.pk, owner.name, is_here=owner.is_here)
            )

    def remember_owner(self, session_id: UUID, owned: OwnedElsewhere) -> None:
        """Remember that the owner of a session has answered: it is asked first next time."""
        if len(self.last_owners) >= MAX_OWNERS:
            self.last_owners.clear()
        # A traceback would keep all that was loaded before it was raised.
        self.last_owners[session_id] = owned.with_traceback(None)

    def deadline(self) -> float:
        """Return the loop's time at which to give up on an owner that is silent but alive."""
        patience = settings.WORKER_STALE + 2 * settings.WORKER_HEARTBEAT
        return self.rpc.loop.time() + patience

    # Asking

    async def ask(
        self,
        channel: str,
        command: Command,
        *,
        patience: float | None = None,
        number: str | None = None,
    ) -> Answer:
        """
        Send a command to an owner, and return its answer.

        Raises ``NoAnswer`` after ``patience`` seconds (default ``LOOK_AGAIN``) without a sign, and
        what the owner raised. Commands with the same ``number`` are done once.
        """
        patience = LOOK_AGAIN if patience is None else patience
        raw = await self.rpc.ask(channel, encode(command), patience=patience, number=number)
        return decode_answer(raw)

    async def ask_until(
        self,
        channel: str,
        command: Command,
        *,
        deadline: float,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> Answer | None:
        """
        Send a command until an owner answers it; the owner does it once.

        Returns None if the owner gives no sign and ``is_gone``; it may have done the command or
        not. Raises ``NoAnswer`` if it gives none after ``deadline``, a time of the loop's, and what
        the owner raised.
        """
        number = uuid4().hex
        while True:
            try:
                return await self.ask(channel, command, number=number)
            except NoAnswer:
                if await is_gone():
                    return None
                if self.rpc.loop.time() > deadline:
                    raise

    async def ask_in_turn(self, owner: Owner, command: Command) -> Answer | None:
        """
        Do as :meth:`ask`, for at most ``MAX_ATTACHING`` sessions of one owner at a time.

        While ``owner`` is silent, one task asks it and the callers wait. They get None when the
        owner gives a sign or is dead, at the latest after ``WORKER_STALE`` seconds.
        """
        turn = self._asking.setdefault(owner.channel, asyncio.Semaphore(MAX_ATTACHING))
        async with turn:
            silence = self._silences.get(owner.channel)
            if silence is None:
                try:
                    return await self.ask(owner.channel, command)
                except NoAnswer:
                    if owner.channel not in self._silences:
                        silence = self.rpc.start_task(self._silence(owner), "chatsessions-silence")
                        self._silences[owner.channel] = silence
                    raise
        await asyncio.wait([silence], timeout=settings.WORKER_STALE)
        return None

    async def _silence(self, owner: Owner) -> None:
        """Wait until ``owner`` gives a sign or is dead."""
        logger.warning("Worker %s gives no sign; its sessions are waited for", owner.name)
        try:
            while await self.threads.read(self.rows.lives, owner.id):
                with suppress(NoAnswer):
                    with suppress(ChatSessionsError):  # any answer is a sign
                        await self.ask(owner.channel, Alive(remote=""))
                    return
        finally:
            del self._silences[owner.channel]

    def check_reachable(self, workers: Sequence[Worker]) -> None:
        """Raise ``OwnerUnreachable`` if no channel leads to one of ``workers``."""
        for worker in workers:
            if not (worker.channel and self.rpc.channel):
                raise OwnerUnreachable(None, str(worker))

    async def broadcast(self, command: Broadcast, worker: Worker) -> int:
        """
        Send ``command`` to ``worker``; return how many sessions got the event.

        Raises ``OwnerUnreachable`` if the worker is alive and gives no sign.
        """

        async def is_dead() -> bool:
            return not await self.threads.read(self.rows.lives, worker.pk)

        try:
            answer = await self.ask_until(
                worker.channel, command, deadline=self.deadline(), is_gone=is_dead
            )
        except NoAnswer as error:
            raise OwnerUnreachable(None, str(worker), silent=True) from error
        # The sessions of a worker that has died have no connection.
        return int(answer.value) if isinstance(answer, Done) else 0
