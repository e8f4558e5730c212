"""How a text is to be read: who says it, where it is stored, and what nobody can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from chatsessions import (
    Action,
    AskActionMessage,
    AskFileMessage,
    AskUserMessage,
    Chat,
    ChatError,
    ErrorMessage,
    Message,
    Step,
    chat_context,
    context,
    session_context,
    step,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.chat import _chats, message_format, module_chat
from chatsessions.models import ChatSession
from chatsessions.storage.conversation import FORMATS, Format
from chatsessions.testing import ChatCommunicator

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


def visit(chat: Chat, **options: Any) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", **options)


def formats(tab: ChatCommunicator, *names: str) -> list[tuple[Any, str | None]]:
    """The texts of the server's events of these names, and the format that each names."""
    return [
        (event.data.get("content", event.data.get("output")), event.data.get("format"))
        for event in tab.events
        if event.name in names and event.n is None
    ]


async def run(tab: ChatCommunicator, name: str = "run", data: Any = None) -> None:
    n = await tab.send_event(name, data)
    assert await tab.wait_for_turn(n) == "done", tab.errors


# Who says it


async def test_a_message_is_text_and_says_nothing_of_it(chat: Chat) -> None:
    @chat.on_event("run")
    async def handler() -> None:
        await Message("a").send()
        await Message("b", format="text").send()
        await Message("c", format="markdown").send()

    async with visit(chat) as tab:
        await run(tab)
        assert formats(tab, "message") == [("a", None), ("b", None), ("c", "markdown")]
        assert [one.format for one in tab.messages] == ["text", "text", "markdown"]
        await tab.reload()
        assert [one.format for one in tab.messages] == ["text", "text", "markdown"]


async def test_a_chat_says_it_for_what_says_nothing_itself(chat: Chat) -> None:
    greeting = Message("made where no session is")
    chat.message_format = Chat("other", message_format="markdown").message_format

    @chat.on_event("run")
    async def handler() -> None:
        await greeting.send()
        await Message("b", format="text").send()
        await Message({"c": 1}).send()
        await Message({"d": 1}, format="markdown").send()
        await ErrorMessage("e").send()

    async with visit(chat) as tab:
        await run(tab)
        assert [format_ for _, format_ in formats(tab, "message")] == [
            "markdown",
            None,
            None,
            "markdown",
            "markdown",
        ]


async def test_the_setting_says_it_for_chats_that_say_nothing(
    chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MESSAGE_FORMAT": "markdown"}

    @chat.on_event("run")
    async def handler() -> None:
        await Message("a").send()

    async with visit(chat) as tab:
        await run(tab)
        chat.message_format = "text"
        await run(tab)
        assert formats(tab, "message") == [("a", "markdown"), ("a", None)]


async def test_the_chat_of_a_module_is_told_by_its_name() -> None:
    try:
        message_format("markdown")
        assert module_chat(__name__).message_format == "markdown"
    finally:
        _chats.pop(__name__)


async def test_code_from_outside_sends_as_the_chat_says(chat: Chat) -> None:
    chat.message_format = "markdown"
    async with visit(chat) as tab:
        async with session_context(tab.session_id):
            await Message("a").send()
            message = Message("")
            await message.stream_token("b")
            await message.send()
        await tab.wait_until(lambda: [one.content for one in tab.messages] == ["a", "b"])
        assert {one.format for one in tab.messages} == {"markdown"}


# What keeps it


async def test_changes_and_streams_keep_it(chat: Chat) -> None:
    @chat.on_event("run")
    async def handler() -> None:
        message = Message("a", format="markdown")
        await message.send()
        message.content = "b"
        await message.update()
        await message.stream_token("c")
        await message.send()

    @chat.on_event("left open")
    async def left_open() -> None:
        chat.message_format = "markdown"
        await Message("d").stream_token("e")

    async with visit(chat) as tab:
        await run(tab)
        await run(tab, "left open")
        said = formats(tab, "message", "message_update")
        assert {format_ for _, format_ in said} == {"markdown"}
        assert [one.content for one in tab.messages] == ["bc", "de"]


async def test_a_format_can_be_changed(chat: Chat) -> None:
    @chat.on_event("run")
    async def handler() -> None:
        message = await Message("a").send()
        message.format = "markdown"
        await message.update()
        message.format = "text"
        await message.update()
        with pytest.raises(ValueError, match="format is 'html'; there are: text, markdown"):
            message.format = "html"  # type: ignore[assignment]

    async with visit(chat) as tab:
        await run(tab)
        assert [format_ for _, format_ in formats(tab, "message", "message_update")] == [
            None,
            "markdown",
            None,
        ]


async def test_what_is_kept_in_user_session_keeps_it(chat: Chat) -> None:
    @chat.on_event("keep")
    async def keep() -> None:
        user_session["a"] = await Message("a", format="markdown").send()
        user_session["step"] = await Step("c", output="c", format="markdown").finish()

    @chat.on_event("change")
    async def change() -> None:
        message = user_session["a"]
        message.content += "!"
        await message.update()
        await user_session["step"].update()

    async with visit(chat) as tab:
        await run(tab, "keep")
        await tab.drop()
        assert await tab.resume()
        await run(tab, "change")
        assert [(one.content, one.format) for one in tab.messages] == [("a!", "markdown")]
        assert formats(tab, "step", "step_update") == [("c", "markdown")] * 2


async def test_chat_context_has_it_and_updates_with_it(chat: Chat) -> None:
    @chat.on_event("run")
    async def handler() -> None:
        await Message("a", format="markdown").send()
        chat_context.add(Message("unsent", format="markdown"))
        await Message("b").send()
        found = chat_context.get()
        assert [(one.content, one.format) for one in found] == [
            ("a", "markdown"),
            ("unsent", "markdown"),
            ("b", "text"),
        ]
        chat.message_format = "markdown"  # does not reach what was sent
        for one in found:
            if one.content != "unsent":
                one.content += "!"
                await one.update()

    async with visit(chat) as tab:
        await run(tab)
        assert formats(tab, "message_update") == [("a!", "markdown"), ("b!", None)]


# What a user says


async def test_what_a_user_says_is_text_whoever_changes_it(chat: Chat) -> None:
    chat.message_format = "markdown"

    @chat.on_message
    async def handler(message: Message) -> None:
        assert message.format == "text"
        message.content = "**changed**"
        await message.update()
        with pytest.raises(ValueError, match="What a user says is text"):
            message.format = "markdown"
        await Message("as if the user said it", type="user_message").send()

    async with visit(chat) as tab:
        n = await tab.send_event(
            "message", {"content": "**said**", "format": "markdown", "type": "system_message"}
        )
        assert await tab.wait_for_turn(n) == "done", tab.errors
        assert formats(tab, "message", "message_update") == [
            ("**changed**", None),
            ("as if the user said it", None),
        ]
        assert [one.format for one in tab.messages] == ["text", "text"]


async def test_an_event_that_calls_a_users_words_markdown_is_not_believed(chat: Chat) -> None:
    @chat.on_message
    async def handler(message: Message) -> None:
        forged = message.as_event() | {"format": "markdown"}
        await context.emitter.emit("message_update", forged)
        await context.emitter.emit("message", forged | {"n": None, "id": "x"})
        assert [one.format for one in chat_context.get()] == ["text", "text"]

    async with visit(chat) as tab:
        await tab.send("said")
        assert await tab.wait_for_turn() == "done", tab.errors
        assert [one.format for one in tab.messages] == ["text", "text"]


@pytest.mark.parametrize("bad", ["html", "Markdown", "", 1, ["markdown"]])
def test_there_are_no_others(bad: Any) -> None:
    for make in (
        lambda: Message("a", format=bad),
        lambda: AskUserMessage("a", format=bad),
        lambda: Step("a", format=bad),
        lambda: step(format=bad),
    ):
        with pytest.raises(ValueError, match=r"format is .*; there are: text, markdown"):
            make()
    with pytest.raises(ChatError, match=r"message_format is .*; there are: text, markdown"):
        Chat("a", message_format=bad)
    assert set(get_args(Format)) == set(FORMATS)


def test_no_user_says_markdown() -> None:
    with pytest.raises(ValueError, match="What a user says is text"):
        Message("a", type="user_message", format="markdown")


# Questions and steps


async def test_questions_say_it_as_messages_do(chat: Chat) -> None:
    @chat.on_event("run")
    async def handler() -> None:
        await AskUserMessage("a", timeout=0.01).send()
        await AskUserMessage("b", timeout=0.01, format="markdown").send()
        chat.message_format = "markdown"
        await AskActionMessage("c", [Action("x")], timeout=0.01).send()
        await AskFileMessage("d", ["text/csv"], timeout=0.01).send()
        await AskUserMessage("e", timeout=0.01, format="text").send()
        await AskUserMessage({"f": 1}, timeout=0.01).send()

    async with visit(chat) as tab:
        await run(tab)
        assert [format_ for _, format_ in formats(tab, "ask")] == [
            None,
            "markdown",
            "markdown",
            "markdown",
            None,
            None,
        ]


async def test_a_question_in_chat_context_keeps_it(chat: Chat) -> None:
    @chat.on_event("run")
    async def handler() -> None:
        await AskUserMessage("b", timeout=0.01, format="markdown").send()
        assert [one.format for one in chat_context.get()] == ["markdown"]

    async with visit(chat) as tab:
        await run(tab)


async def test_the_output_of_a_step_is_text_whatever_the_chat_says(chat: Chat) -> None:
    chat.message_format = "markdown"

    @step(format="markdown")
    async def told() -> str:
        return "c"

    @step
    async def found() -> str:
        return "d"

    @chat.on_event("run")
    async def handler() -> None:
        async with Step("one") as one:
            one.output = "a"
        async with Step("two", format="markdown") as two:
            await two.stream_token("b")
        await told()
        await found()

    async with visit(chat) as tab:
        await run(tab)
        assert formats(tab, "step_update") == [
            ("a", None),
            ("b", "markdown"),
            ("c", "markdown"),
            ("d", None),
        ]


# Who reads it later


async def test_a_thread_has_it(chat: Chat) -> None:
    @chat.on_message
    async def handler() -> None:
        await Message("a", format="markdown").send()

    seen: list[tuple[str, str]] = []

    @chat.on_chat_resume
    async def resumed(thread: Any) -> None:
        seen.extend((one.content, one.format) for one in thread.transcript)

    user = await sync_to_async(User.objects.create_user)("ada")
    async with visit(chat, user=user) as tab:
        await tab.send("**hello**")
        assert await tab.wait_for_turn() == "done"
        thread = (await ChatSession.objects.aget(pk=tab.session_id)).thread_id
        await tab.end()
    async with visit(chat, user=user, thread=thread):
        pass
    assert seen == [("**hello**", "text"), ("a", "markdown")]
