"""
Visits: clients that come by a request and have no connection.

A visit holds its session while it lasts, may give it an event, and follows what comes of that:
the log from a position on, and what is told between its entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from chatsessions.cluster.commands import Posted
from chatsessions.cluster.connect_request import (
    Admit,
    ConnectRequest,
    anybody,
)
from chatsessions.cluster.visit_relay import VisitRelay
from chatsessions.handlers.chat import Chat
from chatsessions.sessions.session import LiveSession
from chatsessions.websocket.admission import Admission
from chatsessions.workers.worker import get_worker

from .followers import HttpSubscriber
from .held import Held


class Visit:
    """Somebody who came by a request, and the session they have."""

    def __init__(
        self, served: Held | VisitRelay, *, ip: str | None, token: str, reason: str | None
    ) -> None:
        self.served = served
        self._ip = ip
        #: What lets the client come back; empty for a logged-in owner who came without one.
        self.token = token
        #: None if the session was theirs; else why they have a new one.
        self.reason = reason
        #: The last entry before the visit.
        self.before = served.live.log.head if isinstance(served, Held) else served.stored
        #: Looks after the login of who came, until they leave.
        self.guard: Admission | None = None
        self._over = False
        self._close_stream: Callable[[], None] | None = None
        self._follower: HttpSubscriber | None = None

    @classmethod
    async def begin(
        cls, chat: Chat, arrival: ConnectRequest, *, make: bool = True, admit: Admit = anybody
    ) -> Self:
        """
        Open the session asked for, or with ``make`` a new one where it is not there.

        ``admit`` is asked about it before it is made or taken. Raises what ``Worker.receive``
        raises.
        """
        found, reason = await get_worker().receive(chat, arrival, make=make, admit=admit)
        token = arrival.token or ""
        if isinstance(found, VisitRelay):  # its owner has seen to the rest
            return cls(found, ip=arrival.ip, token=token, reason=reason)
        if reason is None:
            found.session.renew_user(arrival.user)
            if arrival.env:
                found.session.env = arrival.env
        else:
            token = found.subscribers.issue_token(None, named=True)
        visit = cls(Held(found), ip=arrival.ip, token=token, reason=reason)
        found.subscribers.visited()
        found.go()
        return visit

    @property
    def resumed(self) -> bool:
        return self.reason is None

    @property
    def live(self) -> LiveSession | None:
        """The session if this worker holds it."""
        return self.served.live if isinstance(self.served, Held) else None

    def follow(
        self, after: int, *, known: int | None = None, bounded: bool = True
    ) -> HttpSubscriber:
        """
        Follow the session behind entry ``after``, until the visit is over.

        Entries up to ``known`` are told as what was there before; by default all that are stored.
        """
        known = self.served.stored if known is None else known
        replay = get_worker().limits.replay(self.served.id, self._ip)
        self._follower = HttpSubscriber(
            self.served, after, known=known, replay=replay, bounded=bounded
        )
        if self.lost is not None:
            self._follower.stop()
        return self._follower

    def open_stream(self) -> None:
        """
        Be one of the event streams that may be open, until the visit is over.

        Raises ``FrameError`` ``busy`` if there are too many.
        """
        self._close_stream = get_worker().limits.open_stream(self.served.id, self._ip)

    @property
    def lost(self) -> str | None:
        """Why who came may not be here any more, if so."""
        return None if self.guard is None else self.guard.lost

    def abandon(self) -> None:
        """Leave, and forget what was not read."""
        if self._follower is not None:
            self._follower.abandon()
        self.leave()

    def stop(self) -> None:
        """Follow the session no further. What runs in it goes on."""
        if self._follower is not None:
            self._follower.stop()

    def leave(self) -> None:
        """Let the session go; once."""
        if not self._over:
            self._over = True
            self.stop()
            if self._close_stream is not None:
                self._close_stream()
            if self.guard is not None:
                self.guard.leave()
            self.served.let_go()

    async def given_back(self) -> None:
        """Wait until another process can take the session, if it can be let go at all."""
        await self.served.given_back()

    # Events

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None = None) -> Posted:
        """
        Give the session an event; one with the ``key`` of an earlier one is that one again.

        ``raw`` is the JSON of ``data``. Raises ``FrameError`` for one that cannot be accepted
        now, ``SessionConnected``, ``SessionOver``, ``StoreUnavailable``, ``OwnerUnreachable``.
        """
        posted = await self.served.post(name, raw, data, key=key)
        if self.reason is not None:
            posted.after = 0  # with the greeting
        return posted

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """
        As :meth:`post`, for the answer to a question; its turn is the one that asked.

        If none asked that runs (a hook did, or a task that has outlived its turn), it is done.
        """
        return await self.served.answer(call, raw, data)
