"""What stands between a client and its session, whichever worker owns that."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry

from .commands import Posted

if TYPE_CHECKING:
    from chatsessions.auth.access import User


class Followed(Protocol):
    """What of a session can be followed from outside of it: where its log stands, and what runs."""

    @property
    def id(self) -> UUID: ...

    @property
    def first(self) -> int:
        """The first entry of the log that is kept."""

    @property
    def stored(self) -> int:
        """The last that is stored."""

    @property
    def received(self) -> int:
        """The highest stored number of an event."""

    @property
    def turn(self) -> int | None:
        """The number of the running turn."""

    @property
    def open_streams(self) -> list[frames.Stream]:
        """What somebody who has the log needs beside it."""

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Stored entries behind ``after``, oldest first."""

    def renew_user(self, user: User) -> None:
        """The client's user was looked at again."""


class Served(Followed, Protocol):
    """A session as its connection sees it, whichever worker owns it."""

    loop: asyncio.AbstractEventLoop

    @property
    def listener(self) -> Subscriber | None:
        """The session's connection."""

    @property
    def numbered(self) -> int:
        """The highest of them that a connection's own client may have given."""

    @property
    def is_hammered(self) -> bool:
        """Whether the client keeps sending what it was told to hold back."""

    def issue_token(self, used: str | None) -> str:
        """The token of a connection that came with ``used``."""

    def connect(self, listener: LocalListener, *, welcome: Callable[[], None]) -> None:
        """``listener`` is the connection from now on; ``welcome`` is called when that is stored."""

    def go(self) -> None:
        """Run what comes before anything else; once, after the first connection is known."""

    def announce(self, *, resumed: bool) -> None:
        """The connection is stored: tell the application."""

    def own(self, task: asyncio.Task[Any]) -> None:
        """A task of the connection's, which ends with the session."""

    def confirm_token(self, listener: Subscriber) -> None:
        """The client was heard by ``listener`` after its welcome."""

    async def receive(self, listener: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """
        An event or an answer, whose ``data`` is decoded already.

        Raises ``FrameError`` for one that cannot be accepted now.
        """

    def stop(self) -> None:
        """The client stops the running turn."""

    def end(self, reason: str) -> None:
        """The session is over."""

    def disconnect(self, listener: Subscriber, code: int) -> None:
        """``listener`` is gone. The session goes on without it."""


class LocalListener(Subscriber):
    """A connection of this worker's own."""

    @abstractmethod
    def pause(self) -> None:
        """Nothing more is sent until :meth:`moved`."""

    @abstractmethod
    def moved(self, served: Served) -> None:
        """Its session is ``served`` from now on: go on where the other one was left."""


class Visited(Followed, Protocol):
    """A session as a request sees it, which is not its connection, whichever worker owns it."""

    @property
    def turn_name(self) -> str:
        """What that handles."""

    @property
    def is_idle(self) -> bool:
        """Whether no turn runs or waits."""

    @property
    def is_ending(self) -> bool:
        """Whether the session is over, or about to be."""

    @property
    def lost(self) -> Exception | None:
        """Why nothing more can be told of the session, if that is so and it has not ended."""

    async def settle(self) -> None:
        """Wait until what was emitted so far is stored."""

    def follow(self, listener: Subscriber) -> None:
        """``listener`` hears of the session from now on."""

    def unfollow(self, listener: Subscriber) -> None: ...

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None) -> Posted:
        """Give the session an event: see :func:`~chatsessions.cluster.posting.post`."""

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """Give it the answer to a question."""

    def visited(self) -> None:
        """Its client is still there."""

    def let_go(self) -> None:
        """The visit is over; once."""

    async def given_back(self) -> None:
        """Wait until another worker can take the session, if it can be let go at all."""
