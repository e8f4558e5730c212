"""The way out of a websocket: whatever the server's ``send`` does, it does to its own client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from channels.sessions import InstanceSessionWrapper
from django.utils import timezone

from chatsessions import Chat, Message, context, user_session
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.websocket import connection, sender
from chatsessions.websocket.admission import Admission
from chatsessions.workers.worker import Worker

from .support.files import token_session
from .support.sessions import hold_up, until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache", "worker")]

Sent = dict[str, Any]
Send = Callable[[Sent], Awaitable[None]]

around: ContextVar[str] = ContextVar("around", default="")


class Website:
    """One websocket of a server; ``wrap`` puts middleware around its ``send``."""

    def __init__(
        self, chat: Chat, wrap: Callable[[Send], Send] | None = None, **scope: Any
    ) -> None:
        self.sent: list[Sent] = []
        self._in: asyncio.Queue[Sent] = asyncio.Queue()
        known = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
        send: Send = self._send if wrap is None else wrap(self._send)
        app = ChatConsumer.as_asgi(chat=chat)
        self.task = asyncio.create_task(app(known | scope, self._in.get, send))
        self._n = 0

    async def _send(self, message: Sent) -> None:
        self.sent.append(message)

    def say(self, frame: dict[str, Any]) -> None:
        text = msgspec.json.encode(frame).decode()
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    async def open(self, **hello: Any) -> None:
        self._in.put_nowait({"type": "websocket.connect"})
        self.say({"type": "hello", **hello})
        await until(lambda: self.has('"welcome"'))

    def message(self, content: str) -> None:
        self._n += 1
        data = {"content": content}
        self.say({"type": "event", "n": self._n, "name": "message", "data": data})

    def has(self, text: str) -> bool:
        return any(text in message.get("text", "") for message in self.sent)

    @property
    def code(self) -> int | None:
        """The code that the connection was closed with."""
        last = self.sent[-1] if self.sent else {}
        return last.get("code") if last.get("type") == "websocket.close" else None

    async def leave(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await self.task


def before(text: str, step: Callable[[], Awaitable[object]]) -> Callable[[Send], Send]:
    """Middleware that awaits ``step`` before it sends a message that has ``text``."""

    def wrap(send: Send) -> Send:
        async def with_step(message: Sent) -> None:
            if text in message.get("text", ""):
                await step()
            await send(message)

        return with_step

    return wrap


@pytest.fixture
def echo(chat: Chat) -> Chat:
    @chat.on_message
    async def handle(message: Message) -> None:
        user_session["said"] = message.content
        await Message(f"echo {message.content}").send()

    return chat


async def test_a_timeout_around_one_clients_send_loses_no_change_of_another_session(
    echo: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """It cancelled the journal, which forgot what it had taken of everybody."""

    def timed(send: Send) -> Send:
        async def with_timeout(message: Sent) -> None:
            async with asyncio.timeout(0.05):
                if "echo slow" in message.get("text", ""):
                    await asyncio.Event().wait()
                await send(message)

        return with_timeout

    slow, other = Website(echo, timed), Website(echo)
    await slow.open()
    await other.open()
    for number in range(20):
        slow.message("slow")
        other.message(f"{number}")
        await until(lambda: other.has(f"echo {number}"))  # noqa: B023  # awaited at once
    await until(lambda: slow.code == 4000)
    rows = [row.state async for row in ChatSession.objects.all()]
    assert any('"19"' in state for state in rows)
    [warning] = [one for one in caplog.records if "could not be sent" in one.getMessage()]
    assert warning.levelno == logging.WARNING
    assert "TimeoutError" in warning.getMessage()
    await slow.leave()
    await other.leave()


async def test_what_a_timer_sends_is_sent_by_a_task(
    echo: Chat, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A timeout in middleware raised "Timeout should be used inside a task"."""
    settings.CHATSESSIONS = {"HELLO_TIMEOUT": 0.05}

    def timed(send: Send) -> Send:
        async def with_timeout(message: Sent) -> None:
            async with asyncio.timeout(5):
                await send(message)

        return with_timeout

    line = Website(echo, timed)
    line._in.put_nowait({"type": "websocket.connect"})
    await until(lambda: line.code is not None)
    assert line.has("hello_expected")
    assert caplog.records == []
    await line.leave()


async def test_a_hello_that_came_in_time_counts_after_a_hold_up(
    echo: Chat, settings: Settings
) -> None:
    """The close was final: the page did not try again."""
    settings.CHATSESSIONS = {"HELLO_TIMEOUT": 0.1}
    line = Website(echo)
    line._in.put_nowait({"type": "websocket.connect"})
    await until(lambda: line.sent)
    await asyncio.sleep(0.02)
    hold_up(1, arrives=partial(line.say, {"type": "hello"}))
    await until(lambda: line.has('"welcome"') or line.code is not None)
    assert line.code is None
    await line.leave()


async def test_an_acknowledgement_that_came_in_time_counts_after_a_hold_up(
    echo: Chat, settings: Settings
) -> None:
    """A replay that waited for it closed the connection as too slow."""
    settings.CHATSESSIONS = {"MAX_UNACKED_EVENTS": 64, "HEARTBEAT": 0.4}
    row, token = await sync_to_async(token_session)(chat=echo.name, head=40)
    now = timezone.now()
    await SessionEvent.objects.abulk_create(
        SessionEvent(session=row, seq=seq, name="tick", data={}, created_at=now)
        for seq in range(1, 41)
    )
    line = Website(echo)
    await line.open(session=str(row.pk), token=token)
    line.say({"type": "ping", "silence": 120})
    await until(lambda: line.has('"seq":33'))
    hold_up(2, arrives=partial(line.say, {"type": "ack", "seq": 33}))
    await until(lambda: line.has('"seq":40') or line.code)
    assert line.code is None
    await line.leave()


async def test_the_time_for_hello_begins_when_it_can_be_read(
    echo: Chat, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHATSESSIONS = {"HELLO_TIMEOUT": 0.05}

    async def slow(admission: Admission) -> None:
        await asyncio.sleep(0.3)

    monkeypatch.setattr(Admission, "watch", slow)
    line = Website(echo)
    line._in.put_nowait({"type": "websocket.connect"})
    line.say({"type": "hello"})
    await until(lambda: line.has('"welcome"') or line.code is not None)
    assert line.code is None
    await line.leave()


@pytest.mark.parametrize(
    "error", [RuntimeError("no more today"), asyncio.CancelledError("not you")]
)
async def test_a_send_that_raises_is_logged_with_its_reason(
    echo: Chat, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """Also where something that it waited for was cancelled."""

    async def fail() -> None:
        raise error

    line = Website(echo, before("echo", fail))
    await line.open()
    line.message("hello")
    await until(lambda: line.code == 4000)
    [warning] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert str(error) in warning.getMessage()
    await line.leave()


async def test_a_client_that_has_left_is_no_warning(
    echo: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """Since ASGI 2.4 a server says by OSError that the client is gone: every day's business."""

    async def fail() -> None:
        raise ConnectionResetError("gone")

    line = Website(echo, before("echo", fail), asgi={"version": "3.0", "spec_version": "2.4"})
    await line.open()
    line.message("hello")
    await until(lambda: line.code is not None)
    await line.leave()
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_a_send_that_never_returns_is_given_up_and_the_close_sent(
    echo: Chat, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daphne keeps a websocket open whose application has returned without a close."""
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT", 0.1)
    hangs = asyncio.Event()
    ended: list[str] = []

    async def hang() -> None:
        hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    line = Website(echo, before("echo", hang))
    await line.open()
    line.message("hello")
    await until(hangs.is_set)
    settings.CHATSESSIONS = {"HEARTBEAT": 0.1}
    line.say({"type": "ping", "silence": 0.001})  # silence counts from here
    async with asyncio.timeout(60):
        await line.task
    assert ended == ["cancelled"]
    assert line.code == 4012


async def test_a_send_that_ignores_its_cancellation_does_not_keep_the_connection(
    echo: Chat,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(sender, "STOP_TIMEOUT", 0.1)
    hangs, free = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        while not free.is_set():
            hangs.set()
            with suppress(asyncio.CancelledError):
                await free.wait()

    line = Website(echo, before("echo", hang))
    await line.open()
    line.message("hello")
    await until(hangs.is_set)
    settings.CHATSESSIONS = {"HEARTBEAT": 0.1}
    line.say({"type": "ping", "silence": 0.001})  # silence counts from here
    async with asyncio.timeout(60):
        await line.task
    assert "goes on" in caplog.text
    free.set()


async def test_what_an_unread_line_has_waiting_is_bounded(
    chat: Chat, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers to pings are in no window: they grew for as long as the client sent them."""
    settings.CHATSESSIONS = {"MAX_UNACKED_EVENTS": 64, "EVENT_BURST": 500}
    monkeypatch.setattr(connection, "FRAME_BURST", 100)
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT", 0.1)

    line = Website(chat, before("pong", asyncio.Event().wait))
    await line.open()
    for _ in range(300):
        line.say({"type": "ping"})
    async with asyncio.timeout(10):
        await line.task
    assert line.code == 4008


async def test_what_a_client_acknowledges_and_does_not_read_is_bounded(
    chat: Chat, worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window was empty, and messages were counted, whatever their size."""
    settings.CHATSESSIONS = {"MAX_UNACKED_BYTES": 65536, "MAX_EVENT_BYTES": 100_000}
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT", 0.1)

    @chat.on_message
    async def tell() -> None:
        await context.emitter.emit("page", "x" * 60_000)

    line = Website(chat, before('"page"', asyncio.Event().wait))
    await line.open()
    [live] = worker.live.values()
    for turn in range(1, 31):
        line.message("more")
        await until(lambda: live.log.stored == 2 * turn or line.task.done())  # noqa: B023
        line.say({"type": "ack", "seq": 2 * turn})
    await until(line.task.done)
    await line.task
    assert line.code == 4008


async def test_any_awaitable_will_do(echo: Chat) -> None:
    """Granian's, written in Rust, has no ``send()`` to step it by."""

    class Foreign:
        def __init__(self, awaitable: Awaitable[None]) -> None:
            self._awaitable = awaitable

        def __await__(self) -> Generator[Any, Any, None]:
            return iter(asyncio.ensure_future(self._awaitable))  # type: ignore[call-overload, no-any-return]

    def foreign(send: Send) -> Send:
        return lambda message: Foreign(send(message))

    line = Website(echo, foreign)
    await line.open()
    line.message("hello")
    await until(lambda: line.has("echo hello"))
    await line.leave()


async def test_a_variable_set_around_a_send_is_the_connections(echo: Chat) -> None:
    """Middleware sets it and resets it, which Python refuses in another context."""
    seen: list[str] = []

    def traced(send: Send) -> Send:
        async def trace(message: Sent) -> None:
            seen.append(around.get())
            token = around.set("sending")
            await asyncio.sleep(0)
            await send(message)
            around.reset(token)

        return trace

    around.set("this connection")
    line = Website(echo, traced)
    around.set("")
    await line.open()
    line.message("hello")
    await until(lambda: line.has("echo hello"))
    assert set(seen) == {"this connection"}
    await line.leave()


async def test_channels_session_middleware_is_passed_by_and_others_are_not(echo: Chat) -> None:
    counted: list[str] = []

    class Counting(InstanceSessionWrapper):  # type: ignore[misc]  # Channels is untyped
        async def send(self, message: Sent) -> None:
            counted.append(message["type"])
            await self.real_send(message)

    def plain(send: Send) -> Send:
        wrapper = InstanceSessionWrapper({"type": "websocket", "cookies": {}}, send)
        wrapper.activated = None  # its own send() would look at the session, which is not there
        wrapped: Send = wrapper.send
        return wrapped

    def counting(send: Send) -> Send:
        wrapped: Send = Counting({"type": "websocket", "cookies": {}}, send).send
        return wrapped

    for wrap in (plain, counting):
        line = Website(echo, wrap)
        await line.open()
        line.message("hello")
        await until(lambda: line.has("echo hello"))  # noqa: B023  # awaited at once
        await line.leave()
    assert "websocket.send" in counted


async def test_a_thread_that_sends_waits_for_no_client(chat: Chat, worker: Worker) -> None:
    """A handler written as ``def`` goes on while its client takes nothing."""
    free = asyncio.Event()

    @chat.on_message
    def handle() -> None:
        for number in range(20):
            context.emitter.emit("thing", number)
        context.emitter.flush()
        worker.loop.call_soon_threadsafe(free.set)

    line = Website(chat, before('"name":"thing"', free.wait))
    await line.open()
    line.message("hello")
    await until(lambda: line.has('"status":"done"'))
    await line.leave()


async def test_behind_what_was_not_sent_only_the_close_is(chat: Chat, settings: Settings) -> None:
    """The client resumes behind the last that it got: it must get nothing from beyond a hole."""
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 0.2}
    waits, fail = asyncio.Event(), asyncio.Event()

    async def refuse() -> None:
        waits.set()
        await fail.wait()
        raise ConnectionError("not sent")

    @chat.on_chat_start
    async def start() -> None:
        message = Message()
        await message.stream_token("a")
        await context.emitter.emit("fails")
        await waits.wait()
        await message.stream_token("waits in the bundle")
        fail.set()

    line = Website(chat, before('"name":"fails"', refuse))
    await line.open(bundles=True)
    await until(lambda: line.code is not None)
    assert not line.has("waits in the bundle")
    assert line.code == 4000
    await line.leave()


@pytest.mark.parametrize("bundles", [False, True])
async def test_what_was_told_before_a_close_comes_before_it_and_nothing_after(
    chat: Chat, bundles: bool
) -> None:
    line = Website(chat)
    await line.open(bundles=bundles)
    line.say({"type": "end"})
    line.say({"type": "ping"})
    await until(lambda: line.code is not None)
    assert line.code == 4503
    assert '{"type":"ended","reason":"user"}' in line.sent[-2]["text"]
    line.say({"type": "ping"})
    await asyncio.sleep(0.05)
    assert line.sent[-1]["type"] == "websocket.close"
    await line.leave()
