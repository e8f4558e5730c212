"""What one writes with Channels alone: the count lives in the consumer and dies with it."""

from __future__ import annotations

import json

from channels.generic.websocket import AsyncWebsocketConsumer


class BareCounter(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels is untyped
    """The counter bot on a bare ``AsyncWebsocketConsumer``, JSON in and out."""

    async def connect(self) -> None:
        self.count = 0
        await self.accept()
        await self.say("Hi! I'll count how many messages you send.")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        json.loads(text_data or "")
        self.count += 1
        await self.say(f"You have sent {self.count} message(s)!")

    async def say(self, content: str) -> None:
        await self.send(text_data=json.dumps({"type": "message", "content": content}))
