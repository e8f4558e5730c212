"""Actions: buttons of messages, and that nobody chooses one that was not offered."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from chatsessions import (
    Action,
    Chat,
    ChatError,
    Message,
    chat_context,
    context,
    on_action,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import FrameError, NotStorable
from chatsessions.handlers.chat import Chat as ChatClass
from chatsessions.models import ChatSession
from chatsessions.sessions import outbound
from chatsessions.storage.log import find_message
from chatsessions.testing import ChatCommunicator, ChatMessage
from chatsessions.workers.worker import Worker as RunningWorker

from .support.sessions import Client, running_worker, until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def chosen(chat: Chat) -> list[tuple[str, Any]]:
    """What was chosen in a chat that offers two actions."""
    found: list[tuple[str, Any]] = []

    @chat.on_chat_start
    async def start() -> None:
        buy = Action("buy", {"item": 7}, label="Buy", tooltip="At once", icon="cart", id="buy-7")
        await Message("What now?", id="question", actions=[buy, Action("leave", id="leave")]).send()

    @chat.on_action("buy")
    async def buy(action: Action) -> None:
        found.append((action.id, action.payload))

    @chat.on_action("leave")
    async def leave(action: Action) -> None:
        found.append((action.id, action.forId))
        await action.remove()

    return found


async def arrive(worker: RunningWorker, chat: Chat) -> Client:
    client = await Client.open(worker, chat)
    await client.outcome(0)
    return client


def buttons(client: Client) -> list[list[str]]:
    """The actions of each event of a message."""
    return [
        [action["id"] for action in data.get("actions", [])]
        for name, data in client.events
        if name in ("message", "message_update")
    ]


async def test_a_button_is_offered_and_chosen(
    worker: RunningWorker, chat: Chat, chosen: list[Any]
) -> None:
    client = await arrive(worker, chat)
    (message,) = [data for name, data in client.events if name == "message"]
    assert message["actions"][0] == {
        "id": "buy-7",
        "name": "buy",
        "payload": {"item": 7},
        "label": "Buy",
        "tooltip": "At once",
        "icon": "cart",
    }
    assert message["actions"][1]["label"] == "leave"
    data = {"id": "buy-7", "name": "buy", "payload": {"item": 7}}
    assert await client.run("action", data) == "done"
    assert await client.run("action", data) == "done"  # a button may be pressed again
    assert chosen == [("buy-7", {"item": 7})] * 2


async def test_the_client_cannot_change_what_it_was_offered(
    worker: RunningWorker, chat: Chat, chosen: list[Any]
) -> None:
    client = await arrive(worker, chat)
    data = {"id": "buy-7", "name": "buy", "payload": {"item": 7, "price": 0}}
    assert await client.run("action", data) == "done"
    assert chosen == [("buy-7", {"item": 7})]
    (entry,) = [entry for entry in client.log if entry.name == "action"]
    assert b"price" not in entry.data


@pytest.mark.parametrize(
    "data",
    [{"id": "made-up", "name": "buy"}, {"id": "buy-7", "name": "leave"}, {"id": "", "name": ""}],
)
async def test_an_action_that_was_not_offered_is_refused(
    worker: RunningWorker, chat: Chat, chosen: list[Any], data: Any
) -> None:
    client = await arrive(worker, chat)
    with pytest.raises(FrameError) as refused:
        client.send("action", data)
    assert (refused.value.code, refused.value.n) == ("forbidden", 1)
    client.take_back()
    assert await client.run("action", {"id": "buy-7", "name": "buy"}) == "done"
    assert len(chosen) == 1


async def test_another_sessions_action_is_refused(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_message
    async def offer() -> None:
        await Message("?", actions=[Action("go", id="mine")]).send()

    @chat.on_action("go")
    async def go() -> None:
        user_session["gone"] = True

    client, stranger = [await Client.open(worker, chat) for _ in range(2)]
    assert await client.run("message", {"content": ""}) == "done"
    with pytest.raises(FrameError, match="not offered"):
        stranger.send("action", {"id": "mine", "name": "go"})


async def test_a_button_that_is_removed(
    worker: RunningWorker, chat: Chat, chosen: list[Any]
) -> None:
    """Its message is sent again as it was, without it."""
    client = await arrive(worker, chat)
    assert await client.run("action", {"id": "leave", "name": "leave"}) == "done"
    assert chosen == [("leave", "question")]
    assert buttons(client) == [["buy-7", "leave"], ["buy-7"]]
    assert client.events[-1][1]["content"] == "What now?"
    with pytest.raises(FrameError, match="not offered"):
        client.send("action", {"id": "leave", "name": "leave"})
    client.take_back()
    assert await client.run("action", {"id": "buy-7", "name": "buy"}) == "done"


async def test_buttons_outlive_the_server(
    worker: RunningWorker, chat: Chat, chosen: list[Any]
) -> None:
    client = await arrive(worker, chat)
    await worker.close()
    async with running_worker() as second:
        again = await Client.open(second, chat, client.live.id, client.token)
        assert await again.run("action", {"id": "leave", "name": "leave"}) == "done"
        assert await again.run("action", {"id": "buy-7", "name": "buy"}) == "done"
    assert chosen == [("leave", "question"), ("buy-7", {"item": 7})]


async def test_a_message_without_its_buttons(worker: RunningWorker, chat: Chat) -> None:
    message = Message("?", actions=[Action("one"), Action("two")])

    @chat.on_event("offer")
    async def offer() -> None:
        await message.send()

    @chat.on_event("fewer")
    async def fewer() -> None:
        message.actions = message.actions[:1]
        await message.update()

    @chat.on_event("none")
    async def none() -> None:
        await message.remove_actions()

    @chat.on_event("gone")
    async def gone() -> None:
        message.actions = [Action("three")]
        await message.update()
        await message.remove()

    client = await Client.open(worker, chat)

    async def offered(name: str) -> int:
        assert await client.run(name) == "done"
        row = await ChatSession.objects.aget(pk=client.live.id)
        return len(row.actions)

    assert [await offered(n) for n in ("offer", "fewer", "none", "gone")] == [2, 1, 0, 0]
    assert [len(found) for found in buttons(client)] == [2, 1, 0, 1]


async def test_a_message_with_buttons_can_be_kept_and_changed_in_a_later_turn(
    worker: RunningWorker, chat: Chat
) -> None:
    @chat.on_event("offer")
    async def offer() -> None:
        user_session["kept"] = await Message("?", actions=[Action("one", id="a")]).send()

    @chat.on_event("none")
    async def none() -> None:
        await user_session["kept"].remove_actions()

    client = await Client.open(worker, chat)
    assert await client.run("offer") == "done"
    client.leave()
    await until(lambda: not worker.live)
    again = await Client.open(worker, chat, client.live.id, client.token)
    assert await again.run("none") == "done"
    with pytest.raises(FrameError, match="not offered"):
        again.send("action", {"id": "a", "name": "one"})


@pytest.mark.parametrize("sends", [True, False])
async def test_buttons_of_a_streamed_message(
    worker: RunningWorker, chat: Chat, sends: bool
) -> None:
    """On offer from the first token on, whether the handler sends the whole or not."""
    chosen: list[str | None] = []

    @chat.on_message
    async def stream() -> None:
        message = Message("", actions=[Action("go", id="a")])
        await message.stream_token("one")
        if sends:
            await message.send()

    @chat.on_action("go")
    async def go(action: Action) -> None:
        chosen.append(action.forId)

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    assert await client.run("action", {"id": "a", "name": "go"}) == "done"
    assert chosen == [client.events[0][1]["id"]]


@pytest.mark.parametrize("sends", [True, False])
async def test_a_button_that_is_taken_off_a_message_that_streams_leaves_its_text(
    chat: Chat, sends: bool
) -> None:
    """The page's text was gone, and with the whole message the button came back."""
    chat.beside = frozenset({"action"})
    goes_on, ends = asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def stream() -> None:
        message = Message(actions=[Action("less", label="Less"), Action("more", label="More")])
        await message.stream_token("one ")
        await message.stream_token("two ")
        await goes_on.wait()
        await message.stream_token("three")
        await ends.wait()
        if sends:
            await message.send()

    @chat.on_action("less")
    async def less(action: Action) -> None:
        await action.remove()

    @chat.on_action("more")
    async def more() -> None: ...

    async with ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/") as tab:

        def answer() -> ChatMessage | None:
            return next((one for one in tab.messages if one.author == "Assistant"), None)

        async def shows(text: str, *labels: str) -> None:
            await tab.wait_until(lambda: (shown := answer()) and shown.content == text)
            shown = answer()
            assert shown is not None
            assert [action["label"] for action in shown.actions] == list(labels)

        n = await tab.send("hello")
        await shows("one two ", "Less", "More")
        assert await tab.wait_for_turn(await tab.press("Less")) == "done"
        await shows("one two ", "More")
        goes_on.set()
        await shows("one two three", "More")
        await tab.reload()
        await shows("one two three", "More")
        ends.set()
        assert await tab.wait_for_turn(n) == "done"
        await shows("one two three", "More")
        assert await tab.wait_for_turn(await tab.press("More")) == "done"


async def test_a_button_is_taken_off_a_message_with_any_id(
    worker: RunningWorker, chat: Chat
) -> None:
    """The message was not found in the log if JSON writes its id in another way."""

    @chat.on_message
    async def ask() -> None:
        id_ = 'say "hi" \\ 50%\n'
        await Message("Which?", id=id_, actions=[Action("buy", id="a")]).send()
        await context.emitter.flush()

    @chat.on_action("buy")
    async def buy(action: Action) -> None:
        await action.remove()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert await client.run("action", {"id": "a", "name": "buy"}) == "done"
    assert buttons(client) == [["a"], []]


@pytest.mark.parametrize("stored", [True, False])
async def test_a_change_that_is_made_while_a_button_is_taken_off_is_not_undone(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    """The message is read from the log for that, and was sent again as it had been before."""
    read, may_return = threading.Event(), threading.Event()
    message = Message("old", actions=[Action("one", id="a"), Action("two", id="b")])

    def find_late(*args: Any) -> Any:
        found = find_message(*args)
        read.set()
        assert may_return.wait(30)
        return found

    monkeypatch.setattr(outbound, "find_message", find_late)

    @chat.on_event("offer")
    async def offer() -> None:
        await message.send()

    @chat.on_action("one")
    async def take_off(action: Action) -> None:
        removal = asyncio.create_task(action.remove())
        await until(read.is_set)
        message.content = "new"
        await message.update()
        if stored:
            await context.emitter.flush()
        may_return.set()
        await removal

    client = await Client.open(worker, chat)
    assert await client.run("offer") == "done"
    assert await client.run("action", {"id": "a", "name": "one"}) == "done"
    assert client.events[-1][1]["content"] == "new"
    assert buttons(client)[-1] == ["b"]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert [id_ for id_, action in row.actions.items() if "name" in action] == ["b"]


@pytest.mark.parametrize("fails", ["read", "append"])
async def test_a_button_that_could_not_be_taken_off_stays_on_offer(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """It stayed on the page, was refused when it was pressed, and could not be taken off again."""
    failures = [fails]

    def find(*args: Any) -> Any:
        if failures and failures.pop() == "read":
            raise OSError("no store")
        return find_message(*args)

    monkeypatch.setattr(outbound, "find_message", find)

    @chat.on_event("offer")
    async def offer() -> None:
        await Message("?", actions=[Action("one", id="a")]).send()

    @chat.on_action("one")
    async def take_off(action: Action) -> None:
        user_session["history"] = []
        if failures == ["append"]:
            user_session["history"].append(object())
        await action.remove()

    client = await Client.open(worker, chat)
    assert await client.run("offer") == "done"
    assert await client.run("action", {"id": "a", "name": "one"}) == "failed"
    assert await client.run("action", {"id": "a", "name": "one"}) == "done"
    assert buttons(client) == [["a"], []]


@pytest.mark.parametrize("reloaded", [True, False])
@pytest.mark.parametrize("kept", ["user_session", "chat_context", "variable"])
async def test_a_button_that_was_taken_off_does_not_come_back_with_an_update(
    worker: RunningWorker, chat: Chat, kept: str, reloaded: bool
) -> None:
    """The application's own object of the message still has the action."""
    objects: list[Message] = []

    @chat.on_event("offer")
    async def offer() -> None:
        message = await Message("?", actions=[Action("one", id="a"), Action("two", id="b")]).send()
        user_session["kept"] = message
        objects[:] = chat_context.get() if kept == "chat_context" else [message]

    @chat.on_action("one")
    async def take_off(action: Action) -> None:
        await action.remove()

    @chat.on_action("two")
    async def two() -> None: ...

    def found() -> Message:
        message: Message = user_session["kept"] if kept == "user_session" else objects[0]
        return message

    @chat.on_event("close")
    async def close() -> None:
        found().content = "closed"
        await found().update()

    @chat.on_event("again")
    async def again() -> None:
        found().actions.append(Action("one", id="a"))
        await found().update()

    client = await Client.open(worker, chat)
    assert await client.run("offer") == "done"
    assert await client.run("action", {"id": "a", "name": "one"}) == "done"
    if reloaded:
        client.leave()
        await until(lambda: not worker.live)
        client = await Client.open(worker, chat, client.live.id, client.token)
    for _ in range(2):
        assert await client.run("close") == "done"
        assert (client.events[-1][1]["content"], buttons(client)[-1]) == ("closed", ["b"])
    assert await client.run("action", {"id": "b", "name": "two"}) == "done"
    with pytest.raises(FrameError, match="not offered"):
        client.send("action", {"id": "a", "name": "one"})
    client.take_back()
    # A new action is a new button, whatever its id.
    for _ in range(2):
        assert await client.run("again") == "done"
        assert buttons(client)[-1] == ["b", "a"]
        assert await client.run("action", {"id": "a", "name": "one"}) == "done"
        assert buttons(client)[-1] == ["b"]


async def test_buttons_that_a_message_was_updated_without_can_be_put_back(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """Nobody has removed them: neither those, nor those of which there were too many."""
    settings.CHATSESSIONS = {"MAX_ACTIONS": 2}
    message = Message("?", actions=[Action("one", id="a"), Action("two", id="b")])

    @chat.on_event("offer")
    async def offer() -> None:
        await message.send()

    @chat.on_event("toggle")
    async def toggle() -> None:
        kept, message.actions = message.actions, []
        await message.update()
        message.actions = kept
        await message.update()

    @chat.on_event("many")
    async def many() -> None:
        for number in range(5):
            await Message("?", actions=[Action("go", id=f"a{number}")]).send()
        await message.update()

    client = await Client.open(worker, chat)
    for name in ("offer", "toggle", "many"):
        assert await client.run(name) == "done"
        assert buttons(client)[-1] == ["a", "b"]
        row = await ChatSession.objects.aget(pk=client.live.id)
        assert list(row.actions) == ["a", "b"]


@pytest.mark.parametrize("later", [True, False])
async def test_buttons_that_an_update_hides_after_one_was_refused_are_not_on_offer(
    worker: RunningWorker, chat: Chat, later: bool
) -> None:
    """They were gone from the page, and could be chosen nevertheless."""

    @chat.on_event("offer")
    async def offer() -> None:
        user_session["history"] = []
        user_session["kept"] = await Message("?", actions=[Action("one", id="a")]).send()

    @chat.on_event("hide")
    async def hide() -> None:
        message = user_session["kept"]
        message.actions = []
        user_session["history"].append(object())
        if later:
            await message.update()
        with pytest.raises(NotStorable):
            await message.update()
        user_session["history"].clear()
        await message.update()

    @chat.on_event("hide again")
    async def hide_again() -> None:
        await user_session["kept"].update()

    client = await Client.open(worker, chat)
    assert await client.run("offer") == "done"
    if later:
        assert await client.run("hide") == "failed"
        assert buttons(client) == [["a"]]
        client.leave()
        await until(lambda: not worker.live)
        client = await Client.open(worker, chat, client.live.id, client.token)
        assert await client.run("hide again") == "done"
    else:
        assert await client.run("hide") == "done"
    assert buttons(client)[-1] == []
    with pytest.raises(FrameError, match="not offered"):
        client.send("action", {"id": "a", "name": "one"})


@pytest.mark.parametrize("way", ["chat_context", "stream"])
async def test_buttons_that_a_message_is_sent_again_without_are_not_on_offer(
    worker: RunningWorker, chat: Chat, way: str
) -> None:
    """They were gone from the page, and could be chosen nevertheless."""

    @chat.on_event("offer")
    async def offer() -> None:
        user_session["kept"] = await Message("?", actions=[Action("one", id="a")]).send()

    @chat.on_event("hide")
    async def hide() -> None:
        message = chat_context.get()[0] if way == "chat_context" else user_session["kept"]
        message.actions = []
        if way == "stream":
            await message.stream_token("!")
        await message.update()

    client = await Client.open(worker, chat)
    assert await client.run("offer") == "done"
    assert await client.run("hide") == "done"
    assert buttons(client)[-1] == []
    with pytest.raises(FrameError, match="not offered"):
        client.send("action", {"id": "a", "name": "one"})


async def test_a_conversation_offers_so_many(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_ACTIONS": 3}

    @chat.on_message
    async def offer() -> None:
        for number in range(5):
            await Message("?", actions=[Action("go", id=f"a{number}")]).send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert list(row.actions) == ["a2", "a3", "a4"]


async def test_an_action_without_a_handler_fails_its_turn(
    worker: RunningWorker, chat: Chat
) -> None:
    @chat.on_message
    async def offer() -> None:
        await Message("?", actions=[Action("nobody", id="a")]).send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    assert await client.run("action", {"id": "a", "name": "nobody"}) == "failed"
    assert client.events[-1][1]["code"] == "no_handler"


def test_what_cannot_be_an_action() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Action("")
    with pytest.raises(TypeError, match=r"payload=\{'value': 3\}"):
        Action("x", 3)  # type: ignore[arg-type]
    with pytest.raises(ChatError, match="on_action"):
        ChatClass("x").on_event("action")
    for name in ("", None):
        with pytest.raises(ChatError, match="cannot be an action's name"):
            ChatClass("x").on_action(name)  # type: ignore[arg-type]


def test_the_decorator_of_a_module() -> None:
    @on_action("tests")
    async def handle() -> None: ...

    from chatsessions.handlers.chat import _chats  # noqa: PLC0415, RUF100

    assert _chats.pop(__name__).actions["tests"].function is handle


async def test_what_an_application_does_to_a_payload_later_changes_no_offer(
    worker: RunningWorker, chat: Chat
) -> None:
    """All offers are stored again with each new one: one that JSON cannot have cost the session."""
    found: list[Any] = []

    @chat.on_event("ask")
    async def ask() -> None:
        payload: dict[str, Any] = {"items": [1]}
        await Message("Which?", actions=[Action("buy", payload, id="first")]).send()
        payload["items"].append(object())
        await Message("Or?", actions=[Action("leave", id="second")]).send()

    @chat.on_action("buy")
    async def buy(action: Action) -> None:
        found.append(action.payload)

    client = await Client.open(worker, chat)
    assert await client.run("ask") == "done"
    assert await client.run("action", {"id": "first", "name": "buy", "payload": {}}) == "done"
    assert found == [{"items": [1]}]


async def test_an_id_may_be_a_uuid(worker: RunningWorker, chat: Chat) -> None:
    """Such a button was never found again, and such a message not in the conversation."""
    chosen: list[Any] = []
    row = uuid4()

    @chat.on_message
    async def ask(message: Message) -> None:
        button = Action("buy", id=row)  # type: ignore[arg-type]
        await Message("Which?", id=row, actions=[button]).send()  # type: ignore[arg-type]

    @chat.on_action("buy")
    async def buy(action: Action) -> None:
        chosen.append((action.id, action.message_id))
        await action.remove()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert await client.run("action", {"id": str(row), "name": "buy"}) == "done"
    assert chosen == [(str(row), str(row))]
    assert buttons(client) == [[str(row)], []]
