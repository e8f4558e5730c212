"""A session's subscribers, and its client, as the row and the application see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal
from msgspec import Struct

from chatsessions import signals
from chatsessions.auth.access import Tokens, hash_token, new_token, token_after
from chatsessions.conf import settings
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.storage.log import Entry

from .host import SessionHost
from .inbound import InboundEvents
from .pending import SessionLog

if TYPE_CHECKING:
    from chatsessions.auth.access import User


class Subscriber(ABC):
    """Receives what a session sends: for a websocket, a request or another worker."""

    #: Whether the client is at another worker, which takes the session once nothing runs here.
    relayed = False

    @abstractmethod
    def entries(self, entries: Sequence[Entry]) -> None:
        """Take entries of the log, in order, after they are stored."""

    @abstractmethod
    def frame(self, frame: frames.ServerFrame) -> None:
        """Take a frame that is not in the log and may be lost: a token, a turn's status."""

    @abstractmethod
    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        """Close: nothing more is sent. ``ended`` is the end reason of a session that is over."""


class Standing(Struct, kw_only=True):
    """A session's position and state, for a subscriber that follows it from there."""

    #: The numbers of the oldest entry that is kept, the last stored one, and the last one.
    first: int = 0
    stored: int = 0
    head: int = 0
    #: The highest stored number of a client's event, and the highest that the client itself gave.
    received: int = 0
    numbered: int = 0
    #: The number and the name of the running turn, until its end is sent to the subscribers.
    turn: int | None = None
    turn_name: str = ""
    #: Whether no turn runs or waits, and the subscribers were sent the ends of all turns.
    is_idle: bool = False
    #: The events whose turns have ended; see ``Handled``.
    handled: int = 0
    handled_ahead: list[int] = []
    #: How many connections there have been.
    connections: int = 0
    #: The text so far of the open streams, which a subscriber needs in addition to the log.
    streams: list[frames.Stream] = []


class Subscribers:
    """A session's connection, if there is one, and its followers: all other subscribers."""

    __slots__ = ("connection", "followers")

    def __init__(self) -> None:
        #: The client's connection.
        self.connection: Subscriber | None = None
        #: Requests that wait for entries, and watchers.
        self.followers: set[Subscriber] = set()

    def entries(self, entries: Sequence[Entry]) -> None:
        """Send entries, which are stored now, to all subscribers."""
        if self.connection is not None:
            self.connection.entries(entries)
        if self.followers:
            for follower in list(self.followers):
                follower.entries(entries)

    def frame(self, frame: frames.ServerFrame) -> None:
        """Send all subscribers a frame that is not in the log."""
        if self.connection is not None:
            self.connection.frame(frame)
        if self.followers:
            self.tell_followers(frame)

    def tell_connection(self, frame: frames.ServerFrame) -> None:
        """Send the connection alone a frame that is not in the log."""
        if self.connection is not None:
            self.connection.frame(frame)

    def tell_followers(self, frame: frames.ServerFrame) -> None:
        """Send the followers a frame that is not in the log."""
        for follower in list(self.followers):
            follower.frame(frame)

    def close_followers(self, code: frames.CloseCode) -> None:
        """Close the followers."""
        for follower in list(self.followers):
            follower.close(code)

    def end(self, reason: str) -> None:
        """Close all subscribers: the session is over."""
        code = frames.CloseCode.SESSION_ENDED
        if self.connection is not None:
            self.connection.close(code, ended=reason)
        for follower in list(self.followers):
            follower.close(code, ended=reason)
        self.connection = None
        self.followers.clear()


class SessionClient:
    """Writes the state of a client and its connection to the row; calls hooks, sends signals."""

    def __init__(
        self,
        chat: Chat,
        session: Session,
        row: ChatSession,
        *,
        is_new: bool,
        log: SessionLog,
        inbound: InboundEvents,
        subscribers: Subscribers,
        worker: SessionHost,
        add_hook: Callable[[str], None],
    ) -> None:
        self._chat = chat
        self._session = session
        self._log = log
        self._position = log.position
        self._inbound = inbound
        self._subscribers = subscribers
        self._worker = worker
        self._add_hook = add_hook
        self._has_acted = row.has_acted
        is_away = row.status == ChatSession.Status.AWAY
        #: When the client was last here, unless it has a connection; None if that is not known.
        self._away_since: datetime | None = row.disconnected_at if is_away else None
        #: Whether the session was created here, and nothing has run in it.
        self.is_new = is_new
        #: How many connections there have been.
        self.connections = row.connections
        self.tokens = Tokens(row.token_hash, row.previous_token_hash)

    # Its connection

    def connect(
        self, subscriber: Subscriber, *, language: str = "", welcome: Callable[[], None]
    ) -> None:
        """
        Make ``subscriber`` the session's connection; close the one before it.

        ``language`` becomes the session's, unless it is empty. ``welcome`` is called when all this
        is stored; it lets the subscriber send.
        """
        self.close_connection(frames.CloseCode.TAKEN_OVER)
        self._subscribers.connection = subscriber
        self._session.connected = True
        self.connections += 1
        self._session.language = language or self._session.language
        self._log.set(
            status=ChatSession.Status.CONNECTED,
            language=self._session.language,
            worker_id=self._worker.id,
            connected_at=self._worker.rows.now(),
            connections=self.connections,
        )
        self._tell_started()
        self._log.then(welcome)

    def rejoin(self, subscriber: Subscriber, *, stored: Callable[[], None]) -> None:
        """Take over ``subscriber``, the connection of a session that moved here."""
        self._subscribers.connection = subscriber
        self._session.connected = True
        self._log.set(status=ChatSession.Status.CONNECTED, worker_id=self._worker.id)
        self._log.then(stored)

    def announce(self, subscriber: Subscriber, *, resumed: bool) -> None:
        """Tell the application of the connection ``subscriber``, which is stored now."""
        if subscriber is self._subscribers.connection:  # else on_disconnect has run
            self._add_hook("connect")
        self._send(signals.session_connected, resumed=resumed)

    def disconnect(self, subscriber: Subscriber, code: int) -> None:
        """Note that ``subscriber`` is gone, if it is the connection."""
        if subscriber is not self._subscribers.connection or self._log.is_closed:
            return
        self._subscribers.connection = None
        self._session.connected = False
        self._position.last_seen_at = self._away_since = self._worker.rows.now()
        self._log.set(status=ChatSession.Status.AWAY, disconnected_at=self._away_since)
        if self._inbound.is_open:
            self._add_hook("disconnect")
        self._log.then(partial(self._send, signals.session_disconnected, code=int(code)))

    def close_connection(self, code: frames.CloseCode) -> None:
        """Close the connection, if there is one."""
        connection = self._subscribers.connection
        if connection is not None:
            connection.close(code)
            self.disconnect(connection, code)

    def renew_user(self, subscriber: Subscriber | None, user: User) -> None:
        """
        Let handlers see the current state of the user.

        ``subscriber`` is the user's connection, None if they came by a request.
        """
        if subscriber is None or subscriber is self._subscribers.connection:
            self._session.renew_user(user)

    def claim_again(self) -> None:
        """Write the owner to the row again: another worker may have thought this one dead."""
        if self._inbound.is_open:
            here = self._subscribers.connection is not None
            status = ChatSession.Status.CONNECTED if here else ChatSession.Status.AWAY
            self._log.set(status=status, worker_id=self._worker.id)
            self._log.note()

    # A client without a connection

    def visited(self) -> None:
        """Note that the client has made a request, without a connection."""
        if self._log.is_closed or self._subscribers.connection is not None:
            return
        self._position.last_seen_at = self._away_since = self._worker.rows.now()
        self._log.set(disconnected_at=self._away_since)
        self._tell_started()
        self._log.note()

    @property
    def has_expired(self) -> bool:
        """
        Whether the client has been away for too long, as in ``ChatSessionQuerySet.expired()``.

        Unlike there, a file does not make the session used: only the database has the files.
        """
        if self._subscribers.connection is not None or self._away_since is None:
            return False
        age = settings.SESSION_AGE
        if not (self._has_acted or self._position.events_in):
            age = min(age, settings.UNUSED_SESSION_AGE)
        return self._away_since < self._worker.rows.now() - timedelta(seconds=age)

    async def acted(self) -> None:
        """Note that the client has done something other than send an event."""
        if not self._has_acted:
            self._has_acted = True
            self._log.set(has_acted=True)
            self._log.note()

    @property
    def is_hammered(self) -> bool:
        """Whether the client keeps sending although it is rate limited."""
        return self._inbound.gate.is_hammered

    # Tokens

    def issue_token(self, used: str | None, *, named: bool = False) -> str:
        """
        Return a new token for a client that came with the token ``used``.

        With ``named`` the token carries the session's id.
        """
        session_id = self._session.id
        token = new_token(session_id) if named else token_after(used, session_id)
        self.rotate_tokens(None if used is None else hash_token(used), hash_token(token))
        return token

    def rotate_tokens(self, used: str | None, given: str) -> None:
        """Store ``given``, the hash of a new token; ``used`` is that of the client's old token."""
        self.tokens.rotate(used, given)
        self._write_tokens()

    def assign(self) -> None:
        """
        Invalidate all tokens: the session belongs to a user from now on.

        The hash of the current one is kept, for ``awaits_login``.
        """
        former = self.tokens.current
        self._log.set(former_token_hash=former, assigned_at=self._worker.rows.now())
        self.tokens = Tokens(hash_token(new_token()), "")
        self._write_tokens()

    def confirm_token(self, subscriber: Subscriber) -> None:
        """
        Note that the client has the current token: it sent something after its welcome.

        Does nothing if ``subscriber`` is not the session's connection, because it has got an older
        token.
        """
        if subscriber is not self._subscribers.connection:
            return
        if self.tokens.previous:
            self.tokens.confirm()
            self._write_tokens()
            self._log.note()
        if self._inbound.posted_from is not None:  # the welcome said which numbers are taken
            self._inbound.set_posted_from(None)
            self._log.note()

    def _write_tokens(self) -> None:
        self._log.set(token_hash=self.tokens.current, previous_token_hash=self.tokens.previous)

    # The application

    def _tell_started(self) -> None:
        """Send ``session_started`` when the session is stored, if it is new."""
        if self.is_new:
            self._log.then(partial(self._send, signals.session_started))

    def _send(self, signal: Signal, **arguments: Any) -> None:
        self._worker.send_signal(signal, self._chat, session=self._session, **arguments)
