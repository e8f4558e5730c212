"""
``ChatConnection``: one websocket that speaks ``chatsessions.v1``.

Handshake, hello, limits, frames in and out. No handler runs here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import msgspec
from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseError

from chatsessions.auth.access import (
    Access,
    Refused,
    owner_of,
)
from chatsessions.auth.env import taken_env
from chatsessions.cluster.connect_request import (
    ConnectRequest,
    User,
)
from chatsessions.conf import settings
from chatsessions.exceptions import (
    FrameError,
    StoreUnavailable,
)
from chatsessions.handlers.chat import Chat
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import RateLimit
from chatsessions.protocol.frames import CloseCode
from chatsessions.storage.database import CacheFailed, unavailable
from chatsessions.workers.batcher import FrameBatcher
from chatsessions.workers.registry import (
    Opened,
    ShuttingDown,
    TooManySessions,
)
from chatsessions.workers.worker import get_worker

from .admission import (
    Admission,
    Authorize,
)
from .sender import (
    Message,
    Sender,
)
from .subscriber import WebsocketSubscriber

logger = logging.getLogger("chatsessions.connection")

Scope = dict[str, Any]

#: How long the other side may take to answer a close, in seconds.
CLOSE_TIMEOUT = 5.0
#: Frames per second, and at once, that a client may send whatever is in them: each has an answer,
#: which a client that never reads would let pile up. Never less than twice what events may be.
FRAMES_PER_SECOND = 100.0
FRAME_BURST = 2000
#: Chainlit's default, for a client that names no language.
DEFAULT_LANGUAGE = "en-US"


class ChatConnection:
    """Between a websocket and the session that its client asks for."""

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
        self._sender = Sender(send, failed=self._not_sent)
        #: Where the client takes several frames at a time.
        self._bundle: FrameBatcher | None = None
        self._attachment: WebsocketSubscriber | None = None
        self._hello_said = False
        #: Whose the connection is, if its hello says that it is somebody else's.
        self._mistaken_owner: str | None = None
        self._bad_frames = 0
        self._pace = RateLimit(
            rate=max(FRAMES_PER_SECOND, 2 * settings.EVENTS_PER_SECOND),
            burst=max(FRAME_BURST, 2 * settings.EVENT_BURST, 2 * settings.MAX_PENDING_EVENTS),
            now=self._loop.time(),
        )
        #: What an unread line may have waiting: all that its window and its pace allow at once.
        self._max_waiting = 2 * settings.MAX_UNACKED_EVENTS + FRAME_BURST
        self._closing = False
        self._code = 1006
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._abandoned = False

    async def run(self, receive: Callable[[], Awaitable[Message]]) -> None:
        """Read frames until the client is gone, or does not answer our close in time."""
        self._reader = asyncio.current_task()
        self._sender.start()
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
        finally:
            close = self._unsent_close() if self._abandoned else None
            self._leave()
            await self._sender.stop(close)

    def _unsent_close(self) -> Message | None:
        """The close that waits for a ``send`` which does not return."""
        waiting = self._sender.waiting
        return waiting[-1] if waiting and waiting[-1]["type"] == "websocket.close" else None

    def _leave(self) -> None:
        """Leave the session: the websocket is no more."""
        self._closing = True
        self._admission.leave()
        if self._timer is not None:
            self._timer.cancel()
        self._forget()
        if self._attachment is not None:
            self._attachment.stop()
            self._attachment.served.disconnect(self._attachment, self._code)

    # Line

    def send_frame(self, text: str, *, can_wait: bool = False) -> None:
        if self._closing:
            return
        if self._bundle is not None:
            self._bundle.add(text, can_wait=can_wait)
        else:
            self._send_text(text)

    def send_along(self, text: str) -> None:
        if self._bundle is not None and not self._closing:
            self._bundle.add_along(text)
        else:
            self.send_frame(text)

    def _send_text(self, text: str) -> None:
        self._sender.put({"type": "websocket.send", "text": text})
        if len(self._sender.waiting) > self._max_waiting and not self._closing:
            self._forget()
            self.close_line(CloseCode.TOO_SLOW)

    def close_line(self, code: int) -> None:
        """Close after what was sent before. The client is given a while to answer."""
        if self._bundle is not None:
            self._bundle.leave()
        if not self._closing:
            self._closing = True
            self._sender.put({"type": "websocket.close", "code": int(code)})
            self._code = int(code)
            self._set_timer(CLOSE_TIMEOUT, self.abandon)

    def _forget(self) -> None:
        """What waits to be sent never is."""
        self._sender.clear()
        if self._bundle is not None:
            self._bundle.clear()

    def _not_sent(self, message: Message, error: BaseException) -> None:
        """The client has left meanwhile, or the server does not take this."""
        level = logging.DEBUG if self._has_left(error) else logging.WARNING
        logger.log(level, "A %s could not be sent: %r", message["type"], error)
        self._forget()
        if message["type"] != "websocket.close":
            # The client comes back, and resumes behind the last that it got.
            self.close_line(CloseCode.SHUTTING_DOWN)
        elif message["code"] == CloseCode.FRAME_TOO_LARGE:
            # Daphne closes with 1009 by itself, but refuses the code from an application.
            self._sender.put(message | {"code": int(CloseCode.PROTOCOL_VIOLATION)})

    def _has_left(self, error: BaseException) -> bool:
        """Whether ``error`` is how the server says that the client has left, since ASGI 2.4."""
        says_so = _version(self._scope.get("asgi", {}).get("spec_version")) >= (2, 4)
        return says_so and isinstance(error, OSError) and not isinstance(error, TimeoutError)

    def abandon(self) -> None:
        """The other side does not answer our close."""
        self._abandoned = True
        if self._reader is not None:
            self._reader.cancel()

    # The handshake

    async def _accept(self) -> None:
        offered = self._scope.get("subprotocols") or []
        speaks = frames.SUBPROTOCOL in offered
        self._sender.put(
            {"type": "websocket.accept", "subprotocol": frames.SUBPROTOCOL if speaks else None}
        )
        if offered and not speaks:
            self._fail("unsupported_protocol", f"offer {frames.SUBPROTOCOL!r} or no subprotocol")
        else:
            self._set_timer(settings.HELLO_TIMEOUT, self._no_hello)
            await self._admission.watch()

    def _no_hello(self) -> None:
        self._fail("hello_expected", f"no hello within {settings.HELLO_TIMEOUT} seconds")

    async def _hello(self, hello: frames.Hello) -> None:
        self._hello_said = True
        if hello.bundles:
            self._bundle = FrameBatcher(get_worker().departures, self._send_text)
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._open(hello)
        except FrameError as error:
            if error.code == "rate_limited":
                self.send_frame(frames.encode(frames.error_of(error)))
                self.close_line(CloseCode.RATE_LIMITED)
            else:
                self._fail(error.code, error.detail)  # the same hello would be refused again
        except Refused as refused:
            self._fail(refused.code, refused.detail, CloseCode.NOT_ALLOWED)
        except ShuttingDown:
            self.close_line(CloseCode.SHUTTING_DOWN)
        except TooManySessions:
            self._fail("forbidden", "too many sessions", CloseCode.TOO_MANY_SESSIONS)
        except (DatabaseError, StoreUnavailable, CacheFailed) as error:
            code, detail = unavailable(error, "A session could not be opened")
            self._fail(code, detail, CloseCode.SHUTTING_DOWN)

    async def _open(self, hello: frames.Hello) -> None:
        owner = owner_of(self._admission.user)
        if hello.owner not in (None, owner):
            # The keys and the wishes of whoever used this tab before. The session asked for may
            # be this user's all the same: it was assigned to them.
            self._mistaken_owner = owner
            hello = msgspec.structs.replace(hello, env=None, thread=None, profile=None)
        await self._admission.check()
        arrival = arrival_of(
            self._scope,
            session_id=hello.session,
            token=hello.token,
            thread=hello.thread,
            client_type=hello.client_type,
            language=hello.language,
            profile=hello.profile or "",
            env=taken_env(hello.env, self._chat.user_env),
        )
        opened = await get_worker().open(
            self._chat, arrival, admit=self._admission.admit, relays=True
        )
        self._attach(opened, hello, ip=arrival.ip)
        if self._closing:  # the login was lost in the last moment
            self._detach(CloseCode.NOT_ALLOWED)

    def _attach(self, opened: Opened, hello: frames.Hello, *, ip: str | None) -> None:
        served = opened.served
        position = hello.received if opened.resumed else 0
        replay = get_worker().limits.replay(served.id, ip)
        attachment = self._attachment = WebsocketSubscriber(
            served, self, position=position, replay=replay
        )
        token = served.issue_token(hello.token if opened.resumed else None)

        def welcome() -> None:
            self._heard_at = self._loop.time()  # until now it has waited for us
            attachment.welcome(
                token,
                resumed=opened.resumed,
                reason=opened.reason,
                owner=owner_of(self._admission.user),
            )
            served.announce(resumed=opened.resumed)

        self._heard_at = self._loop.time()
        served.connect(attachment, welcome=welcome)
        served.go()
        self._watch()

    def _detach(self, code: CloseCode) -> None:
        """The session is left before the client has answered the close."""
        if self._attachment is not None:
            self._attachment.stop()
            self._attachment.served.disconnect(self._attachment, code)

    def _login_renewed(self, user: User) -> None:
        """The user was looked at again: handlers see them as they are now."""
        attachment = self._attachment
        if attachment is not None and attachment.served.listener is attachment:
            attachment.served.renew_user(user)

    def _login_lost(self, detail: str) -> None:
        """The user may not be here any more. The session stays, and what runs in it goes on."""
        self._fail("unauthorized", detail, CloseCode.NOT_ALLOWED)
        self._detach(CloseCode.NOT_ALLOWED)

    # Frames

    async def _receive(self, message: Message) -> None:
        if self._closing:
            return
        self._heard_at = self._loop.time()
        text = message.get("text")
        try:
            if text is None:
                raise FrameError("bad_frame", "frames are text, not binary")
            limit = settings.MAX_FRAME_BYTES
            # A character takes one to four bytes: only what may be small enough is encoded.
            if len(text) > limit or (
                4 * len(text) > limit and len(text.encode(errors="replace")) > limit
            ):
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
        served = attachment.served
        if attachment.welcomed:
            served.confirm_token(attachment)
        attachment.heard()
        if isinstance(frame, frames.Ack):
            attachment.ack(frame.seq)
        elif self._pace.take(self._heard_at):
            self.close_line(CloseCode.RATE_LIMITED)
        elif isinstance(frame, frames.ClientEvent | frames.Answer):
            await served.receive(attachment, frame, frames.decode_data(frame))
        elif isinstance(frame, frames.Ping):
            self.send_frame(frames.encode(frames.Pong(served.stored)))
        elif isinstance(frame, frames.Stop):
            served.stop()
        else:
            served.end("user")

    def _refuse(self, error: FrameError) -> None:
        self.send_frame(frames.encode(frames.error_of(error)))
        if error.code in ("bad_frame", "hello_expected"):
            self._bad_frames += 1
            if self._bad_frames >= settings.MAX_BAD_FRAMES:
                self.close_line(CloseCode.PROTOCOL_VIOLATION)
        elif self._attachment is not None and self._attachment.served.is_hammered:
            self.close_line(CloseCode.RATE_LIMITED)

    def _fail(
        self, code: str, detail: str, close: CloseCode = CloseCode.PROTOCOL_VIOLATION
    ) -> None:
        owner = msgspec.UNSET if self._mistaken_owner is None else self._mistaken_owner
        self.send_frame(frames.encode(frames.Error(code, detail, owner=owner)))
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


def arrival_of(scope: Scope, *, language: str | None = None, **given: Any) -> ConnectRequest:
    """Who a connection's scope says has come."""
    user: User = scope.get("user") or AnonymousUser()
    headers = {name.lower(): value for name, value in scope.get("headers") or []}
    client = scope.get("client")
    return ConnectRequest(
        user=user,
        language=language or first_language(headers.get(b"accept-language", b"")),
        ip=valid_ip(client[0] if client else None),
        user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
        **given,
    )


def _version(text: object) -> tuple[int, ...]:
    """``"2.4"`` as ``(2, 4)``; empty for what is no version."""
    try:
        return tuple(int(part) for part in str(text).split("."))
    except ValueError:
        return ()


def first_language(header: bytes) -> str:
    """The first language of an ``Accept-Language`` header."""
    tag = header.decode("latin-1").split(",")[0].split(";")[0].strip()
    return tag[:35] if tag and tag != "*" else DEFAULT_LANGUAGE


def valid_ip(host: str | None) -> str | None:
    """``host`` if it is the address of one."""
    try:
        return str(ip_address(host)) if host else None
    except ValueError:
        return None  # a unix socket's peer has none
