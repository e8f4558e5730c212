"""What a session opens in a worker is closed when the worker holds the session no more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import AsyncClient
from django.urls import path
from django.utils import timezone

import chatsessions
from chatsessions import (
    Chat,
    ChatError,
    Message,
    OwnershipLost,
    SessionOver,
    Step,
    aemit_to,
    context,
    session_context,
    user_session,
)
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.handlers.chat import module_chat
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.workers.worker import Worker, get_worker

from .support.sessions import Client, Way, hold_up, until, ways

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]


class Tool:
    """As a client of a tool server: a task group and a timeout, which end in their own task."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self._group = asyncio.TaskGroup()
        self._owner: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Tool:
        await self._group.__aenter__()
        self._owner = asyncio.current_task()
        self._group.create_task(self._serve())
        self._log.append("open")
        return self

    async def __aexit__(self, *error: object) -> None:
        assert asyncio.current_task() is self._owner, "closed in another task"
        self._served.cancel()
        await self._group.__aexit__(None, None, None)
        self._log.append("closed")

    async def _serve(self) -> None:
        served = asyncio.current_task()
        assert served is not None
        self._served = served
        await asyncio.Event().wait()

    def call(self, text: str) -> str:
        return text.upper()


@pytest.fixture
def log(chat: Chat) -> list[str]:
    """What happens, in order, in a chat that keeps a tool open for each session."""
    log: list[str] = []

    @chat.session_lifespan
    async def tools() -> AsyncIterator[None]:
        async with Tool(log) as tool:
            user_session.local["tool"] = tool
            yield
            log.append(f"count {user_session.get('count')}")

    @chat.on_session_load
    def load() -> None:
        log.append("load" if "tool" in user_session.local else "load without the tool")

    @chat.on_session_unload
    def unload() -> None:
        log.append(f"unload {context.session.language}")

    @chat.on_message
    async def handle(message: Message) -> None:
        user_session["count"] = user_session.get("count", 0) + 1
        await Message(user_session.local["tool"].call(message.content)).send()

    @chat.on_chat_end
    def over() -> None:
        log.append("end")

    return log


def record_loads(chat: Chat, log: list[str]) -> None:
    """Write down when the session is loaded and unloaded."""

    @chat.on_session_load
    async def load() -> None:
        log.append("load")

    @chat.on_session_unload
    async def unload() -> None:
        log.append("unload")


async def test_what_is_opened_is_closed_when_the_session_is_let_go(
    worker: Worker, chat: Chat, log: list[str]
) -> None:
    """And opened again, once, when its client returns: nothing leaks with each return."""
    client = await Client.open(worker, chat, language="de")
    assert await client.run("message", {"content": "hello"}) == "done"
    assert client.texts == ["HELLO"]
    assert log == ["open", "load"]
    client.leave()
    await until(lambda: "closed" in log)
    assert log == ["open", "load", "unload de", "count 1", "closed"]
    log.clear()
    again = await Client.open(worker, chat, client.live.id, client.token, language="de")
    assert await again.run("message", {"content": "again"}) == "done"
    assert log == ["open", "load"]


async def test_it_is_closed_after_on_chat_end(worker: Worker, chat: Chat, log: list[str]) -> None:
    client = await Client.open(worker, chat, language="de")
    assert await client.run("message", {"content": "hello"}) == "done"
    client.live.end("app")
    await until(lambda: "closed" in log)
    assert log == ["open", "load", "end", "unload de", "count 1", "closed"]


async def test_a_session_that_ends_while_it_is_set_up_is_set_up_first(
    worker: Worker, chat: Chat
) -> None:
    """on_chat_end ran without what a lifespan opens and on_session_load loads."""
    log: list[str] = []
    go = asyncio.Event()

    @chat.session_lifespan
    async def slow() -> AsyncIterator[None]:
        log.append("opening")
        await go.wait()
        log.append("open")
        yield
        log.append("closed")

    chat.on_chat_end(lambda: log.append("end"))
    record_loads(chat, log)
    client = await Client.open(worker, chat)
    await until(lambda: log)
    client.live.end("app")
    go.set()
    await until(lambda: "closed" in log)
    assert log == ["opening", "open", "load", "end", "unload", "closed"]


async def test_it_is_closed_when_another_worker_takes_the_session(
    worker: Worker, chat: Chat, log: list[str]
) -> None:
    client = await Client.open(worker, chat, language="de")
    assert await client.run("message", {"content": "hello"}) == "done"
    await ChatSession.objects.filter(pk=client.live.id).aupdate(generation=100)
    client.send("message", {"content": "lost"})
    await until(lambda: "closed" in log)
    assert log[:4] == ["open", "load", "unload de", "count 1"]


async def test_a_worker_that_stops_closes_it(worker: Worker, chat: Chat, log: list[str]) -> None:
    clients = [await Client.open(worker, chat, language="de") for _ in range(3)]
    for client in clients:
        assert await client.run("message", {"content": "hello"}) == "done"
    await worker.shut_down()
    assert log.count("closed") == log.count("unload de") == 3


async def test_a_session_of_a_block_outside_has_it_too(
    worker: Worker, chat: Chat, log: list[str]
) -> None:
    row = await ChatSession.objects.acreate(
        chat=chat.name,
        status="away",
        language="de",
        created_at=timezone.now(),
        last_seen_at=timezone.now(),
    )
    async with session_context(row.pk):
        await until(lambda: "load" in log)
        assert user_session.local["tool"].call("x") == "X"
        assert "closed" not in log
    await until(lambda: "closed" in log)
    assert log == ["open", "load", "unload de", "count None", "closed"]


async def test_a_session_of_http_has_it_too(
    worker: Worker, chat: Chat, log: list[str], settings: Settings
) -> None:
    urls = ModuleType("tests.lifespan_urls")
    urls.urlpatterns = [path("chat/", ChatView.as_view(chat=chat))]  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = urls
    body = {"content": "hello", "wait": True}
    response = await AsyncClient().post("/chat/", body, content_type="application/json")
    assert response.status_code == 200, response.content
    assert b"HELLO" in response.content
    await until(lambda: "closed" in log)
    assert log[:2] == ["open", "load"]
    assert log[-2:] == ["count 1", "closed"]


@ways
async def test_nothing_can_be_set_or_sent_when_a_session_is_unloaded(
    worker: Worker, chat: Chat, way: Way
) -> None:
    """It may be another worker's by then."""
    told: list[BaseException] = []

    @chat.on_chat_start
    async def start() -> None:
        user_session["kept"] = 1

    def change() -> None:
        assert user_session["kept"] == 1
        try:
            user_session["kept"] = 2
        except (OwnershipLost, SessionOver) as error:
            told.append(error)

    async def change_async() -> None:
        change()
        try:
            await Message("too late").send()
        except (OwnershipLost, SessionOver) as error:
            told.append(error)

    chat.on_session_unload(change_async if way == "async" else change)
    client = await Client.open(worker, chat)
    await until(lambda: not client.live.is_busy)
    client.leave()
    await until(lambda: len(told) == (2 if way == "async" else 1))


@ways
async def test_all_values_can_be_read_when_a_session_is_unloaded(
    worker: Worker, chat: Chat, way: Way
) -> None:
    """Those that can be changed inside could not: they are watched for changes elsewhere."""
    read: list[Any] = []

    @chat.on_chat_start
    async def start() -> None:
        user_session["cart"] = ["a shoe"]

    def unload() -> None:
        read.append(dict(user_session))

    async def unload_async() -> None:
        unload()

    @chat.session_lifespan
    async def lifespan() -> AsyncIterator[None]:
        yield
        read.append(user_session["cart"])
        with pytest.raises((OwnershipLost, SessionOver)):
            user_session["cart"] = []

    chat.on_session_unload(unload_async if way == "async" else unload)
    client = await Client.open(worker, chat)
    assert await client.outcome(0) == "done"
    client.leave()
    await until(lambda: len(read) == 2)
    assert read == [{"cart": ["a shoe"]}, ["a shoe"]]
    back = await Client.open(worker, chat, client.live.id, client.token)
    await until(lambda: not back.live.is_busy)
    back.live.end("app")
    await until(lambda: len(read) == 4)
    assert read[2:] == read[:2]


async def test_what_it_has_left_open_ends_when_it_is_set_up(worker: Worker, chat: Chat) -> None:
    @chat.session_lifespan
    async def connecting() -> AsyncIterator[None]:
        await Message("Connecting").stream_token(" …")
        await Step("connect").send()
        yield

    client = await Client.open(worker, chat)
    await until(lambda: len(client.events) == 4)
    assert [(name, data["streaming"]) for name, data in client.events] == [
        ("message", True),
        ("step", True),
        ("message_update", False),
        ("step_update", False),
    ]
    assert client.live.sink.texts() == {}


async def test_one_that_hangs_is_cancelled_at_the_deadline_and_the_session_goes_on(
    worker: Worker, chat: Chat, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHATSESSIONS = {"LIFESPAN_TIMEOUT": 0.1}
    log: list[str] = []

    @chat.session_lifespan
    async def hang() -> AsyncIterator[None]:
        try:
            if not log:
                await asyncio.Event().wait()
            yield
            await asyncio.Event().wait()
        finally:
            log.append("cleaned")

    @chat.on_message
    async def handle() -> None:
        await Message("here").send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    assert log == ["cleaned"]
    assert "LIFESPAN_TIMEOUT" in caplog.text
    caplog.clear()
    second = await Client.open(worker, chat)
    assert await second.run("message", {"content": ""}) == "done"
    second.leave()
    await until(lambda: log == ["cleaned", "cleaned"])
    await until(lambda: "failed at the end" in caplog.text)


async def test_what_came_before_the_deadline_counts_after_a_hold_up(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    """The session had no ``user_session.local`` for as long as it stayed in memory."""
    settings.CHATSESSIONS = {"LIFESPAN_TIMEOUT": 0.1}
    begun, connected = asyncio.Event(), asyncio.Event()

    @chat.session_lifespan
    async def connect() -> AsyncIterator[None]:
        begun.set()
        await asyncio.create_task(connected.wait())  # as a client with a task that reads
        user_session.local["tool"] = "connected"
        yield

    @chat.on_message
    async def handle() -> None:
        await Message(user_session.local.get("tool", "failed")).send()

    opening = asyncio.create_task(Client.open(worker, chat))
    await begun.wait()
    await asyncio.sleep(0.01)
    hold_up(1, arrives=connected.set)
    client = await opening
    assert await client.run("message", {"content": ""}) == "done"
    assert client.texts == ["connected"]


async def test_one_that_is_still_opening_is_cancelled_when_the_session_goes(
    worker: Worker, chat: Chat
) -> None:
    log: list[str] = []

    @chat.session_lifespan
    async def slow() -> AsyncIterator[None]:
        log.append("opening")
        try:
            await asyncio.Event().wait()
            yield
        finally:
            log.append("cancelled")

    client = await Client.open(worker, chat)
    await until(lambda: log)
    client.live.discard()
    await until(lambda: log == ["opening", "cancelled"])


async def test_a_session_that_goes_before_it_is_set_up_is_unloaded_once(
    worker: Worker, chat: Chat
) -> None:
    log: list[str] = []

    @chat.session_lifespan
    async def lifespan() -> AsyncIterator[None]:
        log.append("opened")
        yield
        log.append("closed")

    record_loads(chat, log)
    live = (await worker.open(chat, ConnectRequest(user=AnonymousUser()))).live
    live.go()
    live.discard()
    await until(lambda: not live.is_busy and not worker._lifespans)
    assert log == ["unload"]


async def test_nothing_is_loaded_in_a_session_that_goes_while_it_is_set_up(
    worker: Worker, chat: Chat
) -> None:
    """on_session_load ran after that, and nothing unloaded what it had made."""
    opening, log = asyncio.Event(), []

    @chat.session_lifespan
    async def lifespan() -> AsyncIterator[None]:
        opening.set()
        await asyncio.Event().wait()
        yield

    record_loads(chat, log)
    client = await Client.open(worker, chat)
    await opening.wait()
    client.live.refused(None, OwnershipLost(client.live.id))
    await until(lambda: not client.live.is_busy)
    assert log == []


@pytest.mark.parametrize(
    "fault",
    ["raises", "exits", "never yields", "yields twice", "raises at the end", "exits at the end"],
)
async def test_a_wrong_one_is_logged_and_the_session_goes_on(
    worker: Worker, chat: Chat, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    @chat.session_lifespan
    async def wrong() -> AsyncIterator[None]:
        if fault == "raises":
            raise RuntimeError("broken")
        if fault == "exits":
            sys.exit("broken")
        if fault != "never yields":
            yield
        if fault == "yields twice":
            yield
        if fault == "raises at the end":
            raise RuntimeError("broken")
        if fault == "exits at the end":
            sys.exit("broken")

    @chat.on_message
    async def handle() -> None:
        await Message("here").send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    client.leave()
    words = {"never yields": "without a yield", "yields twice": "yield once"}
    await until(lambda: words.get(fault, "broken") in caplog.text)


@pytest.mark.parametrize("fault", ["raises", "never yields"])
async def test_a_session_whose_lifespan_failed_is_unloaded_all_the_same(
    worker: Worker, chat: Chat, fault: str
) -> None:
    """What on_session_load had opened was never closed."""
    log: list[str] = []

    @chat.session_lifespan
    async def wrong() -> AsyncIterator[None]:
        if fault == "raises":
            raise RuntimeError("broken")
        if log:
            yield

    record_loads(chat, log)
    client = await Client.open(worker, chat)
    await until(lambda: log == ["load"])
    client.leave()
    await until(lambda: log == ["load", "unload"])


def test_what_is_no_lifespan_is_refused(chat: Chat) -> None:
    async def coroutine() -> None: ...

    async def takes(_session: object) -> AsyncIterator[None]:
        yield

    for function in (coroutine, lambda: None, takes):
        with pytest.raises(ChatError, match="session_lifespan"):
            chat.session_lifespan(function)


def test_a_module_has_them_too() -> None:
    @chatsessions.session_lifespan
    async def lifespan() -> AsyncIterator[None]:
        yield

    @chatsessions.on_session_unload
    def unload() -> None: ...

    hooks = module_chat(__name__).hooks
    assert hooks["session_lifespan"].function is lifespan
    assert hooks["session_unload"].function is unload


async def test_a_worker_whose_end_is_cancelled_is_gone_all_the_same(
    worker: Worker, chat: Chat
) -> None:
    """Whoever came for its sessions waited for it for ever."""
    ends, go_on = asyncio.Event(), asyncio.Event()

    @chat.session_lifespan
    async def slow() -> AsyncIterator[None]:
        yield
        ends.set()
        await go_on.wait()

    client = await Client.open(worker, chat)
    closing = asyncio.create_task(worker.close())
    await ends.wait()
    told = asyncio.create_task(aemit_to(client.live.id, "late"))
    await asyncio.sleep(0)
    assert not told.done()
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    async with asyncio.timeout(10):
        await told
    assert await SessionEvent.objects.filter(session=client.live.id, name="late").acount() == 1
    go_on.set()
    await get_worker().close()
