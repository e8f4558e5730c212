"""A client that keeps to the protocol by itself, as a page does, over several connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from channels.auth import UserLazyObject
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.test import AsyncClient

from chatsessions.handlers.session import Session
from chatsessions.protocol import frames

from .conversation import Conversation, Sent

try:
    from channels.testing import WebsocketCommunicator
except ImportError as error:
    raise ImportError(
        "chatsessions.testing is built upon channels.testing, which needs daphne. Install both "
        'with: pip install "chatsessions[testing]"'
    ) from error

User = AbstractBaseUser | AnonymousUser
Headers = Mapping[str, str] | Iterable[tuple[bytes, bytes]]

#: Errors after which an event is sent again, after ``retry_after`` seconds.
RETRIED = frozenset({"rate_limited", "busy", "storage_unavailable"})
#: Errors after which an event is never sent again.
GIVEN_UP = frozenset({"bad_frame", "forbidden", "too_large", "unauthorized"})
#: The close code that a browser reports for a connection that ended without a close.
LOST = 1006
#: Marks the end of the output of an application that has returned or raised.
_RETURNED = "chatsessions.returned"


class ClientConnection:
    """
    One connection of a client to an application that runs in the same event loop.

    Sends hello as soon as the server accepts the handshake, and calls ``take`` with every frame of
    the server, and with None at the end; ``code`` is set by then.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        headers: list[tuple[bytes, bytes]],
        scope: dict[str, Any],
        hello: frames.Hello,
        take: Callable[[frames.ServerFrame | None], None],
    ) -> None:
        self._websocket = WebsocketCommunicator(
            application, path, headers=headers, subprotocols=[frames.SUBPROTOCOL]
        )
        self._websocket.scope.update(scope)
        self._hello = hello
        self._take = take
        self._reader: asyncio.Task[None] | None = None
        #: Whether the server accepted the handshake.
        self.accepted = False
        #: Whether the server welcomed the client; set by the client.
        self.welcomed = False
        #: The code of the close; None while the connection is open.
        self.code: int | None = None
        #: Whether the server closed it.
        self.closed_by_server = False
        #: What the application raised, or the error of an invalid frame.
        self.crash: BaseException | None = None

    @property
    def is_open(self) -> bool:
        return self._reader is not None and self.code is None

    def open(self) -> None:
        """Start the handshake."""
        self._websocket.input_queue.put_nowait({"type": "websocket.connect"})
        self._websocket.future.add_done_callback(self._returned)
        self._reader = asyncio.create_task(self._read(), name="chatsessions-test-client")

    def send(self, frame: frames.ClientFrame) -> None:
        """Send a frame, unless the connection is closed."""
        if self.is_open:
            text = frames.encode(frame)
            self._websocket.input_queue.put_nowait({"type": "websocket.receive", "text": text})

    async def unplug(self) -> None:
        """Stop reading and writing, without the server being told."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        if self.code is None:
            self.code = LOST

    async def hang_up(self, code: int, seconds: float) -> None:
        """
        Tell the server that the connection closed with ``code``, and wait until it has returned.

        Raise what the application raises, and ``TimeoutError`` if it goes on after ``seconds``.
        """
        await self.unplug()
        self._websocket.input_queue.put_nowait({"type": "websocket.disconnect", "code": code})
        await self._websocket.wait(timeout=seconds)
        if self._websocket.future.cancelled():
            raise TimeoutError(f"it went on for {seconds:g} s after the client had left")

    async def _read(self) -> None:
        try:
            while self.code is None:
                self._read_one(await self._websocket.output_queue.get())
        except Exception as error:  # noqa: BLE001, RUF100  # shown to the test that waits
            self.crash = error
            self._lost(LOST)

    def _read_one(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            self._take(frames.decode_server(message["text"]))
        elif kind == "websocket.accept":
            self.accepted = True
            self.send(self._hello)
        elif kind == "websocket.close":
            self._lost(message.get("code") or 1000)
        elif kind == _RETURNED:
            self._lost(LOST)

    def _returned(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            self.crash = self.crash or future.exception()
        self._websocket.output_queue.put_nowait({"type": _RETURNED})

    def _lost(self, code: int) -> None:
        self.code = code
        self.closed_by_server = True
        self._take(None)


class Client(Conversation):
    """
    Sends hello, numbers and repeats its events, acknowledges the server's, and resumes its session.

    No method waits for the server. ``_news`` is set whenever something has come from it.
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
        super().__init__()
        self._application = application
        self._path = path
        self._user = user
        self._origin = origin
        #: Set, and cleared at once, whenever something has come from the server.
        self._news = asyncio.Event()
        self._headers = headers
        self._hello = hello
        self._login: list[tuple[bytes, bytes]] = []
        self._connections: list[ClientConnection] = []
        self._acked = 0
        self._retry: asyncio.TimerHandle | None = None
        #: By turn: its outcome, as the server's signal tells.
        self._outcomes: dict[int, str] = {}

    # Connections

    @property
    def _connection(self) -> ClientConnection | None:
        """The last connection, which is the only one that can be open."""
        return self._connections[-1] if self._connections else None

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None and self._connection.is_open

    @property
    def close_code(self) -> int | None:
        """The websocket's close code, 1006 for a lost connection; None while it is open."""
        connection = self._connection
        return None if connection is None else connection.code

    async def log_in(self, user: User | None) -> None:
        """
        Be ``user`` from the next connection on, in the same tab; None logs out.

        As a page does, the client then drops unsent events of the user before.
        """
        self._user = user
        self._login = [] if user is None else await login_cookie(user)

    def _open(self) -> None:
        """Open a connection, whose hello resumes the session after the last entry received."""
        received = self._delivery.received
        hello = msgspec.structs.replace(self._hello, received=received)
        if self._welcome is not None:
            hello.session, hello.token = self._welcome.session, self._welcome.token
            if self._welcome.owner is not msgspec.UNSET:
                hello.owner = self._welcome.owner
        connection = ClientConnection(
            self._application,
            self._path,
            headers=headers_of(self._headers, self._origin) + self._login,
            scope=scope_of(self._user),
            hello=hello,
            take=lambda frame: self._take_frame(connection, frame),
        )
        self._connections.append(connection)
        self._acked = received
        connection.open()

    async def _unplug(self) -> None:
        """Lose the connection without the server being told."""
        self._stop_retrying()
        if self._connection is not None:
            await self._connection.unplug()

    async def _hang_up(self, seconds: float) -> BaseException | None:
        """
        Lose the connection, and wait until the application has returned.

        Return what it has raised, or a ``TimeoutError`` if it goes on after ``seconds``.
        """
        self._stop_retrying()
        return None if self._connection is None else await _close(self._connection, LOST, seconds)

    async def _close_all(self, seconds: float) -> BaseException | None:
        """Close every connection that there was; return what the application has raised."""
        self._stop_retrying()
        crash = None
        for connection in self._connections:
            crash = await _close(connection, 1000, seconds) or crash
        return crash

    # Sending

    def _send(self, sent: Sent) -> None:
        """Number ``sent``, and send it until the server accepts it."""
        self._delivery.add(sent)
        self._send_waiting()

    def _write(self, frame: frames.ClientFrame) -> None:
        """Send a frame, if there is an open connection."""
        if self._connection is not None:
            self._connection.send(frame)

    def _send_waiting(self) -> None:
        """Send as many waiting events as the server's window allows."""
        connection = self._connection
        if connection and connection.is_open and connection.welcomed and self._retry is None:
            for _, sent in self._delivery.to_send():
                self._write(sent.frame())

    def _try_again(self) -> None:
        self._retry = None
        self._send_waiting()

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # Receiving

    def _is_stranded(self, n: int) -> bool:
        """Return True if the server closed the connection before it accepted event ``n``."""
        closed = self._connection is not None and self._connection.closed_by_server
        return closed and self._delivery.find(n) is not None

    def _outcome(self, turn: int) -> str | None:
        """Return how ``turn`` ended; None while that is not known."""
        status = self._turns.get(turn, "running")
        return self._outcomes.get(turn) if status == "running" else status

    async def _turn_finished(self, *, session: Session, turn: int, status: str, **_: Any) -> None:
        """Receive the signal. The end of a turn is not in the log, so a client away misses it."""
        welcome = self._welcome
        if welcome is not None and str(session.id) == welcome.session:
            self._outcomes[turn] = status
            self._notify()

    def _take_frame(self, connection: ClientConnection, frame: frames.ServerFrame | None) -> None:
        """Apply a frame; None stands for the end of ``connection``."""
        if connection is not self._connection:
            return
        try:
            if frame is not None:
                self._apply(frame)
        finally:
            self._notify()

    def _apply(self, frame: frames.ServerFrame) -> None:
        delivery = self._delivery
        if isinstance(frame, frames.Welcome) and self._is_another_owner(frame):
            delivery.refuse_all()
            self._hello = msgspec.structs.replace(self._hello, env=None, thread=None, profile=None)
        super()._apply(frame)
        if isinstance(frame, frames.Welcome):
            if self._connection is not None:
                self._connection.welcomed = True
            if not frame.resumed:
                self._outcomes.clear()
            self._stop_retrying()
        elif isinstance(frame, frames.Error) and frame.n is not msgspec.UNSET:
            self._handle_refusal(frame, frame.n)
        self._send_waiting()
        if delivery.received > self._acked:
            self._acked = delivery.received
            self._write(frames.Ack(self._acked))

    def _handle_refusal(self, error: frames.Error, n: int) -> None:
        """Act on an error that the server has sent about event ``n``."""
        delivery = self._delivery
        if error.code in GIVEN_UP:
            delivery.refuse(n)
        elif error.code == "n_gap":
            delivery.missing(n)
        elif error.code in RETRIED:
            retry_after = 1.0 if error.retry_after is msgspec.UNSET else error.retry_after
            wait = delivery.refused(n, retry_after)
            if wait is not None:
                self._retry = asyncio.get_running_loop().call_later(wait, self._try_again)

    def _notify(self) -> None:
        self._news.set()
        self._news.clear()


async def _close(connection: ClientConnection, code: int, seconds: float) -> BaseException | None:
    """Close a connection; return what the application raises, or a ``TimeoutError``."""
    try:
        await connection.hang_up(code, seconds)
    except Exception as error:  # noqa: BLE001, RUF100  # an application may raise anything
        return connection.crash or error
    return connection.crash


def headers_of(headers: Headers, origin: str | None) -> list[tuple[bytes, bytes]]:
    """Return headers in the form of a scope, with ``origin`` unless they have one."""
    pairs = (
        ((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())
        if isinstance(headers, Mapping)
        else headers
    )
    found = [(name.lower(), value) for name, value in pairs]
    if origin is not None and not any(name == b"origin" for name, _ in found):
        found.append((b"origin", origin.encode("latin-1")))
    return found


def default_origin(application: object) -> str:
    """
    Return an origin that the validator around ``application`` allows.

    ``AllowedHostsOriginValidator`` reads ``ALLOWED_HOSTS`` when the application is made, and a test
    run may have changed the setting since.
    """
    allowed = _origins_of(application)
    hosts = django_settings.ALLOWED_HOSTS if allowed is None else allowed
    host = next((str(host).lstrip(".") for host in hosts if host != "*"), "localhost")
    return host if "://" in host else f"http://{host}"


def _origins_of(application: Any) -> Iterable[object] | None:
    """Return the origins that the outermost validator allows; None if there is no validator."""
    while application is not None:
        if hasattr(application, "allowed_origins"):
            origins: Iterable[object] = application.allowed_origins
            return origins
        if hasattr(application, "application_mapping"):
            application = application.application_mapping.get("websocket")
        else:
            application = getattr(application, "application", None)
    return None


async def login_cookie(user: User) -> list[tuple[bytes, bytes]]:
    """
    Return the cookie header of a real login, for an application with ``AuthMiddlewareStack``.

    The list is empty for an anonymous user, and in a project without Django's sessions.
    """
    if not user.is_authenticated or not apps.is_installed("django.contrib.sessions"):
        return []
    client = AsyncClient()
    await client.aforce_login(user)  # type: ignore[arg-type]  # any user model will do
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode("latin-1"))]


def scope_of(user: User | None) -> dict[str, Any]:
    """Return the scope without its headers."""
    scope: dict[str, Any] = {"client": ("127.0.0.1", 50_000)}
    if user is not None:
        # AuthMiddleware also sets this object, and puts the user of the cookie into it.
        scope["user"] = UserLazyObject()
        scope["user"]._wrapped = user
    return scope
