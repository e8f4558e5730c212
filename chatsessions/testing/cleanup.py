"""End the worker of an event loop when its last client is closed."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import connections

from chatsessions.workers.worker import running_workers

#: How long turns that are running at the end of a test may take to finish, in seconds.
GRACE = 1.0

#: The clients that use the worker of an event loop.
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, set[object]] = WeakKeyDictionary()


def enter(client: object) -> None:
    """Count ``client`` as using the worker of this event loop."""
    _clients.setdefault(asyncio.get_running_loop(), set()).add(client)


async def leave(client: object) -> None:
    """Count ``client`` as closed; end the worker with the last client of the event loop."""
    present = _clients.get(asyncio.get_running_loop(), set())
    present.discard(client)
    if not present:
        await shut_down_worker()


async def shut_down_worker() -> None:
    """
    End what a test has started in the running event loop: turns, tasks, threads, connections.

    Running turns have a second to finish, and are then interrupted; changes are stored. The last
    ``ChatCommunicator`` of an event loop calls this when it is closed, so only tests that use
    ``SessionConsumer`` or ``ChatView`` without one need to call it.
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
