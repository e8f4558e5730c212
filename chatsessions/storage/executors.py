"""The threads of a worker: those of the store, and those that the project's own code runs in."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from chatsessions.conf import settings

from .connections import (
    Connections,
    is_transient,
)

T = TypeVar("T")

#: The most threads that read the store at one time: a long read keeps no other waiting.
READERS = 4
#: The most threads that ask authentication backends and session engines at one time.
CHECKERS = 4
#: The most threads that handlers' files are written in at one time.
FILES = 4
#: Seconds after which a thread that has nothing to do ends, with its database connection.
IDLE = 60.0


class Executors:
    """
    Where a worker's synchronous code runs, each kind of it in threads of its own.

    One thread writes the store. The project's code (handlers written as ``def``, authentication
    backends) never runs in the threads that the store uses: it may take as long as it likes. All
    of them have connections by :class:`~chatsessions.storage.connections.Connections`.
    """

    def __init__(self) -> None:
        self._connections = Connections()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="chatsessions-journal")
        self._readers = DaemonThreadPool(READERS, "chatsessions-reader")
        self._checkers = DaemonThreadPool(CHECKERS, "chatsessions-checker")
        # A handler in a thread may wait for one of its files.
        self._files = DaemonThreadPool(FILES, "chatsessions-files")
        self._handlers: DaemonThreadPool | None = None

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """Run what writes the store, in the order in which it is given."""
        return await self.start_write(function, *args)

    def start_write(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """As :meth:`write`, for a caller that has to learn the outcome even if it is cancelled."""
        return self._start(self._writer, self._connections.run, function, *args)

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """Run what reads the store. What fails and may pass is tried twice."""
        return await self._start(self._readers, self._read, function, *args)

    def read_now(self, function: Callable[[], T]) -> T:
        """As :meth:`read`, and the event loop waits for it: where nothing else will do."""
        result: T = self._readers.submit(self._read, function).result()
        return result

    async def check(self, function: Callable[..., T], *args: Any) -> T:
        """As :meth:`read`, for what asks the project's code: who somebody is, what they may do."""
        # Of its own: what project code sets in a thread is not for whom it is asked about next.
        run = Context().run
        return await self._start(self._checkers, self._read, run, function, *args)

    async def handle(self, function: Callable[[], Any]) -> Any:
        """Run a handler written as ``def``, with the caller's context."""
        if self._handlers is None:
            self._handlers = DaemonThreadPool(settings.SYNC_HANDLER_THREADS, "chatsessions-handler")
        return await self._run_in_context(self._handlers, function)

    async def do_files(self, function: Callable[[], T]) -> T:
        """Run what reads and writes files and their rows, with the caller's context."""
        result: T = await self._run_in_context(self._files, function)
        return result

    async def close(self) -> None:
        """Wait for what uses the store, and close the threads' connections."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        self._writer.shutdown(wait=False)
        for threads in (self._checkers, self._files, self._handlers):
            if threads is not None:
                threads.shutdown()

    def _close(self) -> None:
        self._readers.shutdown(wait=True)
        connections.close_all()

    def _read(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return self._connections.run(function, *args)
        except Exception as error:
            if not is_transient(error):
                raise
            return self._connections.run(function, *args)

    def _start(
        self,
        executor: Executor,
        run: Callable[..., T],
        function: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(executor, run, function, *args)

    async def _run_in_context(self, threads: DaemonThreadPool, function: Callable[[], Any]) -> Any:
        run = sync_to_async(  # type: ignore[call-overload]  # any Executor does
            self._connections.run, thread_sensitive=False, executor=threads
        )
        return await run(function)


class DaemonThreadPool(Executor):
    """
    A pool whose threads do not keep the process alive, and end when nothing is to be done.

    A handler that blocks cannot be ended, and a ``ThreadPoolExecutor`` is joined when Python
    exits: one handler would keep a server that was told to stop until somebody kills it.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._waiting = 0
        self._ended = False

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

        with self._changed:
            self._work.append(work)
            if len(self._work) > self._waiting and len(self._threads) < self._count:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.add(thread)
                thread.start()
            else:
                self._changed.notify()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100
        """Threads end when they are through with what they do, and close their connections."""
        with self._changed:
            self._ended = True
            threads = list(self._threads)
            self._changed.notify_all()
        if wait:
            for thread in threads:
                thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work
        connections.close_all()

    def _next(self) -> Callable[[], None] | None:
        """What is to be done next; None if the calling thread is to end."""
        with self._changed:
            self._waiting += 1
            try:
                while not self._work:
                    if self._ended or not (self._changed.wait(IDLE) or self._work):
                        self._threads.discard(threading.current_thread())
                        return None
                return self._work.popleft()
            finally:
                self._waiting -= 1
