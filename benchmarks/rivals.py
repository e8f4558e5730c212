"""The counter bot and a streaming bot as developers write them with Channels alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.cache import cache

from .bots import TOKENS

GREETING = "Hi! I'll count how many messages you send."
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: Seconds. With Django's default of 300, the cache would forget the count of a slow user.
CACHE_TIMEOUT = 2 * 60 * 60


class BareCounter(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels is untyped
    """Receive and send JSON; the count is an attribute of the consumer."""

    async def connect(self) -> None:
        await self.begin()
        await self.accept()
        await self.say("message", content=GREETING)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        json.loads(text_data or "")
        count = await self.count()
        await self.say("message", content=f"You have sent {count} message(s)!")

    async def say(self, kind: str, **data: Any) -> None:
        await self.send(text_data=json.dumps({"type": kind, **data}))

    async def begin(self) -> None:
        self.counted = 0

    async def count(self) -> int:
        self.counted += 1
        return self.counted


class CacheCounter(BareCounter):
    """Keep the count in Django's cache."""

    async def begin(self) -> None:
        self.key = f"count:{uuid4()}"

    async def count(self) -> int:
        count: int = await cache.aget(self.key, 0) + 1
        await cache.aset(self.key, count, timeout=CACHE_TIMEOUT)
        return count


class DjangoSessionCounter(BareCounter):
    """Keep the count in the Django session, which is saved for every message."""

    async def begin(self) -> None:
        self.scope["session"]["count"] = 0
        await self.save()

    async def count(self) -> int:
        session = self.scope["session"]
        session["count"] += 1
        await self.save()
        return int(session["count"])

    async def save(self) -> None:
        """Save the session as Channels' documentation does."""
        await database_sync_to_async(self.scope["session"].save)()


class BareStoryteller(BareCounter):
    """Answer each message with a stream of tokens."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        json.loads(text_data or "")
        for index, token in enumerate(TOKENS):
            await self.say("token", index=index, text=token)
            await self.pause()
        count = await self.count()
        await self.say("message", content=f"You have sent {count} message(s)!")

    async def pause(self) -> None:
        """Do nothing, so that no other task runs before the end of the stream."""


class SlowBareStoryteller(BareStoryteller):
    """Stream tokens, and let other tasks run after each."""

    async def pause(self) -> None:
        await asyncio.sleep(0)


async def four_frames(_scope: object, receive: Receive, send: Send) -> None:
    """
    Speak ``chatsessions.v1`` in a plain ASGI application, without Channels, session and log.

    This is the least that a server can need: it decodes one frame, and sends four in one message.
    """
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "chatsessions.v1"})
    count = seq = 0

    async def say(*frames: dict[str, Any]) -> None:
        await send({"type": "websocket.send", "text": msgspec.json.encode(frames).decode()})

    async def answer(turn: int, content: str, *before: dict[str, Any]) -> None:
        nonlocal seq
        seq += 1
        data = {"id": "", "author": "Assistant", "content": content, "streaming": False}
        await say(
            *before,
            {"type": "event", "seq": seq, "name": "message", "data": data, "turn": turn},
            {"type": "turn", "turn": turn, "name": "message", "status": "done"},
        )

    while (message := await receive())["type"] == "websocket.receive":
        frame = msgspec.json.decode(message["text"])
        if frame["type"] == "hello":
            welcome = {"type": "welcome", "session": "", "token": "", "resumed": False}
            rest = {"reason": "new", "received": 0, "first": 1, "head": 0, "turn": None}
            await say(welcome | rest | {"heartbeat": 25.0, "max_frame": 1_000_000})
            await answer(0, GREETING)
        elif frame["type"] == "event":
            count, seq = count + 1, seq + 1
            await answer(
                frame["n"],
                f"You have sent {count} message(s)!",
                {"type": "accepted", "n": frame["n"], "seq": seq},
                {"type": "turn", "turn": frame["n"], "name": "message", "status": "running"},
            )
