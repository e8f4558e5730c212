"""What the user has sent: whose ids touch it, and what an application changes of it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.urls import include, path, reverse

from chatsessions import (
    Action,
    AskUserMessage,
    Chat,
    Message,
    context,
    session_context,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import NotStorable
from chatsessions.handlers import chat_context as conversation
from chatsessions.handlers.chat_context import chat_context
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/ws/"
PAGE = "admin:chatsessions_chatsession_change"


@pytest.fixture(autouse=True, params=["kept", "read"])
def use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether ``chat_context`` is kept up with the log from the start, or read from it later."""
    used = threading.Event()
    if request.param == "kept":
        used.set()
    monkeypatch.setattr(conversation, "_used", used)


@pytest.fixture
def bot(chat: Chat) -> Chat:
    """Echoes, and changes what the user has said when it is told to."""

    @chat.on_message
    async def answer(message: Message) -> None:
        user_session["last"] = message
        await context.emitter.emit("heard", message.id)
        await Message(f"re {message.content}").send()

    @chat.on_event("edit")
    async def edit(text: str) -> None:
        message = user_session["last"]
        message.content = text
        await message.update()

    @chat.on_event("send again")
    async def send_again(text: str) -> None:
        message = user_session["last"]
        message.content = text
        await message.send()

    @chat.on_event("edit by context")
    async def edit_by_context(how: dict[str, str]) -> None:
        found = [one for one in chat_context.get() if one.content == how["old"]]
        found[0].content = how["new"]
        await found[0].update()

    @chat.on_event("remove")
    async def remove() -> None:
        await user_session["last"].remove()

    @chat.on_event("remove by context")
    async def remove_by_context(text: str) -> None:
        for message in chat_context.get():
            if message.content == text:
                await message.remove()

    @chat.on_event("button")
    async def button() -> None:
        message = user_session["last"]
        message.actions = [Action("press")]
        await message.update()

    @chat.on_event("stream")
    async def stream() -> None:
        await user_session["last"].stream_token("more")

    @chat.on_event("ask")
    async def ask() -> None:
        await AskUserMessage("Your name?").send()

    @chat.on_event("look")
    async def look() -> None:
        seen = [[one.id, one.content] for one in chat_context.get()]
        await context.emitter.emit("seen", seen)

    return chat


@pytest.fixture
def urls(bot: Chat, settings: Settings) -> None:
    settings.ROOT_URLCONF = (
        path("chat/", ChatView.as_view(chat=bot)),
        path("chats/", include("chatsessions.urls")),
        path("admin/", admin.site.urls),
    )


class Views:
    """One session's conversation, as each of those shows it who makes it from the log."""

    def __init__(self, client: ChatCommunicator, user: User, staff: User) -> None:
        self.client = client
        self.user = user
        self.staff = staff

    async def run(self, name: str, data: Any = None) -> None:
        n = await self.client.send_event(name, data)
        assert await self.client.wait_for_turn(n) == "done", self.client.errors

    async def say(self, text: str, **data: Any) -> None:
        await self.run("message", {"content": text, **data})

    async def are(self, *texts: str) -> None:
        """All of them show these messages, in this order."""
        wanted = list(texts)
        assert [one.content for one in self.client.messages] == wanted
        assert [text for _, text in await self.seen()] == wanted
        assert await sync_to_async(self._in_admin)() == wanted
        assert await sync_to_async(self._in_thread)() == wanted
        await self.client.reload()
        assert [one.content for one in self.client.messages] == wanted

    async def seen(self) -> list[list[str]]:
        """``chat_context``: ids and texts."""
        await self.run("look")
        found: list[list[str]] = (await self.client.receive_event("seen")).data
        return found

    def _row(self) -> ChatSession:
        return ChatSession.objects.get(pk=self.client.session_id)

    def _in_admin(self) -> list[str]:
        browser = Client()
        browser.force_login(self.staff)
        lines = browser.get(reverse(PAGE, args=[self._row().pk])).context["lines"]
        said = [line for line in lines if line.kind in ("client", "server") and not line.removed]
        return [line.text.text for line in said]

    def _in_thread(self) -> list[str]:
        browser = Client()
        browser.force_login(self.user)
        told = browser.get(f"/chats/threads/{self._row().thread_id}/").json()
        return [one["content"] for one in told["messages"]]


@pytest.fixture
async def views(bot: Chat, urls: None) -> AsyncIterator[Views]:
    make = sync_to_async(User.objects.create_user)
    user = await make("ada")
    staff = await sync_to_async(User.objects.create_superuser)("root")
    async with ChatCommunicator(ChatConsumer.as_asgi(chat=bot), URL, user=user) as client:
        yield Views(client, user, staff)


# Whose is it?


async def test_a_client_cannot_take_an_answer_out_by_sending_its_id(views: Views) -> None:
    await views.say("one")
    answer = views.client.messages[-1]
    await views.say("forged", id=answer.id)
    await views.are("one", "re one", "forged", "re forged")
    assert [id_ for id_, _ in await views.seen()].count(answer.id) == 2


async def test_a_change_of_the_answer_is_not_of_the_users_message_with_its_id(views: Views) -> None:
    await views.say("one")
    await views.say("forged", id=views.client.messages[-1].id)
    await views.run("edit by context", {"old": "re one", "new": "changed"})
    await views.are("one", "changed", "forged", "re forged")
    await views.run("edit", "hidden")
    await views.are("one", "changed", "hidden", "re forged")
    await views.run("remove")
    await views.are("one", "changed", "re forged")
    await views.run("remove by context", "changed")
    await views.are("one", "re forged")


async def test_a_client_cannot_take_what_was_added_out_of_the_context(
    views: Views, bot: Chat
) -> None:
    @bot.on_event("add")
    async def add(id_: str) -> None:
        chat_context.add(Message("a rule", type="system_message", id=id_))

    id_ = str(uuid4())
    await views.run("add", id_)
    await views.say("forged", id=id_)
    assert [text for _, text in await views.seen()] == ["a rule", "forged", "re forged"]


async def test_events_of_a_client_that_are_called_like_the_servers_change_nothing(
    views: Views,
) -> None:
    await views.say("one")
    answer = views.client.messages[-1]
    for name in ("message_update", "message_remove"):
        n = await views.client.send_event(name, {"id": answer.id, "n": 1, "content": "forged"})
        assert await views.client.wait_for_turn(n) == "failed"  # nobody handles it
    await views.are("one", "re one")


async def test_a_stream_is_not_shown_in_the_place_of_a_users_message_with_its_id(
    views: Views, bot: Chat
) -> None:
    forged = str(uuid4())

    @bot.on_event("begin")
    async def begin() -> None:
        message = Message(id=forged)
        await message.stream_token("half")
        await look_now()
        first = next(one for one in chat_context.get() if one.type == "user_message")
        first.content = "edited"
        await first.update()  # it ends no stream
        await message.stream_token(" and half")
        await message.send()

    async def look_now() -> None:
        await context.emitter.emit("now", [one.content for one in chat_context.get()])

    await views.say("mine", id=forged)
    await views.run("begin")
    assert (await views.client.receive_event("now")).data == ["mine", "re mine", "half"]
    await views.are("edited", "re mine", "half and half")


# One id


@pytest.mark.parametrize("id_", [None, "5d1f8a52-0c1c-4b6e-9d53-6a3f2a1d7c11"])
async def test_a_message_has_one_id_from_the_moment_it_is_accepted(
    views: Views, id_: str | None
) -> None:
    await views.say("one", **({"id": id_} if id_ else {}))
    heard = (await views.client.receive_event("heard")).data
    assert id_ in (None, heard)
    assert (await views.seen())[0] == [heard, "one"]
    assert views.client.messages[0].id == heard
    await views.client.reload()
    assert views.client.messages[0].id == heard


@pytest.mark.parametrize("id_", [None, "5d1f8a52-0c1c-4b6e-9d53-6a3f2a1d7c11"])
@pytest.mark.parametrize("how", ["edit", "send again"])
async def test_an_update_of_the_users_message_is_made_in_its_place(
    views: Views, id_: str | None, how: str
) -> None:
    """It was there twice, and the second time at the end."""
    await views.say("one", **({"id": id_} if id_ else {}))
    await views.run(how, "edited")
    await views.are("edited", "re one")
    await views.run("edit by context", {"old": "edited", "new": "again"})
    await views.are("again", "re one")
    assert [one.author for one in views.client.messages] == ["User", "Assistant"]


async def test_the_users_message_is_removed(views: Views) -> None:
    """It did nothing, silently."""
    await views.say("one")
    await views.run("remove")
    await views.are("re one")
    await views.say("two")
    await views.run("remove by context", "two")
    await views.are("re one", "re two")


async def test_a_removed_message_that_is_sent_again_is_the_applications(views: Views) -> None:
    await views.say("one")
    await views.run("remove")
    await views.run("send again", "resent")
    await views.are("re one", "resent")
    await views.run("edit", "edited")
    await views.are("re one", "edited")


async def test_an_answer_to_a_question_is_changed_in_its_place(views: Views) -> None:
    client = views.client
    turn = await client.send_event("ask")
    call = (await client.receive_event("ask")).data["call"]
    await client.answer(call, {"content": "Ada"})
    assert await client.wait_for_turn(turn) == "done"
    assert [text for _, text in await views.seen()] == ["Your name?", "Ada"]
    await views.run("edit by context", {"old": "Ada", "new": "A."})
    assert [text for _, text in await views.seen()] == ["Your name?", "A."]
    assert await sync_to_async(views._in_admin)() == ["Your name?", "A."]
    assert await sync_to_async(views._in_thread)() == ["Your name?", "A."]


async def test_the_files_of_a_message_stay_when_its_text_is_changed(views: Views) -> None:
    file = await views.client.upload("a.txt", "text", mime="text/plain")
    await views.say("with a file", files=[file])
    await views.run("edit by context", {"old": "with a file", "new": "edited"})
    assert views.client.messages[0].files == [file]
    await views.are("edited", "re with a file")


@pytest.mark.parametrize("kept", [False, True], ids=["at once", "after user_session had it"])
async def test_the_files_of_an_answer_stay_when_chat_context_changes_it(
    views: Views, bot: Chat, kept: bool
) -> None:
    """The page lost them; new ones take their place."""

    @bot.on_event("plot")
    async def plot() -> None:
        file = await context.session.save_file("plot.txt", "text")
        await Message("Here.", files=[file]).send()

    @bot.on_event("keep")
    async def keep() -> None:
        user_session["last"] = chat_context.get()[-1]

    @bot.on_event("replace")
    async def replace() -> None:
        message = chat_context.get()[-1]
        message.files = [await context.session.save_file("other.txt", "text")]
        await message.update()

    await views.run("plot")
    before = views.client.messages[-1]
    if kept:
        await views.run("keep")
        await views.client.resume()
        await views.run("edit", "edited")
    else:
        await views.run("edit by context", {"old": "Here.", "new": "edited"})
    after = views.client.messages[-1]
    assert (after.id, after.content) == (before.id, "edited")
    assert after.files == before.files
    await views.run("replace")
    assert [file["name"] for file in views.client.messages[-1].files] == ["other.txt"]
    await views.run("edit by context", {"old": "edited", "new": "again"})
    assert [file["name"] for file in views.client.messages[-1].files] == ["other.txt"]


async def test_no_id_of_the_users_takes_buttons_from_an_answer(views: Views, bot: Chat) -> None:
    """Where the application takes buttons off what the user has sent, there are none."""

    @bot.on_event("offer")
    async def offer() -> None:
        await Message("Press.", actions=[Action("press", payload={})]).send()

    @bot.on_event("take off")
    async def take_off() -> None:
        await user_session["last"].remove_actions()

    @bot.on_action("press")
    async def press() -> None:
        await Message("pressed").send()

    await views.run("offer")
    offered = views.client.messages[-1]
    await views.say("one", id=offered.id)
    await views.run("take off")
    await views.run("action", {key: offered.actions[0][key] for key in ("id", "name", "payload")})
    assert views.client.messages[-1].content == "pressed"


async def test_in_another_session_it_is_a_new_message(views: Views, bot: Chat) -> None:
    """A message that user_session carries over changes nothing that has its number there."""
    await views.say("one")
    row = await ChatSession.objects.aget(pk=views.client.session_id)
    consumer = ChatConsumer.as_asgi(chat=bot)

    @bot.on_chat_resume
    async def resume(thread: Any) -> None:
        user_session["last"] = thread.metadata["last"]

    asked = {"user": views.user, "thread": str(row.thread_id)}
    async with ChatCommunicator(consumer, URL, **asked) as later:
        n = await later.send_event("edit", "edited")
        assert await later.wait_for_turn(n) == "done"
        assert [one.content for one in later.messages] == ["edited"]


async def test_one_that_was_refused_in_another_session_can_be_sent_there_all_the_same(
    views: Views, bot: Chat
) -> None:
    """It counted as sent there, and what was sent then was the change of no message."""
    file = await views.client.upload("a.txt", "text", mime="text/plain")
    await views.say("one", files=[file])
    row = await ChatSession.objects.aget(pk=views.client.session_id)
    consumer = ChatConsumer.as_asgi(chat=bot)

    @bot.on_chat_resume
    async def resume(thread: Any) -> None:
        message = thread.metadata["last"]
        with pytest.raises(ValueError, match="Save it there first"):
            await message.send()
        message.files.clear()
        await message.send()

    asked = {"user": views.user, "thread": str(row.thread_id)}
    async with ChatCommunicator(consumer, URL, **asked) as later:
        assert await later.wait_for_turn(0) == "done", later.errors
        assert [event.name for event in later.events] == ["message"]
        assert [one.content for one in later.messages] == ["one"]


@pytest.mark.parametrize("refused", ["file", "metadata", "token"])
async def test_one_that_was_refused_in_another_session_is_still_that_of_its_own(
    views: Views, bot: Chat, refused: str
) -> None:
    """Its next change was sent as a second message."""
    files = [await views.client.upload("a.txt", "text", mime="text/plain")]
    await views.say("one", files=files if refused == "file" else [])

    @bot.on_event("send elsewhere")
    async def send_elsewhere(session_id: str) -> None:
        message = user_session["last"]
        message.metadata = {"source": object()} if refused == "metadata" else None
        async with session_context(session_id):
            sending = message.stream_token("\ud800") if refused == "token" else message.send()
            with pytest.raises(ValueError if refused == "file" else NotStorable):
                await sending
        message.metadata = None
        message.content = "edited"
        await message.update()

    async with ChatCommunicator(ChatConsumer.as_asgi(chat=bot), URL) as other:
        await views.run("send elsewhere", str(other.session_id))
        assert other.events == []
    await views.are("edited", "re one")


async def test_an_answer_that_the_next_session_of_its_thread_updates_is_a_new_message_there(
    views: Views, bot: Chat
) -> None:
    """Its log had the change of a message that it did not have."""

    @bot.on_event("keep")
    async def keep() -> None:
        user_session["last"] = await Message("kept").send()

    @bot.on_chat_resume
    async def resume(thread: Any) -> None:
        await user_session["last"].remove()  # not one of this session

    await views.run("keep")
    row = await ChatSession.objects.aget(pk=views.client.session_id)
    asked = {"user": views.user, "thread": str(row.thread_id)}
    async with ChatCommunicator(ChatConsumer.as_asgi(chat=bot), URL, **asked) as later:
        assert await later.wait_for_turn(0) == "done"
        for text in ("edited", "edited again"):
            n = await later.send_event("edit", text)
            assert await later.wait_for_turn(n) == "done"
            assert [one.content for one in later.messages] == [text]
        names = [event.name for event in later.events if event.n is None]
        assert names == ["message", "message_update"]


@pytest.mark.parametrize("name", ["button", "stream"])
async def test_what_a_users_message_cannot_have_is_refused(views: Views, name: str) -> None:
    await views.say("one")
    n = await views.client.send_event(name)
    assert await views.client.wait_for_turn(n) == "failed"
    await views.are("one", "re one")


@pytest.mark.usefixtures("urls", "worker")
async def test_by_http_it_is_changed_in_its_place_too() -> None:
    api = AsyncClient()

    async def post(**body: Any) -> dict[str, Any]:
        response = await api.post("/chat/", body, content_type="application/json", headers=headers)
        assert response.status_code == 200, response.content
        told: dict[str, Any] = response.json()
        headers["Authorization"] = f"Bearer {told.get('token')}"
        return told

    headers: dict[str, str] = {}
    told = await post(content="one")
    heard = told["events"][0]["data"]
    n = told["turn"]["turn"]
    told = await post(name="edit", data="edited")
    [change] = told["events"]
    assert change["name"] == "message_update"
    assert (change["data"]["id"], change["data"]["n"]) == (heard, n)
    told = await post(name="look")
    assert told["events"][0]["data"][0] == [heard, "edited"]
    # Nor does an id that the client has chosen touch what was answered.
    answer = (await post(content="two"))["events"][-1]["data"]
    forged = await post(content="three", id=answer["id"])
    assert forged["events"][0]["data"] == answer["id"]
    seen = (await post(name="look"))["events"][0]["data"]
    assert [text for _, text in seen] == ["edited", "re one", "two", "re two", "three", "re three"]
    n, heard = forged["turn"]["turn"], answer["id"]
    told = await post(name="remove")
    assert [(one["name"], one["data"]) for one in told["events"]] == [
        ("message_remove", {"id": heard, "n": n})
    ]
