"""
The two ways in: ``ChatConsumer`` speaks the protocol, ``SessionConsumer`` is for one's own frames.

No handler of a ``Chat`` runs inside a consumer: a consumer only reads frames, and hands them on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseError

from . import frames, signals
from .attachment import Attachment
from .chat import Chat, resolve_chat
from .conf import settings
from .context import use_context
from .exceptions import FrameError, OwnershipLost, SessionOver, StoreUnavailable
from .frames import CloseCode
from .live import LiveSession
from .session import Session
from .store import CacheFailed, Entry
from .user_session import UserSession
from .worker import Arrival, Opened, ShuttingDown, TooManySessions, User, get_worker

logger = logging.getLogger("chatsessions.consumers")

Scope = dict[str, Any]
Message = dict[str, Any]

#: How long the other side may take to answer a close, in seconds.
CLOSE_TIMEOUT = 5.0
#: Chainlit's default, for a client that names no language.
DEFAULT_LANGUAGE = "en-US"


class SessionConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels is untyped
    """
    A consumer whose connection belongs to a session.

    Subclass it as any ``AsyncWebsocketConsumer``: ``connect``, ``receive`` and ``disconnect`` run
    inside the context, one at a time, and what they change in ``user_session`` is stored after
    each. ``self.session`` is the session; its client finds it again with
    ``self.session.id`` and ``self.session_token``.
    """

    #: The name of the sessions' chat; the class's own by default.
    chat: Chat | str | None = None

    session: Session
    user_session: UserSession
    session_token: str
    #: Whether the session was there before this connection.
    resumed: bool = False

    _live: LiveSession | None = None
    _own_listener: _ConsumerListener | None = None

    def __init__(self, *, chat: Chat | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if chat is not None:
            self.chat = chat

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Any:
        """
        The ASGI application. Raises ``ChatError`` for a ``chat`` that is not there.
        """
        initkwargs["chat"] = cls._find_chat(initkwargs.get("chat", cls.chat))
        return super().as_asgi(**initkwargs)

    @classmethod
    def _find_chat(cls, chat: Chat | str | None) -> Chat:
        if chat is None or (isinstance(chat, str) and "." not in chat):
            return resolve_chat(Chat(chat or f"{cls.__module__}.{cls.__qualname__}"))
        return resolve_chat(chat)

    async def get_resume_credentials(self) -> tuple[str, str | None] | None:
        """The id and token of the session to go on with; None for a new one."""
        return None

    async def session_event(self, name: str, data: Any) -> None:
        """
        Something was emitted for this session, here or elsewhere, and is stored.

        By default it is sent as ``{"name": …, "data": …}``.
        """
        await self.send(text_data=msgspec.json.encode({"name": name, "data": data}).decode())

    async def dispatch(self, message: Message) -> None:
        # Channels hops to a thread before each event to look at old database connections.
        get_worker().refresh_connections()
        handler = getattr(self, message["type"].replace(".", "_"), None)
        if handler is None or message["type"].startswith("_"):
            raise ValueError(f"No handler for message type {message['type']}")
        if message["type"].startswith("websocket.") or self._live is None:
            await handler(message)
        else:
            await self._inside(handler(message))  # something from the channel layer

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # An error in one of the subclass's methods ends the application without a disconnect.
            self._part(1011)

    async def websocket_connect(self, message: Message) -> None:
        credentials = await self.get_resume_credentials()
        session_id, token = credentials or (None, None)
        arrival = arrival_of(self.scope, session_id=session_id, token=token)
        try:
            opened = await get_worker().open(self._find_chat(self.chat), arrival)
        except ShuttingDown:
            await self._refuse(CloseCode.SHUTTING_DOWN)
            return
        except TooManySessions:
            await self._refuse(CloseCode.TOO_MANY_SESSIONS)
            return
        self._live = opened.live
        self.session = opened.live.session
        self.user_session = opened.live.user_session
        self.resumed = opened.resumed
        self.session_token = opened.live.issue_token(token)
        self._own_listener = _ConsumerListener(self, opened.live)
        welcomed = asyncio.get_running_loop().create_future()
        opened.live.connect(
            self._own_listener,
            welcome=lambda: None if welcomed.done() else welcomed.set_result(None),
        )
        opened.live.go()
        await welcomed
        announce(opened)
        await self._inside(super().websocket_connect(message))

    async def websocket_receive(self, message: Message) -> None:
        if self._live is not None:
            self._live.confirm_token()
            await self._inside(super().websocket_receive(message))

    async def websocket_disconnect(self, message: Message) -> None:
        if self._live is None:
            raise StopConsumer
        try:
            await self._inside(super().websocket_disconnect(message))
        except (SessionOver, OwnershipLost) as error:
            logger.info("disconnect() came after the end of its session: %s", error)
            raise StopConsumer from error
        finally:
            self._part(message.get("code") or 1005)

    def _part(self, code: int) -> None:
        """The connection is gone; once."""
        if self._live is not None and self._own_listener is not None:
            self._own_listener.stop()
            self._live.disconnect(self._own_listener, code)

    async def _inside(self, step: Coroutine[Any, Any, None]) -> None:
        """Run one of the subclass's methods in the context, and store what it changed."""
        live = self._live
        if live is None:
            return
        context = live.context(None)
        with use_context(context):
            try:
                await step
            finally:
                if not live.closed:
                    live.user_session_used()
                    await context.emitter.flush()

    async def _refuse(self, code: CloseCode) -> None:
        await self.accept()
        await self.close(code=int(code))


class _ConsumerListener:
    """Passes what is stored for a session on to its ``SessionConsumer``, in order."""

    def __init__(self, consumer: SessionConsumer, live: LiveSession) -> None:
        self._consumer = consumer
        self._live = live
        self._queue: deque[Entry | CloseCode] = deque()
        self._task: asyncio.Task[None] | None = None

    def entries(self, entries: Sequence[Entry]) -> None:
        self._put(*(entry for entry in entries if entry.n is None))

    def frame(self, frame: frames.ServerFrame) -> None:
        """Tokens and turns belong to the protocol, which this consumer does not speak."""

    def close(self, code: CloseCode, *, ended: str | None = None) -> None:
        self._put(code)

    def stop(self) -> None:
        self._queue.clear()

    def _put(self, *items: Entry | CloseCode) -> None:
        self._queue.extend(items)
        if self._task is None and self._queue:
            self._task = self._live.loop.create_task(self._deliver())
            self._live.host.own(self._task)

    async def _deliver(self) -> None:
        try:
            with use_context(self._live.context(None)):
                while self._queue:
                    await self._pass_on(self._queue.popleft())
        finally:
            self._task = None

    async def _pass_on(self, item: Entry | CloseCode) -> None:
        try:
            if isinstance(item, CloseCode):
                await self._consumer.close(code=int(item))
            else:
                await self._consumer.session_event(item.name, msgspec.json.decode(item.data))
        except Exception:
            logger.exception("Session %s: an event could not be passed on", self._live.id)


class ChatConsumer(SessionConsumer):
    """
    Speaks ``chatsessions.v1`` for a ``Chat``: ``ChatConsumer.as_asgi(chat="bots.counter.chat")``.

    ``chat`` is a ``Chat``, the dotted path of one, or the name of a module with handlers. It
    keeps no channel of the channel layer: what comes from elsewhere comes through the session.
    """

    @classmethod
    def _find_chat(cls, chat: Chat | str | None) -> Chat:
        if chat is None:
            raise ValueError("ChatConsumer.as_asgi() needs chat=: a Chat, its path, or a module.")
        return resolve_chat(chat)

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scope = scope
        connection = ChatConnection(self._find_chat(self.chat), scope, send)
        lines = get_worker().lines
        lines.add(connection)
        try:
            await connection.run(receive)
        finally:
            lines.discard(connection)
            connection.gone()


class ChatConnection:
    """One websocket that speaks the protocol: handshake, hello, limits, frames in and out."""

    def __init__(
        self, chat: Chat, scope: Scope, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self._chat = chat
        self._scope = scope
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._out: deque[Message] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._attachment: Attachment | None = None
        self._hello_said = False
        self._bad_frames = 0
        self._closing = False
        self._code = 1006
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[Any] | None = None

    async def run(self, receive: Callable[[], Awaitable[Message]]) -> None:
        """Read frames until the client is gone, or does not answer our close in time."""
        self._reader = asyncio.current_task()
        try:
            while True:
                message = await receive()
                kind = message["type"]
                if kind == "websocket.receive":
                    await self._receive(message)
                elif kind == "websocket.connect":
                    await self._accept()
                elif kind == "websocket.disconnect":
                    self._code = message.get("code") or 1005
                    return
        except asyncio.CancelledError:
            if not self._abandoned:
                raise

    _abandoned = False

    def gone(self) -> None:
        """The websocket is no more."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._out.clear()
        if self._attachment is not None:
            self._attachment.stop()
            self._attachment.live.disconnect(self._attachment, self._code)

    # Line

    def send_frame(self, text: str) -> None:
        self._put({"type": "websocket.send", "text": text})

    def close_line(self, code: int) -> None:
        """Close after what was sent before. The client is given a while to answer."""
        if not self._closing:
            self._put({"type": "websocket.close", "code": int(code)})
            self._closing = True
            self._code = int(code)
            self._set_timer(CLOSE_TIMEOUT, self.abandon)

    def _put(self, message: Message) -> None:
        if self._closing:
            return
        self._out.append(message)
        if self._flusher is None:
            self._flusher = self._loop.create_task(self._flush())
            get_worker().own(self._flusher)

    async def _flush(self) -> None:
        try:
            while self._out:
                message = self._out.popleft()
                try:
                    await self._send(message)
                except Exception as error:
                    self._not_sent(message, error)
        finally:
            self._flusher = None

    def _not_sent(self, message: Message, error: Exception) -> None:
        """The client left meanwhile, or the server does not take this."""
        logger.debug("A %s could not be sent: %r", message["type"], error)
        self._out.clear()
        if message["type"] != "websocket.close":
            # The client comes back, and resumes behind the last that it got.
            self.close_line(CloseCode.SHUTTING_DOWN)
        elif message["code"] == CloseCode.FRAME_TOO_LARGE:
            # Daphne closes with 1009 by itself, but refuses the code from an application.
            self._out.append(message | {"code": int(CloseCode.PROTOCOL_VIOLATION)})

    def abandon(self) -> None:
        """The other side does not answer our close."""
        self._abandoned = True
        if self._reader is not None:
            self._reader.cancel()

    # The handshake

    async def _accept(self) -> None:
        offered = self._scope.get("subprotocols") or []
        speaks = frames.SUBPROTOCOL in offered
        await self._send(
            {"type": "websocket.accept", "subprotocol": frames.SUBPROTOCOL if speaks else None}
        )
        if offered and not speaks:
            self._fail("unsupported_protocol", f"offer {frames.SUBPROTOCOL!r} or no subprotocol")
        else:
            self._set_timer(settings.HELLO_TIMEOUT, self._no_hello)

    def _no_hello(self) -> None:
        self._fail("hello_expected", f"no hello within {settings.HELLO_TIMEOUT} seconds")

    async def _hello(self, hello: frames.Hello) -> None:
        self._hello_said = True
        if self._timer is not None:
            self._timer.cancel()
        arrival = arrival_of(
            self._scope,
            session_id=hello.session,
            token=hello.token,
            client_type=hello.client_type,
            language=hello.language,
            profile=hello.profile or "",
            env=hello.env or {},
        )
        try:
            opened = await get_worker().open(self._chat, arrival)
        except ShuttingDown:
            self.close_line(CloseCode.SHUTTING_DOWN)
        except TooManySessions:
            self._fail("forbidden", "too many sessions", CloseCode.TOO_MANY_SESSIONS)
        except (DatabaseError, StoreUnavailable, CacheFailed) as error:
            logger.error("A session could not be opened (are all migrations applied?): %s", error)
            self._fail("storage_unavailable", "try again", CloseCode.SHUTTING_DOWN)
        else:
            self._attach(opened, hello)

    def _attach(self, opened: Opened, hello: frames.Hello) -> None:
        live = opened.live
        position = hello.received if opened.resumed else 0
        attachment = self._attachment = Attachment(live, self, position=position)
        token = live.issue_token(hello.token if opened.resumed else None)

        def welcome() -> None:
            attachment.welcome(token, resumed=opened.resumed, reason=opened.reason)
            announce(opened)

        live.connect(attachment, welcome=welcome)
        live.go()
        self._watch()

    # Frames

    async def _receive(self, message: Message) -> None:
        if self._closing:
            return
        self._heard_at = self._loop.time()
        text = message.get("text")
        try:
            if text is None:
                raise FrameError("bad_frame", "frames are text, not binary")
            if len(text) > settings.MAX_FRAME_BYTES or (
                4 * len(text) > settings.MAX_FRAME_BYTES
                and len(text.encode(errors="replace")) > settings.MAX_FRAME_BYTES
            ):
                limit = settings.MAX_FRAME_BYTES
                self._fail(
                    "too_large", f"a frame has at most {limit} bytes", CloseCode.FRAME_TOO_LARGE
                )
                return
            await self._take(frames.decode(text))
        except FrameError as error:
            self._refuse(error)

    async def _take(self, frame: frames.ClientFrame) -> None:
        attachment = self._attachment
        if isinstance(frame, frames.Hello):
            if self._hello_said:
                raise FrameError("bad_frame", "hello was said already")
            await self._hello(frame)
            return
        if attachment is None:
            raise FrameError("hello_expected", "the first frame is hello")
        live = attachment.live
        if attachment.welcomed:
            live.confirm_token()
        attachment.heard()
        if isinstance(frame, frames.ClientEvent):
            live.submit(frame, frames.decode_data(frame))
        elif isinstance(frame, frames.Ack):
            attachment.ack(frame.seq)
        elif isinstance(frame, frames.Ping):
            self.send_frame(frames.encode(frames.Pong(live.stored)))
        elif isinstance(frame, frames.Stop):
            live.stop()
        elif isinstance(frame, frames.End):
            live.end("user")
        else:
            frames.decode_data(frame)
            live.submit_answer(frame)

    def _refuse(self, error: FrameError) -> None:
        self.send_frame(frames.encode(_error_frame(error)))
        if error.code in ("bad_frame", "hello_expected"):
            self._bad_frames += 1
            if self._bad_frames >= settings.MAX_BAD_FRAMES:
                self.close_line(CloseCode.PROTOCOL_VIOLATION)
        elif self._attachment is not None and self._attachment.live.gate.is_hammered:
            self.close_line(CloseCode.RATE_LIMITED)

    def _fail(
        self, code: str, detail: str, close: CloseCode = CloseCode.PROTOCOL_VIOLATION
    ) -> None:
        self.send_frame(frames.encode(frames.Error(code, detail)))
        self.close_line(close)

    # Silence

    def _watch(self) -> None:
        """Close a line on which nothing has been heard for 2.5 heartbeats."""
        patience = 2.5 * settings.HEARTBEAT
        left = self._heard_at + patience - self._loop.time()
        if left <= 0:
            self.close_line(CloseCode.SILENT)
        elif not self._closing:
            self._set_timer(left, self._watch)

    def _set_timer(self, delay: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, callback)


def announce(opened: Opened) -> None:
    """The connection is stored: tell the application."""
    live = opened.live
    live.add_hook("connect")
    live.host.send_signal(
        signals.session_connected, live.chat, session=live.session, resumed=opened.resumed
    )


def arrival_of(scope: Scope, *, language: str | None = None, **given: Any) -> Arrival:
    """Who a connection's scope says has come."""
    user: User = scope.get("user") or AnonymousUser()
    headers = {name.lower(): value for name, value in scope.get("headers") or []}
    client = scope.get("client")
    return Arrival(
        user=user,
        language=language or _first_language(headers.get(b"accept-language", b"")),
        ip=_valid_ip(client[0] if client else None),
        user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
        **given,
    )


def _first_language(header: bytes) -> str:
    tag = header.decode("latin-1").split(",")[0].split(";")[0].strip()
    return tag[:35] if tag and tag != "*" else DEFAULT_LANGUAGE


def _valid_ip(host: str | None) -> str | None:
    try:
        return str(ip_address(host)) if host else None
    except ValueError:
        return None  # a unix socket's peer has none


def _error_frame(error: FrameError) -> frames.Error:
    return frames.Error(
        error.code,
        error.detail,
        msgspec.UNSET if error.n is None else error.n,
        msgspec.UNSET if error.retry_after is None else error.retry_after,
    )
