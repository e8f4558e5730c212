"""``Subscribers``: who hears what comes of a session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from msgspec import Struct

from chatsessions.protocol import frames
from chatsessions.storage.log import Entry


class Subscriber(ABC):
    """Whoever hears what comes of a session: a websocket, a request, another worker."""

    #: Whether it is at another worker, which takes the session as soon as nothing runs here.
    relayed = False

    @abstractmethod
    def entries(self, entries: Sequence[Entry]) -> None:
        """Take entries of the log, in order, now that they are stored."""

    @abstractmethod
    def frame(self, frame: frames.ServerFrame) -> None:
        """Take a frame that is not in the log and may be lost: a token, a turn's status."""

    @abstractmethod
    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        """Hear nothing more. ``ended`` is the reason of a session that is over."""


class Standing(Struct, kw_only=True):
    """How a session stands, for whoever follows it from there on."""

    #: The first entry of the log that is kept, and the last that is stored.
    first: int = 0
    stored: int = 0
    #: The highest stored number of a client's event, and of those that its connection gave.
    received: int = 0
    numbered: int = 0
    #: The number and the name of the running turn.
    turn: int | None = None
    turn_name: str = ""
    #: Whether no turn runs or waits.
    is_idle: bool = False
    #: What streams: somebody who has the log needs it, too.
    streams: list[frames.Stream] = []


class Subscribers:
    """A session's connection, of which there is one at most, and those who follow without one."""

    __slots__ = ("connection", "followers")

    def __init__(self) -> None:
        #: The client's connection.
        self.connection: Subscriber | None = None
        #: Requests that wait for what comes, and those who watch.
        self.followers: set[Subscriber] = set()

    def entries(self, entries: Sequence[Entry]) -> None:
        """Tell everybody of entries that are stored now."""
        if self.connection is not None:
            self.connection.entries(entries)
        if self.followers:
            for follower in list(self.followers):
                follower.entries(entries)

    def frame(self, frame: frames.ServerFrame) -> None:
        """Tell everybody something that is not in the log."""
        if self.connection is not None:
            self.connection.frame(frame)
        if self.followers:
            self.tell_followers(frame)

    def tell_followers(self, frame: frames.ServerFrame) -> None:
        """The same, to those without a connection."""
        for follower in list(self.followers):
            follower.frame(frame)

    def close_followers(self, code: frames.CloseCode) -> None:
        """Part with those who have no connection."""
        for follower in list(self.followers):
            follower.close(code)

    def end(self, reason: str) -> None:
        """Tell everybody that the session is over, and part with them."""
        code = frames.CloseCode.SESSION_ENDED
        if self.connection is not None:
            self.connection.close(code, ended=reason)
        for follower in list(self.followers):
            follower.close(code, ended=reason)
        self.connection = None
        self.followers.clear()
