"""A message that is sent again takes the place of the user's last one, and what came of that."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path, reverse
from django.utils import timezone

from chatsessions import (
    AskUserMessage,
    Chat,
    InterruptedTurn,
    Message,
    Step,
    aemit_to,
    chat_context,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.testing import ChatCommunicator, shut_down_worker
from chatsessions.views import ChatView

from .support.files import token_session
from .support.sessions import eventually

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "admin:chatsessions_chatsession_change"


@pytest.fixture
def said() -> list[Any]:
    """What each handler has found in ``chat_context`` when it began."""
    return []


@pytest.fixture
def echo(chat: Chat, said: list[Any]) -> Chat:
    """A chat that answers each message, and remembers what it was told before."""
    chat.edits = True

    @chat.on_message
    async def answer(message: Message) -> None:
        context = [one.content for one in await chat_context.aget()]
        said.append((message.content, message.replaces, context))
        await Message(f"re {message.content}").send()

    return chat


def visit(chat: Chat, **options: Any) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/ws/", **options)


def contents(tab: ChatCommunicator) -> list[str]:
    return [message.content for message in tab.messages]


async def test_an_edited_message_takes_the_place_of_the_last_exchange(
    echo: Chat, said: list[Any]
) -> None:
    async with visit(echo) as tab:
        assert tab.offers == ["edits"]
        await tab.wait_for_turn(await tab.send("one"))
        n = await tab.send("two")
        await tab.wait_for_turn(n)
        assert await tab.wait_for_turn(await tab.edit("zwei")) == "done"
        assert contents(tab) == ["one", "re one", "zwei", "re zwei"]
        assert said[-1] == ("zwei", n, ["one", "re one", "zwei"])
        # The log has everything, and whoever reads it finds the same.
        events = [event.data["content"] for event in tab.events]
        assert events == ["one", "re one", "two", "re two", "zwei", "re zwei"]
        await tab.reload()
        assert contents(tab) == ["one", "re one", "zwei", "re zwei"]
        await tab.wait_for_turn(await tab.send("three"))
        assert said[-1][2] == ["one", "re one", "zwei", "re zwei", "three"]


async def test_it_may_be_tried_again_and_again(echo: Chat, said: list[Any]) -> None:
    async with visit(echo) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        for _ in range(3):
            await tab.wait_for_turn(await tab.try_again())
        assert contents(tab) == ["one", "re one"]
        assert [context for _, _, context in said] == [["one"]] * 4
        assert [replaces for _, replaces, _ in said] == [None, 1, 2, 3]


async def test_files_stay_with_a_message_that_is_tried_again(echo: Chat) -> None:
    async with visit(echo) as tab:
        file = await tab.upload("a.txt", "A")
        await tab.wait_for_turn(await tab.send("look", files=[file]))
        await tab.wait_for_turn(await tab.edit("look here"))
        first, _ = tab.messages
        assert (first.content, first.files) == ("look here", [file])


async def test_files_stay_with_a_message_that_the_bot_has_changed(chat: Chat) -> None:
    """The client sent again what the bot had said of the file, and was refused."""
    chat.edits = True

    @chat.on_message
    async def redact(message: Message) -> None:
        message.content = message.content.replace("secret", "***")
        await message.update()

    async with visit(chat) as tab:
        file = await tab.upload("a.txt", "A")
        await tab.wait_for_turn(await tab.send("my secret", files=[file]))
        assert await tab.wait_for_turn(await tab.try_again()) == "done"
        [message] = tab.messages
        assert (message.content, [one["id"] for one in message.files]) == ("my ***", [file])


async def test_what_runs_is_stopped(chat: Chat) -> None:
    chat.edits = True
    stops: list[str] = []

    @chat.on_message
    async def answer(message: Message) -> None:
        streamed = Message()
        async with Step("search"):
            await streamed.stream_token(f"re {message.content} ")
            if message.content == "long":
                try:
                    await asyncio.Event().wait()
                finally:
                    await Message("a last word").send()
        await streamed.update()

    @chat.on_stop
    async def stop() -> None:
        stops.append("stop")

    async with visit(chat) as tab:
        n = await tab.send("long")
        await tab.wait_until(lambda: contents(tab)[-1:] == ["re long "])
        again = await tab.edit("short")
        assert await tab.wait_for_turn(n) == "stopped"
        assert await tab.wait_for_turn(again) == "done"
        assert contents(tab) == ["short", "re short "]
        await tab.reload()
        assert contents(tab) == ["short", "re short "]
        assert tab.messages[-1].streaming is False
        names = [event.data.get("content") for event in tab.events]
        assert "a last word" in names  # the log has it all the same
        assert stops == []


async def test_a_hook_is_not_stopped(chat: Chat) -> None:
    """The message had been answered, and what was stopped was, for instance, on_session_load."""
    chat.edits = True
    go, steps = asyncio.Event(), []

    @chat.on_connect
    async def connect() -> None:
        steps.append("connects")
        if len(steps) > 1:
            await go.wait()
        steps.append("connected")

    @chat.on_message
    async def answer(message: Message) -> None:
        steps.append(message.content)

    async with visit(chat) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        steps[:] = ["came"]
        await tab.reload()
        await tab.wait_until(lambda: steps == ["came", "connects"])
        n = await tab.edit("two")
        await tab.wait_until(lambda: len(tab.events) == 2)
        go.set()
        assert await tab.wait_for_turn(n) == "done"
        assert steps == ["came", "connects", "connected", "two"]


async def test_a_question_of_what_is_replaced_is_closed(chat: Chat) -> None:
    chat.edits = True

    @chat.on_message
    async def answer(message: Message) -> None:
        if message.content == "ask":
            await AskUserMessage("Your name?", timeout=None).send()
        await Message(f"re {message.content}").send()

    async with visit(chat) as tab:
        await tab.send("ask")
        asked = await tab.receive_event("ask")
        await tab.wait_for_turn(await tab.edit("do not ask"))
        closed = await tab.receive_event("ask_closed")
        assert closed.data == {"call": asked.data["call"], "outcome": "cancelled"}
        await tab.answer(asked.data["call"], {"content": "Ada"})
        await tab.wait_until(lambda: tab.errors)
        assert [error.code for error in tab.errors] == ["call_closed"]
        assert contents(tab) == ["do not ask", "re do not ask"]


async def test_one_that_waits_is_replaced_alone(chat: Chat) -> None:
    chat.edits = True
    go = asyncio.Event()

    @chat.on_message
    async def answer(message: Message) -> None:
        if message.content == "first":
            await go.wait()
        await Message(f"re {message.content}").send()

    async with visit(chat) as tab:
        first = await tab.send("first")
        second = await tab.send("second")
        await tab.wait_until(lambda: len(tab.events) == 2)
        third = await tab.edit("third")
        assert await tab.wait_for_turn(second) == "stopped"
        go.set()
        assert await tab.wait_for_turn(first) == "done"
        assert await tab.wait_for_turn(third) == "done"
        assert contents(tab) == ["first", "third", "re first", "re third"]


async def test_the_turn_that_runs_meanwhile_is_not_run_again_by_the_next_owner(chat: Chat) -> None:
    """The end of the one that waited was stored as that of the one that ran."""
    chat.edits = True
    said: list[str] = []
    interrupted: list[InterruptedTurn] = []
    chat.on_interrupted(interrupted.append)

    @chat.on_message
    async def answer(message: Message) -> None:
        said.append(message.content)
        if message.content == "first":
            await asyncio.Event().wait()

    async with visit(chat) as tab:
        first = await tab.send("first")
        second = await tab.send("second")
        await tab.wait_until(lambda: len(tab.events) == 2)
        third = await tab.edit("third")
        assert await tab.wait_for_turn(second) == "stopped"
        await shut_down_worker()
        await tab.resume()
        assert await tab.wait_for_turn(third) == "done"
        assert said == ["first", "third"]
        assert [(turn.turn, turn.name) for turn in interrupted] == [(first, "message")]
        row = await SessionEvent.objects.aget(session=tab.session_id, n=first)
        assert row.status == "interrupted"


async def test_what_earlier_turns_have_said_meanwhile_stays(chat: Chat) -> None:
    chat.edits = True
    go = asyncio.Event()
    told = asyncio.Event()

    @chat.on_message
    async def answer(message: Message) -> None:
        if message.content == "first":
            await go.wait()
            await Message("of the first").send()
            told.set()
            await asyncio.Event().wait()
        await Message(f"re {message.content}").send()

    async with visit(chat) as tab:
        await tab.send("first")
        await tab.send("second")
        await tab.wait_until(lambda: len(tab.events) == 2)
        go.set()
        await told.wait()
        await tab.receive_message()
        await tab.edit("third")
        await tab.stop()
        await tab.wait_for_turn()
        assert contents(tab) == ["first", "of the first", "third", "re third"]


async def test_only_the_last_message_may_be_replaced(echo: Chat, said: list[Any]) -> None:
    async with visit(echo) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        await tab.wait_for_turn(await tab.send("two"))
        await tab.wait_for_turn(await tab.edit("zwei"))
        for count, n in enumerate((1, 2, 4, 99)):
            await tab.send_event("message", {"content": "no", "replaces": n})
            await tab.wait_until(lambda: len(tab.errors) > count)  # noqa: B023  # awaited here
        assert {error.code for error in tab.errors} == {"forbidden"}
        assert len(said) == 3
        for count, n in enumerate((0, -1, "1", 1.5, True, [1])):
            await tab.send_event("message", {"content": "no", "replaces": n})
            await tab.wait_until(lambda: len(tab.errors) > count + 4)  # noqa: B023
        assert {error.code for error in tab.errors[4:]} == {"bad_frame"}
        assert contents(tab) == ["one", "re one", "zwei", "re zwei"]


async def test_a_new_session_and_another_have_nothing_to_replace(echo: Chat) -> None:
    async with visit(echo) as other:
        await other.wait_for_turn(await other.send("one"))
        async with visit(echo) as tab:
            await tab.send_event("message", {"content": "no", "replaces": 1})
            await tab.wait_until(lambda: tab.errors)
            assert [error.code for error in tab.errors] == ["forbidden"]


async def test_a_chat_that_does_not_offer_it_refuses_it(echo: Chat) -> None:
    echo.edits = False
    async with visit(echo) as tab:
        assert tab.offers == []
        await tab.wait_for_turn(await tab.send("one"))
        await tab.edit("eins")
        await tab.wait_until(lambda: tab.errors)
        assert [error.code for error in tab.errors] == ["forbidden"]
        assert contents(tab) == ["one", "re one"]


async def test_a_session_that_was_let_go_knows_its_last_message(
    echo: Chat, said: list[Any]
) -> None:
    async with visit(echo) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        await tab.wait_for_turn(await tab.send("two"))
        await tab.drop()
        await released(tab)
        assert await tab.resume()
        assert await tab.wait_for_turn(await tab.edit("zwei")) == "done"
        assert said[-1] == ("zwei", 2, ["one", "re one", "zwei"])
        assert contents(tab) == ["one", "re one", "zwei", "re zwei"]


async def released(tab: ChatCommunicator) -> None:
    """Wait until no worker holds the session."""
    rows = ChatSession.objects.filter(pk=tab.session_id, worker=None)
    await eventually(rows.aexists)


async def test_messages_that_chat_context_was_given_go_with_the_turn(chat: Chat) -> None:
    chat.edits = True
    found: list[list[str]] = []

    @chat.on_message
    async def answer(message: Message) -> None:
        found.append([one.content for one in await chat_context.aget()])
        chat_context.add(Message(f"of {message.content}", type="system_message"))
        await Message(f"re {message.content}").send()

    async with visit(chat) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        await tab.wait_for_turn(await tab.send("two"))
        await tab.wait_for_turn(await tab.edit("zwei"))
        assert found[-1] == ["one", "of one", "re one", "zwei"]
        await tab.drop()
        await released(tab)
        assert await tab.resume()
        await tab.wait_for_turn(await tab.send("three"))
        assert found[-1] == ["one", "of one", "re one", "zwei", "of zwei", "re zwei", "three"]


async def test_a_crash_loses_neither_of_the_two(echo: Chat, said: list[Any]) -> None:
    """The server is gone when the message is stored, while the other one's handler still runs."""
    interrupted: list[InterruptedTurn] = []
    echo.on_interrupted(interrupted.append)
    given = {"accepted": 2, "running": 1, "head": 3, "events_in": 2, "status": "away"}
    session, token = await sync_to_async(token_session)(chat=echo.name, **given)
    for seq, n, data in (
        (1, 1, {"content": "long"}),
        (2, None, {"content": "so far", "id": "a", "streaming": True}),
        (3, 2, {"content": "short", "replaces": 1}),
    ):
        await SessionEvent.objects.acreate(
            session=session,
            seq=seq,
            n=n,
            turn=None if n else 1,
            name="message",
            data=data,
            created_at=timezone.now(),
        )
    stream = {
        "id": "a",
        "content": "so far and",
        "author": "Bot",
        "created_at": "2026-01-01T00:00Z",
    }
    await ChatSession.objects.filter(pk=session.pk).aupdate(streams=[stream])
    async with visit(echo, session=session.pk, token=token) as tab:
        assert tab.resumed
        assert await tab.wait_for_turn(2) == "done"
        assert contents(tab) == ["short", "re short"]
        assert said == [("short", 1, ["short"])]
        row = await SessionEvent.objects.aget(session=session, n=1)
        assert (row.status, interrupted, tab.errors) == ("stopped", [], [])
        assert await tab.reload()
        assert contents(tab) == ["short", "re short"]


async def test_it_may_be_posted(echo: Chat) -> None:
    browser = AsyncClient()
    routes = (path("chat/", ChatView.as_view(chat=echo)),)
    with override_settings(ROOT_URLCONF=routes):

        async def post(body: dict[str, Any]) -> Any:
            response = await browser.post("/chat/", json.dumps(body), "application/json")
            return response.status_code, json.loads(response.content)

        await post({"content": "one"})
        status, told = await post({"content": "eins", "replaces": 1})
        assert (status, told["turn"]["status"]) == (200, "done")
        assert told["events"][-1]["data"]["content"] == "re eins"
        status, told = await post({"content": "uno", "replaces": 1})
        assert (status, told["error"]) == (403, "forbidden")
    await shut_down_worker()


async def test_a_thread_has_the_branch_in_use_on_every_page(echo: Chat) -> None:
    ada = await User.objects.acreate_user("ada")
    async with visit(echo, user=ada) as tab:
        for number in range(60):
            await tab.wait_for_turn(await tab.send(f"{number}"))
            await tab.wait_for_turn(await tab.edit(f"edited {number}"))
        session = await ChatSession.objects.aget(pk=tab.session_id)
    browser = AsyncClient()
    await browser.aforce_login(ada)
    routes = (path("chats/", include("chatsessions.urls")),)
    found: list[str] = []
    with override_settings(ROOT_URLCONF=routes):
        query: dict[str, str] = {}
        while True:
            url = f"/chats/threads/{session.thread_id}/"
            page = json.loads((await browser.get(url, query)).content)
            found = [one["content"] for one in page["messages"]] + found
            if page["before"] is None:
                break
            query = {"before": page["before"]}
    assert found == [text for n in range(60) for text in (f"edited {n}", f"re edited {n}")]


async def test_the_admin_shows_both_and_says_which_was_replaced(
    echo: Chat, admin_client: Client
) -> None:
    async with visit(echo) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        await tab.wait_for_turn(await tab.send("two"))
        await tab.wait_for_turn(await tab.edit("zwei"))
        url = reverse(PAGE, args=[tab.session_id])
    response = await sync_to_async(admin_client.get)(url)
    lines = [(line.text.text, line.removed) for line in response.context["lines"] if line.text]
    assert lines == [
        ("one", False),
        ("re one", False),
        ("two", True),
        ("re two", True),
        ("zwei", False),
        ("re zwei", False),
    ]
    assert response.content.decode().count(">replaced<") == 2


async def test_an_earlier_page_that_is_fetched_later_fits(echo: Chat) -> None:
    async with visit(echo, latest=1) as tab:
        await tab.wait_for_turn(await tab.send("one"))
        await tab.wait_for_turn(await tab.send("two"))
        await tab.wait_for_turn(await tab.edit("zwei"))
        await aemit_to(tab.session_id, "message", {"id": "x", "content": "last"})
        await tab.wait_until(lambda: contents(tab)[-1:] == ["last"])
        assert await tab.reload()
        assert contents(tab) == ["last"]
        await tab.load_earlier(2)
        assert contents(tab) == ["zwei", "re zwei", "last"]
        await tab.load_earlier(2)
        assert contents(tab) == ["zwei", "re zwei", "last"]
        await tab.load_earlier()
        assert contents(tab) == ["one", "re one", "zwei", "re zwei", "last"]
