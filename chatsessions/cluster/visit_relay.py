"""``VisitRelay``: a session whose owner is another worker, as a visitor here sees it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import OwnerUnreachable
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber

from .commands import Alive, Parted, Post, Posted, Released, Reply
from .link import LOOK_AGAIN, LinkHost, OwnerLink
from .rpc import NoAnswer

if TYPE_CHECKING:
    from chatsessions.auth.access import User

logger = logging.getLogger("chatsessions.relay")


class VisitRelay(OwnerLink):
    """
    Stands between one request and the owner of its session, which stays where it is.

    The owner's news wait until somebody follows; what is posted it takes as it takes its own
    visitors' posts.
    """

    def __init__(
        self, host: LinkHost, session_id: UUID, *, generation: int, owner: str, name: str
    ) -> None:
        super().__init__(host, session_id, generation=generation, owner=owner)
        self.lost: Exception | None = None
        self._name = name
        self._left = asyncio.Event()
        self._detaching: asyncio.Task[None] | None = None

    # Visited: what a request asks of its session

    @property
    def is_idle(self) -> bool:
        return self.hearing.is_idle

    @property
    def is_ending(self) -> bool:
        return self.hearing.is_ending

    async def settle(self) -> None:
        """The owner did, before it let us in."""

    def follow(self, listener: Subscriber) -> None:
        if self.over:
            listener.close(frames.CloseCode.SHUTTING_DOWN)
        else:
            self.listener = listener
            self.go()

    def unfollow(self, listener: Subscriber) -> None:
        if self.listener is listener:
            self.listener = None

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None) -> Posted:
        command = Post(relay=self.number, name=name, data=msgspec.Raw(raw), key=key)
        return await self._have_taken(command)

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        return await self._have_taken(Reply(relay=self.number, call=call, data=msgspec.Raw(raw)))

    def renew_user(self, user: User) -> None:
        """The owner's turns keep theirs."""

    def visited(self) -> None:
        if not self.over:
            self.start(self.ask_quietly(Alive(relay=self.number, visited=True)))

    async def acted(self) -> None:
        """Its client has done something that is no event."""
        await self.ask_quietly(Alive(relay=self.number, visited=True, acted=True))

    def let_go(self) -> None:
        if not self.over:
            self._detaching = self.abandon()

    async def given_back(self) -> None:
        if self._detaching is not None:
            await asyncio.wait([self._detaching], timeout=LOOK_AGAIN)

    # To the owner

    async def _have_taken(self, command: Post | Reply) -> Posted:
        """
        Have the owner take what was posted, once; what it raises is raised here.

        Raises ``OwnerUnreachable`` if it is gone, and may have taken it or not.
        """
        number = uuid4().hex
        deadline = self.loop.time() + settings.WORKER_STALE
        while not self.over:
            try:
                answer = await self.ask(command, patience=LOOK_AGAIN, number=number)
            except NoAnswer:
                if self.loop.time() > deadline or await self.watching.finds_nobody():
                    break
            else:
                if not isinstance(answer, Posted):
                    break  # it knows nothing of us any more
                if answer.outcome is not None:  # all that came of it is stored
                    await self.hearing.read_up_to(answer.head)
                return answer
        self.give_up("its owner takes nothing")
        raise self.lost or self._unreachable()

    # From the owner

    async def let_down(self, item: Parted | Released) -> None:
        if isinstance(item, Parted):
            self._part(frames.CloseCode(item.code), ended=item.ended)
        else:
            self.give_up("its owner has it no more")

    def give_up(self, why: str) -> None:
        """Nobody knows what became of it; the client asks again, and finds out."""
        if not self.over:
            logger.info("Session %s is followed no more: %s", self.id, why)
            self.lost = self._unreachable()
            self._part(frames.CloseCode.SHUTTING_DOWN)

    def taken(self, *, is_connected: bool) -> None:
        self.give_up("another worker has it")

    def _unreachable(self) -> OwnerUnreachable:
        return OwnerUnreachable(self.id, self._name, silent=True)

    # The end

    def _part(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        listener = self.listener
        super().leave()
        self._left.set()
        if listener is not None:
            listener.close(code, ended=ended)

    def leave(self) -> None:
        """Nothing more is told, and whoever follows is told so."""
        self._part(frames.CloseCode.SHUTTING_DOWN)

    async def until_left(self) -> None:
        """Wait until the visit is over."""
        await self._left.wait()
