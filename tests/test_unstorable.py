"""A change inside a value that cannot be stored is found before anything tells of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chatsessions import (
    AskUserMessage,
    Chat,
    Message,
    NotStorable,
    TooLarge,
    aemit_to,
    context,
    session_context,
    user_session,
)
from chatsessions.workers.worker import Worker

from .support.sessions import Client, until
from .support.storage import state_of

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


class Live:
    """Something that cannot be stored."""


async def tell() -> None:
    await Message("answer").send()


async def stream() -> None:
    await Message().stream_token("answer")


async def emit() -> None:
    await context.emitter.emit("answer", 1)


async def ask() -> None:
    await AskUserMessage("answer?").send()


async def flush() -> None:
    await context.emitter.flush()


@pytest.fixture
def bot(chat: Chat) -> Chat:
    @chat.on_chat_start
    async def start() -> None:
        user_session["history"] = ["greeting"]

    return chat


@pytest.mark.parametrize("how", [tell, stream, emit, ask, flush], ids=lambda how: how.__name__)
async def test_what_would_tell_of_it_raises_before_it_leaves(
    worker: Worker, bot: Chat, how: Any
) -> None:
    """The answer was shown, and at the commit the turn failed."""
    caught: list[NotStorable] = []

    @bot.on_message
    async def answer(message: Message) -> None:
        history = user_session["history"]
        history.append(message.content)
        history.append({"role": "assistant", "content": Live()})
        user_session["count"] = 1
        user_session["other"] = []
        user_session["other"].append("kept")
        try:
            await how()
        except NotStorable as error:
            caught.append(error)
            raise

    client = await Client.open(worker, bot)
    assert await client.run("message", {"content": "hello"}) == "failed"
    assert [error.path for error in caught] == ["history[2]['content']"]
    assert [name for name, _ in client.events] == ["error"]
    assert await state_of(client.live) == {"history": ["greeting"], "count": 1, "other": ["kept"]}


@pytest.mark.parametrize("commit", [False, True], ids=["at once", "after a commit"])
async def test_a_handler_that_mends_the_value_goes_on_with_it(
    worker: Worker, bot: Chat, commit: bool
) -> None:
    """Not even a commit meanwhile takes it out of the handler's hands."""

    @bot.on_message
    async def answer(message: Message) -> None:
        await Message("wait").send()
        history = user_session["history"]
        history += [message.content, Live()]
        if commit:
            await until(lambda: client.texts == ["wait"])
        with pytest.raises(NotStorable, match=r"history\[2\]"):
            await tell()
        history[2] = "an answer"
        await tell()

    client = await Client.open(worker, bot)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert client.texts == ["wait", "answer"]
    assert (await state_of(client.live))["history"] == ["greeting", "hello", "an answer"]


async def test_a_value_beyond_the_limit_is_found_in_time_too(
    worker: Worker, bot: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_MAX_BYTES": 1000}

    @bot.on_message
    async def answer(message: Message) -> None:
        user_session["history"].append("x" * 2000)
        with pytest.raises(TooLarge):
            await tell()
        user_session["history"].pop()
        await tell()

    client = await Client.open(worker, bot)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert client.texts == ["answer"]


async def test_values_go_with_the_message_that_tells_of_them_beside_one_that_cannot(
    worker: Worker, bot: Chat
) -> None:
    """What a commit in the middle of a turn stores is not held back by another key."""

    @bot.on_message
    async def answer(message: Message) -> None:
        user_session["count"] = 1
        await Message("one").send()
        user_session["history"].append(Live())
        await until(lambda: client.texts == ["one"])
        stored.update(await state_of(client.live))
        user_session["history"].pop()

    stored: dict[str, Any] = {}
    client = await Client.open(worker, bot)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert stored == {"count": 1, "history": ["greeting"]}


async def test_a_message_from_outside_is_not_refused_for_what_a_turn_works_at(
    worker: Worker, bot: Chat
) -> None:
    @bot.on_message
    async def answer(message: Message) -> None:
        user_session["history"].append(Live())
        await until(lambda: client.texts == ["from outside"])
        user_session["history"].pop()

    client = await Client.open(worker, bot)
    n = client.send("message", {"content": "hello"})
    await until(lambda: n in [turn.n for turn in client.live.turns.running])
    async with session_context(client.live.id):
        await Message("from outside").send()
    assert await client.outcome(n) == "done"


async def test_outside_of_turns_it_is_found_as_well(worker: Worker, bot: Chat) -> None:
    client = await Client.open(worker, bot)
    await until(lambda: client.outcomes == {0: "done"})

    async def spoil_and_tell() -> None:
        async with session_context(client.live.id):
            user_session["history"].append(Live())
            await tell()

    with pytest.raises(NotStorable, match=r"history\[1\]"):
        await spoil_and_tell()
    assert client.texts == []
    with pytest.raises(NotStorable, match=r"history\[1\]"):
        async with session_context(client.live.id):
            user_session["history"].append(Live())
    assert await state_of(client.live) == {"history": ["greeting"]}


async def test_a_handler_in_a_thread_hears_of_it(worker: Worker, bot: Chat) -> None:
    @bot.on_message
    def answer(message: Message) -> None:
        user_session["history"].append(Live())
        with pytest.raises(NotStorable, match=r"history\[1\]"):
            Message("answer").send()
        user_session["history"].pop()

    client = await Client.open(worker, bot)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert client.texts == []


async def test_the_advice_for_an_events_data_is_what_works_there(worker: Worker, bot: Chat) -> None:
    """Registered classes are no JSON either."""

    @bot.on_message
    async def answer(message: Message) -> None:
        with pytest.raises(NotStorable, match="JSON: send plain data") as caught:
            await context.emitter.emit("answer", {"live": Live()})
        assert "@chatsessions.serializable" not in str(caught.value)

    client = await Client.open(worker, bot)
    assert await client.run("message", {"content": "hello"}) == "done"


async def test_the_end_of_a_block_leaves_what_a_turn_is_working_on(
    worker: Worker, bot: Chat
) -> None:
    """The block was told of the turn's value, and the turn's change was gone."""
    inside, go = asyncio.Event(), asyncio.Event()

    @bot.on_message
    async def answer() -> None:
        history = user_session["history"]
        history.append(Live())
        inside.set()
        await go.wait()
        history[1] = "mended"
        await tell()

    client = await Client.open(worker, bot)
    client.send("message", {"content": "hello"})
    await inside.wait()
    async with session_context(client.live.id):
        user_session["other"] = 1
    go.set()
    await until(lambda: client.texts == ["answer"])
    await until(lambda: not client.live.is_busy)
    assert await state_of(client.live) == {"history": ["greeting", "mended"], "other": 1}


async def test_what_a_block_raises_is_what_its_caller_hears(
    worker: Worker, bot: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that could not be stored hid it. What the block set and sent before it is kept."""
    client = await Client.open(worker, bot)
    await until(lambda: not client.live.is_busy)

    async def work() -> None:
        async with session_context(client.live.id):
            user_session["other"] = 1
            await tell()
            user_session["history"].append(Live())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    await until(lambda: client.texts == ["answer"])
    assert await state_of(client.live) == {"history": ["greeting"], "other": 1}
    assert "before it raised ZeroDivisionError" in caplog.text
    assert "history[1]" in caplog.text


async def test_who_sends_from_elsewhere_does_not_hear_of_a_blocks_value(
    worker: Worker, bot: Chat
) -> None:
    """emit_to() was refused for what somebody else was working on."""
    client = await Client.open(worker, bot)
    await until(lambda: not client.live.is_busy)
    async with session_context(client.live.id):
        history = user_session["history"]
        history.append(Live())
        await aemit_to(client.live.id, "note")
        with pytest.raises(NotStorable):
            await flush()
        with pytest.raises(NotStorable):
            await tell()
        history[1] = "mended"
        await tell()
    assert [name for name, _ in client.events] == ["note", "message"]
    assert await state_of(client.live) == {"history": ["greeting", "mended"]}
