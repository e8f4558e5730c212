"""What a connection is told of a stream that it meets in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from chatsessions import Chat, Message, context
from chatsessions.websocket.subscriber import WebsocketSubscriber
from chatsessions.workers.worker import Worker, get_worker

from .support.database import locked
from .support.sessions import Client, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]


class Line:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_frame(self, text: str, *, can_wait: bool = False, along: bool = False) -> None:
        self.sent.append(msgspec.json.decode(text))

    def close(self, code: int) -> None:
        raise AssertionError(f"closed with {code}")

    def join(self, client: Client) -> None:
        """Be the connection of a client that has the whole log."""
        live = client.live
        attachment = WebsocketSubscriber(
            live, self, position=live.log.stored, replay=get_worker().limits.replay(live.id, None)
        )

        def welcome() -> None:
            attachment.welcome("token", resumed=True, reason=None)

        live.client.connect(attachment, welcome=welcome)

    def has(self, **expected: Any) -> bool:
        return any(expected.items() <= frame.items() for frame in self.sent)

    @property
    def shown(self) -> str:
        """The message as a page shows it, which knows a piece by its index."""
        text, expected = "", 0
        for frame in self.sent:
            if frame["type"] == "event" and frame["name"] in ("message", "message_update"):
                text, expected = frame["data"]["content"], 0
            elif frame["type"] == "stream":
                text, expected = frame["content"], frame["index"]
            elif frame["type"] == "token" and frame["index"] == expected:
                text, expected = text + frame["text"], expected + 1
        return text


async def streaming(worker: Worker, chat: Chat) -> Client:
    """A client whose handler streams."""
    client = await Client.open(worker, chat)
    client.send("message", {"content": "begin"})
    await until(lambda: client.live.sink.so_far)
    return client


async def test_pieces_from_before_it_came_change_nothing(chat: Chat, worker: Worker) -> None:
    """They had to wait for an entry before them, and the whole was told meanwhile."""
    go, made, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def handle() -> None:
        message = Message()
        await message.stream_token("a")
        await go.wait()
        await context.emitter.emit("between")
        await message.stream_token("b", is_sequence=True)
        await message.stream_token("c")
        made.set()
        await end.wait()
        await message.stream_token("d")

    client, line = await streaming(worker, chat), Line()
    with locked():
        line.join(client)
        await asyncio.sleep(0.05)  # it is being stored
        go.set()
        await made.wait()
    await until(lambda: line.has(type="event", name="between"))
    await worker.journal.settled()
    assert line.shown == "bc"
    end.set()
    await until(lambda: line.has(type="token", text="d"))
    assert line.shown == "bcd"


async def test_a_stream_that_has_ended_meanwhile_is_told_whole(chat: Chat, worker: Worker) -> None:
    """Its last token waits for an entry, and its end is not stored."""
    go = asyncio.Event()

    @chat.on_message
    async def handle() -> None:
        message = Message()
        await message.stream_token("a")
        await go.wait()
        await context.emitter.emit("between")
        await message.stream_token("b")
        await message.update()

    client, line = await streaming(worker, chat), Line()
    with locked():
        line.join(client)
        await asyncio.sleep(0.05)  # it is being stored
        go.set()
        await until(lambda: not client.live.sink.texts())
    await until(lambda: line.has(name="message_update"))
    assert line.has(type="stream", index=2, content="ab")
    await worker.journal.settled()
    assert client.live.sink.so_far == []


async def test_a_stream_that_is_stored_whole_is_told_to_nobody(chat: Chat, worker: Worker) -> None:
    """Its last token waited for an entry that was stored before the one at its end."""
    go = asyncio.Event()

    @chat.on_message
    async def handle() -> None:
        message = Message()
        await message.stream_token("a")
        await go.wait()
        await context.emitter.emit("between")
        await asyncio.sleep(0.05)  # it is being stored
        await message.stream_token("b")
        await context.emitter.emit("between")
        await message.update()

    client, line = await streaming(worker, chat), Line()
    with locked():
        go.set()
        await until(lambda: not client.live.sink.texts())
    await until(lambda: not client.live.turns.running)
    await worker.journal.settled()
    line.join(client)
    await until(lambda: line.has(type="welcome"))
    client.send("message", {"content": "again"})
    await until(lambda: line.has(type="stream") or line.has(type="token"))
    assert not line.has(type="stream")


async def test_a_message_that_streams_once_more_counts_anew(chat: Chat, worker: Worker) -> None:
    go = asyncio.Event()

    @chat.on_message
    async def handle() -> None:
        message = Message()
        for text in "abc":
            await message.stream_token(text)
        await go.wait()
        await message.update()
        for text in "defgh":
            await message.stream_token(text)
        await context.emitter.flush()
        shown.append(line.shown)

    shown: list[str] = []
    client, line = await streaming(worker, chat), Line()
    line.join(client)
    await until(lambda: line.has(type="stream", index=3))
    go.set()
    await until(lambda: line.has(type="turn", status="done"))
    assert shown == ["abcdefgh"]


async def test_an_event_that_only_has_the_name_of_an_update(chat: Chat, worker: Worker) -> None:
    @chat.on_message
    async def handle() -> None:
        await Message().stream_token("a")
        await go.wait()
        for data in (None, [1], {"id": []}, {"id": 7}):
            await context.emitter.emit("message_update", data)

    go = asyncio.Event()
    client, line = await streaming(worker, chat), Line()
    line.join(client)
    await until(lambda: line.has(type="stream"))
    go.set()
    await until(lambda: line.has(type="turn", status="done"))
    assert sum(frame.get("name") == "message_update" for frame in line.sent) == 5


async def test_a_message_that_a_copy_has_closed_goes_on(chat: Chat, worker: Worker) -> None:
    """Such as one that was kept in user_session. What comes now is told with its next event."""

    @chat.on_message
    async def handle() -> None:
        message = Message()
        await message.stream_token("a")
        copy = Message(id=message.id)
        await copy.stream_token("b")
        await copy.update()
        await message.stream_token("d")
        await message.stream_token("e", is_sequence=True)
        await message.stream_token("f")
        await message.update()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "begin"}) == "done"
    assert client.events[-1][1]["content"] == "ef"
