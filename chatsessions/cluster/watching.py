"""``Watching``: whether the owner of a session is still there, for when its messages are lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.store import Peek, Store
from chatsessions.storage.worker_rows import WorkerRows

from .commands import Alive, Command, NotHere, Parted, Stored
from .hearing import Hearing
from .rpc import NoAnswer

logger = logging.getLogger("chatsessions.relay")

T = TypeVar("T")

#: Seconds between two looks at the session's row: what a lost message may cost.
POLL = 1.0
#: Looks that may find the owner gone before its last words are given up.
PATIENCE = 3


class Rows(Protocol):
    """The worker that watches, for what it reads."""

    store: Store
    rows: WorkerRows

    async def read(self, function: Callable[[], T]) -> T:
        """Run something that reads the store."""


class WatchingHost(Protocol):
    """What watching needs of the end of a link that it belongs to."""

    loop: asyncio.AbstractEventLoop
    id: UUID
    number: str
    generation: int
    hearing: Hearing
    over: bool

    @property
    def listener(self) -> Subscriber | None:
        """Who waits for what the owner tells."""

    @property
    def is_moving(self) -> bool:
        """Whether the session is on its way here."""

    async def ask(self, command: Command) -> Any:
        """The owner's answer. Raises ``NoAnswer``."""

    def start(self, step: Any) -> None: ...

    def give_up(self, why: str) -> None:
        """There is no way to go on."""

    def taken(self, *, is_connected: bool) -> None:
        """Another worker has the session."""


class Watching:
    """Looks at a session's row, and asks its owner now and then whether it still knows of us."""

    def __init__(self, host: WatchingHost, worker: Rows) -> None:
        self._host = host
        self._worker = worker
        #: Looks at the row that found nobody here or there to take frames.
        self._orphaned = 0

    async def watch(self) -> None:
        """As long as the link lasts."""
        host = self._host
        alive_at = host.loop.time()
        while not host.over:
            await asyncio.sleep(POLL)
            try:
                peek, is_dead = await self.look()
            except Exception as error:
                logger.warning("Session %s: its row cannot be read: %s", host.id, error)
                continue
            if host.over or host.is_moving:
                return
            try:
                self._judge(peek, is_dead=is_dead)
            except Exception:
                logger.exception("Session %s: what its row says could not be acted on", host.id)
            if host.loop.time() - alive_at > settings.WORKER_HEARTBEAT:
                alive_at = host.loop.time()
                host.start(self.check_owner())

    async def look(self) -> tuple[Peek | None, bool]:
        """Where the session stands, and whether its owner is dead."""
        return await self._worker.read(self._look)

    async def finds_nobody(self) -> bool:
        """Whether the owner is no more, or is it no more."""
        peek, is_dead = await self.look()
        return (
            peek is None
            or peek.worker_id is None
            or peek.generation != self._host.generation
            or is_dead
        )

    def _look(self) -> tuple[Peek | None, bool]:
        peek = self._worker.store.peek(self._host.id)
        owner = None if peek is None else peek.worker_id
        is_silent = self._host.hearing.is_silent
        return peek, is_silent and owner is not None and not self._worker.rows.lives(owner)

    def _judge(self, peek: Peek | None, *, is_dead: bool) -> None:
        """What the row says, for when the owner's messages are lost."""
        host = self._host
        if host.listener is None:
            return
        if peek is not None and host.hearing.is_silent:
            host.hearing.add([Stored(peek.head)])
        if peek is None or peek.status == ChatSession.Status.ENDED:
            self._end_after(ChatSession.EndReason.ADMIN if peek is None else peek.end_reason)
        elif peek.generation != host.generation:
            host.taken(is_connected=peek.status == ChatSession.Status.CONNECTED)
        elif peek.worker_id is None:
            self._orphaned += 1  # its last words are on the way, or lost: a welcome says it all
            if self._orphaned > PATIENCE:
                host.give_up("its owner has let it go")
        elif is_dead:
            host.give_up("its owner is dead")
        else:
            self._orphaned = 0

    def _end_after(self, reason: str) -> None:
        """The session is over; the owner's own word for it comes first, if it comes."""
        self._orphaned += 1
        if self._orphaned > PATIENCE:
            self._host.hearing.hear([Parted(int(frames.CloseCode.SESSION_ENDED), reason)])

    async def check_owner(self) -> None:
        """Whether the owner still knows of us."""
        host = self._host
        try:
            answer = await host.ask(Alive(relay=host.number))
        except (NoAnswer, ChatSessionsError) as error:
            host.give_up(f"its owner is gone: {error}")
            return
        if isinstance(answer, NotHere):
            await asyncio.sleep(PATIENCE * POLL)  # for its last words
            host.give_up("its owner has let this connection go")
