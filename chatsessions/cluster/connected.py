"""``ConnectedSession``: a session that another worker owns, for its connection here."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, FrameError
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Standing, Subscriber
from chatsessions.storage.store import Peek

from .commands import Forward, NotHere, Taken
from .directory import Owner, WorkerDirectory
from .owner import take_frame
from .remote import POLL, RemoteSession
from .rpc import NoAnswer

logger = logging.getLogger("chatsessions.cluster")

#: The most frames of a client that go to the owner in one command.
MAX_BATCH = 50


class LocalSubscriber(Subscriber):
    """A connection at this worker, whose session may move here from another worker."""

    @abstractmethod
    def stop(self) -> None:
        """Send nothing more until :meth:`moved`."""

    @abstractmethod
    def moved(self, served: LiveSession) -> None:
        """Go on with ``served``, the same session at this worker, from the same position."""


#: Takes over a session by its id, with its connection, and calls the last argument when that is
#: stored. Returns None if that is not possible.
Move = Callable[[UUID, LocalSubscriber, Callable[[], None]], Awaitable[LiveSession | None]]


class ConnectedSession(RemoteSession):
    """
    A session that another worker owns, and that moves here when nothing runs at the owner any more.

    The client's frames go to the owner one batch after another. Frames that the owner has not taken
    are kept until the session has moved.
    """

    def __init__(
        self,
        row: ChatSession,
        owner: Owner,
        *,
        directory: WorkerDirectory,
        remotes: dict[str, RemoteSession],
        move: Move,
    ) -> None:
        super().__init__(row, owner, directory=directory, remotes=remotes)
        self._move_here = move
        #: How many connections the session has had, this one included.
        self._connections = 0
        self._is_confirmed = False
        #: Frames that no owner has taken yet.
        self._frames: deque[msgspec.Raw] = deque()
        self._forwarder: asyncio.Task[None] | None = None

    async def _attached(self, standing: Standing) -> None:
        await super()._attached(standing)
        self._connections = standing.connections

    # The connection

    @property
    def is_hammered(self) -> bool:
        """Return False: the owner's answer to the frames says when to close the connection."""
        return False

    def connect(
        self, subscriber: LocalSubscriber, *, language: str = "", welcome: Callable[[], None]
    ) -> None:
        """Call ``welcome``: the owner has stored the connection and its language."""
        self._follower.subscribers.connection = subscriber
        welcome()

    def announce(self, subscriber: Subscriber, *, resumed: bool) -> None:
        """Do nothing: the owner tells the application."""

    def confirm_token(self, subscriber: Subscriber) -> None:
        """Tell the owner that the client has sent something after its welcome."""
        if not self._is_confirmed and subscriber is self._follower.subscribers.connection:
            self._is_confirmed = True
            self._forward()

    def disconnect(self, subscriber: Subscriber, code: int) -> None:
        """Detach from the owner: the client is gone."""
        if subscriber is self._follower.subscribers.connection and not self.closed:
            self._detach(code)

    # Its frames

    async def receive(self, subscriber: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """
        Send an event or an answer of the client to the owner.

        Raises ``FrameError`` ``busy`` if too many frames wait for the owner.
        """
        if len(self._frames) >= settings.MAX_PENDING_EVENTS:
            n = frame.n if isinstance(frame, frames.ClientEvent | frames.Answer) else None
            detail = gettext("The server that runs this session is slow to answer.")
            raise FrameError("busy", detail, n=n, retry_after=POLL)
        self._frames.append(_pack(frame))
        self._forward()

    def end(self, reason: str) -> None:
        """End the session for its user."""
        self._frames.append(_pack(frames.End()))
        self._forward()

    def stop(self) -> None:
        """Stop the running turn."""
        if self._is_moving:
            self._stop_next()
        else:
            self._start(self._stop())

    async def _stop(self) -> None:
        """Send a stop ahead of the frames. If the owner is gone, queue it for the next one."""
        stop = Forward(remote=self.number, frames=[_STOP])
        if isinstance(await self._ask_quietly(stop), NotHere):
            self._stop_next()

    def _stop_next(self) -> None:
        """Queue a stop behind the frames that no owner has taken: it is meant for their turns."""
        if not self._frames or self._frames[-1] is not _STOP:
            self._frames.append(_STOP)

    def _forward(self) -> None:
        """Send the waiting frames. A command without frames confirms the client's token."""
        if self._forwarder is None and self._forwards:
            self._forwarder = self._start(self._send_frames())

    @property
    def _forwards(self) -> bool:
        return not (self.closed or self._is_moving)

    async def _send_frames(self) -> None:
        try:
            while self._forwards:
                batch = list(islice(self._frames, MAX_BATCH))
                answer = await self._ask(Forward(remote=self.number, frames=batch))
                if not isinstance(answer, Taken):
                    await self._left_by_owner()
                    return
                for _ in batch:
                    self._frames.popleft()
                for refused in answer.errors:
                    self._follower.tell(refused)
                if answer.code is not None:
                    self.close(frames.CloseCode(answer.code))
                if not self._frames:
                    return
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner takes nothing: {error}")
        finally:
            self._forwarder = None

    # Its session moves

    def _is_overtaken(self, peek: Peek) -> bool:
        return peek.connections > self._connections

    async def _released(self) -> None:
        """Move the session here: its owner has released it. Go on with the connection."""
        subscriber: Any = self._follower.subscribers.connection
        if self._is_moving or subscriber is None:
            return
        self._is_moving = True
        if self._forwarder is not None:
            self._forwarder.cancel()  # frames that are sent twice are recognized by their numbers
        subscriber.stop()
        live: LiveSession | None = None
        stored = asyncio.Event()
        try:
            live = await self._move_here(self.id, subscriber, stored.set)
        except Exception as error:
            logger.warning("Session %s could not be taken over: %s", self.id, error)
        if live is None:
            self._is_moving = False
            self._give_up("somebody else has it")
            return
        try:
            await self._give_frames(live, subscriber)
            await stored.wait()
            await self._give_frames(live, subscriber)
        except BaseException:  # the client left meanwhile
            live.client.disconnect(subscriber, 1006)
            self._is_moving = False  # else _give_up() would do nothing
            raise
        self._leave()
        subscriber.moved(live)

    async def _give_frames(self, live: LiveSession, subscriber: LocalSubscriber) -> None:
        """Give the session the frames that its last owner has not taken, in order."""
        while self._frames:
            error = await take_frame(live, subscriber, self._frames.popleft())
            if error is not None:
                subscriber.frame(error)


def _pack(frame: frames.ClientFrame) -> msgspec.Raw:
    """Return ``frame`` as it is sent between workers."""
    return msgspec.Raw(frames.encode(frame).encode())


#: A single object, so that ``_stop_next()`` recognizes a second stop in a row and leaves it out.
_STOP = _pack(frames.Stop())
