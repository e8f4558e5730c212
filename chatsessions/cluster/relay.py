"""
``Relay``: a session whose owner is another worker, as its connection here sees it.

The client's frames go to the owner as commands. When nothing runs there any more the session
moves here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, FrameError
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber

from . import forwarded
from .commands import Forward, Halt, NotHere, Parted, Released
from .link import LinkHost, OwnerLink
from .rpc import NoAnswer
from .served import LocalListener
from .watching import POLL

if TYPE_CHECKING:
    from chatsessions.auth.access import User
    from chatsessions.sessions.session import LiveSession

logger = logging.getLogger("chatsessions.relay")

#: Holds the session here, with its listener; what is given last is called when that is stored.
#: None if somebody else has it.
Move = Callable[["Relay", LocalListener, Callable[[], None]], Awaitable["LiveSession | None"]]

#: Frames that go to the owner together.
MAX_BATCH = 50


class Relay(OwnerLink):
    """Stands between one connection and the owner of its session."""

    listener: LocalListener | None

    def __init__(
        self,
        host: LinkHost,
        session_id: UUID,
        *,
        generation: int,
        owner: str,
        token: str,
        move: Move,
    ) -> None:
        super().__init__(host, session_id, generation=generation, owner=owner)
        self._token = token
        self._move_here = move
        self._frames: deque[msgspec.Raw] = deque()
        self._forwarder: asyncio.Task[None] | None = None
        self._confirmed = False
        self._moving = False
        #: The session as it is here, on its way from there.
        self._live: LiveSession | None = None

    # Served: what a connection asks of its session

    @property
    def numbered(self) -> int:
        return self.facts.numbered

    is_hammered = False  # the owner closes the line itself

    def issue_token(self, used: str | None) -> str:
        """The one whose hash the owner knows."""
        return self._token

    def connect(self, listener: LocalListener, *, welcome: Callable[[], None]) -> None:
        """The owner has stored that there is a connection: greet it."""
        self.listener = listener
        welcome()

    def announce(self, *, resumed: bool) -> None:
        """The owner does."""

    def renew_user(self, user: User) -> None:
        """The owner's turns keep theirs; the session gets this one when it moves."""

    def confirm_token(self, listener: Subscriber) -> None:
        """The client was heard by ``listener`` after its welcome."""
        if not self._confirmed and listener is self.listener:
            self._confirmed = True
            self._forward()

    async def receive(self, listener: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        if len(self._frames) >= settings.MAX_PENDING_EVENTS:
            n = frame.n if isinstance(frame, frames.ClientEvent | frames.Answer) else None
            detail = "the server that runs this session is slow to answer"
            raise FrameError("busy", detail, n=n, retry_after=POLL)
        self._frames.append(forwarded.pack(frame))
        self._forward()

    def stop(self) -> None:
        if self._moving:
            self._stop_next()
        else:
            self.start(self._halt())

    async def _halt(self) -> None:
        """What comes when the owner has just let the session go is for its next one."""
        if isinstance(await self.ask_quietly(Halt(relay=self.number)), NotHere):
            self._stop_next()

    def _stop_next(self) -> None:
        """Behind the events that nobody has taken yet: it is one of them that is to be stopped."""
        if not self._frames or self._frames[-1] is not forwarded.STOP:
            self._frames.append(forwarded.STOP)

    def end(self, reason: str) -> None:
        self._frames.append(forwarded.pack(frames.End()))
        self._forward()

    def disconnect(self, listener: Subscriber, code: int) -> None:
        """The client is gone: the owner has the session to itself."""
        if listener is self.listener and not self.over:
            self.abandon(code)

    # To the owner

    def _forward(self) -> None:
        if self._forwarder is None and not self._moving and not self.over:
            self._forwarder = self.loop.create_task(self._send_frames(), context=Context())
            self.own(self._forwarder)

    async def _send_frames(self) -> None:
        """One batch after another, in order; what the owner does not take is kept for the next."""
        try:
            while not self._moving:
                batch = [self._frames[i] for i in range(min(len(self._frames), MAX_BATCH))]
                answer = await self.ask(Forward(relay=self.number, frames=batch))
                if isinstance(answer, NotHere):
                    self.start(self.watching.check_owner())
                    return
                for _ in batch:
                    self._frames.popleft()
                if not self._frames:
                    return
        except (NoAnswer, ChatSessionsError) as error:
            self.give_up(f"its owner takes nothing: {error}")
        finally:
            self._forwarder = None

    # From the owner

    async def let_down(self, item: Parted | Released) -> None:
        if isinstance(item, Released):
            await self._move()
        else:
            self._close(frames.CloseCode(item.code), ended=item.ended)

    def give_up(self, why: str) -> None:
        """The client comes back, and finds the session where it is then."""
        if self.listener is not None and not self._moving:
            logger.info("Session %s is relayed no more: %s", self.id, why)
            self._close(frames.CloseCode.SHUTTING_DOWN)

    def taken(self, *, is_connected: bool) -> None:
        code = frames.CloseCode.TAKEN_OVER if is_connected else frames.CloseCode.SHUTTING_DOWN
        self._close(code)

    def _close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        listener = self.listener
        self.leave()
        if listener is not None:
            listener.close(code, ended=ended)

    # Moving

    @property
    def is_moving(self) -> bool:
        return self._moving

    async def _move(self) -> None:
        """The session is nobody's: it is held here from now on."""
        listener = self.listener
        if self._moving or listener is None:
            return
        self._moving = True
        if self._forwarder is not None:
            self._forwarder.cancel()  # what was taken already is known by its number
        listener.pause()
        stored = asyncio.Event()
        live = await self._take_here(listener, stored)
        if live is None:
            self._moving = False
            self.give_up("somebody else has it")
            return
        try:
            await self._go_on_with(live, listener)
            await stored.wait()
            await self._go_on_with(live, listener)
            self._live = None
            self.leave()
            listener.moved(live)
        except Exception:
            self._moving = False  # it can be given up
            raise
        finally:
            if self._live is not None:  # the client left meanwhile
                live.disconnect(listener, 1006)

    async def _take_here(
        self, listener: LocalListener, stored: asyncio.Event
    ) -> LiveSession | None:
        try:
            self._live = await self._move_here(self, listener, stored.set)
        except Exception as error:
            logger.warning("Session %s could not be taken over: %s", self.id, error)
        return self._live

    async def _go_on_with(self, live: LiveSession, listener: LocalListener) -> None:
        """Give the session what its last owner has not taken, in order."""
        while self._frames:
            await forwarded.take(live, listener, self._frames.popleft())
