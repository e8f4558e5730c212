"""``Client``: keeps to the protocol by itself, as the page does, over one line after another."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from chatsessions.handlers.session import Session
from chatsessions.protocol import frames

from .conversation import Conversation, Sent
from .line import LOST, Line
from .scope import Headers, User, headers_of, log_in, scope_of
from .unread import Unread

#: An error that means: send it again, after ``retry_after`` seconds.
RETRIED = frozenset({"rate_limited", "busy", "storage_unavailable"})
#: One that means: never send it again.
GIVEN_UP = frozenset({"bad_frame", "forbidden", "too_large", "unauthorized"})


class Client:
    """
    Says hello, numbers, acknowledges, sends again, and comes back to its session.

    It waits for nothing: ``news`` wakes who does.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        user: User | None,
        headers: Headers,
        origin: str | None,
        hello: frames.Hello,
    ) -> None:
        self.application = application
        self.path = path
        self.user = user
        self.origin = origin
        self.told = Conversation()
        self.unread = Unread(self.told)
        #: Set, and cleared at once, whenever the client was told something.
        self.news = asyncio.Event()
        self._headers = headers
        self._hello = hello
        self._login: list[tuple[bytes, bytes]] = []
        self._lines: list[Line] = []
        self._acked = 0
        self._retry: asyncio.TimerHandle | None = None
        #: By turn: how it ended, as the server's signal says.
        self._outcomes: dict[int, str] = {}

    # Lines

    @property
    def line(self) -> Line | None:
        """The last one, which is the only one that can be open."""
        return self._lines[-1] if self._lines else None

    @property
    def connected(self) -> bool:
        """Whether the line is open."""
        return self.line is not None and self.line.is_open

    async def log_in(self) -> None:
        """Log ``user`` in, for the connections to come."""
        self._login = [] if self.user is None else await log_in(self.user)

    def connect(self) -> None:
        """Open a line, on which hello says how far the log was received. The welcome is to come."""
        received = self.told.delivery.received
        hello = msgspec.structs.replace(self._hello, received=received)
        if self.told.welcome is not None:
            hello.session, hello.token = self.told.welcome.session, self.told.welcome.token
            if self.told.welcome.owner is not msgspec.UNSET:
                hello.owner = self.told.welcome.owner
        line = Line(
            self.application,
            self.path,
            headers=headers_of(self._headers, self.origin) + self._login,
            scope=scope_of(self.user),
            hello=hello,
            take=lambda frame: self._take(line, frame),
        )
        self._lines.append(line)
        self._acked = received
        line.open()

    async def unplug(self) -> None:
        """Lose the line without the server hearing of it."""
        self._stop_retrying()
        if self.line is not None:
            await self.line.unplug()

    async def hang_up(self, seconds: float) -> BaseException | None:
        """
        Lose the line, and wait until the server is through with it.

        What the application has raised, or ``TimeoutError`` if it goes on after ``seconds``.
        """
        self._stop_retrying()
        return None if self.line is None else await self._hang_up(self.line, LOST, seconds)

    async def leave(self, seconds: float) -> BaseException | None:
        """:meth:`hang_up` with a goodbye, on every line that there was."""
        self._stop_retrying()
        crash = None
        for line in self._lines:
            crash = await self._hang_up(line, 1000, seconds) or crash
        return crash

    async def _hang_up(self, line: Line, code: int, seconds: float) -> BaseException | None:
        try:
            await line.hang_up(code, seconds)
        except Exception as error:  # noqa: BLE001, RUF100  # an application raises what it likes
            return line.crash or error
        return line.crash

    # Saying

    def say(self, sent: Sent) -> None:
        """Number ``sent``, and send it until it is accepted."""
        self.told.delivery.add(sent)
        self._send_waiting()

    def write(self, frame: frames.ClientFrame) -> None:
        """Send a frame. Without an open line it is lost."""
        if self.line is not None:
            self.line.send(frame)

    def _send_waiting(self) -> None:
        """Send as much as the server lets a client have on the wire."""
        line = self.line
        if line is not None and line.is_open and line.welcomed and self._retry is None:
            for _, sent in self.told.delivery.to_send():
                self.write(sent.frame())

    def _try_again(self) -> None:
        self._retry = None
        self._send_waiting()

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # Being told

    def is_stranded(self, n: int) -> bool:
        """Whether event ``n`` was not accepted before the server closed the line."""
        closed = self.line is not None and self.line.closed_by_server
        return closed and self.told.delivery.find(n) is not None

    def outcome(self, turn: int) -> str | None:
        """How ``turn`` ended; None while that is not known."""
        status = self.told.turns.get(turn, "running")
        return self._outcomes.get(turn) if status == "running" else status

    async def turn_finished(self, *, session: Session, turn: int, status: str, **_: Any) -> None:
        """Receive the signal: a turn's end is not in the log, and so is missed while away."""
        welcome = self.told.welcome
        if welcome is not None and str(session.id) == welcome.session:
            self._outcomes[turn] = status
            self._tell()

    def _take(self, line: Line, frame: frames.ServerFrame | None) -> None:
        """Apply a frame; None for the end of ``line``."""
        if line is not self.line:
            return
        try:
            if frame is not None:
                self._apply(line, frame)
        finally:
            self._tell()

    def _apply(self, line: Line, frame: frames.ServerFrame) -> None:
        delivery = self.told.delivery
        if isinstance(frame, frames.Welcome) and self.told.is_another_owner(frame):
            delivery.refuse_all()
            self._hello = msgspec.structs.replace(self._hello, env=None, thread=None, profile=None)
        self.told.apply(frame)
        if isinstance(frame, frames.Welcome):
            line.welcomed = True
            if not frame.resumed:
                self.unread.forget()
                self._outcomes.clear()
            self._stop_retrying()
        elif isinstance(frame, frames.Error) and frame.n is not msgspec.UNSET:
            self._refused(frame, frame.n)
        self._send_waiting()
        if delivery.received > self._acked:
            self._acked = delivery.received
            self.write(frames.Ack(self._acked))

    def _refused(self, error: frames.Error, n: int) -> None:
        """The server did not take event ``n``, or misses it."""
        delivery = self.told.delivery
        if error.code in GIVEN_UP:
            delivery.refuse(n)
        elif error.code == "n_gap":
            delivery.missing(n)
        elif error.code in RETRIED:
            retry_after = 1.0 if error.retry_after is msgspec.UNSET else error.retry_after
            wait = delivery.refused(n, retry_after)
            if wait is not None:
                self._retry = asyncio.get_running_loop().call_later(wait, self._try_again)

    def _tell(self) -> None:
        self.news.set()
        self.news.clear()
