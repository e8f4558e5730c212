"""What a worker holds, told over HTTP: ``GET /inside/``."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

import chatsessions
from chatsessions.workers.worker import running_workers

PACKAGE = str(Path(chatsessions.__file__).parent)


async def report(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """An ASGI application."""
    body = json.dumps(_held()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _held() -> dict[str, Any]:
    workers = running_workers()
    return {
        "worker": [str(worker.id) for worker in workers],
        "live": sum(len(worker.live) for worker in workers),
        "batches": sum(worker.journal.batches for worker in workers),
        "lines": sum(len(worker.websockets) for worker in workers),
        # What joins it with other workers: both ends, and commands that wait or are worked on.
        "relays": sum(len(worker.remotes) for worker in workers),
        "guests": sum(len(worker.server._subscribers) for worker in workers),
        "letters": sum(len(worker.rpc._asked) + len(worker.rpc._working) for worker in workers),
        "tasks": Counter(_tasks()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "bytes": psutil.Process().memory_info().rss,
    }


def _tasks() -> Iterator[str]:
    """What runs of the package's own."""
    for task in asyncio.all_tasks():
        coroutine: Any = task.get_coro()
        if coroutine is not None and coroutine.cr_code.co_filename.startswith(PACKAGE):
            yield coroutine.__qualname__
