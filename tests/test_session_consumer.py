"""``SessionConsumer``: frames of one's own, in the context of a session."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from channels.testing import WebsocketCommunicator

from chatsessions import (
    Chat,
    aend_session,
    context,
    session_context,
    user_session,
)
from chatsessions.consumers import SessionConsumer
from chatsessions.models import ChatSession
from chatsessions.signals import (
    session_connected,
    session_started,
)
from chatsessions.worker import Worker as RunningWorker

from .test_context import chat, until, worker

__all__ = ["chat", "worker"]

pytestmark = pytest.mark.django_db(transaction=True)


class Counter(SessionConsumer):
    """Frames of its own: every text is counted and answered."""

    async def get_resume_credentials(self) -> tuple[str, str | None] | None:
        query = parse_qs(self.scope["query_string"].decode())
        return (query["session"][0], query["token"][0]) if "session" in query else None

    async def connect(self) -> None:
        user_session["connects"] = user_session.get("connects", 0) + 1
        await self.accept()
        await self.send(f"{context.session.id} {self.session_token}")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "fail":
            user_session["failing"] = True
            raise ValueError("on purpose")
        user_session["count"] = user_session.get("count", 0) + 1
        await self.send(f"{text_data} {user_session['count']}")

    async def disconnect(self, code: int) -> None:
        user_session["code"] = code


class Socket(WebsocketCommunicator):
    """A client; the first frame tells it how to come back."""

    session = token = ""

    async def open(self) -> str:
        accepted, _ = await self.connect()
        assert accepted
        self.session, self.token = (await self.receive_from()).split()
        return self.session

    async def ask(self, text: str) -> str:
        await self.send_to(text)
        answer: str = await self.receive_from()
        return answer


async def row_of(client: Socket) -> ChatSession:
    return await ChatSession.objects.aget(pk=client.session)


async def test_an_exception_in_receive_closes_the_connection_and_not_the_session(
    worker: RunningWorker, chat: Chat
) -> None:
    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    assert await client.ask("a") == "a 1"
    await client.send_to("fail")
    with pytest.raises(ValueError, match="on purpose"):
        await client.receive_output()
    await until(lambda: not worker.live, seconds=2)
    row = await row_of(client)
    assert (row.status, row.worker_id) == ("away", None)
    assert row.state == '{"connects":1,"count":1,"failing":true}'


async def test_senders_of_signals(worker: RunningWorker, chat: Chat) -> None:
    """The consumer class, as the signals' documentation says."""
    senders: list[Any] = []

    def receiver(sender: Any, **_: Any) -> None:
        senders.append(sender)

    session_connected.connect(receiver)
    try:
        client = Socket(Counter.as_asgi(), "/ws/")
        await client.open()
        await until(lambda: senders)
    finally:
        session_connected.disconnect(receiver)
        await client.disconnect()
    assert [sender.name for sender in senders] == [f"{__name__}.Counter"]


async def test_started_is_sent_when_the_row_is_there(worker: RunningWorker, chat: Chat) -> None:
    found: list[bool] = []

    async def receiver(session: Any, **_: Any) -> None:
        found.append(await ChatSession.objects.filter(pk=session.id).aexists())

    session_started.connect(receiver)
    try:
        client = Socket(Counter.as_asgi(), "/ws/")
        await client.open()
        await until(lambda: found)
    finally:
        session_started.disconnect(receiver)
        await client.disconnect()
    assert found == [True]


async def test_a_lost_first_frame_locks_nobody_out(worker: RunningWorker, chat: Chat) -> None:
    application = Counter.as_asgi(chat=chat)
    first = Socket(application, "/ws/")
    await first.open()
    await first.ask("hello")
    await first.disconnect()
    again = Socket(application, f"/ws/?session={first.session}&token={first.token}")
    await again.connect()  # its first frame, with the new token, is lost
    await again.disconnect()
    third = Socket(application, f"/ws/?session={first.session}&token={first.token}")
    assert await third.open() == first.session
    await third.disconnect()


async def test_goodbyes_arrive(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_chat_end
    async def over() -> None:
        await context.emitter.emit("goodbye", 1)

    client = Socket(Counter.as_asgi(chat=chat), "/ws/")
    await client.open()
    await aend_session(client.session, "admin")
    frame = await client.receive_output()
    assert frame == {"type": "websocket.send", "text": '{"name":"goodbye","data":1}'}
    assert await client.receive_output() == {"type": "websocket.close", "code": 4503}
    await client.disconnect()


async def test_an_event_that_cannot_be_sent_does_not_hold_up_the_next(
    worker: RunningWorker, chat: Chat
) -> None:
    class Picky(Counter):
        async def session_event(self, name: str, data: Any) -> None:
            if data == 1:
                raise ValueError("on purpose")
            await super().session_event(name, data)

    client = Socket(Picky.as_asgi(chat=chat), "/ws/")
    await client.open()
    async with session_context(client.session):
        for data in (1, 2):
            await context.emitter.emit("number", data)
    assert await client.receive_json_from() == {"name": "number", "data": 2}
    await client.disconnect()
