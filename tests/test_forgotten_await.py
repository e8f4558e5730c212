"""A sending call whose ``await`` was forgotten fails the turn, which names the line."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chatsessions import (
    Action,
    AskActionMessage,
    AskFileMessage,
    AskUserMessage,
    Chat,
    ChatSettings,
    Message,
    context,
    send_window_message,
    spawn,
)
from chatsessions.input_widget import Switch
from chatsessions.workers.worker import Worker

from .support.sessions import Client, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]

Call = Callable[[Message], Any]

CALLS: dict[str, Call] = {
    "Message.send": lambda _: Message("never said").send(),
    "Message.update": lambda sent: sent.update(),
    "Message.remove": lambda sent: sent.remove(),
    "Message.remove_actions": lambda sent: sent.remove_actions(),
    "Message.stream_token": lambda _: Message().stream_token("never said"),
    "AskUserMessage.send": lambda _: AskUserMessage("never asked").send(),
    "AskActionMessage.send": lambda _: AskActionMessage("never asked", actions=ACTIONS).send(),
    "AskFileMessage.send": lambda _: AskFileMessage("never asked", accept=["*/*"]).send(),
    "ChatSettings.send": lambda _: ChatSettings([Switch(id="a", label="a")]).send(),
    "Action.remove": lambda _: ACTIONS[0].remove(),
    "Emitter.emit": lambda _: context.emitter.emit("never", 1),
    "Emitter.flush": lambda _: context.emitter.flush(),
    "Emitter.call": lambda _: context.emitter.call("never"),
    "send_window_message": lambda _: send_window_message("never"),
}
ACTIONS = [Action("yes")]


@pytest.mark.parametrize("name", CALLS)
async def test_the_turn_fails_and_names_the_call_and_its_line(
    worker: Worker, chat: Chat, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was sent, and nobody said a word about it."""

    @chat.on_message
    async def handle() -> None:
        sent = await Message("said").send()
        CALLS[name](sent)
        await asyncio.sleep(0)

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "failed"
    assert client.texts == ["said"]
    line = CALLS[name].__code__.co_firstlineno
    assert f"{name}() in {__file__}, line {line}. Write 'await'" in caplog.text


async def kept_in_a_variable() -> None:
    message = Message("never said").send()
    assert message is not None


async def returned() -> Any:
    return Message("never said").send()


async def before_others() -> None:
    Message("never said").send()
    for number in range(200):
        await Message(f"{number}").send()


async def in_a_helper() -> None:
    async def helper() -> None:
        Message("never said").send()

    await asyncio.gather(helper(), helper())


@pytest.mark.parametrize("body", [kept_in_a_variable, returned, before_others, in_a_helper])
async def test_wherever_it_was_forgotten(
    worker: Worker, chat: Chat, body: Callable[[], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    @chat.on_message
    async def handle() -> Any:
        return await body()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "failed"
    assert "Message.send() in" in caplog.text


async def gathered() -> None:
    await asyncio.gather(*(Message(f"{number}").send() for number in range(150)))


async def as_a_task_that_has_not_begun() -> None:
    TASKS.add(asyncio.create_task(Message("later").send()))


async def spawned() -> None:
    spawn(Message("later").send())


async def kept_for_later() -> None:
    LATER.append(Message("later").send())


TASKS: set[asyncio.Task[Any]] = set()
LATER: list[Any] = []


@pytest.mark.parametrize("body", [gathered, as_a_task_that_has_not_begun, spawned, kept_for_later])
async def test_what_somebody_else_awaits_is_not_forgotten(
    worker: Worker, chat: Chat, body: Callable[[], Awaitable[None]]
) -> None:
    @chat.on_message
    async def handle() -> None:
        await body()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    if TASKS:
        await asyncio.wait(TASKS)
        TASKS.clear()
    for coroutine in LATER:
        coroutine.close()
    LATER.clear()
    gc.collect()  # what warns of a coroutine that was never awaited fails the test


async def test_what_a_spawned_task_forgets_after_its_turn_is_warned_of_and_not_kept(
    worker: Worker, chat: Chat
) -> None:
    """Nobody looks at the turn's list any more: it would only grow, and hide Python's warning."""
    may_go_on, warned = asyncio.Event(), []

    async def later() -> None:
        await may_go_on.wait()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number in range(300):
                Message(f"{number}").send()
            warned.append(len(caught))

    @chat.on_message
    async def handle() -> None:
        spawn(later())

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    may_go_on.set()
    await until(lambda: warned)
    assert warned == [300]


async def test_a_turn_that_forgets_a_thousand_times_keeps_a_hundred(
    worker: Worker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    @chat.on_message
    async def handle() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number in range(1000):
                Message(f"{number}").send()
            warned.append(len(caught))

    warned: list[int] = []
    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "failed"
    assert warned == [900]
    assert caplog.text.count("Message.send() in") == 100


async def test_a_handler_that_failed_by_itself_says_why(
    worker: Worker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    @chat.on_message
    async def handle() -> None:
        coroutine = Message("never said").send()
        coroutine.close()
        raise ValueError("the handler's own")

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "failed"
    assert "the handler's own" in caplog.text
