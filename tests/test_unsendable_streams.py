"""Streamed messages that are too long or whose end is refused, and those that are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from chatsessions import Chat, Message, Step, user_session
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import StorageError, TooLarge
from chatsessions.handlers.context import use_context
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.testing import ChatCommunicator
from chatsessions.workers.blocks import RemoteBlock
from chatsessions.workers.worker import Worker

from .support.sessions import Client
from .test_remote import two_workers

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]


def spoil_values(_: Message) -> None:
    user_session["history"].append(object())


def spoil_metadata(message: Message) -> None:
    message.metadata = {"source": object()}


def lengthen(message: Message) -> None:
    message.content += "a" * 2_000_000


spoilers = pytest.mark.parametrize("spoil", [spoil_values, spoil_metadata, lengthen])


@spoilers
@pytest.mark.parametrize("end", [Message.send, Message.update])
async def test_a_stream_whose_end_was_refused_ends_with_its_turn(
    chat: Chat,
    worker: Worker,
    spoil: Callable[[Message], None],
    end: Callable[[Message], Awaitable[Message]],
) -> None:
    """Its text so far is in the log: the message does not stream for ever, empty after a reload."""

    @chat.on_message
    async def handle() -> None:
        user_session["history"] = []
        message = Message()
        await message.stream_token("abc")
        spoil(message)
        await end(message)

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "failed"
    [(_, opening), (name, update), (error, _)] = client.events
    assert (opening["streaming"], opening["content"]) == (True, "")
    assert (name, error) == ("message_update", "error")
    assert (update["id"], update["streaming"]) == (opening["id"], False)
    assert update["content"].startswith("abc")
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.streams == []


@spoilers
async def test_a_stream_whose_end_was_refused_can_go_on(
    chat: Chat, worker: Worker, spoil: Callable[[Message], None]
) -> None:
    @chat.on_message
    async def handle() -> None:
        user_session["history"] = []
        message = Message()
        await message.stream_token("a")
        spoil(message)
        with pytest.raises(StorageError):
            await message.update()
        user_session["history"], message.metadata, message.content = [], None, "a"
        await message.stream_token("b")
        await message.update()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "done"
    assert [(name, data["content"]) for name, data in client.events] == [
        ("message", ""),
        ("message_update", "ab"),
    ]
    tokens = [frame for frame in client.frames if isinstance(frame, frames.Token)]
    assert [(token.index, token.text) for token in tokens] == [(0, "a"), (1, "b")]


def set_path(message: Message) -> None:
    message.files = ["report.pdf"]  # type: ignore[list-item]


def set_dict(message: Message) -> None:
    message.actions = [{"name": "buy"}]  # type: ignore[list-item]


def set_text(message: Message) -> None:
    message.created_at = "2026-05-01"  # type: ignore[assignment]


def set_nobody(message: Message) -> None:
    message.author = None  # type: ignore[assignment]


def set_object(message: Message) -> None:
    message.author = object()  # type: ignore[assignment]


mistakes = pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (set_path, "'report.pdf' is none. Save it first"),
        (set_dict, "{'name': 'buy'} is none: write actions="),
        (set_text, "The created_at of Message is a datetime, not str"),
        (set_nobody, "The author of Message is a str, not NoneType"),
        (set_object, "The author of Message is a str, not object"),
    ],
)


@mistakes
async def test_a_turn_ends_whatever_its_handler_has_made_of_an_open_stream(
    chat: Chat,
    worker: Worker,
    spoil: Callable[[Message], None],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The turn ran for ever, and with it all that came after it."""

    @chat.on_message
    async def handle() -> None:
        message = Message(format="markdown")
        await message.stream_token("abc")
        spoil(message)
        await message.update()

    client = await Client.open(worker, chat)
    for _ in range(2):
        assert await client.run("message", {"content": "begin"}) == "failed"
    assert told in caplog.text
    [(_, opening), (name, update), (error, _), *_] = client.events
    assert (name, error) == ("message_update", "error")
    assert update == opening | {"content": "abc", "streaming": False}


async def test_a_turn_ends_whatever_its_handler_has_made_of_a_step(
    chat: Chat, worker: Worker
) -> None:
    @chat.on_message
    async def handle() -> None:
        step = await Step("search", input="rain").send()
        await step.stream_token("abc")
        step.parent = object()  # type: ignore[assignment]
        step.error = "Not found."

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "failed"
    [(_, opening), (name, update), (error, _)] = client.events
    assert (name, error) == ("step_update", "error")
    assert (update["input"], update["output"], update["error"]) == ("rain", "abc", "Not found.")
    assert (update["id"], update["streaming"], "end" in update) == (opening["id"], False, True)


async def test_a_block_elsewhere_ends_whatever_it_has_made_of_an_open_stream(chat: Chat) -> None:
    async with two_workers() as (first, second):
        client = await Client.open(first, chat)
        await client.live.sink.flush()
        block = await RemoteBlock.open(second, client.live.id)
        with use_context(block.context()):
            message = Message()
            await message.stream_token("abc")
            set_path(message)
        with pytest.raises(TypeError, match="Save it first"):
            await block.close()
        [(_, opening), (name, update)] = client.events
        assert (name, update) == (
            "message_update",
            opening | {"content": "abc", "streaming": False},
        )
        client.leave()


async def test_a_stream_whose_removal_was_refused_ends_with_its_turn(
    chat: Chat, worker: Worker
) -> None:
    @chat.on_message
    async def handle() -> None:
        user_session["history"] = []
        message = Message()
        await message.stream_token("abc")
        spoil_values(message)
        await message.remove()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "failed"
    [_, (name, update), (error, _)] = client.events
    assert (name, error) == ("message_update", "error")
    assert (update["content"], update["streaming"]) == ("abc", False)


@pytest.mark.parametrize("kind", [Message, partial(Step, "search")])
async def test_a_stream_that_is_spoiled_while_it_is_open_is_stored_without_what_spoils_it(
    chat: Chat, worker: Worker, kind: Callable[[], Message | Step]
) -> None:
    """Its text is stored each second, with all that belongs to it; the session goes on."""
    settled = asyncio.Event()

    @chat.on_message
    async def handle() -> None:
        stream = kind()
        await stream.stream_token("abc")
        stream.metadata = {"bad": object()}
        await stream.stream_token("d")
        await settled.wait()
        stream.metadata = None
        await stream.update()

    client = await Client.open(worker, chat)
    n = client.send("message", {"content": "begin"})

    async def texts() -> list[str]:
        row = await ChatSession.objects.aget(pk=client.live.id)
        return [one.get("content") or one.get("output") for one in row.streams]

    async with asyncio.timeout(20):
        while await texts() != ["abcd"]:
            await client.live.log.flushed()
    settled.set()
    assert await client.outcome(n) == "done"


async def test_a_message_that_streams_again_and_again_is_as_long_as_its_text(
    chat: Chat, worker: Worker
) -> None:
    """All that it had ever streamed was counted, and so a short text was refused in the end."""

    @chat.on_message
    async def handle() -> None:
        status = Message()
        for number in range(60):
            status.content = ""
            await status.stream_token(f"{number} " + "x" * 20_000)
            await status.update()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "done"
    assert client.events[-1][1]["content"].startswith("59 x")


async def test_the_text_before_a_stream_counts_as_its_tokens_do(chat: Chat, worker: Worker) -> None:
    """The tokens were accepted, and the whole message was refused."""

    @chat.on_message
    async def handle() -> None:
        message = Message("x" * 900_000)
        await message.stream_token("y" * 90_000)
        with pytest.raises(TooLarge):
            await message.stream_token("z" * 90_000)
        await message.update()
        with pytest.raises(TooLarge):
            await message.stream_token("z" * 90_000)
        await message.stream_token("z" * 900_000, is_sequence=True)
        await message.update()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "done"
    texts = [data["content"] for _, data in client.events]
    assert [len(text) for text in texts] == [900_000, 990_000, 990_000, 900_000]
    assert set(texts[-1]) == {"z"}


async def test_the_tokens_of_a_text_take_no_more_room_than_the_text(
    chat: Chat, worker: Worker, settings: Settings
) -> None:
    """Each counted with quotes of its own: a text of single letters was refused at a third."""
    settings.CHATSESSIONS = {"MAX_EVENT_BYTES": 2000}

    @chat.on_message
    async def handle() -> None:
        message = Message()
        for _ in range(1400):
            await message.stream_token("x")
        await message.update()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "done"
    assert client.events[-1][1]["content"] == "x" * 1400


async def test_a_text_that_no_frame_can_have_is_told_to_who_comes_meanwhile(chat: Chat) -> None:
    """Their connection was closed again and again."""
    go = asyncio.Event()

    @chat.on_message
    async def handle() -> None:
        message = Message()
        await message.stream_token("abc")
        message.content += "\ud83d"  # half of an emoji
        await go.wait()
        message.content = "abcd"
        await message.update()

    async with ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/") as tab:

        def texts() -> list[str]:
            return [message.content for message in tab.messages[1:]]

        n = await tab.send("begin")
        await tab.wait_until(lambda: texts() == ["abc"])
        await tab.reload()
        await tab.wait_until(lambda: texts() == ["abc?"])
        go.set()
        assert await tab.wait_for_turn(n) == "done"
        assert texts() == ["abcd"]
