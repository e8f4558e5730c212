"""
``ChatCommunicator``: a client of a bot, for tests.

Its parts: :class:`~.client.Client` speaks the protocol, over a :class:`~.line.Line` for each
connection; :class:`~.conversation.Conversation` is what it was told, and :class:`~.unread.Unread`
what of that the test has not received; :class:`~.waiting.Waiter` waits, and fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import connections

from chatsessions.conf import settings
from chatsessions.protocol import frames
from chatsessions.signals import turn_finished
from chatsessions.storage.database import arefuse_test_transaction
from chatsessions.storage.files import store_upload

from .cleanup import enter, leave
from .client import Client
from .conversation import Button, ChatEvent, ChatMessage, ErrorReport, Sent
from .scope import Headers, User, default_origin
from .story import server_log
from .waiting import Waiter

T = TypeVar("T")

#: How long a test waits for anything, in seconds, unless it says so.
TIMEOUT = 5.0
#: How long a test waits to see that nothing comes, in seconds.
SILENCE = 0.1
#: An origin that the project's ``AllowedHostsOriginValidator`` lets in.
ALLOWED_ORIGIN = "allowed"


class ChatCommunicator:
    """
    A client that keeps to the protocol, connected for the length of an ``async with`` block.

    ``application`` is the project's ASGI application or a consumer (``ChatConsumer.as_asgi(…)``),
    ``path`` the websocket's. It numbers, repeats and acknowledges by itself. Every method that
    waits takes ``timeout`` in seconds, by default that of the communicator, and raises
    ``ChatAssertionError`` after it, or at once when the server has closed the connection.

    ``user``, an instance of any user model, is logged in, with a session cookie and in the scope.
    With ``session`` (a UUID or its text) and ``token`` it comes back to that session. ``headers``
    are text by name, or pairs of bytes; ``origin`` is text, by default one that is let in, or None
    for no such header. ``profile``, ``client_type``, ``language`` and ``thread``, all text, and
    ``env``, text by name, go into ``hello``.

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
        self.timeout = timeout
        self._client = Client(
            application,
            path,
            user=user,
            headers=headers,
            origin=default_origin(application) if origin == ALLOWED_ORIGIN else origin,
            hello=frames.Hello(
                session=None if session is None else str(session),
                token=token,
                profile=profile,
                client_type=client_type,
                language=language,
                thread=thread,
                env=None if env is None else dict(env),
            ),
        )
        self._waiter = Waiter(self._client)
        self._told = self._client.told
        self._unread = self._client.unread
        self._last: Sent | None = None
        self._stack = ExitStack()
        self._used = False
        self._entered = False

    # What is known

    @property
    def session_id(self) -> UUID:
        """The session's id, of the last welcome. ``RuntimeError`` before the first."""
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
        return self._client.connected

    @property
    def close_code(self) -> int | None:
        """The code of the websocket's close, 1006 for a line that died; None while it is open."""
        line = self._client.line
        return None if line is None else line.code

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

        Raises ``ChatRefused`` if the server closes the connection instead, ``RuntimeError`` the
        second time, and ``ImproperlyConfigured`` in a test that runs in a transaction, which the
        server cannot see, and with SQLite in memory.
        """
        if self._used:
            raise RuntimeError("a ChatCommunicator is for one 'async with' block; make a new one")
        await arefuse_test_transaction()
        _refuse_memory()
        self._used = self._entered = True
        enter(self)
        self._waiter.records = self._stack.enter_context(server_log())
        turn_finished.connect(self._client.turn_finished, weak=False)
        self._stack.callback(turn_finished.disconnect, self._client.turn_finished)
        try:
            await self._client.log_in()
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
        Leave: disconnect, and wait until the server is through; what it has raised, if anything.

        The block does this at its end. A second time it does nothing.
        """
        if not self._entered:
            return None
        self._entered = False
        try:
            return await self._client.leave(self.timeout)
        finally:
            self._stack.close()
            await leave(self)

    # Saying

    async def send(self, content: str, *, files: list[str] | None = None) -> int:
        """
        Send a message of the user's; its number.

        It returns at once. While the line is down the message waits for :meth:`resume`.
        """
        data = {"content": content, "id": str(uuid4())}
        return await self.send_event("message", data if files is None else data | {"files": files})

    async def send_event(self, name: str, data: Any = None) -> int:
        """
        Send an event, for ``on_event(name)`` or one with a meaning; its number.

        As :meth:`send`. Raises ``TypeError`` for ``data`` that JSON cannot say.
        """
        return self._say(Sent(name, data))

    async def answer(self, call: str, data: Any) -> int:
        """Answer the question ``call`` (the ``call`` of an ``ask`` event); the frame's number."""
        return self._say(Sent("answer", data, call=call))

    async def press(self, label: str, *, timeout: float | None = None) -> int:
        """
        Press the button ``label``: an action under a message, or a choice of an open question.

        Waits until the page shows it; of several with that label it is the last. Returns the
        frame's number. ``ChatAssertionError`` lists the buttons that there are.
        """

        def find() -> Button | None:
            found = [button for button in self._told.buttons if button.label == label]
            return found[-1] if found else None

        seconds = self.timeout if timeout is None else timeout
        button = await self._waiter.wait_or_none(find, seconds, line=True)
        if button is None:
            if not self.connected:
                self._waiter.fail_without_line(f"a button {label!r}")
            labels = ", ".join(repr(button.label) for button in self._told.buttons) or "none"
            raise self._waiter.failure(
                f"no button {label!r} came within {seconds:g} s; the buttons are: {labels}"
            )
        return self._say(button.press())

    def _say(self, sent: Sent) -> int:
        self._client.say(sent)
        if sent.call is None:  # an answer has no turn of its own
            self._last = sent
        return sent.n

    async def upload(self, name: str, content: bytes | str, *, mime: str = "") -> str:
        """
        Upload a file of the user's, for ``send(…, files=[id])``; its id.

        It is checked as one that comes by HTTP is. Raises ``FileRefused`` and ``SessionOver``.
        """
        data = content.encode() if isinstance(content, str) else content
        store = sync_to_async(store_upload)
        file = await store(self.session_id, ContentFile(data), name=name, declared=mime)
        return file.id

    async def stop(self) -> None:
        """Stop the running turn, as the user does. See :meth:`wait_for_turn` for when it has."""
        self._client.write(frames.Stop())

    async def end(self, *, timeout: float | None = None) -> str:
        """End the session for good, and wait for it; the reason that the server gives."""
        self._client.write(frames.End())
        return await self._wait(lambda: self._told.ended, "the end of the session", timeout)

    # Waiting

    async def receive_message(self, *, timeout: float | None = None) -> ChatMessage:
        """
        The server's next message that this has not returned before.

        As it was sent, whatever became of it afterwards; a streamed one as it was when its stream
        was closed. ``messages`` has all of them as they are now.
        """
        return await self._wait(self._unread.take_message, "a whole message of the server", timeout)

    async def receive_event(
        self, name: str | None = None, *, timeout: float | None = None
    ) -> ChatEvent:
        """
        The server's next entry ``name`` (any, if None) that has not been received before.

        Each name has a place of its own in the log, so entries of other names are passed over and
        can still be received; their order is in ``events``.
        """
        what = "an event of the server" if name is None else f"an event {name!r} of the server"
        return await self._wait(lambda: self._unread.take(name), what, timeout)

    async def receive_nothing(self, name: str | None = None, *, timeout: float = SILENCE) -> None:
        """
        See that no entry ``name`` (of any name, if None) comes within ``timeout`` seconds.

        One that has come and was not received counts. So does whatever is in the log: messages,
        updates, errors; but not the end of a turn or an ``accepted``. Raises
        ``ChatAssertionError`` for the first that there is.
        """
        event = await self._waiter.wait_or_none(lambda: self._unread.peek(name), timeout)
        if event is not None:
            raise self._waiter.failure(f"nothing was to come, but {event.name!r} did")

    async def wait_for_turn(self, n: int | None = None, *, timeout: float | None = None) -> str:
        """
        Wait for the outcome of event ``n``: ``done``, ``failed``, ``stopped`` or ``interrupted``.

        By default of the last event sent; 0 is the start of the chat. Everything that the turn has
        sent is here by then. Without a line it waits for the handler, which goes on; but an event
        that was not accepted before the server closed the line has no turn, and
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
                raise self._waiter.failure("the event was refused, and so has no turn")
            return sent.n

        def outcome() -> str | None:
            found = self._client.outcome(number())
            if found is None and self._client.is_stranded(number()):
                self._waiter.fail_without_line(what)
            return found

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

    async def _wait(
        self, find: Callable[[], T | None], what: str, timeout: float | None, *, line: bool = True
    ) -> T:
        seconds = self.timeout if timeout is None else timeout
        return await self._waiter.wait(find, what, seconds, line=line)

    async def _settle(self, timeout: float | None) -> None:
        """Wait until everything that is stored by now is here, if there is a line."""
        told = self._told
        answered = len(told.pongs)
        self._client.write(frames.Ping())

        def settled() -> bool:
            pongs = told.pongs[answered:]
            return bool(pongs) and told.delivery.received >= pongs[0]

        what = "an answer to a ping, and the log up to there"
        await self._wait(lambda: not self.connected or settled() or None, what, timeout, line=False)

    # Coming and going

    async def drop(self, *, noticed: bool = True) -> None:
        """
        Let the line die without a goodbye. What is on its way is lost.

        The server is told by a close code of 1006, as servers are that see their connection
        break. With ``noticed=False`` it hears nothing at all, and goes on sending. Raises
        ``ChatAssertionError`` if the application has failed.
        """
        if noticed:
            self._raise_crash(await self._client.hang_up(self.timeout))
        else:
            await self._client.unplug()

    async def log_in(self, user: User | None) -> None:
        """
        Be ``user`` from the next connection on, in the same tab; None logs out.

        As a page does, the client then sends nothing that somebody else has written.
        """
        self._client.user = user
        await self._client.log_in()

    async def resume(self, *, timeout: float | None = None) -> bool:
        """
        Come back with session, token and position; whether the session was there.

        An open line is dropped before. Events that the server has not accepted are sent again.
        Raises ``ChatRefused`` if the server closes the connection.
        """
        if self.connected:
            await self.drop()
        await self._connect(timeout)
        return self.resumed

    async def reload(self, *, timeout: float | None = None) -> bool:
        """
        Come back as a reloaded page does, which shows nothing yet and gets the whole log again.

        Waits until it is applied, so that ``messages`` is what the user sees then. Otherwise as
        :meth:`resume`.
        """
        if self.connected:
            await self.drop()
        self._told.forget()
        await self._connect(timeout)
        await self._settle(timeout)
        return self.resumed

    async def _connect(self, timeout: float | None = None) -> None:
        known = self._told.welcome
        self._client.connect()
        await self._wait(lambda: self._told.welcome is not known or None, "a welcome", timeout)

    def _raise_crash(self, crash: BaseException | None) -> None:
        if crash is not None:
            raise self._waiter.failure("the application failed") from crash

    def __repr__(self) -> str:
        state = "connected" if self.connected else f"not connected, {self.close_code}"
        return f"<ChatCommunicator {self._client.path} ({state})>"


def _refuse_memory() -> None:
    """Raise ``ImproperlyConfigured`` for SQLite in memory, which fails where two threads meet."""
    connection: Any = connections[settings.DATABASE]
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise ImproperlyConfigured(
            "The tests' database is SQLite in memory, where a thread that meets another one's lock "
            "fails instead of waiting. Give it a file in the settings: "
            f'DATABASES["{settings.DATABASE}"]["TEST"] = {{"NAME": BASE_DIR / "test.sqlite3"}}.'
        )
