"""``VisitedSession``: a session that another worker owns, for all requests that come here."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from msgspec import Raw

from chatsessions.conf import settings
from chatsessions.protocol import frames
from chatsessions.sessions.posted import Posted
from chatsessions.sessions.subscribers import Standing, Subscriber

from .commands import Alive, Answer, Post, Reply
from .directory import LOOK_AGAIN
from .remote import RemoteSession
from .rpc import NoAnswer


class VisitedSession(RemoteSession):
    """A session that another worker owns, and keeps while a request here uses it."""

    async def _attached(self, standing: Standing) -> None:
        if self._is_followed:  # for another request
            self._heard_at = self.loop.time()
            await self._follower.begin_again(standing)
        else:
            await super()._attached(standing)
            self.go()

    async def settle(self) -> None:
        """Wait until the subscribers were sent all that is stored now."""
        look = await self._look()
        if look.peek is not None:
            await self._follower.read_up_to(look.peek.head)

    async def begun(self) -> None:
        """Do nothing: only a new session has to begin, and no other worker owns a new session."""

    @property
    def is_ending(self) -> bool:
        """Whether the session is ending or over."""
        return self._follower.is_ending

    # Subscribers

    def follow(self, subscriber: Subscriber) -> Standing:
        """Add ``subscriber`` to the followers; return the standing that it follows from."""
        if self.closed:
            subscriber.close(frames.CloseCode.SHUTTING_DOWN)
        else:
            self._follower.subscribers.followers.add(subscriber)
        return self.standing()

    def unfollow(self, subscriber: Subscriber) -> None:
        """Remove ``subscriber`` from the followers."""
        self._follower.subscribers.followers.discard(subscriber)

    # Commands

    @property
    def posted(self) -> VisitedSession:
        """This object, which also has the methods of ``PostedEvents``."""
        return self

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None) -> Posted:
        """Give the session an event: see :meth:`.PostedEvents.post`."""
        return await self._have_taken(Post(remote=self.number, name=name, data=Raw(raw), key=key))

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """Give the session the answer to a question: see :meth:`.PostedEvents.answer`."""
        return await self._have_taken(Reply(remote=self.number, call=call, data=Raw(raw)))

    async def _have_taken(self, command: Post | Reply) -> Posted:
        """
        Send the owner what was posted, and return its turn. Raises what the owner raises.

        Raises ``OwnerUnreachable`` if the owner is gone or no longer knows this object; it may have
        taken the post or not.
        """
        posted: Answer | None = None
        if not self.closed:
            with suppress(NoAnswer):
                posted = await self._directory.ask_until(
                    self._owner.channel,
                    command,
                    deadline=self.loop.time() + settings.WORKER_STALE,
                    is_gone=self._owner_is_gone,
                )
        if not isinstance(posted, Posted):
            self._give_up("its owner takes nothing")
            raise self.failure or self._unreachable()
        if posted.outcome is not None:  # all its results are stored
            await self._follower.read_up_to(posted.head)
        else:  # the turn may have ended before the answer came
            posted.outcome = self._follower.turns.ended.get(posted.turn)
        return posted

    async def _owner_is_gone(self) -> bool:
        """Return True if the owner died or no longer owns the session, or this object is closed."""
        look = await self._look()
        peek = look.peek
        is_owned = (
            peek is not None and peek.worker_id is not None and peek.generation == self.generation
        )
        return look.is_dead or not is_owned or self.closed

    def visited(self) -> None:
        """Tell the owner that the session's client is still there."""
        if not self.closed:
            self._start(self._ask_quietly(Alive(remote=self.number, visited=True)))

    async def acted(self) -> None:
        """Tell the owner that the session's client has done something other than an event."""
        await self._ask_quietly(Alive(remote=self.number, visited=True, acted=True))

    # The end

    def release(self) -> None:
        """Note that a request is over; after the last one leave the session to its owner."""
        self._holders -= 1
        if not self._holders:
            self.leave()

    def leave(self) -> None:
        """Leave the session to its owner, even if requests use it."""
        followers = self._follower.subscribers
        if not self.closed:
            self._detach()
        followers.close_followers(frames.CloseCode.SHUTTING_DOWN)

    async def given_back(self) -> None:
        """Wait until the owner knows that the last request is over, at most ``LOOK_AGAIN`` s."""
        if self._detaching is not None:
            await asyncio.wait([self._detaching], timeout=LOOK_AGAIN)

    async def _released(self) -> None:
        self._give_up("its owner has it no more")
