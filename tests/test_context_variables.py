"""Hooks and the worker's own tasks see no ``contextvars`` of whoever happened to come first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from channels.auth import AuthMiddlewareStack
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.test import AsyncClient
from django.utils import timezone, translation

from chatsessions import Chat, Message, context, session_context, spawn, user_session
from chatsessions import make_async as to_thread
from chatsessions.consumers import ChatConsumer, SessionConsumer
from chatsessions.models import ChatSession
from chatsessions.signals import session_connected, session_started
from chatsessions.workers.worker import Worker

from .support.page import Page
from .support.sessions import Way, connected, until, ways

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


class TenantMiddleware:
    """Sets a variable and a language for each connection, as ASGI middleware does."""

    def __init__(self, app: Any, name: str) -> None:
        self._app = app
        self._name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        token = tenant.set(self._name)
        try:
            with translation.override("fr"):
                await self._app(scope, receive, send)
        finally:
            tenant.reset(token)


def page_of(chat: Chat, name: str, **options: Any) -> Page:
    """A page behind that middleware."""
    app = options.pop("app", None) or ChatConsumer.as_asgi(chat=chat)
    return Page(TenantMiddleware(app, name), **options)


Seen = list[tuple[str, str | None, str | None]]


def record(seen: Seen, what: str) -> None:
    seen.append((what, tenant.get(), translation.get_language()))


def record_in(seen: Seen, what: str, way: Way) -> Callable[[], Any]:
    """A hook that notes what it sees, written either way."""

    async def in_coroutine() -> None:
        record(seen, what)

    def in_thread() -> None:
        record(seen, what)

    return in_coroutine if way == "async" else in_thread


@ways
async def test_no_hook_sees_the_variables_of_a_connection_and_all_see_the_sessions_language(
    worker: Worker, chat: Chat, way: Way
) -> None:
    seen: Seen = []
    for hook in ("session_load", "chat_start", "connect", "disconnect", "chat_end", "stop"):
        getattr(chat, f"on_{hook}")(record_in(seen, hook, way))

    async def receive(**_: Any) -> None:
        record(seen, "signal")

    @chat.on_message
    async def handle(message: Message) -> None:
        record(seen, "message")
        await to_thread(record)(seen, "thread")
        await spawn(in_task())

    async def in_task() -> None:
        record(seen, "spawned")

    with (
        connected(session_started, receive, sender=chat),
        connected(session_connected, receive, sender=chat),
    ):
        page = await page_of(chat, "a").start(language="de-AT")
        await page.message("hello")
        await page.outcome(1)
        await page.end()
        await until(lambda: "chat_end" in {what for what, _, _ in seen})
        await page.leave()
    names = {what for what, _, _ in seen}
    assert names >= {"session_load", "chat_start", "connect", "signal", "chat_end"}
    assert names >= {"message", "thread", "spawned"}
    assert {(found, language) for _, found, language in seen} == {(None, "de")}


@ways
async def test_the_reaper_ends_others_sessions_without_the_variables_of_the_first_visitor(
    worker: Worker, chat: Chat, settings: Settings, way: Way
) -> None:
    """A session of tenant B was loaded with the tenant and the language of A."""
    settings.CHATSESSIONS = {"REAP_INTERVAL": 1}
    seen: Seen = []
    chat.on_session_load(record_in(seen, "load", way))
    chat.on_chat_end(record_in(seen, "end", way))
    page = await page_of(chat, "a").start(language="de")
    await until(lambda: seen)
    seen.clear()
    long_ago = timezone.now() - timedelta(days=100)
    await ChatSession.objects.acreate(
        chat=chat.name,
        status="away",
        language="es",
        created_at=long_ago,
        last_seen_at=long_ago,
        disconnected_at=long_ago,
    )
    await until(lambda: len(seen) >= 2)
    assert seen == [("load", None, "es"), ("end", None, "es")]
    await page.leave()


async def test_no_task_of_the_worker_keeps_the_variables_of_the_first_visitor(
    worker: Worker, chat: Chat
) -> None:
    """Heartbeat, reaper, logins, mail and journal are everybody's."""
    found: list[tuple[asyncio.Task[Any], str | None]] = []

    def make_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        here = copy_context()
        found.append((task, options.get("context", here).get(tenant)))
        return task

    worker.loop.set_task_factory(make_task)
    page = await page_of(chat, "a").start()
    await page.message("hello")
    await page.until({"type": "turn", "turn": 1})
    await page.leave()
    worker.loop.set_task_factory(None)
    names = {task.get_name(): value for task, value in found}
    ours = {name: value for name, value in names.items() if name.startswith("chatsessions-")}
    assert ours.pop("chatsessions-sender") == "a"  # it is the connection's
    assert {f"chatsessions-{name}" for name in ("heartbeat", "reaper", "logins")} <= {*ours}
    assert {"chatsessions-journal", "chatsessions-start"} <= {*ours}
    assert {name for name, value in ours.items() if value is not None} == set()


async def test_a_visitor_from_outside_leaves_nothing_in_hooks(worker: Worker, chat: Chat) -> None:
    """session_context() in a view loads the session: its hooks are not the view's."""
    seen: Seen = []
    chat.on_session_load(record_in(seen, "load", "async"))
    row = await ChatSession.objects.acreate(
        chat=chat.name,
        status="away",
        language="es",
        created_at=timezone.now(),
        last_seen_at=timezone.now(),
    )
    token = tenant.set("view")
    try:
        async with session_context(row.pk):
            await until(lambda: seen)
            assert tenant.get() == "view"  # the block is the caller's
    finally:
        tenant.reset(token)
    assert seen == [("load", None, "es")]


async def test_a_language_that_the_project_does_not_have_is_its_default(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "de"
    settings.LANGUAGES = [("de", "German")]
    seen: Seen = []
    chat.on_connect(record_in(seen, "connect", "async"))
    for asked in ("tlh", "x" * 35, "en-US", "../../de"):
        page = await page_of(chat, "a").start(language=asked)
        await until(lambda: len(seen) == 1)
        assert seen.pop() == ("connect", None, "de")
        await page.leave()


class Leaky(ModelBackend):
    """An authentication backend that sets variables and does not reset them."""

    seen: ClassVar[Seen] = []

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        record(self.seen, "backend")
        tenant.set(str(user_obj))
        translation.activate("fr")
        return True


async def test_what_a_backend_sets_is_not_there_for_the_next_user(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    """Backends run in threads that all users share."""
    backend = f"{__name__}.Leaky"
    settings.AUTHENTICATION_BACKENDS = [backend]
    Leaky.seen.clear()
    consumer = ChatConsumer.as_asgi(chat=chat, permission_required="auth.view_user")
    app = AuthMiddlewareStack(consumer)
    for name in ("ada", "bob", "eve", "joe", "kim"):
        user = await get_user_model().objects.acreate_user(name)
        for _ in range(2):
            client = AsyncClient()
            await client.aforce_login(user, backend)
            headers = [(b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())]
            page = await page_of(chat, name, headers=headers, app=app).start()
            await page.leave()
    assert len(Leaky.seen) >= 10
    assert {(found, language) for _, found, language in Leaky.seen} == {(None, "en")}


class Own(SessionConsumer):
    """Its methods are the connection's own."""

    seen: Seen

    async def connect(self) -> None:
        record(self.seen, "connect")
        await self.accept()

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        record(self.seen, "receive")
        user_session["text"] = text_data
        await context.emitter.emit("said", text_data)

    async def session_event(self, name: str, data: Any) -> None:
        record(self.seen, "event")
        await super().session_event(name, data)


async def test_a_session_consumers_methods_have_their_connections_variables(
    worker: Worker, chat: Chat
) -> None:
    """And the language of the session, whoever emits."""
    seen: Seen = []
    consumer = type("Consumer", (Own,), {"seen": seen})
    app = TenantMiddleware(consumer.as_asgi(chat=chat), "a")
    headers = [(b"accept-language", b"de")]
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": headers, "subprotocols": []}
    task = asyncio.create_task(app(scope, incoming.get, send))
    incoming.put_nowait({"type": "websocket.connect"})
    incoming.put_nowait({"type": "websocket.receive", "text": "hello"})
    await until(lambda: len(seen) == 3)
    assert seen == [("connect", "a", "de"), ("receive", "a", "de"), ("event", "a", "de")]
    incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await task
