"""A bot that keeps books: in its session, in the log, and in a table of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection

from chatsessions import AskUserMessage, Chat, Message, context
from chatsessions.handlers.chat import InterruptedTurn
from tests.faults.bots import count, turn_number
from tests.faults.points import strike

books = Chat("books")
#: Keeps something open for each session, where a worker holds it.
keeper = Chat("keeper")

#: Where handlers' effects in the world are written, by session and event.
EFFECT = "INSERT INTO effects (session, n, what, worker) VALUES (%s, %s, %s, %s)"


def _write_effect(session: str, n: int, what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(EFFECT, [session, n, what, settings.CLUSTER["worker"]])


async def effect(n: int, what: str) -> None:
    """Something the world has seen, whatever becomes of the session."""
    await sync_to_async(_write_effect)(str(context.session.id), n, what)


@books.on_chat_start
async def start() -> None:
    await effect(0, "start")
    await Message("ready").send()


@books.on_message
async def handle(_message: Message) -> None:
    n = turn_number()
    await effect(n, "handled")
    strike("handler")
    await count(n)


@books.on_interrupted
async def interrupted(turn: InterruptedTurn) -> None:
    await effect(turn.turn, "interrupted")
    if turn.name == "message":
        await count(turn.turn)


@books.on_stop
async def stopped() -> None:
    await context.emitter.emit("on_stop", None)


@books.on_chat_end
async def end(_reason: str) -> None:
    await effect(0, "end")


@books.on_event("slow")
async def slow(data: float) -> None:
    """Runs for ``data`` seconds, and says so every tenth."""
    n = turn_number()
    await effect(n, "handled")
    end = asyncio.get_running_loop().time() + data
    step = 0
    while (left := end - asyncio.get_running_loop().time()) > 0:
        await context.emitter.emit("step", {"n": n, "step": step})
        step += 1
        await asyncio.sleep(min(0.1, left))
    await count(n)


@books.on_event("quiet")
async def quiet(data: float) -> None:
    """Takes ``data`` seconds and says nothing: only that it is done is stored."""
    await effect(turn_number(), "handled")
    await asyncio.sleep(data)


@books.on_event("block")
def block(data: float) -> None:
    """A sync handler, which nothing can end."""
    time.sleep(data)


@books.on_event("stream")
async def stream(data: dict[str, Any]) -> None:
    """``count`` tokens, ``pause`` seconds apart."""
    await effect(turn_number(), "handled")
    message = Message()
    for number in range(data["count"]):
        await message.stream_token(f"{number} ")
        await asyncio.sleep(data["pause"])
    await message.update()


@books.on_event("ask")
async def ask(data: float) -> None:
    """Asks, waits for the answer for ``data`` seconds, and says what it was."""
    n = turn_number()
    await effect(n, "handled")
    answer = await AskUserMessage("What?", timeout=data).send()
    await context.emitter.emit("heard", {"n": n, "answer": answer and answer["output"]})


@books.on_event("fail")
async def fail() -> None:
    raise RuntimeError("told to fail")


@books.on_event("many")
async def many(data: int) -> None:
    """``data`` entries as fast as it may."""
    for number in range(data):
        await context.emitter.emit("filler", number)


@books.on_event("hold")
async def hold(data: float) -> None:
    """Keeps a database connection of the handlers' busy for ``data`` seconds."""
    await effect(turn_number(), "handled")
    await sync_to_async(_sleep_in_database, thread_sensitive=False)(data)


def _sleep_in_database(seconds: float) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
    finally:
        connection.close()


@keeper.session_lifespan
async def keep_open() -> AsyncIterator[None]:
    owner = asyncio.current_task()
    await effect(0, "open")
    yield
    assert asyncio.current_task() is owner
    await effect(0, "closed")


@keeper.on_message
async def use(message: Message) -> None:
    await effect(turn_number(), message.content)


@keeper.on_event("ask")
async def use_until_answered() -> None:
    answer = await AskUserMessage("Ready?", timeout=60).send()
    await effect(turn_number(), "asked" if answer is None else answer["output"])
