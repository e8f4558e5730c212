"""What is done for a client that has left before it was welcomed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chatsessions import Chat, Message
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol.frames import SUBPROTOCOL

from .support.communicator import Communicator
from .support.sessions import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

HELLO = {"type": "hello", "session": None, "token": None}
EVENT = {"type": "event", "n": 1, "name": "message", "data": {"content": "one"}}


async def line(consumer: type[ChatConsumer], chat: Chat) -> Communicator:
    """A connection that is accepted and has said nothing."""
    found = Communicator(consumer.as_asgi(chat=chat), "/", subprotocols=[SUBPROTOCOL])
    assert await found.connect() == (True, SUBPROTOCOL)
    return found


def asking(wait: Callable[[], Awaitable[object]]) -> tuple[type[ChatConsumer], list[str]]:
    """A consumer whose ``authorize()`` waits, and what came of that."""
    said: list[str] = []

    class Asking(ChatConsumer):
        async def authorize(self, scope: dict[str, Any], session: Session) -> bool:
            said.append("asked")
            try:
                await wait()
            except asyncio.CancelledError:
                said.append("given up")
                raise
            said.append("answered")
            return True

    return Asking, said


async def test_who_has_left_before_the_welcome_gets_no_session(chat: Chat) -> None:
    consumer, said = asking(asyncio.Event().wait)  # for ever
    client = await line(consumer, chat)
    await client.send_json_to(HELLO)
    await until(lambda: said)
    client.input_queue.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await until(lambda: len(said) > 1)
    await client.wait(timeout=10)
    assert said == ["asked", "given up"]
    assert await ChatSession.objects.acount() == 0


async def test_what_comes_before_the_welcome_is_taken_after_it(chat: Chat) -> None:
    handled = asyncio.Event()

    @chat.on_message
    async def on_message(message: Message) -> None:
        handled.set()

    may_answer = asyncio.Event()
    consumer, said = asking(may_answer.wait)
    client = await line(consumer, chat)
    await client.send_json_to(HELLO)
    await client.send_json_to(EVENT)
    client.input_queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await until(lambda: said)
    may_answer.set()
    await until(handled.is_set)
    await client.wait(timeout=10)
    assert said == ["asked", "answered"]
    told = [entry async for entry in SessionEvent.objects.filter(n=1)]
    assert [entry.data["content"] for entry in told] == ["one"]
