"""Live sessions without a server: a worker, the clients of its sessions, and ways to wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, Self
from uuid import UUID

import msgspec
import pytest
from django.contrib.auth.models import AnonymousUser
from django.dispatch import Signal

from chatsessions import Chat
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.handlers.bridge import THREAD as BACKGROUND
from chatsessions.handlers.session import Session
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.workers.worker import Worker, _workers, get_worker, running_workers

#: The two ways to write handlers, hooks and receivers: with ``async def`` or with ``def``.
Way = Literal["async", "sync"]
ways = pytest.mark.parametrize("way", ["async", "sync"])


# Waiting


async def until(condition: Callable[[], object], *, seconds: float = 90.0) -> None:
    """Poll ``condition`` until it is true. Raises ``TimeoutError`` after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110, RUF100  # the condition has no event
            await asyncio.sleep(0.002)


async def eventually(check: Callable[[], Awaitable[bool]], *, seconds: float = 90.0) -> None:
    """Poll as :func:`until` does, for a condition that has to be awaited, such as a query."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110, RUF100  # the condition has no event
            await asyncio.sleep(0.005)


def hold_up(seconds: float, *, arrives: Callable[[], object] | None = None) -> None:
    """Block the event loop for ``seconds``, and have it call ``arrives`` as soon as it goes on."""
    if arrives is not None:
        asyncio.get_running_loop().call_soon(arrives)
    time.sleep(seconds)


# A worker, and a client of one of its sessions


@asynccontextmanager
async def running_worker() -> AsyncIterator[Worker]:
    """Yield the worker of this event loop; close it, and wait for its tasks and threads to end."""
    worker = get_worker()
    try:
        yield worker
    finally:
        if worker in running_workers():
            await worker.close()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        await until(lambda: not threads_of_ours())


@contextmanager
def calling_from(worker: Worker) -> Iterator[None]:
    """Calls from outside are made by ``worker``, as in a process of its own."""
    worker.serve()
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(_workers, worker.loop, worker)
        yield


def threads_of_ours() -> set[str]:
    """Return the names of the running threads that a worker has started."""
    return {thread.name for thread in _threads_of_ours()}


def join_threads_of_ours() -> None:
    """Wait up to five seconds for each thread of a worker that has been told to end."""
    for thread in _threads_of_ours():
        thread.join(5)


def _threads_of_ours() -> list[threading.Thread]:
    ours = (one for one in threading.enumerate() if one.name.startswith("chatsessions"))
    return [one for one in ours if one.name != BACKGROUND]  # it lasts as long as the process


class Client(Subscriber):
    """A client and its connection, which records all entries and frames of the session."""

    def __init__(self, live: LiveSession) -> None:
        self.live = live
        self.token = ""
        self.resumed = False
        self.reason: str | None = None
        self.log: list[Entry] = []
        self.frames: list[frames.ServerFrame] = []
        self.closed: list[tuple[int, str | None]] = []
        self._n = live.position.accepted

    @classmethod
    async def open(
        cls,
        worker: Worker,
        chat: Chat,
        session_id: UUID | None = None,
        token: str | None = None,
        **arrival: Any,
    ) -> Self:
        """Connect to a new session or to ``session_id``, and wait for the welcome."""
        arrival.setdefault("user", AnonymousUser())
        asked = None if session_id is None else str(session_id)
        opened = await worker.open(chat, ConnectRequest(session_id=asked, token=token, **arrival))
        client = cls(opened.live)
        client.resumed, client.reason = opened.resumed, opened.reason
        client.token = opened.live.client.issue_token(token if opened.resumed else None)
        welcomed = asyncio.Event()
        opened.live.client.connect(client, welcome=welcomed.set)
        opened.live.go()
        async with asyncio.timeout(90):
            await welcomed.wait()
        return client

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        self.log.extend(entries)

    def frame(self, frame: frames.ServerFrame) -> None:
        self.frames.append(frame)

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        self.closed.append((int(code), ended))

    # Acting as a client

    def send(self, name: str, data: Any = None) -> int:
        """Send an event, and return its number, which is also that of its turn."""
        self._n += 1
        self.send_as(self._n, name, data)
        return self._n

    def send_as(self, n: int, name: str = "message", data: Any = None) -> None:
        """Send an event with the number ``n``."""
        raw = msgspec.Raw(msgspec.json.encode(data))
        self.live.submit(frames.ClientEvent(n, name, raw), data)

    def answer(self, call: str, data: Any) -> int:
        """Answer a question, and return the number of the answer."""
        self._n += 1
        raw = msgspec.Raw(msgspec.json.encode(data))
        self.live.inbound.answer(frames.Answer(self._n, call, raw), data)
        return self._n

    def take_back(self) -> None:
        """Free the number of the last event, because the session refused the event."""
        self._n -= 1

    async def outcome(self, n: int) -> str:
        """Wait for the end of turn ``n``, and return its status."""
        await until(lambda: n in self.outcomes)
        return self.outcomes[n]

    async def run(self, name: str, data: Any = None) -> str:
        """Send an event, wait for the end of its turn, and return the turn's status."""
        return await self.outcome(self.send(name, data))

    def leave(self, code: int = 1001) -> None:
        self.live.client.disconnect(self, code)

    # Reading the records

    @property
    def outcomes(self) -> dict[int, str]:
        """The statuses of the turns that have ended, by turn."""
        ends = (frame for frame in self.frames if isinstance(frame, frames.TurnStatus))
        return {frame.turn: frame.status for frame in ends if frame.status != "running"}

    @property
    def events(self) -> list[tuple[str, Any]]:
        """The names and data of the server's events."""
        emitted = (entry for entry in self.log if entry.n is None)
        return [(entry.name, msgspec.json.decode(entry.data)) for entry in emitted]

    @property
    def texts(self) -> list[str]:
        """The contents of the server's messages."""
        return [data["content"] for name, data in self.events if name == "message"]


# Signals


@contextmanager
def connected(
    signal: Signal, receiver: Callable[..., object], sender: object = None
) -> Iterator[None]:
    """Connect ``receiver`` to ``signal`` during the block, for ``sender`` or for all senders."""
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        assert signal.disconnect(receiver, sender=sender)


# A session that is not stored

SESSION_ID = UUID("11111111-1111-4111-8111-111111111111")
THREAD_ID = UUID("22222222-2222-4222-8222-222222222222")


def make_session(**fields: Any) -> Session:
    """Return a ``Session`` of an anonymous user, as handlers get it, with some fields given."""
    given: dict[str, Any] = {
        "id": SESSION_ID,
        "chat": "test",
        "thread_id": THREAD_ID,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "user": AnonymousUser(),
    }
    return Session(**given | fields)
