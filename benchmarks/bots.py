"""Bots that do much of one thing: stream tokens, hold large values, or fill their log."""

from __future__ import annotations

import asyncio
from typing import Any

from chatsessions import Chat, Message, context, user_session

#: The tokens streamed for one message, as many as in an answer of a few paragraphs.
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
    """Let other tasks run after each token, as a bot does that waits for a model."""
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
    """Store a history of this many KiB in ``user_session``; no handler reads it again."""
    user_session["history"] = ["x" * 1021 for _ in range(data["kib"])]


@hoarder.on_event("chatter")
async def chatter(data: dict[str, Any]) -> None:
    """Add this many entries to the log."""
    for number in range(data["entries"]):
        await context.emitter.emit("chatter", {"number": number, "text": "x" * 80})
