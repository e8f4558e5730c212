"""
The two consumers: ``ChatConsumer`` speaks the protocol, ``SessionConsumer`` is for other protocols.

No handler of a ``Chat`` runs inside a consumer; ``ChatConnection`` reads its frames.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import Any

import msgspec
from asgiref.sync import iscoroutinefunction
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.utils.functional import Promise

from .auth.access import Access
from .auth.env import log_error
from .cluster.connect_request import User
from .conf import settings
from .exceptions import ChatError, OwnershipLost, SessionOver, StoreUnavailable, TurnStopped
from .handlers.chat import Chat, resolve_chat
from .handlers.context import use_context
from .handlers.session import Session, in_language_of
from .handlers.user_session import UserSession
from .protocol import frames
from .protocol.frames import CloseCode
from .sessions.outbound import new_writer
from .sessions.session import LiveSession
from .sessions.subscribers import Subscriber
from .storage.log import Entry
from .websocket.admission import REFUSALS, Admission, Scope, connect_request, refusal_of
from .websocket.connection import ChatConnection
from .websocket.sender import Message
from .workers.registry import Opened
from .workers.worker import get_worker

logger = logging.getLogger("chatsessions.consumers")


class SessionConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels is untyped
    """
    A consumer whose connection belongs to a session.

    Subclass it like any ``AsyncWebsocketConsumer``: ``connect``, ``receive`` and ``disconnect`` run
    inside the context, one at a time, and their changes of ``user_session`` are stored after each.
    A message or step that one of them leaves open is closed when the method ends: use ``spawn()``
    for a longer stream. ``self.session`` is the session; its client resumes it with
    ``self.session.id`` and ``self.session_token``.
    """

    #: The name of the sessions' chat; the class's own by default.
    chat: Chat | str | None = None
    #: Whether only a logged-in user gets a session.
    login_required: bool = False
    #: The permission that a user needs, such as ``"app_label.codename"``, or several, all needed.
    permission_required: str | Iterable[str] | None = None

    session: Session
    user_session: UserSession
    session_token: str
    #: Whether the session existed before this connection.
    resumed: bool = False

    _live: LiveSession | None = None
    _subscriber: _ConsumerSubscriber | None = None
    _admission: Admission | None = None

    def __init__(
        self,
        *,
        chat: Chat | str | None = None,
        login_required: bool | None = None,
        permission_required: str | Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if chat is not None:
            self.chat = chat
        if login_required is not None:
            self.login_required = login_required
        if permission_required is not None:
            self.permission_required = permission_required

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Any:
        """
        Return the ASGI application.

        Raises ``ChatError`` for a ``chat`` that does not exist, for an invalid ``login_required``
        or ``permission_required``, and for an ``authorize()`` that is not ``async``.
        """
        chat = initkwargs["chat"] = cls._find_chat(initkwargs.get("chat", cls.chat))
        if not iscoroutinefunction(cls.authorize):
            raise ChatError(f"{cls.__qualname__}.authorize() has to be 'async def'.")
        chat.access_rules.add(Access.declared(cls, initkwargs))
        return super().as_asgi(**initkwargs)

    @property
    def _access(self) -> Access:
        return Access.of(
            login_required=self.login_required, permission_required=self.permission_required
        )

    async def authorize(self, scope: Scope, session: Session) -> bool:
        """
        Return True if the connection of ``scope`` may have ``session``; by default always.

        ``session`` is the requested session, which is the client's by token or login, or the new
        session that the client would get. Called once for each connection, after hello and before a
        session is created or taken over. False refuses the connection (``forbidden``, close 4502),
        and so does an exception, which is logged.
        """
        return True

    @classmethod
    def _find_chat(cls, chat: Chat | str | None) -> Chat:
        if chat is None or (isinstance(chat, str) and "." not in chat):
            return resolve_chat(Chat(chat or f"{cls.__module__}.{cls.__qualname__}"))
        return resolve_chat(chat)

    async def get_resume_credentials(self) -> tuple[str, str | None] | None:
        """Return the id and token of the session to resume; None for a new one."""
        return None

    async def session_event(self, name: str, data: Any) -> None:
        """
        Handle an event that was emitted for this session, in any process, and is stored.

        By default it is sent as ``{"name": …, "data": …}``.
        """
        await self.send(text_data=msgspec.json.encode({"name": name, "data": data}).decode())

    async def dispatch(self, message: Message) -> None:
        # In place of Channels' check of database connections, which takes a thread hop per event.
        get_worker().refresh_connections()
        handler = getattr(self, message["type"].replace(".", "_"), None)
        if handler is None or message["type"].startswith("_"):
            raise ValueError(f"No handler for message type {message['type']}")
        if message["type"].startswith("websocket.") or self._live is None:
            await handler(message)
        else:  # a message from the channel layer
            await self._inside(f"{handler.__name__}()", handler(message))

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._admission = Admission(
            scope, self._access, self.authorize, renewed=self._renewed, revoked=self._revoked
        )
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._admission.leave()
            # An error in one of the subclass's methods ends the application without a disconnect.
            self._part(1011)

    async def websocket_connect(self, message: Message) -> None:
        admission = self._admission
        if admission is None:
            raise RuntimeError("A SessionConsumer is called with a scope, receive and send.")
        try:
            opened, token = await self._open(admission)
        except REFUSALS as error:
            told, close = refusal_of(error)
            if told is not None:
                logger.info("A connection was refused: %s: %s", told.code, told.detail)
            await self._refuse(close)
            return
        self._live = opened.live
        self.session = opened.live.session
        self.user_session = opened.live.user_session
        self.resumed = opened.resumed
        self.session_token = opened.live.client.issue_token(token)
        self._subscriber = subscriber = _ConsumerSubscriber(self, opened.live)
        opened.live.client.connect(subscriber, welcome=subscriber.welcome)
        opened.live.go()
        code = await subscriber.greeted()
        if code is None:
            opened.live.client.announce(subscriber, resumed=opened.resumed)
            if admission.login_lost is not None:
                code = CloseCode.NOT_ALLOWED
        if code is not None:
            self._part(int(code))
            self._live = None
            await self._refuse(code)
            return
        await self._inside("connect()", super().websocket_connect(message))

    async def _open(self, admission: Admission) -> tuple[Opened, str | None]:
        """Open the session of the connection; return it and the token that the client came with."""
        await admission.watch()
        await admission.check()
        credentials = await self.get_resume_credentials()
        session_id, token = credentials or (None, None)
        request = connect_request(self.scope, session_id=session_id, token=token)
        chat = self._find_chat(self.chat)
        return await get_worker().open(chat, request, admit=admission.admit), token

    async def websocket_receive(self, message: Message) -> None:
        live, subscriber = self._live, self._subscriber
        # A frame may still come after the close, or when another worker has the session.
        if not (live is None or live.closed or subscriber is None or subscriber.closed):
            live.client.confirm_token(subscriber)
            await live.client.acted()
            await self._inside("receive()", super().websocket_receive(message))

    async def websocket_disconnect(self, message: Message) -> None:
        try:
            if self._live is not None:
                await self._inside("disconnect()", super().websocket_disconnect(message))
        finally:
            self._part(message.get("code") or 1005)
        raise StopConsumer

    def _renewed(self, user: User) -> None:
        if self._live is not None:
            self._live.client.renew_user(self._subscriber, user)

    def _revoked(self, _detail: Promise) -> None:
        if self._subscriber is not None:
            self._subscriber.close(CloseCode.NOT_ALLOWED)

    def _part(self, code: int) -> None:
        """Leave the session: the connection is gone. A second call does nothing."""
        if self._live is not None and self._subscriber is not None:
            self._subscriber.stop()
            self._live.client.disconnect(self._subscriber, code)

    async def _inside(self, name: str, step: Coroutine[Any, Any, None]) -> None:
        """
        Run a method of the subclass, called ``name``, in the context, and store its changes.

        Errors of a session that ends meanwhile are logged. If the store is unavailable, the
        connection is closed, so that the client comes back; the changes are stored later.
        """
        live = self._live
        if live is None:
            return
        try:
            await self._in_context(live, step)
        except (OwnershipLost, SessionOver, TurnStopped) as error:
            if not (live.closed or live.is_ending):
                raise
            logger.info("%s came after the end of its session: %s", name, error)
        except StoreUnavailable as error:
            logger.error("What %s changed is not stored yet: %s", name, error)
            if self._subscriber is not None:
                self._subscriber.close(CloseCode.SHUTTING_DOWN)

    async def _in_context(self, live: LiveSession, step: Coroutine[Any, Any, None]) -> None:
        """
        Await ``step`` in the context, and store its changes.

        Streams that it leaves open are closed; if it raises, they count as interrupted.
        """
        writer, interrupted = new_writer(), False
        context = live.context(None, writer=writer)
        with use_context(context), in_language_of(live.session):
            try:
                await step
            except BaseException as error:
                interrupted = not isinstance(error, StopConsumer)  # it ends every disconnect()
                raise
            finally:
                if not live.closed:
                    live.writers.close(writer, interrupted=interrupted)
                    live.values.used()
                    await context.emitter.flush()

    async def _refuse(self, code: CloseCode) -> None:
        await self.accept()
        await self.close(code=int(code))


class _ConsumerSubscriber(Subscriber):
    """
    Passes the stored events of a session to its ``SessionConsumer``, in order.

    If more events wait than a connection may leave unacknowledged, the client is too slow.
    """

    def __init__(self, consumer: SessionConsumer, live: LiveSession) -> None:
        self._consumer = consumer
        self._live = live
        self._queue: deque[Entry | CloseCode] = deque()
        #: The bytes of the entries that wait.
        self._bytes = 0
        #: Whether the connection is closed, at the latest when the events before are sent.
        self.closed = False
        self._task: asyncio.Task[None] | None = None
        #: The connection's context variables, in which all events are passed on.
        self._context = copy_context()
        #: None when the connection is stored; else the code to close it with.
        self._greeting: asyncio.Future[CloseCode | None] = live.loop.create_future()

    def welcome(self) -> None:
        """Note that the connection is stored as the session's."""
        self._greet(None)

    async def greeted(self) -> CloseCode | None:
        """
        Wait until the connection is stored as the session's; return a close code if that fails.

        Another worker may have taken the session, or the store may be unavailable for
        ``STORE_TIMEOUT`` seconds.
        """
        closed = self._live.loop.create_task(self._live.until_closed())
        try:
            steps = (self._greeting, closed)
            timeout = settings.STORE_TIMEOUT
            await asyncio.wait(steps, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        self._greet(CloseCode.SHUTTING_DOWN)
        return self._greeting.result()

    def _greet(self, code: CloseCode | None) -> None:
        if not self._greeting.done():
            self._greeting.set_result(code)

    def entries(self, entries: Sequence[Entry]) -> None:
        if self.closed:
            return
        told = [entry for entry in entries if entry.n is None]
        self._bytes += sum(len(entry.data) for entry in told)
        self._put(*told)
        if len(self._queue) > settings.MAX_UNACKED_EVENTS or (
            self._bytes > settings.MAX_UNACKED_BYTES and len(self._queue) > 1
        ):
            self._queue.clear()
            self.close(CloseCode.TOO_SLOW)

    def frame(self, frame: frames.ServerFrame) -> None:
        """Do nothing: tokens and turns are for the protocol, which this consumer does not speak."""

    def close(self, code: CloseCode, *, ended: str | None = None) -> None:
        if self._greeting.done():
            self._put(code)
        self._greet(code)
        self.closed = True  # later events are not for this connection

    def stop(self) -> None:
        self._queue.clear()

    def _put(self, *items: Entry | CloseCode) -> None:
        if not self.closed:
            self._queue.extend(items)
        if self._task is None and self._queue:
            self._task = self._live.loop.create_task(self._deliver(), context=self._context)
            self._live.worker.own(self._task)

    async def _deliver(self) -> None:
        try:
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, Entry):
                    self._bytes -= len(item.data)
                await self._pass_on(item)
        finally:
            self._task = None

    async def _pass_on(self, item: Entry | CloseCode) -> None:
        live, writer, interrupted = self._live, new_writer(), True
        try:
            with use_context(live.context(None, writer=writer)), in_language_of(live.session):
                if isinstance(item, CloseCode):
                    await self._consumer.close(code=int(item))
                else:
                    await self._consumer.session_event(item.name, msgspec.json.decode(item.data))
            interrupted = False
        except Exception as error:
            message = "Session %s: an event could not be passed on"
            log_error(logger, live.session.env, message, live.id, error=error)
        finally:
            if live.sink.has_open(writer) and not live.closed:
                live.writers.close(writer, interrupted=interrupted)


class ChatConsumer(SessionConsumer):
    """
    Speaks ``chatsessions.v1`` for a ``Chat``: ``ChatConsumer.as_asgi(chat="bots.counter.chat")``.

    ``chat`` is a ``Chat``, the dotted path of one, or the name of a module with handlers. The
    consumer has no channel of the channel layer: events from elsewhere come through the session.
    """

    @classmethod
    def _find_chat(cls, chat: Chat | str | None) -> Chat:
        if chat is None:
            raise ValueError("ChatConsumer.as_asgi() needs chat=: a Chat, its path, or a module.")
        return resolve_chat(chat)

    def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> Coroutine[Any, Any, None]:
        self.scope = scope
        connection = ChatConnection(
            self._find_chat(self.chat), scope, send, access=self._access, authorize=self.authorize
        )
        return connection.run(receive)
