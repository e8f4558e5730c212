"""
``ChatConnection``: one websocket that speaks ``chatsessions.v1``.

It makes the handshake, opens the session that hello asks for, checks limits, and reads and sends
frames. No handler runs here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from django.utils import translation
from django.utils.functional import Promise

from chatsessions.auth.access import Access, owner_of
from chatsessions.auth.env import taken_env
from chatsessions.cluster.connect_request import User
from chatsessions.conf import settings
from chatsessions.exceptions import FrameError
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.session import Session, supported_language
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import RateLimit
from chatsessions.protocol.frames import CloseCode, parse_uuid
from chatsessions.storage.log import Latest, find_latest
from chatsessions.timers import Timer
from chatsessions.workers.registry import Opened
from chatsessions.workers.worker import get_worker

from .admission import (
    REFUSALS,
    Admission,
    Authorize,
    Scope,
    connect_request,
    language_of,
    refusal_of,
)
from .sender import Message, Sender
from .subscriber import WebsocketSubscriber

logger = logging.getLogger("chatsessions.connection")

#: How many frames of any type, without acknowledgements, a client may send per second and at once.
#: The server answers most of them, and the answers to a client that never reads would pile up. A
#: connection's limits are at least twice those of events.
FRAMES_PER_SECOND = 100.0
FRAME_BURST = 2000
#: The longest silence that a client may announce, in seconds.
MAX_SILENCE = 120.0


class ChatConnection:
    """Connects a websocket with the session that its client asks for."""

    def __init__(
        self,
        chat: Chat,
        scope: Scope,
        send: Callable[[Message], Awaitable[None]],
        *,
        access: Access,
        authorize: Authorize,
    ) -> None:
        self._chat = chat
        self._scope = scope
        self._admission = Admission(
            scope, access, authorize, renewed=self._login_renewed, revoked=self._login_lost
        )
        self._loop = asyncio.get_running_loop()
        self.sender = Sender(
            send,
            # As much as the window and the pace allow for a client that reads nothing. One that
            # acknowledges what it does not read has no window.
            max_waiting=2 * settings.MAX_UNACKED_EVENTS + FRAME_BURST,
            max_size=4 * settings.MAX_UNACKED_BYTES + 8 * settings.MAX_EVENT_BYTES,
            spec_version=scope.get("asgi", {}).get("spec_version"),
        )
        self._subscriber: WebsocketSubscriber | None = None
        self._hello_said = False
        #: The language of errors, one of ``LANGUAGES``.
        self._language = supported_language(language_of(scope))
        #: The connection's real owner, if its hello has named another one.
        self._mistaken_owner: str | None = None
        self._bad_frames = 0
        self._pace = RateLimit(
            rate=max(FRAMES_PER_SECOND, 2 * settings.EVENTS_PER_SECOND),
            burst=max(FRAME_BURST, 2 * settings.EVENT_BURST, 2 * settings.MAX_PENDING_EVENTS),
            now=self._loop.time(),
        )
        self._heard_at = self._loop.time()
        #: For how many seconds the client may be silent, as its last ping has announced.
        self._announced_silence = 0.0
        self._timer: Timer | None = None
        self._receive_next: Callable[[], Awaitable[Message]]
        #: Receives the next message while hello is answered.
        self._coming: asyncio.Task[Message] | None = None

    async def run(self, receive: Callable[[], Awaitable[Message]]) -> None:
        """Read frames until the client is gone, or has not answered our close in time."""
        self._receive_next = receive
        self.sender.start()
        websockets, close = get_worker().websockets, self.sender.close
        websockets[close] = self.sender.abandon
        try:
            with translation.override(self._language):
                while True:
                    message = await (self._coming or receive())
                    self._coming = None
                    kind = message["type"]
                    if kind == "websocket.receive":
                        await self._receive(message)
                    elif kind == "websocket.connect":
                        await self._accept()
                    elif kind == "websocket.disconnect":
                        self.sender.code = message.get("code") or 1005
                        return
        except asyncio.CancelledError:
            if not self.sender.abandoned:
                raise
        finally:
            self._leave()
            try:
                await self.sender.stop()
            finally:
                del websockets[close]

    def _leave(self) -> None:
        """Leave the session: the websocket is closed."""
        self.sender.closing = True
        if self._coming is not None:
            self._coming.cancel()
        self._admission.leave()
        if self._timer is not None:
            self._timer.cancel()
        self._detach(self.sender.code)

    # The handshake

    async def _accept(self) -> None:
        offered = self._scope.get("subprotocols") or []
        speaks = frames.SUBPROTOCOL in offered
        self.sender.put(
            {"type": "websocket.accept", "subprotocol": frames.SUBPROTOCOL if speaks else None}
        )
        if offered and not speaks:
            self._fail("unsupported_protocol", f"offer {frames.SUBPROTOCOL!r} or no subprotocol")
        else:
            await self._admission.watch()  # meanwhile no hello is read
            self._set_timer(settings.HELLO_TIMEOUT, self._no_hello)

    def _no_hello(self) -> None:
        self._fail("hello_expected", f"no hello within {settings.HELLO_TIMEOUT} seconds")

    async def _hello(self, hello: frames.Hello) -> None:
        self._hello_said = True
        if hello.bundles:
            self.sender.batch()
        if self._timer is not None:
            self._timer.cancel()
        self._coming = asyncio.ensure_future(self._receive_next())
        try:
            async with _while_here(self._coming):
                await self._open(hello)
        except REFUSALS as error:
            told, code = refusal_of(error)
            if told is not None:
                self._tell(told)
            self.sender.close(code)

    async def _open(self, hello: frames.Hello) -> None:
        owner = owner_of(self._admission.user)
        if hello.owner not in (None, owner):
            # Keys and choices in this hello are those of the tab's earlier user. The session may
            # still be the present user's: it may have been assigned to them.
            self._mistaken_owner = owner
            hello = msgspec.structs.replace(hello, env=None, thread=None, profile=None)
        await self._admission.check()
        request = connect_request(
            self._scope,
            session_id=hello.session,
            token=hello.token,
            thread=hello.thread,
            client_type=hello.client_type,
            language=hello.language,
            profile=hello.profile or "",
            env=taken_env(hello.env, self._chat.user_env),
        )
        self._speak(request.language)
        latest: Latest | None = None

        async def admit(session: Session) -> None:
            nonlocal latest
            await self._admission.admit(session)
            if (
                hello.latest
                and not hello.received
                and session.id == parse_uuid(hello.session or "")
            ):
                find = partial(find_latest, session.id, hello.latest)
                latest = await get_worker().threads.read_ahead(find)

        opened = await get_worker().open(self._chat, request, admit=admit, relays=True)
        self._attach(opened, hello, ip=request.ip, latest=latest if opened.resumed else None)
        if self.sender.closing:  # the login was lost meanwhile
            self._detach(CloseCode.NOT_ALLOWED)

    def _attach(
        self, opened: Opened, hello: frames.Hello, *, ip: str | None, latest: Latest | None
    ) -> None:
        served = opened.served
        position = hello.received if opened.resumed else 0
        replay = get_worker().limits.replay(served.id, ip)
        subscriber = self._subscriber = WebsocketSubscriber(
            served, self.sender, position=position, replay=replay
        )
        token = served.client.issue_token(hello.token if opened.resumed else None)

        def welcome() -> None:
            self._heard_at = self._loop.time()  # until now the client has waited for us
            subscriber.welcome(
                token,
                resumed=opened.resumed,
                reason=opened.reason,
                owner=owner_of(self._admission.user),
                offers=self._chat.offers,
                latest=latest,
            )
            served.client.announce(subscriber, resumed=opened.resumed)

        self._heard_at = self._loop.time()
        served.client.connect(subscriber, language=hello.language or "", welcome=welcome)
        self._speak(hello.language or served.language)
        served.go()
        self._watch()

    def _speak(self, language: str) -> None:
        """Send errors in ``language`` from now on. Activates it in the connection's task."""
        self._language = supported_language(language)
        translation.activate(self._language)

    def _detach(self, code: int) -> None:
        """Leave the session, if there is one. The session goes on without this connection."""
        if self._subscriber is not None:
            self._subscriber.stop()
            self._subscriber.served.client.disconnect(self._subscriber, code)

    def _login_renewed(self, user: User) -> None:
        """Let handlers see the current state of the user, after a check of the login."""
        subscriber = self._subscriber
        if subscriber is not None:
            subscriber.served.client.renew_user(subscriber, user)

    def _login_lost(self, detail: Promise) -> None:
        """Close, as the user may no longer be connected. The session and its turns go on."""
        with translation.override(self._language):
            self._fail("unauthorized", str(detail), CloseCode.NOT_ALLOWED)
        self._detach(CloseCode.NOT_ALLOWED)

    # Frames

    async def _receive(self, message: Message) -> None:
        if self.sender.closing:
            return
        now = self._heard_at = self._loop.time()
        text = message.get("text")
        try:
            if text is None:
                raise FrameError("bad_frame", "frames are text, not binary")
            limit = settings.MAX_FRAME_BYTES
            # A character takes one to four bytes: encode only a text that may be small enough.
            if len(text) > limit or (
                4 * len(text) > limit and len(text.encode(errors="replace")) > limit
            ):
                self._fail(
                    "too_large", f"a frame has at most {limit} bytes", CloseCode.FRAME_TOO_LARGE
                )
                return
            frame = frames.decode(text)
            subscriber = self._subscriber
            if isinstance(frame, frames.Hello):
                if self._hello_said:
                    raise FrameError("bad_frame", "hello was said already")
                await self._hello(frame)
                return
            if subscriber is None:
                raise FrameError("hello_expected", "the first frame is hello")
            subscriber.heard()
            if isinstance(frame, frames.Ack):
                subscriber.ack(frame.seq)
            elif self._pace.take(now):
                self.sender.close(CloseCode.RATE_LIMITED)
            elif isinstance(frame, frames.ClientEvent | frames.Answer):
                data = frames.decode_data(frame)
                await subscriber.served.receive(subscriber, frame, data)
            elif isinstance(frame, frames.Ping):
                silence = min(frame.silence, MAX_SILENCE)
                if silence != self._announced_silence:
                    self._announced_silence = silence
                    self._watch()
                head = subscriber.served.standing().stored
                self.sender.send_frame(frames.encode(frames.Pong(head)))
            elif isinstance(frame, frames.Stop):
                subscriber.served.stop()
            else:
                subscriber.served.end("user")
        except FrameError as error:
            self._refuse(error)

    def _refuse(self, error: FrameError) -> None:
        """Tell the client that its frame was refused; close after too many."""
        self.sender.send_frame(frames.encode(frames.error_of(error)))
        if error.code in ("bad_frame", "hello_expected"):
            self._bad_frames += 1
            if self._bad_frames >= settings.MAX_BAD_FRAMES:
                self.sender.close(CloseCode.PROTOCOL_VIOLATION)
        elif self._subscriber is not None and self._subscriber.served.client.is_hammered:
            self.sender.close(CloseCode.RATE_LIMITED)

    def _fail(
        self, code: str, detail: str, close: CloseCode = CloseCode.PROTOCOL_VIOLATION
    ) -> None:
        """Tell the client why the connection is closed, and close it."""
        self._tell(frames.Error(code, detail))
        self.sender.close(close)

    def _tell(self, error: frames.Error) -> None:
        if self._mistaken_owner is not None:
            error = msgspec.structs.replace(error, owner=self._mistaken_owner)
        self.sender.send_frame(frames.encode(error))

    # Silence

    def _watch(self) -> None:
        """Close the connection after a silence of 2.5 heartbeats, or longer if announced."""
        patience = max(2.5 * settings.HEARTBEAT, self._announced_silence)
        left = self._heard_at + patience - self._loop.time()
        if left <= 0:
            self.sender.close(CloseCode.SILENT)
        elif not self.sender.closing:
            self._set_timer(left, self._watch)

    def _set_timer(self, delay: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = Timer(self._loop, delay, callback)


@asynccontextmanager
async def _while_here(coming: asyncio.Task[Message]) -> AsyncIterator[None]:
    """
    Cancel the block if ``coming``, the client's next message, says that the client has left.

    A client that waits too long leaves and connects again. Under overload, connections that have
    left must not take time from those that still wait.
    """
    here = asyncio.timeout(None)
    is_inside = True

    def received(_: asyncio.Task[Message]) -> None:
        if not is_inside or coming.cancelled():
            return
        if coming.exception() is not None or coming.result()["type"] == "websocket.disconnect":
            here.reschedule(0)

    try:
        async with here:
            coming.add_done_callback(received)
            try:
                yield
            finally:
                is_inside = False
    except TimeoutError:
        if not here.expired():
            raise
