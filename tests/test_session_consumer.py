"""``SessionConsumer``: frames of one's own, in the context of a session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
import pytest
from channels.exceptions import DenyConnection
from channels.layers import get_channel_layer
from django.contrib.auth.models import User

from chatsessions import (
    Chat,
    ChatError,
    ContextNotFound,
    Message,
    SessionOver,
    Step,
    aemit_to,
    aend_session,
    context,
    session_context,
    spawn,
    user_session,
)
from chatsessions.consumers import ChatConsumer, SessionConsumer
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.signals import session_connected, session_started
from chatsessions.workers.worker import Worker as RunningWorker

from .support.communicator import Communicator
from .support.database import another_connection, failing
from .support.sessions import connected, eventually, until
from .support.storage import SpyCache

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


class Counter(SessionConsumer):
    """Frames of its own: every text is counted and answered."""

    async def get_resume_credentials(self) -> tuple[str, str | None] | None:
        query = parse_qs(self.scope["query_string"].decode())
        return (query["session"][0], query["token"][0]) if "session" in query else None

    async def connect(self) -> None:
        user_session["connects"] = user_session.get("connects", 0) + 1
        await self.accept()
        await self.send(f"{context.session.id} {self.session_token}")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "fail":
            user_session["failing"] = True
            raise ValueError("on purpose")
        user_session["count"] = user_session.get("count", 0) + 1
        await self.send(f"{text_data} {user_session['count']}")

    async def disconnect(self, code: int) -> None:
        user_session["code"] = code


class Socket(Communicator):
    """A client; the first frame tells it how to come back."""

    session = token = ""

    async def open(self) -> str:
        accepted, _ = await self.connect()
        assert accepted
        self.session, self.token = (await self.receive_from()).split()
        return self.session

    def back(self) -> Socket:
        """A new connection of the client, with which it comes back."""
        return Socket(self.application, f"/ws/?session={self.session}&token={self.token}")

    async def ask(self, text: str) -> str:
        await self.send_to(text)
        answer: str = await self.receive_from()
        return answer


async def row_of(client: Socket) -> ChatSession:
    return await ChatSession.objects.aget(pk=client.session)


async def test_an_exception_in_receive_closes_the_connection_and_not_the_session(
    worker: RunningWorker, chat: Chat
) -> None:
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    assert await client.ask("a") == "a 1"
    await client.send_to("fail")
    with pytest.raises(ValueError, match="on purpose"):
        await client.receive_output()
    await until(lambda: not worker.live)
    row = await row_of(client)
    assert (row.status, row.worker_id) == ("away", None)
    assert row.state == '{"connects":1,"count":1,"failing":true}'
    back = client.back()
    assert await back.open() == client.session
    assert await back.ask("b") == "b 2"
    await back.disconnect()


async def test_senders_of_signals(worker: RunningWorker) -> None:
    """The consumer class, as the signals' documentation says."""
    senders: list[Any] = []

    def receiver(sender: Any, **_: Any) -> None:
        senders.append(sender)

    client = Socket(Counter.as_asgi(), "/ws/")
    with connected(session_connected, receiver):
        await client.open()
        await until(lambda: senders)
    await client.disconnect()
    assert [sender.name for sender in senders] == [f"{__name__}.Counter"]


async def test_started_is_sent_when_the_row_is_there(worker: RunningWorker) -> None:
    found: list[bool] = []

    async def receiver(session: Any, **_: Any) -> None:
        found.append(await ChatSession.objects.filter(pk=session.id).aexists())

    client = Socket(Counter.as_asgi(), "/ws/")
    with connected(session_started, receiver):
        await client.open()
        await until(lambda: found)
    await client.disconnect()
    assert found == [True]


async def test_a_lost_first_frame_locks_nobody_out(worker: RunningWorker, chat: Chat) -> None:
    first = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await first.open()
    await first.ask("hello")
    await first.disconnect()
    again = first.back()
    await again.connect()  # its first frame, with the new token, is lost
    await again.disconnect()
    third = first.back()
    assert await third.open() == first.session
    await third.disconnect()


async def test_goodbyes_arrive(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_chat_end
    async def over() -> None:
        await context.emitter.emit("goodbye", 1)

    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    await aend_session(client.session, "admin")
    frame = await client.receive_output()
    assert frame == {"type": "websocket.send", "text": '{"name":"goodbye","data":1}'}
    assert await client.receive_output() == {"type": "websocket.close", "code": 4503}
    await client.disconnect()


async def test_an_event_that_cannot_be_sent_does_not_hold_up_the_next(
    worker: RunningWorker, chat: Chat
) -> None:
    class Picky(Counter):
        async def session_event(self, name: str, data: Any) -> None:
            if data == 1:
                raise ValueError("on purpose")
            await super().session_event(name, data)

    client = Socket(Picky.as_asgi(chat=chat), "/ws/")
    await client.open()
    async with session_context(client.session):
        for data in (1, 2):
            await context.emitter.emit("number", data)
    assert await client.receive_json_from() == {"name": "number", "data": 2}
    await client.disconnect()


# The context


class Looking(Counter):
    """Writes down what it sees wherever it is called; news come by the channel layer."""

    async def connect(self) -> None:
        self.seen: list[tuple[str, UUID]] = self.scope["seen"]
        self.look("connect")
        await super().connect()
        await self.channel_layer.group_add("tests.news", self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.look("receive")
        await super().receive(text_data, bytes_data)

    async def disconnect(self, code: int) -> None:
        self.look("disconnect")
        await self.channel_layer.group_discard("tests.news", self.channel_name)
        await super().disconnect(code)

    async def news_item(self, event: dict[str, Any]) -> None:
        self.look("news")
        if event["text"] == "fail":
            raise ValueError("on purpose")
        user_session["news"] = [*user_session.get("news", []), event["text"]]
        await self.send(f"news {event['text']}")

    def look(self, where: str) -> None:
        assert context.turn is None
        assert self.session is context.session
        assert user_session["id"] == str(self.session.id)
        self.user_session["last"] = where
        assert user_session["last"] == where
        self.seen.append((where, context.session.id))


def looking(chat: Chat, query: str = "") -> tuple[Socket, list[tuple[str, UUID]]]:
    client = Socket(Looking.as_asgi(chat=chat), f"/ws/{query}")
    client.scope["seen"] = []
    return client, client.scope["seen"]


async def tell_news(text: str) -> None:
    layer = get_channel_layer()
    assert layer is not None
    await layer.group_send("tests.news", {"type": "news.item", "text": text})


def state_seen_elsewhere(session_id: str) -> dict[str, Any]:
    """The values as another connection to the database sees them."""
    with another_connection() as other:
        query = "SELECT state FROM chatsessions_chatsession WHERE id = ?"
        ((state,),) = other.rows(query, UUID(session_id))
    found: dict[str, Any] = msgspec.json.decode(state or "{}")
    return found


def stored(client: Socket, **values: Any) -> Any:
    async def check() -> bool:
        return state_seen_elsewhere(client.session).items() >= values.items()

    return check


async def test_the_context_is_there_everywhere(worker: RunningWorker, chat: Chat) -> None:
    client, seen = looking(chat)
    await client.open()
    await client.ask("a")
    await tell_news("first")
    assert await client.receive_from() == "news first"
    await client.disconnect()
    await until(lambda: not worker.live)
    calls = ["connect", "receive", "news", "disconnect"]
    assert seen == [(name, UUID(client.session)) for name in calls]
    with pytest.raises(ContextNotFound):
        _ = context.session
    row = await row_of(client)
    assert (row.status, row.worker_id, row.connections) == ("away", None, 1)
    assert state_seen_elsewhere(client.session) == {
        "last": "disconnect",
        "connects": 1,
        "count": 1,
        "news": ["first"],
        "code": 1000,
    }


async def test_news_reach_each_in_their_own_context(worker: RunningWorker, chat: Chat) -> None:
    (first, first_seen), (second, second_seen) = looking(chat), looking(chat)
    await first.open()
    await second.open()
    await tell_news("for all")
    for client, seen in ((first, first_seen), (second, second_seen)):
        assert await client.receive_from() == "news for all"
        assert seen[-1] == ("news", UUID(client.session))
        await eventually(stored(client, news=["for all"]))
    assert first.session != second.session
    await first.disconnect()
    await tell_news("for the second")
    assert await second.receive_from() == "news for the second"
    await second.disconnect()
    assert "for the second" not in state_seen_elsewhere(first.session)["news"]


async def test_values_are_stored_after_each_event(worker: RunningWorker, chat: Chat) -> None:
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    await eventually(stored(client, connects=1))
    for count in range(1, 6):
        assert await client.ask("a") == f"a {count}"
        # One event after the other: what the one before has changed is stored by now.
        assert state_seen_elsewhere(client.session).get("count", 0) >= count - 1
    await eventually(stored(client, count=5))
    await client.disconnect()
    await eventually(stored(client, code=1000))


async def test_changes_inside_of_values_are_stored(worker: RunningWorker, chat: Chat) -> None:
    class Appending(Counter):
        async def connect(self) -> None:
            user_session["texts"] = []
            await super().connect()

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            user_session["texts"].append(text_data)

    client = Socket(Appending.as_asgi(chat=chat), "/ws/")
    await client.open()
    for text in ("a", "b"):
        await client.send_to(text)
    await eventually(stored(client, texts=["a", "b"]))
    await client.disconnect()


async def test_methods_run_one_at_a_time(worker: RunningWorker, chat: Chat) -> None:
    class Slow(Counter):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            count = user_session.get("count", 0)
            await asyncio.sleep(0.005)
            user_session["count"] = count + 1
            await self.send(str(count + 1))

    client = Socket(Slow.as_asgi(chat=chat), "/ws/")
    await client.open()
    for _ in range(5):
        await client.send_to("more")
    assert [await client.receive_from() for _ in range(5)] == ["1", "2", "3", "4", "5"]
    await client.disconnect()


# What streams


class Writing(Counter):
    """Opens a stream and a step, and closes neither."""

    go = asyncio.Event()
    #: The channel of the latest one.
    channel = ""

    async def connect(self) -> None:
        Writing.channel = self.channel_name
        await super().connect()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "spawn":
            await Message("from the method").stream_token("")
            spawn(self.write("wait"))
        elif text_data == "spawn and fail":
            spawn(self.write("fail"))
        else:
            await self.write(text_data or "")

    async def write(self, text: str) -> None:
        message = Message()
        await message.stream_token("so ")
        await message.stream_token("far")
        await Step("search", output="half").send()
        if text == "wait":
            await self.go.wait()
            await message.stream_token(" and on")
        if text == "fail":
            raise ValueError("on purpose")

    async def disconnect(self, code: int) -> None:
        if code == 3000:
            await self.write("")

    async def news_item(self, event: dict[str, Any]) -> None:
        await self.write(event["text"])

    async def session_event(self, name: str, data: Any) -> None:
        if name == "write":
            await self.write(data)


async def streams(client: Socket) -> list[tuple[str, bool, str | None]]:
    """What was streamed, as the log has it now: text, whether it is open, what went wrong."""
    rows = SessionEvent.objects.filter(session=client.session, n=None).order_by("seq")
    found: dict[str, Any] = {}
    async for row in rows:
        data = row.data
        if row.name == "error":
            found["error"] = {"content": data["code"], "streaming": False}
        elif "streaming" in (data or ()):
            found[data["id"]] = data
    return [
        (one.get("content") or one.get("output", ""), one["streaming"], one.get("error"))
        for one in found.values()
    ]


def are(client: Socket, *expected: tuple[str, bool, str | None]) -> Any:
    async def check() -> bool:
        return await streams(client) == list(expected)

    return check


async def to_the_end(client: Socket) -> None:
    """Receive all that comes. Raises what has ended the application."""
    while True:
        await client.receive_output()


DONE = (("so far", False, None), ("half", False, None))
CUT = (
    ("so far", False, None),
    ("half", False, "This step was not finished."),
    ("interrupted", False, None),
)


@pytest.mark.parametrize("way", ["receive", "channel layer", "session_event"])
async def test_what_a_method_has_left_open_ends_with_it(
    worker: RunningWorker, chat: Chat, way: str
) -> None:
    """It was open for as long as the session was in memory."""
    client, layer = Socket(Writing.as_asgi(chat=chat), "/ws/"), get_channel_layer()
    assert layer is not None
    await client.open()
    for text, expected in (("", DONE), ("fail", CUT)):
        if way == "receive":
            await client.send_to(text or "leave")
        elif way == "channel layer":
            await layer.send(Writing.channel, {"type": "news.item", "text": text})
        else:
            await aemit_to(client.session, "write", text)
        await eventually(are(client, *(DONE if text else ()), *expected))
    if way == "session_event":
        await client.disconnect()
    else:
        with pytest.raises(ValueError, match="on purpose"):
            await to_the_end(client)


async def test_what_disconnect_has_left_open_ends_with_it(
    worker: RunningWorker, chat: Chat
) -> None:
    client = Socket(Writing.as_asgi(chat=chat), "/ws/")
    await client.open()
    await client.disconnect(3000)
    await eventually(are(client, *DONE))


async def test_what_a_task_streams_beside_a_method_ends_with_the_task(
    worker: RunningWorker, chat: Chat
) -> None:
    Writing.go = asyncio.Event()
    client = Socket(Writing.as_asgi(chat=chat), "/ws/")
    await client.open()
    await client.send_to("spawn")
    method = ("from the method", False, None)
    await eventually(are(client, method, ("", True, None), ("half", True, None)))
    Writing.go.set()
    whole = (method, ("so far and on", False, None), ("half", False, None))
    await eventually(are(client, *whole))
    await client.send_to("spawn and fail")
    await eventually(are(client, *whole, *CUT))
    await client.disconnect()


@pytest.mark.parametrize("way", ["receive", "a block"])
async def test_the_end_of_a_session_keeps_what_streams(
    worker: RunningWorker, chat: Chat, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chatsessions.consumers")
    Writing.go = asyncio.Event()
    client = Socket(Writing.as_asgi(chat=chat), "/ws/")
    await client.open()

    async def block() -> None:
        async with session_context(client.session):
            await Writing.write(Writing(), "wait")

    if way == "receive":
        await client.send_to("wait")
    else:
        writing = asyncio.create_task(block())
    live = worker.live[UUID(client.session)]
    await until(lambda: list(live.sink.texts().values()) == ["so far", "half"])
    await aend_session(client.session)
    assert await streams(client) == list(CUT)
    assert (await row_of(client)).streams == []
    Writing.go.set()
    if way == "receive":
        await until(lambda: "receive() came after the end of its session" in caplog.text)
    else:
        with pytest.raises(SessionOver):
            await writing
    await client.disconnect()


# Coming back


async def test_the_right_token_finds_the_session(worker: RunningWorker, chat: Chat) -> None:
    resumed: list[bool] = []

    def receiver(**arguments: Any) -> None:
        resumed.append(arguments["resumed"])

    with connected(session_connected, receiver, chat):
        first = Socket(Counter.as_asgi(chat=chat), "/ws/")
        await first.open()
        await first.ask("a")
        await first.disconnect()
        await until(lambda: not worker.live)
        back = first.back()
        assert await back.open() == first.session
        assert back.token != first.token
        assert await back.ask("b") == "b 2"
        await until(lambda: len(resumed) == 2)
    assert resumed == [False, True]
    await eventually(stored(back, connects=2))
    # It was heard with the new token: the old one is no good any more.
    late = first.back()
    assert await late.open() != first.session
    await late.disconnect()
    await back.disconnect()


@pytest.mark.parametrize("query", ["session={session}&token=wrong", "session=nonsense&token=t"])
async def test_a_wrong_token_gets_a_new_session(
    worker: RunningWorker, chat: Chat, query: str
) -> None:
    application = Counter.as_asgi(chat=chat)
    first = Socket(application, "/ws/")
    await first.open()
    await first.ask("a")
    other = Socket(application, f"/ws/?{query.format(session=first.session)}")
    assert await other.open() != first.session
    assert await other.ask("b") == "b 1"
    assert await first.ask("c") == "c 2"  # nobody has taken it over
    await other.disconnect()
    await first.disconnect()


async def test_the_token_of_another_chat_is_no_good(worker: RunningWorker, chat: Chat) -> None:
    first = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await first.open()
    await first.disconnect()
    first.application = Counter.as_asgi(chat="another")
    other = first.back()
    assert await other.open() != first.session
    await other.disconnect()


async def test_a_second_connection_takes_over(worker: RunningWorker, chat: Chat) -> None:
    first = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await first.open()
    second = first.back()
    assert await second.open() == first.session
    assert await first.receive_output() == {"type": "websocket.close", "code": 4509}
    await first.send_to("which came too late")
    await first.disconnect()
    assert await second.ask("a") == "a 1"
    assert (await row_of(second)).status == "connected"
    await second.disconnect()


# What as_asgi takes


@pytest.mark.parametrize(
    "wrong", ["no.such.module", "tests.test_session_consumer.nobody", "tests.settings", 7, Counter]
)
@pytest.mark.parametrize("consumer", [Counter, ChatConsumer])
def test_a_chat_that_is_not_there(consumer: type[SessionConsumer], wrong: Any) -> None:
    with pytest.raises(ChatError):
        consumer.as_asgi(chat=wrong)


def test_a_chat_consumer_needs_a_chat() -> None:
    with pytest.raises(ValueError, match=r"needs chat=: a Chat, its path, or a module"):
        ChatConsumer.as_asgi()


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ChatError, match="1 to 200 characters"):
        Counter.as_asgi(chat=Chat(name))


@pytest.mark.parametrize("consumer", [Counter, ChatConsumer])
def test_the_application_says_its_class(consumer: type[SessionConsumer], chat: Chat) -> None:
    application = consumer.as_asgi(chat=chat)
    assert application.consumer_class is consumer
    assert application.consumer_initkwargs == {"chat": chat}


async def test_the_chat_of_the_class(worker: RunningWorker, chat: Chat) -> None:
    class Chosen(Counter):
        pass

    Chosen.chat = chat
    client = Socket(Chosen.as_asgi(), "/ws/")
    await client.open()
    await client.disconnect()
    assert (await row_of(client)).chat == chat.name


# Errors


@pytest.mark.parametrize(
    ("where", "state"),
    [("connect", '{"connects":1}'), ("disconnect", '{"connects":1,"code":1000}')],
)
async def test_an_exception_in_connect_or_disconnect(
    worker: RunningWorker, chat: Chat, where: str, state: str
) -> None:
    class Failing(Counter):
        async def connect(self) -> None:
            await super().connect()
            if where == "connect":
                raise ValueError("on purpose")

        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            raise ValueError("on purpose")

    client = Socket(Failing.as_asgi(chat=chat), "/ws/")
    await client.open()
    with pytest.raises(ValueError, match="on purpose"):
        await (client.receive_output() if where == "connect" else client.disconnect())
    await until(lambda: not worker.live)
    row = await row_of(client)
    assert (row.status, row.worker_id, row.state) == ("away", None, state)


async def test_an_exception_in_a_handler_of_the_channel_layer(
    worker: RunningWorker, chat: Chat
) -> None:
    client, _ = looking(chat)
    await client.open()
    await client.ask("a")
    await tell_news("fail")
    with pytest.raises(ValueError, match="on purpose"):
        await client.receive_output()
    await until(lambda: not worker.live)
    row = await row_of(client)
    assert (row.status, row.worker_id) == ("away", None)


async def test_a_connection_that_is_denied(worker: RunningWorker, chat: Chat) -> None:
    class Denying(Counter):
        async def connect(self) -> None:
            raise DenyConnection

    client = Socket(Denying.as_asgi(chat=chat), "/ws/")
    accepted, _ = await client.connect()
    assert not accepted
    await client.disconnect()
    await until(lambda: not worker.live)
    assert (await ChatSession.objects.aget()).status == "away"


# Refusals and ends


async def refusal(client: Socket) -> Any:
    """The close of a connection whose ``connect`` never ran."""
    accepted, _ = await client.connect()
    assert accepted  # a browser would not see the code of a refused handshake
    return await client.receive_output()


async def test_a_server_that_shuts_down(worker: RunningWorker, chat: Chat) -> None:
    application = Counter.as_asgi(chat=chat)
    client = Socket(application, "/ws/")
    await client.open()
    await client.ask("a")
    await worker.shut_down(for_good=True)
    assert await client.receive_output() == {"type": "websocket.close", "code": 4000}
    row = await row_of(client)
    assert (row.status, row.worker_id) == ("away", None)
    late = Socket(application, "/ws/")
    assert await refusal(late) == {"type": "websocket.close", "code": 4000}
    await late.send_to("is anybody there")
    assert await late.receive_nothing()
    await late.disconnect()
    await client.disconnect()
    assert await ChatSession.objects.acount() == 1


async def test_too_many_sessions(worker: RunningWorker, chat: Chat, settings: Settings) -> None:
    settings.CHATSESSIONS = {"MAX_SESSIONS_PER_USER": 1}
    user = await User.objects.acreate(username="barbara")

    def socket(query: str = "") -> Socket:
        client = Socket(Counter.as_asgi(chat=chat), f"/ws/{query}")
        client.scope["user"] = user
        return client

    first = socket()
    await first.open()
    second = socket()
    assert await refusal(second) == {"type": "websocket.close", "code": 4504}
    await second.disconnect()
    # One's own session counts no second time, and who has left does not count.
    again = socket(f"?session={first.session}&token={first.token}")
    assert await again.open() == first.session
    await first.disconnect()
    await again.disconnect()
    await until(lambda: not worker.live)
    third = socket()
    await third.open()
    await third.disconnect()
    assert await ChatSession.objects.acount() == 2


async def test_an_ended_session_closes(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    await client.ask("a")
    await aend_session(client.session, "admin")
    assert await client.receive_output() == {"type": "websocket.close", "code": 4503}
    await client.disconnect()  # its disconnect() comes too late to change anything
    row = await row_of(client)
    assert (row.status, row.end_reason) == ("ended", "admin")
    assert row.state == '{"connects":1,"count":1}'
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    back = client.back()
    assert await back.open() != client.session
    await back.disconnect()


async def test_a_frame_that_comes_after_the_end_of_its_session_is_no_error(
    worker: RunningWorker, chat: Chat
) -> None:
    """It raised in the application, so that the server closed with 1011, and logged a traceback."""
    texts: list[str | None] = []
    began, go = asyncio.Event(), asyncio.Event()

    class Slow(Counter):
        async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
            texts.append(text_data)
            began.set()
            await go.wait()
            await super().receive(text_data)

    client = Socket(Slow.as_asgi(chat=chat), "/ws/")
    await client.open()
    await client.send_to("while it ends")
    await began.wait()
    await client.send_to("after the end")
    await aend_session(client.session, "admin")
    assert await client.receive_output() == {"type": "websocket.close", "code": 4503}
    go.set()
    await client.disconnect()
    assert texts == ["while it ends"]
    assert (await row_of(client)).state == '{"connects":1}'


@pytest.mark.parametrize("limit", [{"MAX_UNACKED_EVENTS": 64}, {"MAX_UNACKED_BYTES": 65536}])
async def test_a_client_that_reads_nothing_is_too_slow(
    worker: RunningWorker, chat: Chat, settings: Settings, limit: dict[str, int]
) -> None:
    """What was emitted waited for it in memory, all of it."""
    settings.CHATSESSIONS = limit
    sent: list[dict[str, Any]] = []
    coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    reads = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 2:
            await reads.wait()

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    app = asyncio.create_task(Counter.as_asgi(chat=chat)(scope, coming.get, send))
    coming.put_nowait({"type": "websocket.connect"})
    await until(lambda: len(sent) == 2)
    session = sent[1]["text"].split()[0]
    for _ in range(80):
        await aemit_to(session, "news", "x" * 1000)
    reads.set()
    await until(lambda: sent[-1]["type"] == "websocket.close")
    assert sent[-1]["code"] == 4008
    assert len(sent) == 4
    coming.put_nowait({"type": "websocket.disconnect", "code": 4008})
    await app
    assert await SessionEvent.objects.filter(session=session, name="news").acount() == 80


# Database connections


async def test_connections_are_refreshed_at_most_once_a_second(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    now = worker.loop.time()
    monkeypatch.setattr("chatsessions.workers.host.close_unusable", lambda: calls.append(None))
    monkeypatch.setattr("channels.db.close_old_connections", lambda: calls.append(None))
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    for _ in range(20):
        await client.ask("a")
    await until(lambda: calls)
    assert len(calls) <= 1 + (worker.loop.time() - now)
    before = len(calls)
    for more in (1, 2):
        worker.connections_due -= 1.5  # so much later
        await client.ask("b")
        await client.ask("c")
        await until(lambda more=more: len(calls) >= before + more)  # type: ignore[misc]
    assert len(calls) <= before + 2 + (worker.loop.time() - now)
    await client.disconnect()


# Sessions that cannot be had


async def test_a_session_that_another_worker_takes_at_this_moment_is_not_waited_for(
    worker: RunningWorker, chat: Chat
) -> None:
    """Between the look at its row and the commit that claims it."""
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    await client.disconnect()
    await until(lambda: not worker.live)
    back = client.back()
    with another_connection() as other:
        other.execute("BEGIN IMMEDIATE" if other.is_sqlite else "BEGIN")
        take = "UPDATE chatsessions_chatsession SET generation = generation + 1 WHERE id = ?"
        other.execute(take, UUID(client.session))
        refused = asyncio.create_task(refusal(back))
        await until(lambda: worker.live)  # by the row as it was
        other.execute("COMMIT")
    assert await refused == {"type": "websocket.close", "code": 4000}
    await back.disconnect()
    again = client.back()
    assert await again.open() == client.session
    await again.disconnect()


@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
async def test_a_store_that_fails_at_connect_asks_to_come_back(
    worker: RunningWorker, chat: Chat, settings: Settings, cache: type[SpyCache], kept_in: str
) -> None:
    """No traceback, no 1011, and no session that is connected to nobody."""
    settings.CHATSESSIONS = {"USER_SESSION_STORE": kept_in}
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    await client.disconnect()
    await until(lambda: not worker.live)
    await worker.journal.settled()
    back = client.back()
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.3, "USER_SESSION_STORE": kept_in}
    with failing() if kept_in == "cached_db" else raising(cache):
        assert await refusal(back) == {"type": "websocket.close", "code": 4000}
        await back.disconnect()
        settings.CHATSESSIONS = {"USER_SESSION_STORE": kept_in}
    await until(lambda: not worker.live)
    await until(lambda: worker.journal.failure is None)
    again = client.back()
    assert await again.open() == client.session
    await again.disconnect()


@contextmanager
def raising(cache: type[SpyCache]) -> Iterator[None]:
    cache.raises = True
    try:
        yield
    finally:
        cache.raises = False


async def test_a_store_that_fails_while_connect_runs_asks_to_come_back(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    faults = ExitStack()

    class Changing(Counter):
        async def connect(self) -> None:
            await super().connect()
            settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.3}
            faults.enter_context(failing())

    client = Socket(Changing.as_asgi(chat=chat), "/ws/")
    with faults:
        await client.open()
        assert await client.receive_output() == {"type": "websocket.close", "code": 4000}
        settings.CHATSESSIONS = {}
    await client.disconnect()
    await until(lambda: not worker.live)
    assert '"connects":1' in (await row_of(client)).state
