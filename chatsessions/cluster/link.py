"""``OwnerLink``: what a worker asks of the owner of a session whose client is here."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError
from chatsessions.protocol import frames
from chatsessions.sessions.posted import Posted

from .commands import Command, Forward, NotHere, Post, Reply, Taken, decode_answer, encode
from .directory import LOOK_AGAIN, Owner
from .rpc import NoAnswer, RpcClient

logger = logging.getLogger("chatsessions.cluster")

#: Frames of a client that go to the owner together.
MAX_BATCH = 50


class OwnerLink:
    """
    The way of commands to a session's owner, each of which is taken once.

    Frames of the session's connection go one batch after another. Those that the owner has not
    taken are kept, for its next owner.
    """

    def __init__(
        self,
        session_id: UUID,
        rpc: RpcClient,
        owner: Owner,
        *,
        start: Callable[..., asyncio.Task[None]],
        taken: Callable[[Taken], None],
        left: Callable[[], Awaitable[None]],
        give_up: Callable[[str], None],
    ) -> None:
        #: By which both workers know it.
        self.number = uuid4().hex
        #: Frames that no owner has taken yet.
        self.frames: deque[msgspec.Raw] = deque()
        self._session_id = session_id
        self._rpc = rpc
        self._owner = owner
        self._start = start
        #: Called with the answer when frames are taken, and when the owner knows nothing of us.
        self._taken = taken
        self._left = left
        #: Called with the reason when the owner takes nothing.
        self._give_up = give_up
        self._is_paused = False
        self._forwarder: asyncio.Task[None] | None = None

    async def ask(
        self, command: Command, *, patience: float | None = None, number: str | None = None
    ) -> Any:
        """
        Return the owner's answer. Raises ``NoAnswer``, and what the owner raised.

        ``patience`` is how many seconds it may give no sign (``WORKER_STALE``); with the same
        ``number`` a command is the same one again.
        """
        raw = await self._rpc.ask(
            self._owner.channel,
            encode(command),
            patience=settings.WORKER_STALE if patience is None else patience,
            number=number,
        )
        return decode_answer(raw)

    async def ask_quietly(self, command: Command) -> Any:
        """Return the owner's answer, or None where nothing can be done if there is none."""
        try:
            return await self.ask(command)
        except (NoAnswer, ChatSessionsError) as error:
            logger.info("Session %s: its owner took no %s: %s", self._session_id, command, error)
            return None

    async def ask_once(
        self, command: Post | Reply, *, is_gone: Callable[[], Awaitable[bool]]
    ) -> Posted | None:
        """
        Have the owner take what was posted, once; what it raises is raised here.

        Returns None if the owner ``is_gone`` or knows nothing of us: it may have taken it or not.
        """
        number = uuid4().hex
        deadline = self._rpc.loop.time() + settings.WORKER_STALE
        while not self._is_paused:
            try:
                answer = await self.ask(command, patience=LOOK_AGAIN, number=number)
            except NoAnswer:
                if self._rpc.loop.time() > deadline or await is_gone():
                    return None
            else:
                return answer if isinstance(answer, Posted) else None
        return None

    # Frames of the connection

    def forward(self, frame: frames.ClientFrame | None = None) -> None:
        """Send a frame behind those before it; without one, let the owner know of the client."""
        if frame is not None:
            self.frames.append(_pack(frame))
        if self._forwarder is None and not self._is_paused:
            self._forwarder = self._start(self._send_frames())

    def pause(self) -> None:
        """Send nothing more."""
        self._is_paused = True
        forwarder = self._forwarder
        if forwarder is not None and forwarder is not asyncio.current_task():
            forwarder.cancel()  # what was taken already is known by its number

    async def _send_frames(self) -> None:
        try:
            while not self._is_paused:
                batch = [self.frames[i] for i in range(min(len(self.frames), MAX_BATCH))]
                answer = await self.ask(Forward(remote=self.number, frames=batch))
                if not isinstance(answer, Taken):
                    await self._left()
                    return
                for _ in batch:
                    self.frames.popleft()
                self._taken(answer)
                if not self.frames:
                    return
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner takes nothing: {error}")
        finally:
            self._forwarder = None

    async def stop(self) -> None:
        """Overtake the frames. If the owner has let the session go, it is for the next owner."""
        stop = Forward(remote=self.number, frames=[_STOP])
        if isinstance(await self.ask_quietly(stop), NotHere):
            self.stop_next()

    def stop_next(self) -> None:
        """Stop behind the events that no owner has taken yet: one of them is meant."""
        if not self.frames or self.frames[-1] is not _STOP:
            self.frames.append(_STOP)


def _pack(frame: frames.ClientFrame) -> msgspec.Raw:
    """Return ``frame`` as it goes from worker to worker."""
    return msgspec.Raw(frames.encode(frame).encode())


#: One for all: where the last that waits is this, another would stop nothing more.
_STOP = _pack(frames.Stop())
