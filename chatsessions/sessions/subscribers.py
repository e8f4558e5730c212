"""``Subscribers``: who is there for a session, by a connection or by a request that waits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from django.utils import timezone

from chatsessions import signals
from chatsessions.auth.tokens import Tokens, hash_token, new_token, token_after
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.storage.journal import Position
from chatsessions.storage.log import Entry

from .inbound import InboundEvents
from .pending import PendingChange
from .ports import Host


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


class SubscribersHost(Protocol):
    """What presence needs of its session."""

    host: Host
    chat: Chat
    session: Session
    draft: PendingChange
    position: Position
    inbox: InboundEvents
    closed: bool
    ending: str | None

    @property
    def is_new(self) -> bool:
        """Whether the session was made here, and nothing has run in it."""

    @property
    def open_streams(self) -> list[frames.Stream]:
        """What streams, as far as it is stored."""

    def add_hook(self, name: str, argument: Any = None) -> None: ...

    def when_stored(self, callback: Callable[[], None]) -> None: ...

    def note(self) -> None: ...


class Subscribers:
    """A session's connection, of which there is one at most, and those who follow without."""

    __slots__ = (
        "_asked",
        "_has_acted",
        "_host",
        "_pauses",
        "connections",
        "followers",
        "listener",
        "tokens",
    )

    def __init__(self, host: SubscribersHost, row: ChatSession) -> None:
        self._host = host
        #: How many there have been: each that comes is one more.
        self.connections = row.connections
        self._has_acted = row.has_acted
        #: Of its worker's pauses: how many there were when the session was known to be its, and
        #: when that was asked.
        self._pauses = self._asked = host.host.pauses
        self.tokens = Tokens(row.token_hash, row.previous_token_hash)
        self.listener: Subscriber | None = None
        #: Clients without a connection of their own, who wait for what comes of a request.
        self.followers: set[Subscriber] = set()

    # Who comes and goes

    def connect(self, listener: Subscriber, *, welcome: Callable[[], None], **fields: Any) -> None:
        """
        ``listener`` is the session's connection from now on, instead of any other.

        ``welcome`` is called when that is stored; it makes the listener hear.
        """
        host = self._host
        if self.listener is not None:
            self.listener.close(frames.CloseCode.TAKEN_OVER)
            self.disconnect(self.listener, frames.CloseCode.TAKEN_OVER)
        self.listener = listener
        host.session.connected = True
        self.connections += 1
        host.draft.set(
            status=ChatSession.Status.CONNECTED,
            worker_id=host.host.id,
            connected_at=timezone.now(),
            connections=self.connections,
            **fields,
        )
        if host.is_new:
            host.when_stored(self._tell_started)
        host.when_stored(welcome)

    def rejoin(self, listener: Subscriber, *, stored: Callable[[], None]) -> None:
        """The connection that another worker's session had is here, and so is the session now."""
        host = self._host
        self.listener = listener
        host.session.connected = True
        host.draft.set(status=ChatSession.Status.CONNECTED, worker_id=host.host.id)
        host.when_stored(stored)

    def claim_again(self) -> None:
        """Somebody thought this worker dead: the row says again whose the session is."""
        host = self._host
        here = self.listener is not None
        status = ChatSession.Status.CONNECTED if here else ChatSession.Status.AWAY
        if host.ending is None and not host.closed:
            host.draft.set(status=status, worker_id=host.host.id)
            host.note()

    def disconnect(self, listener: Subscriber, code: int) -> None:
        """``listener`` is gone. The session goes on without it."""
        host = self._host
        if listener is not self.listener or host.closed:
            return
        self.listener = None
        host.session.connected = False
        host.position.last_seen_at = timezone.now()
        host.draft.set(status=ChatSession.Status.AWAY, disconnected_at=host.host.now())
        if host.ending is None:
            host.add_hook("disconnect")
        host.when_stored(
            partial(
                host.host.send_signal,
                signals.session_disconnected,
                host.chat,
                session=host.session,
                code=int(code),
            )
        )

    def part(self, code: frames.CloseCode) -> None:
        """Part with the connection, if there is one."""
        if self.listener is not None:
            self.listener.close(code)
            self.disconnect(self.listener, code)

    def visited(self, **fields: Any) -> None:
        """A client is here that has no connection, by a request."""
        host = self._host
        if host.closed or self.listener is not None:
            return
        host.position.last_seen_at = timezone.now()
        host.draft.set(disconnected_at=host.host.now(), **fields)
        if host.is_new:
            host.when_stored(self._tell_started)
        host.note()

    def acted(self) -> None:
        """The client has done something that is no event."""
        if not self._has_acted:
            self._has_acted = True
            self._host.draft.set(has_acted=True)
            self._host.note()

    def _tell_started(self) -> None:
        host = self._host
        host.host.send_signal(signals.session_started, host.chat, session=host.session)

    # Tokens

    def issue_token(self, used: str | None, *, named: bool = False) -> str:
        """A new token for a connection that came with ``used``; ``named`` says whose it is."""
        session_id = self._host.session.id
        token = new_token(session_id) if named else token_after(used, session_id)
        self.rotate_tokens(None if used is None else hash_token(used), hash_token(token))
        return token

    def revoke_tokens(self) -> None:
        """No token that was given to anybody is valid any more."""
        self.rotate_tokens(None, hash_token(new_token()))
        self.tokens.confirm()
        self._host.draft.set(previous_token_hash="")

    def rotate_tokens(self, used: str | None, given: str) -> None:
        """A connection came with the token hashed as ``used``, and is given that of ``given``."""
        self.tokens.rotate(used, given)
        self._host.draft.set(
            token_hash=self.tokens.current, previous_token_hash=self.tokens.previous
        )

    def confirm_token(self, listener: Subscriber) -> None:
        """
        The client was heard by ``listener`` after its welcome, so it has the current token.

        What comes by another connection than the session's says nothing: it was given an older
        one.
        """
        host = self._host
        if listener is not self.listener:
            return
        if self.tokens.confirm():
            host.draft.set(previous_token_hash="")
            host.note()
        if host.inbox.posted_from is not None:  # it knows which numbers are taken
            host.inbox.set_posted_from(None)
            host.note()

    # What they hear

    def tell(self, frame: frames.ServerFrame) -> None:
        """Something that is not in the log."""
        if isinstance(frame, frames.PIECES) and not self._is_ours():
            return  # all that it stands for comes with the next stream
        if self.listener is not None:
            self.listener.frame(frame)
        if self.followers:
            self.tell_followers(frame)

    def _is_ours(self) -> bool:
        """
        Whether nobody can have taken the session. If it is not known, the row is asked.

        What streams is told without being stored first, so its commits do not say.
        """
        pauses = self._host.host.pauses
        if pauses not in (self._pauses, self._asked):
            self._asked = pauses
            self.claim_again()
            self._host.when_stored(partial(self._made_sure, pauses))
        return pauses == self._pauses

    def _made_sure(self, pauses: int) -> None:
        self._pauses = pauses
        for stream in self._host.open_streams:
            self.tell(stream)

    def tell_followers(self, frame: frames.ServerFrame) -> None:
        """The same, to those without a connection."""
        for follower in list(self.followers):
            follower.frame(frame)

    def tell_entries(self, entries: Sequence[Entry]) -> None:
        """These are stored now."""
        if self.listener is not None:
            self.listener.entries(entries)
        if self.followers:
            for follower in list(self.followers):
                follower.entries(entries)

    def tell_end(self, reason: str) -> None:
        """The session is over."""
        if self.listener is not None:
            self.listener.close(frames.CloseCode.SESSION_ENDED, ended=reason)
        for follower in list(self.followers):
            follower.close(frames.CloseCode.SESSION_ENDED, ended=reason)
        self.listener = None
        self.followers.clear()
        self._host.session.connected = False

    def part_with_followers(self, code: frames.CloseCode) -> None:
        """Let those go who have no connection."""
        for follower in list(self.followers):
            follower.close(code)
