"""``ChatCommunicator``: a client of a bot, for tests."""

# ruff: noqa: ASYNC109  # timeout= is what channels.testing calls it

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import msgspec

from chatsessions import frames
from chatsessions.session import Session
from chatsessions.signals import turn_finished

from .cleanup import enter, leave
from .conversation import ChatEvent, ChatMessage, Conversation, ErrorReport, Sent
from .database import check_database
from .failures import ChatAssertionError, ChatRefused
from .line import LOST, Line
from .scope import Headers, User, default_origin, headers_of, log_in, scope_of
from .story import server_log, tell

T = TypeVar("T")

#: How long a test waits for anything, in seconds, unless it says so.
TIMEOUT = 5.0
#: How long a test waits to see that nothing comes, in seconds.
SILENCE = 0.1
#: An error that means: send it again, after ``retry_after`` seconds.
RETRIED = frozenset({"rate_limited", "busy", "storage_unavailable"})

WELCOME = "a welcome"

#: An origin that the project's ``AllowedHostsOriginValidator`` lets in.
ALLOWED_ORIGIN = "allowed"


class ChatCommunicator:
    """
    A client that keeps to the protocol, connected for the length of an ``async with`` block.

    ``application`` is the project's ASGI application or a consumer (``ChatConsumer.as_asgi(…)``),
    ``path`` the websocket's. It numbers, repeats and acknowledges by itself. Every method that
    waits takes ``timeout`` in seconds, and raises ``ChatAssertionError`` after it, or at once
    when the server has closed the connection.

    ``user`` is logged in, with a session cookie and in the scope. With ``session`` (and ``token``)
    it comes back to that session. ``headers`` are text by name, or pairs of bytes; ``origin`` is
    None for no such header. ``profile``, ``client_type``, ``language``, ``thread`` and ``env`` go
    into ``hello``.

    When the last communicator of an event loop is closed, so is everything that the server has
    started there.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        user: User | None = None,
        session: UUID | str | None = None,
        token: str | None = None,
        headers: Headers = (),
        origin: str | None = ALLOWED_ORIGIN,
        profile: str | None = None,
        client_type: str = "webapp",
        language: str | None = None,
        thread: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.application = application
        self.path = path
        self.user = user
        self.timeout = timeout
        self._headers = headers
        self._origin = origin
        self._hello = frames.Hello(
            session=None if session is None else str(session),
            token=token,
            profile=profile,
            client_type=client_type,
            language=language,
            thread=thread,
            env=None if env is None else dict(env),
        )
        self._login: list[tuple[bytes, bytes]] = []
        self._told = Conversation()
        self._lines: list[Line] = []
        self._records: list[logging.LogRecord] = []
        self._stack = ExitStack()
        self._news: set[asyncio.Future[None]] = set()
        #: By name: the last entry that the test has received.
        self._seen: dict[str, int] = {}
        self._last: Sent | None = None
        self._acked = 0
        self._retry: asyncio.TimerHandle | None = None
        self._outcomes: dict[int, str] = {}
        self._used = False
        self._entered = False

    # What is known

    @property
    def session_id(self) -> UUID:
        """The session's id, of the last welcome."""
        return UUID(self._welcome.session)

    @property
    def token(self) -> str:
        """What lets an anonymous client come back; a new one with every welcome."""
        return self._welcome.token

    @property
    def resumed(self) -> bool:
        """Whether the last welcome was to a session that was there before."""
        return self._welcome.resumed

    @property
    def reason(self) -> str | None:
        """Why the session is a new one: ``new``, ``unknown``, ``ended``, ``expired``; else None."""
        return self._welcome.reason

    @property
    def events(self) -> list[ChatEvent]:
        """The log as seen so far, the client's own events included; oldest first."""
        return list(self._told.events)

    def events_since(self, seq: int) -> list[ChatEvent]:
        """The entries behind entry ``seq``."""
        return list(self._told.since(seq))

    @property
    def messages(self) -> list[ChatMessage]:
        """The conversation as a page shows it now: updates and removals applied, streams so far."""
        return self._told.messages

    @property
    def errors(self) -> list[ErrorReport]:
        """Every error that the client was told."""
        return self._told.errors

    @property
    def connected(self) -> bool:
        """Whether the line is open."""
        return bool(self._lines) and self._lines[-1].is_open

    @property
    def close_code(self) -> int | None:
        """The code of the websocket's close, 1006 for a line that died; None while it is open."""
        return self._lines[-1].code if self._lines else None

    @property
    def ended(self) -> str | None:
        """Why the session is over: ``user``, ``app``, …; None while it is not known to be."""
        return self._told.ended

    @property
    def _welcome(self) -> frames.Welcome:
        if self._told.welcome is None:
            raise RuntimeError("not connected yet: write 'async with ChatCommunicator(…) as chat:'")
        return self._told.welcome

    # The block

    async def __aenter__(self) -> Self:
        """
        Connect, and wait for the welcome.

        Raises ``ChatRefused`` if the server closes the connection instead, and
        ``ImproperlyConfigured`` in a test whose database transaction the server cannot see.
        """
        if self._used:
            raise RuntimeError("a ChatCommunicator is for one 'async with' block; make a new one")
        await check_database()
        self._used = self._entered = True
        await enter(self)
        self._records = self._stack.enter_context(server_log())
        turn_finished.connect(self._turn_finished, weak=False)
        self._stack.callback(turn_finished.disconnect, self._turn_finished)
        try:
            if self.user is not None:
                self._login = await log_in(self.user)
            await self._connect(received=0)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        crash = await self.aclose()
        if crash is not None and error is None:
            raise self._failure("the application failed") from crash

    async def aclose(self) -> BaseException | None:
        """
        Leave: disconnect, and wait until the server is through; what it has raised, if anything.

        The block does this at its end. A second time it does nothing.
        """
        if not self._entered:
            return None
        self._entered = False
        crash = None
        try:
            self._stop_retrying()
            for line in self._lines:
                crash = await self._hang_up(line, 1000) or crash
        finally:
            self._stack.close()
            await leave(self)
        return crash

    async def _hang_up(self, line: Line, code: int) -> BaseException | None:
        try:
            await line.hang_up(code, self.timeout)
        except Exception as error:  # noqa: BLE001, RUF100  # an application raises what it likes
            return line.crash or error
        return line.crash

    # Saying

    async def send(self, content: str, *, files: list[str] | None = None) -> int:
        """
        Send a message of the user's; its number.

        It returns at once. While the line is down the message waits for :meth:`resume`.
        """
        data = {"content": content, "id": str(uuid4())}
        return await self.send_event("message", data if files is None else data | {"files": files})

    async def send_event(self, name: str, data: Any = None) -> int:
        """Send an event, for ``on_event(name)`` or one with a meaning; its number."""
        return self._say(Sent(name, data))

    async def answer(self, call: str, data: Any) -> int:
        """Answer the question ``call`` (the ``call`` of an ``ask`` event); the frame's number."""
        return self._say(Sent("answer", data, call=call))

    def _say(self, sent: Sent) -> int:
        self._told.delivery.add(sent)
        self._last = sent
        if self._told.welcome is not None and self._retry is None:
            self._write(sent.frame())
        return sent.n

    async def stop(self) -> None:
        """Stop the running turn, as the user does. See :meth:`wait_for_turn` for when it has."""
        self._write(frames.Stop())

    async def end(self, *, timeout: float | None = None) -> str:
        """End the session for good, and wait for it; the reason that the server gives."""
        self._write(frames.End())
        return await self._wait(lambda: self._told.ended, "the end of the session", timeout)

    def _write(self, frame: frames.ClientFrame) -> None:
        if self._lines:
            self._lines[-1].send(frame)

    # Waiting

    async def receive_message(self, *, timeout: float | None = None) -> ChatMessage:
        """
        The server's next message that this has not returned before.

        As it was sent, whatever became of it afterwards; a streamed one as it was when its stream
        was closed. ``messages`` has all of them as they are now.
        """
        what = "a whole message of the server"
        message, opening, closing = await self._wait(self._next_message, what, timeout)
        self._seen["message"] = opening.seq
        if closing is not opening:
            self._seen[closing.name] = max(self._seen.get(closing.name, 0), closing.seq)
        return message

    async def receive_event(
        self, name: str | None = None, *, timeout: float | None = None
    ) -> ChatEvent:
        """
        The server's next entry ``name`` (any, if None) that has not been received before.

        Each name has a place of its own in the log, so entries of other names are passed over and
        can still be received; their order is in ``events``.
        """
        what = "an event of the server" if name is None else f"an event {name!r} of the server"
        event = await self._wait(lambda: self._next_event(name), what, timeout)
        self._seen[event.name] = event.seq
        return event

    async def receive_nothing(self, name: str | None = None, *, timeout: float = SILENCE) -> None:
        """
        See that no entry ``name`` (of any name, if None) comes within ``timeout`` seconds.

        One that has come and was not received counts. So does whatever is in the log: messages,
        updates, errors; but not the end of a turn or an ``accepted``.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while (event := self._next_event(name)) is None:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            future = self._next_news()
            await asyncio.wait([future], timeout=left)
        raise self._failure(f"nothing was to come, but {event.name!r} did")

    async def wait_for_turn(self, n: int | None = None, *, timeout: float | None = None) -> str:
        """
        Wait for the outcome of event ``n``: ``done``, ``failed``, ``stopped`` or ``interrupted``.

        By default of the last one sent; 0 is the start of the chat. Everything that the turn has
        sent is here by then. Without a line it waits for the handler, which goes on.
        """
        sent = self._last
        if n is None and sent is None:
            raise RuntimeError("nothing was sent yet; wait_for_turn(0) waits for on_chat_start")

        def number() -> int:
            if n is not None or sent is None:
                return n or 0
            if sent.refused:
                raise self._failure("the event was refused, and so has no turn")
            return sent.n

        def outcome() -> str | None:
            status = self._told.turns.get(number(), "running")
            return self._outcomes.get(number()) if status == "running" else status

        what = f"the end of the turn of event {number()}"
        found = await self._wait(outcome, what, timeout, line=False)
        # Its end may overtake what it has sent: in a replay, and where only the signal told of it.
        await self._settle(timeout)
        return found

    async def wait_until(
        self, condition: Callable[[], object], *, timeout: float | None = None
    ) -> None:
        """Wait until ``condition()`` is true; it is asked again with everything that comes."""
        await self._wait(lambda: condition() or None, "what wait_until() waits for", timeout)

    async def _settle(self, timeout: float | None) -> None:
        """Wait until everything that is stored by now is here, if there is a line."""
        told = self._told
        answered = len(told.pongs)
        self._write(frames.Ping())

        def settled() -> bool:
            pongs = told.pongs[answered:]
            return bool(pongs) and told.delivery.received >= pongs[0]

        what = "an answer to a ping, and the log up to there"
        await self._wait(lambda: not self.connected or settled() or None, what, timeout, line=False)

    def _next_message(self) -> tuple[ChatMessage, ChatEvent, ChatEvent] | None:
        opening = self._next_event("message")
        found = None if opening is None else self._told.whole(opening)
        return None if opening is None or found is None else (found[0], opening, found[1])

    def _next_event(self, name: str | None) -> ChatEvent | None:
        return next(
            (
                event
                for event in self._told.events
                if event.n is None
                and event.seq > self._seen.get(event.name, 0)
                and name in (None, event.name)
            ),
            None,
        )

    async def _wait(
        self, find: Callable[[], T | None], what: str, timeout: float | None, *, line: bool = True
    ) -> T:
        """What ``find`` finds, once it does; never, if it needs the ``line`` and that is closed."""
        seconds = self.timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        while (found := find()) is None:
            if line and not self.connected:
                self._fail_without_line(what)
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise self._failure(f"{what} did not come within {seconds:g} s")
            await asyncio.wait([self._next_news()], timeout=left)
        return found

    def _next_news(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.add(future)
        future.add_done_callback(self._news.discard)
        return future

    def _tell(self) -> None:
        for future in list(self._news):
            if not future.done():
                future.set_result(None)

    # Coming and going

    async def drop(self, *, noticed: bool = True) -> None:
        """
        Let the line die without a goodbye. What is on its way is lost.

        The server is told by a close code of 1006, as servers are that see their connection
        break. With ``noticed=False`` it hears nothing at all, and goes on sending.
        """
        self._stop_retrying()
        if not self._lines:
            return
        line = self._lines[-1]
        if not noticed:
            await line.unplug()
            return
        crash = await self._hang_up(line, LOST)
        if crash is not None:
            raise self._failure("the application failed") from crash

    async def resume(self, *, timeout: float | None = None) -> bool:
        """
        Come back with session, token and position; whether the session was there.

        An open line is dropped before. Events that the server has not accepted are sent again.
        Raises ``ChatRefused`` if the server closes the connection.
        """
        if self.connected:
            await self.drop()
        await self._connect(received=self._told.delivery.received, timeout=timeout)
        return self.resumed

    async def reload(self, *, timeout: float | None = None) -> bool:
        """
        Come back as a reloaded page does, which shows nothing yet and gets the whole log again.

        Waits until it is applied, so that ``messages`` is what the user sees then.
        """
        if self.connected:
            await self.drop()
        self._told.forget()
        await self._connect(received=0, timeout=timeout)
        await self._settle(timeout)
        return self.resumed

    async def _connect(self, *, received: int, timeout: float | None = None) -> None:
        known = self._told.welcome
        hello = msgspec.structs.replace(self._hello, received=received)
        if known is not None:
            hello.session, hello.token = known.session, known.token
        line = Line(
            self.application,
            self.path,
            headers=headers_of(self._headers, self._find_origin()) + self._login,
            scope=scope_of(self.user),
            hello=hello,
            take=lambda frame: self._take(line, frame),
        )
        self._lines.append(line)
        self._acked = received
        line.open()
        await self._wait(lambda: (self._told.welcome is not known) or None, WELCOME, timeout)

    def _find_origin(self) -> str | None:
        return default_origin() if self._origin == ALLOWED_ORIGIN else self._origin

    def _take(self, line: Line, frame: frames.ServerFrame | None) -> None:
        """Apply a frame; None for the end of ``line``."""
        if line is not self._lines[-1]:
            return
        try:
            if frame is not None:
                self._apply(frame)
        finally:
            self._tell()

    def _apply(self, frame: frames.ServerFrame) -> None:
        self._told.apply(frame)
        if isinstance(frame, frames.Welcome):
            if not frame.resumed:
                self._seen.clear()
                self._outcomes.clear()
            self._send_unaccepted()
        elif isinstance(frame, frames.Error) and frame.n is not msgspec.UNSET:
            self._refused(frame, frame.n)
        if self._told.delivery.received > self._acked:
            self._acked = self._told.delivery.received
            self._write(frames.Ack(self._acked))

    # Sending again

    def _refused(self, error: frames.Error, n: int) -> None:
        """The server did not take event ``n``."""
        if error.code == "bad_frame":
            self._told.delivery.refuse(n)
        elif error.code == "n_gap":
            self._send_unaccepted()
        elif error.code in RETRIED and self._retry is None:
            delay = 1.0 if error.retry_after is msgspec.UNSET else error.retry_after
            self._retry = asyncio.get_running_loop().call_later(delay, self._send_unaccepted)

    def _send_unaccepted(self) -> None:
        self._stop_retrying()
        for _, sent in self._told.delivery.unaccepted:
            self._write(sent.frame())

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _turn_finished(self, *, session: Session, turn: int, status: str, **_: Any) -> None:
        """A turn's end is not in the log: what a client misses while away is known from here."""
        welcome = self._told.welcome
        if welcome is not None and str(session.id) == welcome.session:
            self._outcomes[turn] = status
            self._tell()

    # Failing

    def _failure(self, what: str) -> ChatAssertionError:
        return ChatAssertionError(what, self._story(), errors=self.errors)

    def _fail_without_line(self, what: str) -> None:
        line = self._lines[-1] if self._lines else None
        if line is None or line.code is None:
            raise RuntimeError("not connected: write 'async with ChatCommunicator(…) as chat:'")
        if line.crash is not None:
            raise self._failure(f"the application failed before {what} came") from line.crash
        if not line.accepted:
            raise ChatRefused(
                f"the handshake was refused (origin {self._find_origin()!r}, path {self.path!r})",
                self._story(),
                code=None,
            )
        if what == WELCOME:
            raise ChatRefused(
                f"the server closed the connection ({line.code}) instead of a welcome",
                self._story(),
                code=line.code,
                errors=self.errors,
            )
        raise self._failure(f"the line is down ({line.code}), so {what} cannot come")

    def _story(self) -> str:
        return tell(self._told, self._records)

    def __repr__(self) -> str:
        state = "connected" if self.connected else f"not connected, {self.close_code}"
        return f"<ChatCommunicator {self.path} ({state})>"
