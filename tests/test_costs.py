"""What a message, a connect and an idle connection cost: counted, not timed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from chatsessions import Chat, Message, session_context, user_session
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.storage import serializer
from chatsessions.websocket import sender
from chatsessions.workers import host as host_module
from chatsessions.workers.worker import Worker

from .support.storage import SpyCache

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def counter(chat: Chat) -> Chat:
    """The counter bot."""

    @chat.on_chat_start
    async def start() -> None:
        user_session["count"] = 0
        await Message("Hi!").send()

    @chat.on_message
    async def count() -> None:
        user_session["count"] += 1
        await Message(f"You have sent {user_session['count']} message(s)!").send()

    return chat


class Line:
    """A websocket without a server: what is sent is kept, and nothing else costs anything."""

    def __init__(self, chat: Chat, *, bundles: bool = False) -> None:
        self._app = ChatConsumer.as_asgi(chat=chat)
        self._bundles = bundles
        #: How many frames came in each message.
        self.sizes: list[int] = []
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._n = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
        await self._app(scope, self._in.get, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            found = msgspec.json.Decoder().decode(message["text"])
            frames = found if isinstance(found, list) else [found]
            self.sizes.append(len(frames))
            self.sent += frames
            self._news.set()

    def say(self, frame: dict[str, Any]) -> None:
        text = msgspec.json.Encoder().encode(frame).decode()
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        async with asyncio.timeout(90):
            while not any(map(condition, self.sent)):
                self._news.clear()
                await self._news.wait()

    async def open(self, *, starts: bool = True) -> None:
        """Say hello and wait for the welcome, and where a handler greets for its end."""
        self._in.put_nowait({"type": "websocket.connect"})
        self.say({"type": "hello", "bundles": self._bundles})
        await self.until(lambda sent: sent["type"] == "welcome")
        if starts:
            await self.answered()

    async def message(self) -> None:
        self.say_message()
        await self.answered()

    def say_message(self) -> None:
        self._n += 1
        self.say({"type": "event", "n": self._n, "name": "message", "data": {"content": "x"}})

    async def answered(self) -> None:
        """Wait for the end of the last turn."""
        await self.until(lambda sent: sent.get("status") == "done" and sent["turn"] == self._n)

    async def close(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self._task


# Counting


@contextmanager
def encodings(monkeypatch: pytest.MonkeyPatch, counted: Counter[str]) -> Iterator[None]:
    """Count what is written as JSON, and by whom."""

    def counting(name: str, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        def count(value: Any) -> bytes:
            counted[name] += 1
            return encode(value)

        return count

    class Encoder:
        encode = staticmethod(counting("frames encoded", frames._encoder.encode))

    with monkeypatch.context() as patched:
        patched.setattr(frames, "_encoder", Encoder)
        patched.setattr(serializer, "_encode", counting("values encoded", serializer._encode))
        patched.setattr(msgspec.json, "encode", counting("data encoded", msgspec.json.encode))
        yield


@asynccontextmanager
async def counting(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter[str]]:
    """What the block costs, by what it is."""
    await worker.journal.settled()
    counted: Counter[str] = Counter()
    loop = worker.loop

    def make_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        counted["tasks"] += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    hop = loop.run_in_executor

    def run_in_executor(*args: Any) -> Awaitable[Any]:
        counted["thread hops"] += 1
        return hop(*args)

    def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
        counted[sql.partition(" ")[0]] += 1
        return run(sql, *args)

    # Each thread has its own connection.
    wrappers = {
        name: await getattr(worker.threads, name)(lambda: connections["default"].execute_wrappers)
        for name in ("read", "write")
    }
    SpyCache.calls.clear()
    counted.clear()
    for wrapped in wrappers.values():
        wrapped.append(execute)
    with encodings(monkeypatch, counted), monkeypatch.context() as patched:
        patched.setattr(loop, "run_in_executor", run_in_executor)
        loop.set_task_factory(make_task)
        try:
            yield counted
            await worker.journal.settled()
        finally:
            loop.set_task_factory(None)
            for wrapped in wrappers.values():
                wrapped.remove(execute)
    if SpyCache.calls:
        counted["cache calls"] = len(SpyCache.calls)


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch, settings: Settings, cache: type[SpyCache]) -> None:
    """
    Nothing comes in between.

    Old database connections are looked at once a second; here only by the first message.
    """
    monkeypatch.setattr(host_module, "LOOK_INTERVAL", 3600.0)
    settings.CHATSESSIONS = {"WORKER_HEARTBEAT": 3600, "WORKER_STALE": 7201}


@asynccontextmanager
async def line_of(chat: Chat, *, bundles: bool = False) -> AsyncIterator[Line]:
    """A line that is closed whatever happens."""
    line = Line(chat, bundles=bundles)
    try:
        yield line
    finally:
        await line.close()


async def test_a_message(worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async with line_of(counter) as line:
        await line.open()
        await line.message()
        for _ in range(3):  # in steady state
            async with counting(worker, monkeypatch) as costs:
                await line.message()
            assert costs == {
                # The journal's, once for the event and once for what came of it, and the turn's.
                "tasks": 3,
                "thread hops": 2,
                "BEGIN": 2,
                "UPDATE": 2,
                "INSERT": 2,
                "cache calls": 1,
                # accepted, running, the reply, done.
                "frames encoded": 4,
                "data encoded": 1,
                "values encoded": 1,
            }


async def test_a_short_turn_is_one_message_for_a_client_that_takes_bundles(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it was accepted and runs goes along with what comes of it."""
    monkeypatch.setattr(sender, "ALONG", 10)  # a slow disk is no reason
    for bundles, sizes in ((False, [1, 1, 1, 1]), (True, [4])):
        async with line_of(counter, bundles=bundles) as line:
            await line.open()
            line.sizes.clear()
            await line.message()
            assert line.sizes == sizes


async def test_tokens_of_a_moment_are_one_message_for_a_client_that_takes_bundles(
    worker: Worker, chat: Chat
) -> None:
    @chat.on_message
    async def stream() -> None:
        message = Message()
        for number in range(100):
            await message.stream_token(f"{number} ")
        await message.update()

    async with line_of(chat, bundles=True) as line:
        await line.open(starts=False)
        line.sizes.clear()
        await line.message()
        # accepted, running, what opens the stream, its tokens, what closes it, and done.
        assert sum(line.sizes) == 105
        assert len(line.sizes) <= 4
        indexes = [sent["index"] for sent in line.sent if sent["type"] == "token"]
        assert indexes == list(range(100))


async def test_messages_of_many_share_all_but_their_turns(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 10
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line_of(counter)) for _ in range(count)]
        await asyncio.gather(*(line.open() for line in lines))
        await asyncio.gather(*(line.message() for line in lines))
        async with counting(worker, monkeypatch) as costs:
            for line in lines:
                line.say_message()
            for line in lines:
                await line.answered()
        assert costs == {
            "tasks": count + 2,
            "thread hops": 2,
            "BEGIN": 2,
            "UPDATE": 2,
            "INSERT": 2,
            "cache calls": 1,
            "frames encoded": 4 * count,
            "data encoded": count,
            "values encoded": count,
        }


class Written:
    """Bytes that go into the database and the cache."""

    def __init__(self) -> None:
        self.rows = 0

    def execute(self, run: Callable[..., Any], sql: str, params: Any, many: bool, *_: Any) -> Any:
        for row in params if many else [params or ()]:
            self.rows += sum(len(one) for one in row if isinstance(one, str | bytes))
        return run(sql, params, many, *_)

    @property
    def values(self) -> int:
        return sum(len(text) for call in SpyCache.calls for text in call.values())


@asynccontextmanager
async def weighing(worker: Worker) -> AsyncIterator[Written]:
    """What the journal writes in the block, in bytes."""
    written = Written()
    wrappers = await worker.threads.write(lambda: connections["default"].execute_wrappers)
    wrappers.append(written.execute)
    SpyCache.calls.clear()
    try:
        yield written
        await worker.journal.settled()
    finally:
        wrappers.remove(written.execute)


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
async def test_a_message_that_changes_little_of_much_encodes_little_and_writes_much(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch, settings: Settings, kept_in: str
) -> None:
    settings.CHATSESSIONS |= {"USER_SESSION_STORE": kept_in}
    much = ["x" * 1021 for _ in range(1000)]

    @counter.on_event("hoard")
    async def hoard() -> None:
        user_session["much"] = much

    async with line_of(counter) as line:
        await line.open()
        await line.message()
        async with counting(worker, monkeypatch) as little, weighing(worker) as small:
            await line.message()
        cached = small.values
        line.say({"type": "event", "n": 3, "name": "hoard", "data": None})
        line._n = 3
        await line.answered()
        size = len(serializer.dumps(much))
        for _ in range(3):
            async with counting(worker, monkeypatch) as costs, weighing(worker) as written:
                await line.message()
            assert costs == little
            # Once, where it has changed.
            in_row = size if kept_in == "cached_db" else 0
            assert in_row <= written.rows - small.rows < in_row + 100
            assert size <= written.values - cached < size + 100


async def test_to_store_what_a_block_has_changed_encodes_it_twice(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to know that it can be stored, and once with the commit: it may be a megabyte."""
    async with line_of(counter) as line:
        await line.open()
        row = await ChatSession.objects.aget()
        async with session_context(row) as found:
            user_session["history"] = ["first"]
            await found.emitter.flush()
            user_session["history"].append("second")
            await worker.journal.settled()
            async with counting(worker, monkeypatch) as costs:
                await found.emitter.flush()
            assert costs["values encoded"] <= 2


async def test_a_connect(worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async with line_of(counter) as first, line_of(counter) as line:
        await first.open()  # it starts the worker
        async with counting(worker, monkeypatch) as costs:
            await line.open()
        assert costs == {
            # The journal's for the new row and for the greeting, the greeting's turn, and the one
            # that hears, while the hello is answered, that the client has left.
            "tasks": 4,
            "thread hops": 2,
            "BEGIN": 2,
            "INSERT": 2,
            "UPDATE": 1,
            "cache calls": 1,
            # welcome, running, the greeting, done.
            "frames encoded": 4,
            # The greeting, and the row's columns of JSON.
            "data encoded": 9,
            "values encoded": 1,
        }


async def test_an_idle_connection_costs_nothing(
    worker: Worker, counter: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line_of(counter) as line:
        await line.open()
        await line.message()
        async with counting(worker, monkeypatch) as costs:
            line.say({"type": "ping"})
            await line.until(lambda sent: sent["type"] == "pong")
        assert costs == {"frames encoded": 1}


# What must not be saved


async def test_a_handler_gets_a_fresh_connection_for_one_that_is_too_old(
    worker: Worker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at once a second and not before each event: what it is for still happens."""
    monkeypatch.setattr(host_module, "LOOK_INTERVAL", 0.01)
    used: list[object] = []

    def query() -> None:
        ChatSession.objects.count()
        used.append(connections["default"].connection)

    def expire() -> None:
        connections["default"].close_at = 0.0

    @chat.on_message
    async def handle() -> None:
        await sync_to_async(query)()

    async with line_of(chat) as line:
        await line.open(starts=False)
        await line.message()
        await sync_to_async(expire)()
        deadline = worker.loop.time() + 10
        while used[-1] is used[0] and worker.loop.time() < deadline:
            await line.message()
    assert used[-1] is not used[0]
