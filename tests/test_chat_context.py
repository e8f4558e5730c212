"""``chat_context``: the conversation as a list of messages, whatever happens to the session."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections

import chatsessions
from chatsessions import (
    Action,
    AskUserMessage,
    Chat,
    ContextNotFound,
    ErrorMessage,
    Message,
    NotStorable,
    TooLarge,
    session_context,
)
from chatsessions.handlers import chat_context as conversation
from chatsessions.handlers.chat_context import chat_context
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol import frames
from chatsessions.workers.worker import Worker as RunningWorker

from .support.sessions import Client, running_worker, until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True, params=["used before", "not used before"])
def use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the process has used the name before a session begins. The result is the same."""
    used = threading.Event()
    if request.param == "used before":
        used.set()
    monkeypatch.setattr(conversation, "_used", used)
    return str(request.param)


def shown(messages: list[Message]) -> list[str]:
    return [f"{message.type[0]}:{message.content}" for message in messages]


@pytest.fixture
def talk(chat: Chat) -> dict[str, Any]:
    """A chat that answers, and puts the conversation as it sees it under ``seen``."""
    out: dict[str, Any] = {}

    @chat.on_message
    async def answer(message: Message) -> None:
        await Message(f"re {message.content}").send()

    @chat.on_event("look")
    async def look() -> None:
        out["seen"] = shown(chat_context.get())

    @chat.on_event("look in a thread")
    def look_sync() -> None:
        out["seen"] = shown(chat_context.get())

    @chat.on_event("wait and look")
    async def aget() -> None:
        out["seen"] = shown(await chat_context.aget())

    @chat.on_event("clear")
    async def clear() -> None:
        chat_context.clear()

    @chat.on_event("add")
    async def add(text: str) -> None:
        message = Message(text, type="system_message")
        assert chat_context.add(message) is message
        chat_context.add(message)

    return out


async def say(client: Client, *texts: str) -> None:
    for text in texts:
        assert await client.run("message", {"content": text}) == "done"


async def look(client: Client, out: dict[str, Any], how: str = "look") -> list[str]:
    assert await client.run(how) == "done"
    seen: list[str] = out.pop("seen")
    return seen


async def come_back(worker: RunningWorker, chat: Chat, client: Client, **who: Any) -> Client:
    client.leave()
    await until(lambda: client.live.id not in worker.live)
    return await Client.open(worker, chat, client.live.id, client.token, **who)


LOOKS = ["look", "look in a thread", "wait and look"]


@pytest.mark.parametrize("how", LOOKS)
async def test_it_is_what_was_said_also_after_a_return(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any], how: str
) -> None:
    client = await Client.open(worker, chat)
    await say(client, "one", "two")
    expected = ["u:one", "a:re one", "u:two", "a:re two"]
    assert await look(client, talk, how) == expected
    await say(client, "three")
    expected += ["u:three", "a:re three"]
    assert await look(client, talk, how) == expected
    back = await come_back(worker, chat, client)
    assert await look(back, talk, how) == expected
    assert await look(back, talk, how) == expected


async def test_two_first_looks_at_a_time(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    """What comes while both wait for the store is lost to neither."""

    @chat.on_event("look twice")
    async def twice() -> None:
        looks = []
        for n in range(4):
            looks.append(asyncio.create_task(chat_context.aget()))
            await asyncio.sleep(0)
            await Message(str(n)).send()
        looks[0].cancel()
        seen = await asyncio.gather(*looks, return_exceptions=True)
        talk["last"] = shown(seen[-1])  # type: ignore[arg-type]
        talk["seen"] = shown(await chat_context.aget())

    client = await Client.open(worker, chat)
    await say(client, "one")
    assert await client.run("look twice") == "done"
    expected = ["u:one", "a:re one", *(f"a:{n}" for n in range(4))]
    assert talk["last"][:5] == expected[:5]
    assert talk["seen"] == expected


@pytest.mark.parametrize("how", LOOKS)
async def test_what_is_not_stored_yet_is_there_and_once(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any], how: str
) -> None:
    """The first look comes while entries are on their way into the store."""

    @chat.on_event("rush")
    async def rush() -> None:
        for n in range(20):
            await Message(str(n)).send()
            if n % 3 == 0:
                await asyncio.sleep(0)
        if how == "wait and look":
            looking = asyncio.create_task(chat_context.aget())
            await asyncio.sleep(0)
            await Message("meanwhile").send()
            await looking
            talk["seen"] = shown(await chat_context.aget())
        else:
            talk["seen"] = shown(chat_context.get())

    client = await Client.open(worker, chat)
    assert await client.run("rush") == "done"
    expected = [f"a:{n}" for n in range(20)]
    assert talk["seen"][:20] == expected
    assert talk["seen"][20:] == (["a:meanwhile"] if how == "wait and look" else [])
    back = await come_back(worker, chat, client)
    assert (await look(back, talk, how))[:20] == expected


async def test_changes_and_removals_are_applied(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    kept: dict[str, Message] = {}

    @chat.on_event("send")
    async def send() -> None:
        for text in ("first", "removed", "again"):
            kept[text] = await Message(text).send()

    @chat.on_event("change")
    async def change() -> None:
        kept["first"].content = "changed"
        await kept["first"].update()
        await kept["removed"].remove()
        await kept["again"].remove()
        await kept["again"].send()
        chat_context.get()

    client = await Client.open(worker, chat)
    await client.run("send")
    assert await look(client, talk) == ["a:first", "a:removed", "a:again"]
    assert await client.run("change") == "done"
    expected = ["a:changed", "a:again"]
    assert await look(client, talk) == expected
    back = await come_back(worker, chat, client)
    assert await look(back, talk) == expected


async def test_the_messages_it_gives_are_ones_own(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    @chat.on_event("scribble")
    async def scribble() -> None:
        user, mine = chat_context.get()
        user.content = mine.content = "scribbled"
        chat_context.get().clear()

    @chat.on_event("edit")
    async def edit() -> None:
        mine = chat_context.get()[-1]
        mine.content = "edited"
        await mine.update()

    client = await Client.open(worker, chat)
    await say(client, "one")
    assert await client.run("scribble") == "done"
    assert await look(client, talk) == ["u:one", "a:re one"]
    assert await client.run("edit") == "done"
    assert await look(client, talk) == ["u:one", "a:edited"]
    assert client.events[-1][0] == "message_update"


async def test_a_stream_is_there_as_far_as_it_is(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    seen: list[Any] = []

    @chat.on_event("stream")
    async def stream() -> None:
        message = Message()
        await message.stream_token("one ")
        await message.stream_token("two")
        seen.append(shown(chat_context.get()))
        await message.update()

    client = await Client.open(worker, chat)
    assert await client.run("stream") == "done"
    assert seen == [["a:one two"]]
    assert await look(client, talk) == ["a:one two"]


async def test_to_openai(worker: RunningWorker, chat: Chat) -> None:
    out: list[Any] = []

    @chat.on_message
    async def answer(message: Message) -> None:
        await Message("be kind", type="system_message").send()
        await ErrorMessage("it broke").send()
        await Message("").send()
        await Message("hello", author="Bot", metadata={"k": 1}).send()
        out.append(chat_context.to_openai())
        out.append(await chat_context.ato_openai())
        out.append(chat_context.get())

    client = await Client.open(worker, chat)
    await say(client, "hi")
    assert out[0] == [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "be kind"},
        {"role": "assistant", "content": "hello"},
    ]
    assert out[1] == out[0]
    assert [type(m).__name__ for m in out[2]] == ["Message", "Message", "ErrorMessage"] + [
        "Message"
    ] * 2
    assert (out[2][-1].author, out[2][-1].metadata) == ("Bot", {"k": 1})
    assert out[2][2].metadata is None
    assert out[2][0].author == "User"


async def test_clear_and_add_survive_a_return(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    client = await Client.open(worker, chat)
    await say(client, "one")
    assert await client.run("add", "a rule") == "done"
    await say(client, "two")
    expected = ["u:one", "a:re one", "s:a rule", "u:two", "a:re two"]
    assert await look(client, talk) == expected
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == expected
    assert await client.run("clear") == "done"
    assert await look(client, talk) == []
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == []
    await say(client, "three")
    assert await client.run("add", "another") == "done"
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == ["u:three", "a:re three", "s:another"]
    assert client.texts == []  # nothing that was added goes to the user
    log = SessionEvent.objects.filter(session=client.live.id)
    assert not await log.filter(n=None, data__contains="a rule").aexists()


async def test_what_was_removed_stays_away(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    """Also after a return; until it is sent again."""
    removed: list[bool] = []

    @chat.on_event("remove")
    async def remove(text: str) -> None:
        for message in chat_context.get():
            if message.content == text:
                removed.extend((chat_context.remove(message), chat_context.remove(message)))

    @chat.on_event("twice")
    async def twice() -> None:
        await Message("again", id="same").send()

    client = await Client.open(worker, chat)
    await say(client, "one")
    assert await client.run("add", "a rule") == "done"
    assert await client.run("twice") == "done"
    for text in ("one", "a rule", "again"):
        assert await client.run("remove", text) == "done"
    assert removed == [True, False] * 3
    assert await look(client, talk) == ["a:re one"]
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == ["a:re one"]
    assert await client.run("twice") == "done"
    assert await look(client, talk) == ["a:re one", "a:again"]
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == ["a:re one", "a:again"]
    log = SessionEvent.objects.filter(session=client.live.id, name="message")
    assert await log.acount() == 4


async def test_what_was_added_and_is_then_sent_is_there_once(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    @chat.on_event("both")
    async def both() -> None:
        await chat_context.add(Message("once")).send()

    client = await Client.open(worker, chat)
    assert await client.run("both") == "done"
    assert await look(client, talk) == ["a:once"]
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == ["a:once"]


async def test_add_refuses_what_cannot_be_stored(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any], settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_EVENT_BYTES": 2000}
    refused: list[str] = []

    @chat.on_event("bad")
    async def bad() -> None:
        for message in (Message("\ud800"), Message("x" * 3000), Message("x", metadata={1j: 2})):
            try:
                chat_context.add(message)
            except (NotStorable, TooLarge) as error:
                refused.append(type(error).__name__)

    client = await Client.open(worker, chat)
    assert await client.run("bad") == "done"
    assert refused == ["NotStorable", "TooLarge", "NotStorable"]
    assert await look(client, talk) == []


async def test_it_is_bounded_by_messages(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any], settings: Settings
) -> None:
    settings.CHATSESSIONS = {"CHAT_CONTEXT_MESSAGES": 3}
    client = await Client.open(worker, chat)
    await say(client, "one", "two", "three")
    expected = ["a:re two", "u:three", "a:re three"]
    assert await look(client, talk) == expected
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == expected
    await client.run("add", "rule")
    assert (await look(client, talk))[-1] == "s:rule"
    await say(client, "four", "five")
    row = await ChatSession.objects.aget(pk=client.live.id)
    await client.run("add", "new rule")
    await row.arefresh_from_db()
    assert [said["content"] for _, said in row.chat_context["added"]] == ["new rule"]


async def test_it_is_bounded_by_bytes_and_the_newest_is_always_there(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any], settings: Settings
) -> None:
    settings.CHATSESSIONS = {"CHAT_CONTEXT_BYTES": 1024}
    client = await Client.open(worker, chat)
    await say(client, *(letter * 200 for letter in "abc"))
    expected = [f"u:{'c' * 200}", f"a:re {'c' * 200}"]
    assert (await look(client, talk))[-2:] == expected
    assert len("".join(await look(client, talk))) < 1024
    await say(client, "d" * 3000)
    assert await look(client, talk) == [f"a:re {'d' * 3000}"]
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == [f"a:re {'d' * 3000}"]


async def test_it_survives_a_crash(chat: Chat, talk: dict[str, Any]) -> None:
    async with running_worker() as worker:
        client = await Client.open(worker, chat)
        await say(client, "one")
        await client.run("add", "rule")
    async with running_worker() as worker:
        back = await Client.open(worker, chat, client.live.id, client.token)
        assert back.resumed
        assert await look(back, talk) == ["u:one", "a:re one", "s:rule"]
    await sync_to_async(connections.close_all)()


async def test_a_question_and_its_answer_belong_to_it(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    @chat.on_event("ask")
    async def ask() -> None:
        await AskUserMessage("Your name?", timeout=30).send()

    client = await Client.open(worker, chat)
    n = client.send("ask")
    await until(lambda: any(name == "ask" for name, _ in client.events))
    [call] = [data["call"] for name, data in client.events if name == "ask"]
    client._n += 1
    raw = msgspec.Raw(b'{"content": "Ada"}')
    client.live.inbound.answer(frames.Answer(client._n, call, raw), {"content": "Ada"})
    assert await client.outcome(n) == "done"
    assert await look(client, talk) == ["a:Your name?", "u:Ada"]
    back = await come_back(worker, chat, client)
    assert await look(back, talk) == ["a:Your name?", "u:Ada"]


async def test_a_message_keeps_its_buttons(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_event("offer")
    async def offer() -> None:
        await Message("choose", actions=[Action("go", id="go")]).send()

    @chat.on_event("edit")
    async def edit() -> None:
        [message] = chat_context.get()
        message.content = "choose well"
        await message.update()

    client = await Client.open(worker, chat)
    await client.run("offer")
    assert await client.run("edit") == "done"
    name, data = client.events[-1]
    assert (name, data["content"]) == ("message_update", "choose well")
    assert [action["id"] for action in data["actions"]] == ["go"]


# Threads


async def test_a_session_on_an_old_thread_begins_with_its_messages(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    ada = await User.objects.acreate_user("ada")
    first = await Client.open(worker, chat, user=ada)
    await say(first, "one")
    thread = str(first.live.session.thread_id)
    second = await Client.open(worker, chat, user=ada, thread=thread)
    expected = ["u:one", "a:re one"]
    assert await look(second, talk) == expected
    # What is said in the first one after that is not the second one's.
    await say(first, "elsewhere")
    await say(second, "two")
    expected += ["u:two", "a:re two"]
    assert await look(second, talk) == expected
    second = await come_back(worker, chat, second, user=ada)
    assert await look(second, talk) == expected
    assert await look(first, talk) == ["u:one", "a:re one", "u:elsewhere", "a:re elsewhere"]

    assert await second.run("clear") == "done"
    await say(second, "three")
    second = await come_back(worker, chat, second, user=ada)
    assert await look(second, talk) == ["u:three", "a:re three"]
    third = await Client.open(worker, chat, user=ada, thread=thread)
    assert await look(third, talk) == ["u:three", "a:re three"]


async def test_another_users_words_are_in_nobodys_context(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    ada = await User.objects.acreate_user("ada")
    bob = await User.objects.acreate_user("bob")
    secret = await Client.open(worker, chat, user=ada)
    await say(secret, "secret")
    thread = str(secret.live.session.thread_id)
    client = await Client.open(worker, chat, user=bob, thread=thread)
    assert await look(client, talk) == []
    anonymous = await Client.open(worker, chat, thread=thread)
    assert await look(anonymous, talk) == []


# Where it is used


async def test_outside_of_a_session_it_says_so() -> None:
    for method in (chat_context.get, chat_context.to_openai, chat_context.clear):
        with pytest.raises(ContextNotFound, match="chat_context"):
            method()
    with pytest.raises(ContextNotFound):
        await chat_context.aget()
    with pytest.raises(ContextNotFound):
        chat_context.add(Message("x"))


async def test_from_outside_of_the_connection(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    client = await Client.open(worker, chat)
    await say(client, "one")
    async with session_context(client.live.id):
        assert shown(chat_context.get()) == ["u:one", "a:re one"]
        chat_context.add(Message("by the way"))
    client = await come_back(worker, chat, client)
    assert await look(client, talk) == ["u:one", "a:re one", "a:by the way"]


async def test_naming_it_is_what_begins_it(worker: RunningWorker, chat: Chat, use: str) -> None:
    client = await Client.open(worker, chat)
    assert (client.live.conversation._reducer is not None) == (use == "used before")
    assert chatsessions.chat_context is chat_context
    assert conversation.in_use()
    other = await Client.open(worker, chat)
    assert other.live.conversation._reducer is not None


async def test_a_stopped_turn_changes_nothing(
    worker: RunningWorker, chat: Chat, talk: dict[str, Any]
) -> None:
    refused: list[str] = []
    hangs = asyncio.Event()

    @chat.on_event("hang")
    async def hang() -> None:
        hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_later(0.05, late)

    def late() -> None:
        for change in (chat_context.clear, lambda: chat_context.add(Message("late"))):
            try:
                change()
            except chatsessions.TurnStopped:
                refused.append("refused")

    client = await Client.open(worker, chat)
    await say(client, "one")
    n = client.send("hang")
    await asyncio.wait_for(hangs.wait(), 5)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    await until(lambda: len(refused) == 2)
    assert await look(client, talk) == ["u:one", "a:re one"]
