"""Leaving nothing behind: with the last client of an event loop its worker goes."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db.backends.base.base import BaseDatabaseWrapper

from chatsessions.conf import settings
from chatsessions.worker import running_workers

from .database import close_connections, hold, release

#: How long turns that still run when a test is over may take to finish, in seconds.
GRACE = 1.0


class Clients:
    """The clients that use the worker of one event loop."""

    def __init__(self) -> None:
        self.present: set[object] = set()
        self.held: list[BaseDatabaseWrapper] = []


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Clients] = WeakKeyDictionary()


async def enter(client: object) -> None:
    """``client`` uses the worker of this event loop."""
    clients = _clients.setdefault(asyncio.get_running_loop(), Clients())
    clients.present.add(client)
    if not clients.held:
        clients.held = await sync_to_async(hold)()


async def leave(client: object) -> None:
    """``client`` is through; with the last one of the event loop its worker goes."""
    clients = _clients.get(asyncio.get_running_loop(), Clients())
    clients.present.discard(client)
    if clients.present:
        return
    try:
        await shut_down_worker()
    finally:
        held, clients.held = clients.held, []
        await sync_to_async(release)(held)


async def shut_down_worker() -> None:
    """
    End what a test has started in the running event loop: turns, tasks, threads, connections.

    Turns that still run get a second to finish, and are then interrupted; what was changed is
    stored. The last ``ChatCommunicator`` of an event loop does this by itself when it is closed.
    It is for tests that use ``SessionConsumer`` or ``session_context()`` without one.
    """
    loop = asyncio.get_running_loop()
    for worker in [worker for worker in running_workers() if worker.loop is loop]:
        lives = list(worker.live.values())
        for live in lives:
            live.drain()
        if lives:
            _, late = await asyncio.wait(
                [loop.create_task(live.until_idle()) for live in lives], timeout=GRACE
            )
            for task in late:
                task.cancel()
        for live in lives:
            live.interrupt()
        await worker.shut_down()
    if not settings.JOURNAL_INLINE:
        await sync_to_async(close_connections)()
