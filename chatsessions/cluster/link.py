"""
``OwnerLink``: this worker's end of what joins it with the owner of a session.

Commands go to the owner, its news come back, and the session's row says how things stand where
they are lost. The other end is a :class:`~chatsessions.cluster.guests.RemoteSubscriber`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.storage.store import Store
from chatsessions.storage.worker_rows import WorkerRows

from .commands import (
    Attached,
    Command,
    Detach,
    Parted,
    Released,
    decode_answer,
    encode,
)
from .hearing import Hearing, Item
from .rpc import (
    NoAnswer,
    RpcClient,
)
from .watching import Watching

logger = logging.getLogger("chatsessions.relay")

T = TypeVar("T")

#: Seconds without a sign of an owner before its row is looked at again.
LOOK_AGAIN = 1.0


class LinkHost(Protocol):
    """The worker, as its links see it."""

    loop: asyncio.AbstractEventLoop
    mail: RpcClient
    store: Store
    rows: WorkerRows
    relays: dict[str, OwnerLink]

    async def read(self, function: Callable[[], T]) -> T:
        """Run something that reads the store."""

    def own(self, task: asyncio.Task[Any]) -> None: ...


class OwnerLink:
    """What a connection's and a visitor's ends have in common."""

    #: Who is told what the owner tells.
    listener: Subscriber | None

    def __init__(self, host: LinkHost, session_id: UUID, *, generation: int, owner: str) -> None:
        self.id = session_id
        self.loop = host.loop
        #: What both workers know the link by.
        self.number = uuid4().hex
        host.relays[self.number] = self
        self.generation = generation
        self.over = False
        self.listener = None
        self._host = host
        self._owner = owner
        self._attached: Attached | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.hearing = Hearing(self)
        self.watching = Watching(self, host)

    # What the owner has said of the session

    def attached(self, facts: Attached) -> None:
        """The owner sends its news from now on."""
        self._attached = facts
        self.hearing.begin(facts)

    @property
    def facts(self) -> Attached:
        if self._attached is None:
            raise RuntimeError("the owner has not answered yet")  # never
        return self._attached

    @property
    def first(self) -> int:
        return self.facts.first

    @property
    def stored(self) -> int:
        return self.hearing.stored

    @property
    def received(self) -> int:
        return self.facts.received

    @property
    def turn(self) -> int | None:
        return self.facts.turn

    @property
    def turn_name(self) -> str:
        return self.facts.turn_name

    @property
    def open_streams(self) -> list[frames.Stream]:
        return self.hearing.open_streams

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        read = partial(self._host.store.read_log, self.id, after=after, limit=limit)
        return await self._host.read(read)

    # To the owner

    async def ask(
        self, command: Command, *, patience: float | None = None, number: str | None = None
    ) -> Any:
        """
        The owner's answer. Raises ``NoAnswer``, and what the owner raised.

        ``patience`` is how many seconds it may give no sign (``WORKER_STALE``); with the same
        ``number`` a command is the same one again.
        """
        raw = await self._host.mail.ask(
            self._owner,
            encode(command),
            patience=settings.WORKER_STALE if patience is None else patience,
            number=number,
        )
        return decode_answer(raw)

    async def ask_quietly(self, command: Command) -> Any:
        """The same, where nothing can be done if it fails: None then."""
        try:
            return await self.ask(command)
        except (NoAnswer, ChatSessionsError) as error:
            logger.info("Session %s: its owner took no %s: %s", self.id, command, error)
            return None

    # From the owner

    def hear(self, items: Sequence[Item]) -> None:
        """News, in order."""
        self.hearing.hear(items)

    def go(self) -> None:
        """There is a listener: tell it, and see that there is something to tell."""
        self.start(self.hearing.deliver())
        self.start(self.watching.watch())

    async def let_down(self, item: Parted | Released) -> None:
        """The owner tells no more."""
        raise NotImplementedError

    def give_up(self, why: str) -> None:
        """There is no way to go on."""
        raise NotImplementedError

    def taken(self, *, is_connected: bool) -> None:
        """Another worker has the session."""
        raise NotImplementedError

    @property
    def is_moving(self) -> bool:
        """Whether the session is on its way here."""
        return False

    # Tasks, and the end

    def start(self, step: Coroutine[Any, Any, None]) -> None:
        self.own(self.loop.create_task(step, context=Context()))

    def own(self, task: asyncio.Task[Any]) -> None:
        """A task that ends with the link."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._host.own(task)

    def abandon(self, code: int = 1006) -> asyncio.Task[None]:
        """Leave, and tell the owner; when that is done it knows."""
        self.leave()
        detach = self.ask_quietly(Detach(relay=self.number, code=int(code)))
        task = self.loop.create_task(detach, context=Context())
        self._host.own(task)
        return task

    def leave(self) -> None:
        """Nothing more is told."""
        self.over = True
        self.listener = None
        self._host.relays.pop(self.number, None)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
