"""What a worker holds, told over HTTP: ``GET /inside/``."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from typing import Any

import psutil

from chatsessions.worker import running_workers


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
        "lines": sum(len(worker.lines) for worker in workers),
        "tasks": Counter(task.get_name() for task in asyncio.all_tasks()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "bytes": psutil.Process().memory_info().rss,
    }
