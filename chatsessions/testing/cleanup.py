"""Leaving nothing behind: with the last client of an event loop its worker goes."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import connections

from chatsessions.workers.worker import running_workers

#: How long turns that still run when a test is over may take to finish, in seconds.
GRACE = 1.0

#: The clients that use the worker of an event loop.
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, set[object]] = WeakKeyDictionary()


def enter(client: object) -> None:
    """``client`` uses the worker of this event loop."""
    _clients.setdefault(asyncio.get_running_loop(), set()).add(client)


async def leave(client: object) -> None:
    """``client`` is through; with the last one of the event loop its worker goes."""
    present = _clients.get(asyncio.get_running_loop(), set())
    present.discard(client)
    if not present:
        await shut_down_worker()


async def shut_down_worker() -> None:
    """
    End what a test has started in the running event loop: turns, tasks, threads, connections.

    Turns that still run get a second to finish, and are then interrupted; what was changed is
    stored. The last ``ChatCommunicator`` of an event loop does this by itself when it is closed.
    It is for tests that use ``SessionConsumer`` or ``ChatView`` without one.
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
    await sync_to_async(connections.close_all)()
