"""Times go over the wire with an offset, also where the project's own have none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.urls import include, path

from chatsessions import (
    Action,
    AskActionMessage,
    AskUserMessage,
    Chat,
    Message,
    chat_context,
    context,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

#: A moment off by the zone's 5:30 h is far beyond what any machine takes.
SOON = timedelta(minutes=30)


@pytest.fixture(
    params=[(False, "Asia/Kolkata"), (True, "Asia/Kolkata"), (False, None)], ids=str, autouse=True
)
def zone(request: pytest.FixtureRequest, settings: Settings) -> None:
    settings.USE_TZ, settings.TIME_ZONE = request.param


@pytest.fixture
def bot(chat: Chat) -> Chat:
    @chat.on_message
    async def answer(message: Message) -> None:
        user_session["message"] = await Message("one").send()
        streamed = Message()
        await streamed.stream_token("two")
        await streamed.send()
        await Message("given", created_at=datetime.now()).send()  # noqa: DTZ005  # a naive one
        message.content = "changed"
        await message.update()

    @chat.on_event("again")
    async def again() -> None:
        await user_session["message"].update()
        for message in chat_context.get():
            await message.update()
        assert max(one.created_at for one in chat_context.get()) <= datetime.now(UTC)

    @chat.on_event("ask")
    async def ask() -> None:
        found = await AskUserMessage("Name?", timeout=60).send()
        assert found is not None
        await context.emitter.emit("answered", found)

    @chat.on_event("choose")
    async def choose() -> None:
        await AskActionMessage("Sure?", actions=[Action("yes")], timeout=60).send()

    @chat.on_event("read")
    async def read() -> None:
        file = await context.session.save_file("notes.txt", "one")
        assert (await context.session.files())[-1] == file
        said = chat_context.get()
        assert said
        times = [context.session.created_at, file.created_at, *(one.created_at for one in said)]
        await context.emitter.emit("times", [at.isoformat() for at in times])

    @chat.on_chat_resume
    async def resume(thread: Any) -> None:
        times = [thread.created_at, *(one.created_at for one in thread.transcript)]
        keys = [thread["createdAt"], *(step["createdAt"] for step in thread["steps"])]
        await context.emitter.emit("thread", [*(at.isoformat() for at in times), *keys])

    return chat


@pytest.fixture
def urls(bot: Chat, settings: Settings) -> None:
    settings.ROOT_URLCONF = (
        path("chat/", ChatView.as_view(chat=bot)),
        path("chats/", include("chatsessions.urls")),
    )


def times_in(data: Any) -> list[str]:
    """Everything in ``data`` that is a time, wherever it is."""
    if isinstance(data, dict):
        return [found for value in data.values() for found in times_in(value)]
    if isinstance(data, list):
        return [found for value in data for found in times_in(value)]
    if not isinstance(data, str) or len(data) < 19 or data[4:5] + data[10:11] != "-T":
        return []
    datetime.fromisoformat(data)
    return [data]


def are_right(data: Any, *, at_least: int = 1) -> None:
    found = times_in(data)
    assert len(found) >= at_least
    for text in found:
        at = datetime.fromisoformat(text)
        assert at.utcoffset() is not None, text
        assert abs(at - datetime.now(UTC)) < SOON, text


async def run(client: ChatCommunicator, name: str, data: Any = None) -> None:
    n = await client.send_event(name, data)
    assert await client.wait_for_turn(n) == "done", client.errors


async def test_a_socket_tells_no_time_without_an_offset(bot: Chat) -> None:
    """A browser in another zone showed times off by 5:30 h, and "Time is up." after a reload."""
    async with ChatCommunicator(ChatConsumer.as_asgi(chat=bot), "/ws/") as client:
        await run(client, "message", {"content": "hello"})
        await run(client, "again")
        await run(client, "read")
        for name in ("ask", "choose"):
            n = await client.send_event(name)
            asked = (await client.receive_event("ask")).data
            deadline = datetime.fromisoformat(asked["deadline"])
            assert timedelta() < deadline - datetime.now(UTC) < SOON
            action = asked["actions"][0]["id"] if "actions" in asked else None
            answer = {"content": "Ada"} if action is None else {"id": action}
            await client.answer(asked["call"], answer)
            assert await client.wait_for_turn(n) == "done"
        are_right([event.data for event in client.events], at_least=10)
        await client.reload()
        await run(client, "read")  # of a session that may have been loaded
        assert len((await client.receive_event("times")).data) >= 6
        are_right([event.data for event in client.events], at_least=10)
        session = await ChatSession.objects.aget(pk=client.session_id)
        are_right([session.asks, session.streams, session.chat_context], at_least=0)


@pytest.mark.usefixtures("urls")
async def test_http_tells_no_time_without_an_offset(bot: Chat) -> None:
    ada = await sync_to_async(User.objects.create_user)("ada")
    browser = AsyncClient()
    await browser.aforce_login(ada)
    answer = await browser.post("/chat/", {"content": "hi"}, content_type="application/json")
    are_right(answer.json(), at_least=4)
    are_right((await browser.get("/chat/")).json(), at_least=4)
    threads = (await browser.get("/chats/threads/")).json()
    are_right(threads, at_least=2)
    thread = (await browser.get(f"/chats/threads/{threads['threads'][0]['id']}/")).json()
    are_right(thread, at_least=6)
    assert [one["content"] for one in thread["messages"]] == ["changed", "one", "two", "given"]
    consumer = ChatConsumer.as_asgi(chat=bot)
    asked = {"user": ada, "thread": threads["threads"][0]["id"]}
    async with ChatCommunicator(consumer, "/ws/", **asked) as client:
        told = (await client.receive_event("thread")).data
        assert len(told) == 10
        are_right(told)
