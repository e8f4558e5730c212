"""A websocket's way out, with a server behind it that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from chatsessions import Chat, Message, context
from chatsessions.consumers import ChatConsumer
from chatsessions.workers.worker import Worker

from .support.sessions import until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]


class Server:
    """One websocket: takes what it is sent, but what has ``fails`` in it only waits, and fails."""

    def __init__(self, chat: Chat, fails: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.waits = asyncio.Event()
        self.fail = asyncio.Event()
        self._fails = fails
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
        app = ChatConsumer.as_asgi(chat=chat)
        self._task = asyncio.create_task(app(scope, self._in.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        if self._fails in message.get("text", ""):
            self.waits.set()
            await self.fail.wait()
            raise ConnectionError("not sent")
        self.sent.append(message)

    def say(self, frame: dict[str, Any]) -> None:
        text = msgspec.json.encode(frame).decode()
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    def open(self, *, bundles: bool = True) -> None:
        self._in.put_nowait({"type": "websocket.connect"})
        self.say({"type": "hello", "bundles": bundles})

    async def leave(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await self._task


async def test_behind_what_was_not_sent_only_the_close_is(
    chat: Chat, worker: Worker, settings: Settings
) -> None:
    """The client resumes behind the last that it got: it must get nothing from beyond a hole."""
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 0.2}

    @chat.on_chat_start
    async def start() -> None:
        message = Message()
        await message.stream_token("a")
        await context.emitter.emit("fails")
        await server.waits.wait()
        await message.stream_token("waits in the bundle")
        server.fail.set()

    server = Server(chat, '"name":"fails"')
    server.open()
    await until(lambda: server.sent and server.sent[-1]["type"] == "websocket.close")
    texts = [message["text"] for message in server.sent if "text" in message]
    assert not any("waits in the bundle" in text for text in texts)
    assert server.sent[-1]["code"] == 4000
    await server.leave()


@pytest.mark.parametrize("bundles", [False, True])
async def test_what_was_told_before_a_close_comes_before_it_and_nothing_after(
    chat: Chat, worker: Worker, bundles: bool
) -> None:
    server = Server(chat, "fails")
    server.open(bundles=bundles)
    server.say({"type": "end"})
    server.say({"type": "ping"})
    await until(lambda: server.sent and server.sent[-1]["type"] == "websocket.close")
    assert server.sent[-1]["code"] == 4503
    assert '{"type":"ended","reason":"user"}' in server.sent[-2]["text"]
    server.say({"type": "ping"})
    await asyncio.sleep(0.05)
    assert server.sent[-1]["type"] == "websocket.close"
    await server.leave()
