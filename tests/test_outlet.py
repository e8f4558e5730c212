"""The way out of a websocket: in order, whether the server takes at once or makes one wait."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from channels.sessions import InstanceSessionWrapper
from django.test import override_settings

from chatsessions.line.outlet import Message, Outlet

around: ContextVar[str] = ContextVar("around", default="")


def text(content: object) -> Message:
    return {"type": "websocket.send", "text": str(content)}


class Server:
    """Takes messages: at once, or once :attr:`open` is set. Refuses those it is told to."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuses: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.failed: list[tuple[str, str]] = []

    async def send(self, message: Message) -> None:
        token = around.set(message["text"])
        await self.open.wait()
        around.reset(token)  # raises in another context
        if message["text"] in self.refuses:
            raise ConnectionError(f"no {message['text']}")
        self.taken.append(message["text"])

    def outlet(self) -> Outlet:
        return Outlet(self.send, failed=self.fail, own=self.tasks.add)

    def fail(self, message: Message, error: BaseException) -> None:
        self.failed.append((message["text"], str(error)))

    async def through(self) -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*self.tasks)


async def test_what_the_server_takes_at_once_is_sent_when_put_returns() -> None:
    server = Server()
    outlet = server.outlet()
    for n in range(3):
        outlet.put(text(n))
    assert server.taken == ["0", "1", "2"]
    assert not server.tasks
    assert around.get() == ""


async def test_what_comes_while_the_server_makes_one_wait_queues_behind() -> None:
    server = Server()
    outlet = server.outlet()
    server.open.clear()
    for n in range(5):
        outlet.put(text(n))
    await asyncio.sleep(0)
    assert server.taken == []
    assert len(server.tasks) == 1
    server.open.set()
    await server.through()
    assert server.taken == ["0", "1", "2", "3", "4"]
    assert server.failed == []
    outlet.put(text(5))
    assert server.taken[-1] == "5"
    assert len(server.tasks) == 1


async def test_a_message_that_fails_is_told_and_the_next_goes_on() -> None:
    server = Server()
    outlet = server.outlet()
    server.refuses = {"0", "2", "4"}
    outlet.put(text(0))
    outlet.put(text(1))
    server.open.clear()
    for n in (2, 3, 4, 5):
        outlet.put(text(n))
    server.open.set()
    await server.through()
    assert server.taken == ["1", "3", "5"]
    assert server.failed == [("0", "no 0"), ("2", "no 2"), ("4", "no 4")]


async def test_a_send_that_waited_for_something_cancelled_has_failed() -> None:
    """Whoever had something to tell, such as the journal to all of its sessions, goes on."""

    async def send(_message: Message) -> None:
        raise asyncio.CancelledError("gone")

    server = Server()
    Outlet(send, failed=server.fail, own=server.tasks.add).put(text(0))
    assert server.failed == [("0", "gone")]


async def test_what_is_cleared_is_not_sent() -> None:
    server = Server()
    outlet = server.outlet()
    server.open.clear()
    for n in range(3):
        outlet.put(text(n))
    outlet.clear()
    server.open.set()
    await server.through()
    assert server.taken == ["0"]


async def test_a_send_that_is_cancelled_ends_where_it_waits() -> None:
    ended: list[str] = []

    async def send(message: Message) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message["text"])

    server = Server()
    Outlet(send, failed=server.fail, own=server.tasks.add).put(text(0))
    (task,) = server.tasks
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert ended == ["0"]
    assert server.failed == []


async def test_any_awaitable_will_do() -> None:
    """A server written in another language need not have coroutines."""
    server = Server()
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    outlet = Outlet(lambda _: answer, failed=server.fail, own=server.tasks.add)
    outlet.put(text(0))
    assert len(server.tasks) == 1
    answer.set_result(None)
    await server.through()
    outlet.put(text(1))  # that one is done already
    assert len(server.tasks) == 1


async def test_the_session_middleware_is_passed_by() -> None:
    server = Server()
    scope: dict[str, Any] = {"type": "websocket", "cookies": {}}
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache"):
        wrapper = InstanceSessionWrapper(scope, server.send)
    wrapper.activated = None  # its own send() would look at the session, which is not there
    Outlet(wrapper.send, failed=server.fail, own=server.tasks.add).put(text(0))
    assert server.taken == ["0"]


async def test_a_send_around_it_is_called() -> None:
    class Counting(InstanceSessionWrapper):  # type: ignore[misc]  # Channels is untyped
        async def send(self, message: Message) -> None:
            server.taken.append("counted")
            await self.real_send(message)

    server = Server()
    wrapper = Counting({"type": "websocket", "cookies": {}}, server.send)
    Outlet(wrapper.send, failed=server.fail, own=server.tasks.add).put(text(0))
    assert server.taken == ["counted", "0"]
