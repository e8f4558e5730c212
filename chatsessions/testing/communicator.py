"""``ChatCommunicator``: a client of a bot for tests, with methods that wait and assert."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeVar
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import connections

from chatsessions.conf import settings
from chatsessions.handlers.session import Session
from chatsessions.protocol import frames
from chatsessions.signals import turn_finished
from chatsessions.storage.database import arefuse_test_transaction
from chatsessions.storage.files import store_upload
from chatsessions.storage.log import read_before

from .cleanup import enter, leave
from .client import ProtocolClient
from .conversation import Button, ChatEvent, ChatMessage, Sent
from .failures import ChatAssertionError, ChatRefused, report, server_log
from .transport import (
    LOST,
    ApplicationTransport,
    Headers,
    User,
    default_origin,
    headers_of,
    login_cookie,
    scope_of,
)

T = TypeVar("T")

#: How long a test waits for anything by default, in seconds.
TIMEOUT = 5.0
#: How long a test waits to check that nothing comes, in seconds.
SILENCE = 0.1
#: Stands for an origin that the project's ``AllowedHostsOriginValidator`` allows.
ALLOWED_ORIGIN = "allowed"


class ChatCommunicator(ProtocolClient):
    """
    A client that keeps to the protocol, connected during an ``async with`` block.

    ``application`` is the project's ASGI application or a consumer (``ChatConsumer.as_asgi(…)``),
    ``path`` the websocket's. The client numbers, repeats and acknowledges by itself. Every method
    that waits takes ``timeout`` in seconds, by default that of the communicator, and raises
    ``ChatAssertionError`` after it, or at once when the server has closed the connection.

    ``user``, an instance of any user model, is logged in, with a session cookie and in the scope.
    With ``session`` (a UUID or its text) and ``token`` the client resumes that session. ``headers``
    is a mapping of text, or pairs of bytes; ``origin`` is text, by default an allowed one, or None
    for no such header. ``profile``, ``client_type``, ``language`` and ``thread``, all text, and
    ``env``, a mapping of text, go into ``hello``. So does ``latest``: how many of the latest
    messages the server sends first to a client that resumes a session and has no entries yet.

    When the last communicator of an event loop is closed, everything that the server has started
    in that loop is ended.
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
        latest: int | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(
            frames.Hello(
                session=None if session is None else str(session),
                token=token,
                profile=profile,
                client_type=client_type,
                language=language,
                thread=thread,
                latest=latest,
                env=None if env is None else dict(env),
            )
        )
        self.timeout = timeout
        self._application = application
        self._path = path
        self._user = user
        self._headers = headers
        self._origin = default_origin(application) if origin == ALLOWED_ORIGIN else origin
        self._login: list[tuple[bytes, bytes]] = []
        #: All connections so far; only the last can be open.
        self._connections: list[ApplicationTransport] = []
        #: The outcome of each turn, by the server's signal.
        self._outcomes: dict[int, str] = {}
        #: What the server logs.
        self._records: list[logging.LogRecord] = []
        #: The last event sent.
        self._last: Sent | None = None
        self._stack = ExitStack()
        self._used = False
        self._entered = False

    # The block

    async def __aenter__(self) -> Self:
        """
        Connect, and wait for the welcome.

        Raises ``ChatRefused`` if the server closes the connection instead, ``RuntimeError`` in a
        second block, and ``ImproperlyConfigured`` with SQLite in memory and in a test that runs in
        a transaction, which the server cannot see.
        """
        if self._used:
            raise RuntimeError("a ChatCommunicator is for one 'async with' block; make a new one")
        await arefuse_test_transaction()
        _refuse_memory()
        self._used = self._entered = True
        enter(self)
        self._records = self._stack.enter_context(server_log())
        turn_finished.connect(self._turn_finished, weak=False)
        self._stack.callback(turn_finished.disconnect, self._turn_finished)
        try:
            await self.log_in(self._user)
            await self._connect()
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
        if error is None:
            self._raise_crash(crash)

    async def aclose(self) -> BaseException | None:
        """
        Disconnect, wait until the application has returned, and return what it has raised.

        The block does this at its end. A second call does nothing.
        """
        if not self._entered:
            return None
        self._entered = False
        crash = None
        try:
            await self._unplug()
            for connection in self._connections:
                await connection.close()
                crash = connection.crash or crash
            return crash
        finally:
            self._stack.close()
            await leave(self)

    async def log_in(self, user: User | None) -> None:
        """
        Use the login of ``user`` from the next connection on, in the same tab; None logs out.

        As a page does, the client then drops unaccepted events of the previous user.
        """
        self._user = user
        self._login = [] if user is None else await login_cookie(user)

    # Sending

    async def send(self, content: str, *, files: list[str] | None = None) -> int:
        """
        Send a message of the user, and return its number at once.

        While there is no connection the message waits for :meth:`resume`.
        """
        data = {"content": content, "id": str(uuid4())}
        return await self.send_event("message", data if files is None else data | {"files": files})

    async def edit(self, content: str) -> int:
        """
        Send the user's last message again with another text, as :meth:`send` does.

        Return the number of the new message. Raises ``RuntimeError`` if the server has accepted no
        message yet.
        """
        last = self._last_message()
        data = {"content": content, "id": str(uuid4()), "replaces": last.n}
        # An update by the bot has more of a file than its id.
        files = [file["id"] if isinstance(file, dict) else file for file in last.files]
        return await self.send_event("message", data | ({"files": files} if files else {}))

    async def try_again(self) -> int:
        """Send the user's last message again as it is, as :meth:`edit` does."""
        return await self.edit(self._last_message().content)

    def _last_message(self) -> ChatMessage:
        own = [one for one in self.messages if one.n is not None]
        if not own:
            raise RuntimeError("The user has said nothing yet that the server has accepted.")
        return own[-1]

    async def send_event(self, name: str, data: Any = None) -> int:
        """
        Send an event for ``on_event(name)``, or one of the protocol's, as :meth:`send` does.

        Return its number. Raises ``TypeError`` for ``data`` that is not JSON.
        """
        return await self._send_numbered(Sent(name, data))

    async def give_feedback(
        self, message: ChatMessage, value: Literal["up", "down"] | None, *, comment: str = ""
    ) -> int:
        """
        Give an answer a thumb, or take the thumb back with None; return the event's number.

        The event is sent as by :meth:`send`.
        """
        data = {"message": message.id, "value": value, "comment": comment}
        return await self.send_event("feedback", data)

    async def answer(self, call: str, data: Any) -> int:
        """Answer the question ``call`` (of an ``ask`` event), and return the frame's number."""
        return await self._send_numbered(Sent("answer", data, call=call))

    async def press(self, label: str, *, timeout: float | None = None) -> int:
        """
        Press the button ``label``: an action under a message, or a choice of an open question.

        Wait until a page would show the button; of several with that label press the last. Return
        the frame's number. If none comes, the ``ChatAssertionError`` lists the present buttons.
        """

        def find() -> Button | None:
            found = [button for button in self._buttons() if button.label == label]
            return found[-1] if found else None

        seconds = self.timeout if timeout is None else timeout
        button = await self._wait_or_none(find, seconds, connected=True)
        if button is None:
            if not self.connected:
                self._fail_unconnected(f"a button {label!r}")
            labels = ", ".join(repr(button.label) for button in self._buttons()) or "none"
            raise self._failure(
                f"no button {label!r} came within {seconds:g} s; the buttons are: {labels}"
            )
        return await self._send_numbered(button.press())

    async def _send_numbered(self, sent: Sent) -> int:
        if sent.call is None:  # an answer has no turn of its own
            self._last = sent
        return await super()._send_numbered(sent)

    async def upload(self, name: str, content: bytes | str, *, mime: str = "") -> str:
        """
        Upload a file of the user, and return its id, for ``send(…, files=[id])``.

        It is checked as in an upload by HTTP. Raises ``FileRefused`` and ``SessionOver``.
        """
        data = content.encode() if isinstance(content, str) else content
        store = sync_to_async(store_upload)
        file = await store(self.session_id, ContentFile(data), name=name, declared=mime)
        return file.id

    async def load_earlier(self, limit: int = 200) -> bool:
        """
        Get at most ``limit`` entries before the known ones, as a page does when it is scrolled up.

        Return True if there are still earlier ones.
        """
        if self.has_earlier:
            read = partial(read_before, self.session_id, before=self._first, limit=limit)
            entries, _ = await sync_to_async(read)()
            self._prepend(entries)
        return self.has_earlier

    async def stop(self) -> None:
        """Stop the running turn, as the user does. :meth:`wait_for_turn` waits for its end."""
        self._put_frame(frames.Stop())
        await self.flush()

    async def end(self, *, timeout: float | None = None) -> str:
        """End the session, wait for its end, and return the server's reason."""
        self._put_frame(frames.End())
        await self.flush()
        return await self._wait(lambda: self.ended, "the end of the session", timeout)

    # Waiting

    async def receive_message(self, *, timeout: float | None = None) -> ChatMessage:
        """
        Return the server's next message. Each message is returned once.

        It is returned as it was sent, or as it was at the end of its stream, even if it was changed
        later. ``messages`` has all messages as they are now.
        """
        return await self._wait(self._take_message, "a whole message of the server", timeout)

    async def receive_event(
        self, name: str | None = None, *, timeout: float | None = None
    ) -> ChatEvent:
        """
        Return the server's next entry ``name`` (of any name, if None). Each is returned once.

        Each name has its own position in the log: entries of other names are passed over and can
        still be received; their order is in ``events``.
        """
        what = "an event of the server" if name is None else f"an event {name!r} of the server"
        return await self._wait(lambda: self._take(name), what, timeout)

    async def receive_nothing(self, name: str | None = None, *, timeout: float = SILENCE) -> None:
        """
        Check that no entry ``name`` (of any name, if None) comes within ``timeout`` seconds.

        An entry that came earlier and was not received counts too. The log has messages, updates
        and errors, but not the end of a turn or an ``accepted``. Raises ``ChatAssertionError`` for
        the first entry.
        """
        event = await self._wait_or_none(lambda: self._peek(name), timeout)
        if event is not None:
            raise self._failure(f"nothing was to come, but {event.name!r} did")

    async def wait_for_turn(self, n: int | None = None, *, timeout: float | None = None) -> str:
        """
        Wait for the outcome of event ``n``: ``done``, ``failed``, ``stopped`` or ``interrupted``.

        The default is the last event sent; 0 is the start of the chat. On return, everything that
        the turn has sent is received. Without a connection the handler goes on, and this waits for
        it. But an event that was not accepted before the server closed the connection has no turn:
        ``ChatAssertionError`` says so at once, with the code. Raises ``RuntimeError`` if nothing
        was sent.
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
            found = self._outcome(number())
            stranded = self.closed_by_server and self._delivery.find(number()) is not None
            if found is None and stranded:
                self._fail_unconnected(what)
            return found

        what = f"the end of the turn of event {number()}"
        found = await self._wait(outcome, what, timeout, connected=False)
        # The end of a turn may arrive before its entries: in a replay, and by the signal.
        await self._settle(timeout)
        return found

    async def wait_until(
        self, condition: Callable[[], object], *, timeout: float | None = None
    ) -> None:
        """Wait until ``condition()`` is true; it is called again whenever something comes."""
        await self._wait(lambda: condition() or None, "what wait_until() waits for", timeout)

    async def _settle(self, timeout: float | None) -> None:
        """Wait until everything that is stored now is received, if there is a connection."""
        answered = len(self._pongs)
        self._put_frame(frames.Ping())
        await self.flush()

        def settled() -> bool:
            pongs = self._pongs[answered:]
            return bool(pongs) and self._delivery.received >= pongs[0]

        what = "an answer to a ping, and the log up to there"
        await self._wait(
            lambda: not self.connected or settled() or None, what, timeout, connected=False
        )

    # Connecting

    async def drop(self, *, noticed: bool = True) -> None:
        """
        Lose the connection, and the frames that are on their way.

        The server gets the close code 1006, as when it sees a connection break. With
        ``noticed=False`` it gets nothing, and goes on sending. Raises ``ChatAssertionError`` if the
        application has failed.
        """
        await self._unplug()
        if noticed and self._connections:
            await self._connections[-1].close(LOST)
            self._raise_crash(self._connections[-1].crash)

    async def resume(self, *, timeout: float | None = None) -> bool:
        """
        Connect again with session, token and position; return True if the session was resumed.

        An open connection is dropped first. Unaccepted events are sent again. Raises
        ``ChatRefused`` if the server closes the connection.
        """
        if self.connected:
            await self.drop()
        await self._connect(timeout)
        return self.resumed

    async def reload(self, *, timeout: float | None = None) -> bool:
        """
        Connect again as a reloaded page does, which gets the whole log again.

        Wait until the log is applied, so that ``messages`` is what the user then sees. Otherwise it
        is like :meth:`resume`.
        """
        if self.connected:
            await self.drop()
        self._forget()
        await self._connect(timeout)
        await self._settle(timeout)
        return self.resumed

    async def _connect(self, timeout: float | None = None) -> None:
        known = self._welcome
        connection = ApplicationTransport(
            self._application,
            self._path,
            headers=headers_of(self._headers, self._origin) + self._login,
            scope=scope_of(self._user),
            patience=self.timeout,
        )
        self._connections.append(connection)
        self._start(connection)
        await self._wait(lambda: self._welcome is not known or None, "a welcome", timeout)

    # Turns

    def _outcome(self, turn: int) -> str | None:
        """Return how ``turn`` ended; None while that is not known."""
        status = self._turns.get(turn, "running")
        return self._outcomes.get(turn) if status == "running" else status

    async def _turn_finished(self, *, session: Session, turn: int, status: str, **_: Any) -> None:
        """Take the signal: a turn's end is not in the log, so a disconnected client misses it."""
        welcome = self._welcome
        if welcome is not None and str(session.id) == welcome.session:
            self._outcomes[turn] = status
            self._notify()

    def _take_welcome(self, welcome: frames.Welcome) -> None:
        super()._take_welcome(welcome)
        if not welcome.resumed:
            self._outcomes.clear()

    # Waiting and failing

    async def _wait(
        self,
        find: Callable[[], T | None],
        what: str,
        timeout: float | None,
        *,
        connected: bool = True,
    ) -> T:
        """
        Return the first result of ``find`` that is not None; call it whenever something comes.

        Raises ``ChatAssertionError`` after ``timeout``; with ``connected``, also as soon as the
        connection is closed, as then nothing can come any more.
        """
        seconds = self.timeout if timeout is None else timeout
        found = await self._wait_or_none(find, seconds, connected=connected)
        if found is not None:
            return found
        if connected and not self.connected:
            self._fail_unconnected(what)
        raise self._failure(f"{what} did not come within {seconds:g} s")

    async def _wait_or_none(
        self, find: Callable[[], T | None], seconds: float, *, connected: bool = False
    ) -> T | None:
        """Wait as :meth:`_wait` does, but return None instead of raising."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (found := find()) is None:
            if self.problems:
                raise self._failure(f"the server breaks the protocol: {self.problems[0]}")
            if loop.time() >= end or (connected and not self.connected):
                break
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._news.wait()
        return found

    def _failure(self, what: str) -> ChatAssertionError:
        return ChatAssertionError(what, report(self, self._records), errors=self.errors)

    def _fail_unconnected(self, what: str) -> NoReturn:
        """Raise the error that says why there is no connection, with its code."""
        connection = self._connections[-1] if self._connections else None
        if connection is None or self.close_code is None:
            raise RuntimeError("not connected: write 'async with ChatCommunicator(…) as chat:'")
        if connection.crash is not None:
            raise self._failure(f"the application failed before {what} came") from connection.crash
        if not connection.accepted:
            raise ChatRefused(
                f"the handshake was refused (origin {self._origin!r}, path {self._path!r})",
                report(self, self._records),
                code=None,
            )
        if not self.welcomed:
            raise ChatRefused(
                f"the server closed the connection ({self.close_code}) instead of a welcome",
                report(self, self._records),
                code=self.close_code,
                errors=self.errors,
            )
        raise self._failure(f"the connection is closed ({self.close_code}), so {what} cannot come")

    def _raise_crash(self, crash: BaseException | None) -> None:
        if crash is not None:
            raise self._failure("the application failed") from crash

    def __repr__(self) -> str:
        state = "connected" if self.connected else f"not connected, {self.close_code}"
        return f"<ChatCommunicator {self._path} ({state})>"


def _refuse_memory() -> None:
    """Raise ``ImproperlyConfigured`` for SQLite in memory, which fails with several threads."""
    connection: Any = connections[settings.DATABASE]
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise ImproperlyConfigured(
            "The tests' database is SQLite in memory, where a thread that meets another one's lock "
            "fails instead of waiting. Give it a file in the settings: "
            f'DATABASES["{settings.DATABASE}"]["TEST"] = {{"NAME": BASE_DIR / "test.sqlite3"}}.'
        )
