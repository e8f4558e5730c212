"""Bots that do one thing much: stream, hold large values, fill their log."""

from __future__ import annotations

import asyncio
from typing import Any

from chatsessions import Chat, Message, context, user_session

#: What is streamed for one message: the length of an answer of some paragraphs.
TOKENS = [f"word{number} " for number in range(200)]

storyteller = Chat("storyteller")
slow_storyteller = Chat("slow storyteller")
hoarder = Chat("hoarder")


async def begin() -> None:
    user_session["message_count"] = 0
    await Message("Hi! I'll count how many messages you send.").send()


def count() -> str:
    counted = user_session["message_count"] + 1
    user_session["message_count"] = counted
    return f"You have sent {counted} message(s)!"


for chat in (storyteller, slow_storyteller, hoarder):
    chat.on_chat_start(begin)


@storyteller.on_message
async def tell() -> None:
    story = Message()
    for token in TOKENS:
        await story.stream_token(token)
    story.content = count()
    await story.update()


@slow_storyteller.on_message
async def tell_slowly() -> None:
    """Others have their turn after each token, as with one who waits for a model."""
    story = Message()
    for token in TOKENS:
        await story.stream_token(token)
        await asyncio.sleep(0)
    story.content = count()
    await story.update()


@hoarder.on_message
async def answer() -> None:
    await Message(count()).send()


@hoarder.on_event("hoard")
async def hoard(data: dict[str, Any]) -> None:
    """Hold a history of this many KiB, which is not looked at again."""
    user_session["history"] = ["x" * 1021 for _ in range(data["kib"])]


@hoarder.on_event("chatter")
async def chatter(data: dict[str, Any]) -> None:
    """Put this many entries into the log."""
    for number in range(data["entries"]):
        await context.emitter.emit("chatter", {"number": number, "text": "x" * 80})
