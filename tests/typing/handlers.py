"""Handlers: async or not, and with their argument, of its type, or without."""

from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any

import chatsessions as cl
from chatsessions import Action, Chat, InterruptedTurn, Message, Thread

chat = Chat("typed")


@chat.on_message
async def message(message: Message) -> None: ...


@chat.on_message
def nothing_of_the_message() -> None: ...


@chat.on_message
def sync_message(message: cl.Message) -> None: ...


@chat.on_message  # type: ignore[type-var]
async def number(message: int) -> None: ...


@chat.on_message  # type: ignore[type-var]
def sync_number(message: int) -> None: ...


@chat.on_message  # type: ignore[type-var]
async def two_arguments(message: Message, other: int) -> None: ...


@cl.on_message
async def of_the_module(message: cl.Message) -> None: ...


@cl.on_message  # type: ignore[type-var]
async def number_of_the_module(message: int) -> None: ...


@chat.on_chat_start
async def start() -> None: ...


@chat.on_chat_start  # type: ignore[type-var]
async def start_with_an_argument(message: Message) -> None: ...


@chat.on_chat_resume
async def resume(thread: Thread) -> None: ...


@chat.on_chat_resume  # type: ignore[type-var]
async def resume_with_a_dict(thread: dict[str, Any]) -> None: ...


@chat.on_event("rate")
async def rate(data: dict[str, int]) -> None: ...


@chat.on_event("rate")  # type: ignore[type-var]
async def rate_in_two(stars: int, why: str) -> None: ...


@cl.on_action("buy")
async def buy(action: Action) -> None: ...


@chat.on_action("buy")  # type: ignore[type-var]
async def buy_by_name(action: str) -> None: ...


@cl.action_callback("buy")  # type: ignore[type-var]
async def buy_as_in_chainlit(action: str) -> None: ...


@chat.on_settings_update
def settings(settings: dict[str, Any]) -> None: ...


@chat.on_settings_update  # type: ignore[type-var]
def settings_as_a_list(settings: list[str]) -> None: ...


@chat.on_chat_end
async def end(reason: str) -> None: ...


@chat.on_chat_end  # type: ignore[type-var]
async def end_by_number(reason: int) -> None: ...


@chat.on_interrupted
async def interrupted(turn: InterruptedTurn) -> None: ...


@chat.on_interrupted  # type: ignore[type-var]
async def interrupted_by_number(turn: int) -> None: ...


@chat.session_lifespan
async def lifespan() -> AsyncIterator[None]:
    yield


@cl.session_lifespan
async def lifespan_of_the_module() -> AsyncGenerator[None, None]:
    yield


@chat.session_lifespan  # type: ignore[type-var]
async def lifespan_without_a_yield() -> None: ...


class Bot:
    def answer(self, message: Message) -> None: ...


chat.on_message(Bot().answer)
chat.on_message(partial(message))
chat.on_message(lambda message: None)


async def decorators_change_nothing(said: Message) -> int:
    await message(said)
    await of_the_module(said)
    return nothing_of_the_message()  # type: ignore[return-value]


async def awaited() -> None:
    sent = await Message("x").send()
    await sent.update()
    await sent.stream_token("y")
    await cl.context.emitter.emit("z")
    answer = await cl.AskUserMessage("Who?").send()
    if answer is not None:
        await Message(answer["output"]).send()


async def forgotten() -> None:
    Message("x").send()  # type: ignore[unused-coroutine]
    cl.context.emitter.emit("z")  # type: ignore[unused-coroutine]
    cl.AskUserMessage("Who?").send()  # type: ignore[unused-coroutine]
    cl.send_window_message(1)  # type: ignore[unused-coroutine]


def in_a_def() -> None:
    """Without the override of docs/handlers.md: where it runs is not in a call's type."""
    Message("x").send()  # type: ignore[unused-coroutine]
    sent = cl.run_sync(Message("x").send())
    sent.content = "y"
    answer = cl.run_sync(cl.AskUserMessage("Who?").send())
    if answer is not None:
        cl.run_sync(Message(answer["output"]).send())
