"""Bots that keep books: what they did, and how often, can be looked up from outside."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group

from chatsessions import Chat, Message, context, spawn, user_session
from chatsessions.exceptions import StoreUnavailable
from chatsessions.handlers.chat import InterruptedTurn
from tests.faults.points import hold, strike

ledger = Chat("ledger")


def note_effect(what: object) -> None:
    """Something the world has seen, whatever becomes of the session: a line in a file."""
    with (Path(settings.DATA_DIR) / "effects").open("a") as file:
        file.write(f"{context.session.id} {what}\n")


def turn_number() -> int:
    turn = context.turn
    assert turn is not None
    assert turn.n is not None
    return turn.n


async def count(n: int) -> None:
    """Count event ``n`` once, whoever asks: what was counted is stored with the count."""
    if user_session.get("counted", 0) < n:
        user_session["counted"] = n
        user_session["count"] = user_session.get("count", 0) + 1
        await context.emitter.emit("counted", {"n": n, "count": user_session["count"]})


@ledger.on_chat_start
async def start() -> None:
    note_effect("start")
    await Message("ready").send()
    await context.emitter.flush()
    strike("chat-start")


@ledger.on_message
async def handle(_message: Message) -> None:
    n = turn_number()
    note_effect(n)
    await count(n)
    await context.emitter.flush()


@ledger.on_interrupted
async def interrupted(turn: InterruptedTurn) -> None:
    note_effect(f"interrupted {turn.turn}")
    await context.emitter.emit("hook", {"turn": turn.turn, "name": turn.name, "data": turn.data})
    if turn.name == "message":
        await count(turn.turn)


@ledger.on_chat_end
async def end(reason: str) -> None:
    note_effect(f"end {reason}")
    strike("chat-end")


@ledger.on_event("row")
async def row() -> None:
    """Writes a row of its own; a second one for the same event would fail."""
    n = turn_number()
    await Group.objects.acreate(name=f"{context.session.id}:{n}")
    await count(n)


@ledger.on_event("wait")
async def wait(data: float) -> None:
    """Runs for ``data`` seconds."""
    n = turn_number()
    note_effect(n)
    await Message(f"{n} begins").send()
    await asyncio.sleep(data)
    await count(n)
    await Message(f"{n} ends").send()


@ledger.on_event("block")
def block(data: float) -> None:
    """A sync handler that nothing can end."""
    note_effect(turn_number())
    user_session["blocked"] = True
    time.sleep(data)


@ledger.on_event("flush")
async def flush() -> None:
    """Insists on having stored what it says; a test may hold it up before."""
    n = turn_number()
    await hold("flush")
    await count(n)
    try:
        await context.emitter.flush()
    except StoreUnavailable:
        user_session["unavailable"] = True
        await context.emitter.emit("unavailable", n)


@ledger.on_event("many")
async def many(data: int) -> None:
    """``data`` entries as fast as it may; how long that took."""
    began = time.monotonic()
    for number in range(data):
        await context.emitter.emit("filler", number)
    await context.emitter.emit("took", time.monotonic() - began)


async def _tell(data: dict[str, Any]) -> None:
    message = Message()
    for number in range(data["count"]):
        await message.stream_token(f"{number} ")
        await asyncio.sleep(data.get("pause", 0.0))
    await message.update()


@ledger.on_event("stream")
async def stream(data: dict[str, Any]) -> None:
    note_effect(turn_number())
    await _tell(data)


@ledger.on_event("background")
async def background(data: dict[str, Any]) -> None:
    """The turn is over at once; what it spawned goes on streaming."""
    spawn(_tell(data))


@ledger.on_event("state_lost")
async def state_lost() -> None:
    await context.emitter.emit("state_lost", context.session.state_lost)


CHATS = (ledger,)
