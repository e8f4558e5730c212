"""``DaemonThreads``: where handlers written as ``def`` run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

from django.db import connections


class DaemonThreads(Executor):
    """
    A pool whose threads do not keep the process alive.

    A handler that blocks cannot be ended, and a ``ThreadPoolExecutor`` is joined when Python
    exits: one handler would keep a server that was told to stop until somebody kills it.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001, RUF100  # it is the awaiter's
                    future.set_exception(error)
                else:
                    future.set_result(result)

        self._work.put(work)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._count:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100
        """Threads end when they are through with what they do, and close their connections."""
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            self._idle.release()
        connections.close_all()  # the handlers' own
