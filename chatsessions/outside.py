"""
From outside of a session's connection: views, tasks and the shell.

They reach the session through its owner in this process; one that nobody owns is taken for as
long as it needs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import async_to_sync
from django.db import connections

from .conf import settings
from .context import Context, use_context
from .exceptions import SessionNotFound
from .live import LiveSession
from .models import ChatSession
from .worker import Worker, get_worker, running_workers

T = TypeVar("T")


class session_context:  # noqa: N801  # used like a function
    """
    Work with a session from outside of it, ``with`` or ``async with``.

    Inside the block ``user_session``, ``context`` and ``Message`` are the session's; what is set
    and sent there is stored when the block ends. Gives the context. Raises ``SessionNotFound``,
    ``SessionOver``, ``OwnerUnreachable`` (live in another process) and ``StoreUnavailable``.
    """

    def __init__(self, session_id: UUID | str) -> None:
        self.session_id = _as_uuid(session_id)
        self._stack = ExitStack()
        self._visit: AbstractAsyncContextManager[Worker] | None = None
        self._live: LiveSession | None = None
        self._runner: _Runner | None = None

    async def __aenter__(self) -> Context:
        worker = _holder(self.session_id) or get_worker()
        self._live = await _in_loop(worker.loop, lambda: self._open(worker))
        return self._stack.enter_context(use_context(self._live.context(None)))

    async def _open(self, worker: Worker) -> LiveSession:
        """In the worker's loop: hold the session, and the worker while it is held."""
        visit = worker.visit()
        await visit.__aenter__()
        try:
            live = await worker.acquire(self.session_id)
        except BaseException:
            await visit.__aexit__(None, None, None)
            raise
        self._visit = visit
        return live

    async def _close(self) -> None:
        """In the worker's loop: store what the block changed, and let everything go."""
        live, visit = self._live, self._visit
        self._live = self._visit = None
        if live is None or visit is None:
            return
        try:
            await release(live)
        finally:
            await visit.__aexit__(None, None, None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._live is not None:
            await _in_loop(self._live.loop, self._close)

    def __enter__(self) -> Context:
        _refuse_in_loop("session_context")
        _refuse_in_transaction("session_context")
        self._runner = _Runner(self.session_id)
        try:
            self._live = self._runner.run(self._open)
        except BaseException:
            self._runner.close()
            raise
        return self._stack.enter_context(use_context(self._live.context(None)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            try:
                runner.run(lambda _worker: self._close())
            finally:
                runner.close()


async def aend_session(session_id: UUID | str, reason: str = "app") -> None:
    """
    End a session: its turn is stopped, ``on_chat_end`` runs, its client is told.

    ``reason`` is one of ``ChatSession.EndReason``. Returns when the end is stored. Raises what
    ``session_context`` raises.
    """
    found = _as_uuid(session_id)
    _checked(reason)
    worker = _holder(found) or get_worker()

    async def end() -> None:
        async with worker.visit():
            await worker.end(found, reason)

    await _in_loop(worker.loop, end)


def end_session(session_id: UUID | str, reason: str = "app") -> None:
    """:func:`aend_session` for synchronous code."""
    _refuse_in_loop("end_session", "aend_session")
    _refuse_in_transaction("end_session")
    found = _as_uuid(session_id)
    worker = _holder(found) or next(iter(running_workers()), None)
    if worker is None:
        async_to_sync(aend_session)(found, reason)
    else:
        step = worker.end(found, _checked(reason))
        asyncio.run_coroutine_threadsafe(step, worker.loop).result()


class _Runner:
    """
    Runs coroutines for synchronous code: in the server's event loop, or in one of its own.

    A loop of its own lives in a thread, so that what the block sends can be stored meanwhile.
    """

    def __init__(self, session_id: UUID) -> None:
        self._thread: threading.Thread | None = None
        worker = _holder(session_id) or next(iter(running_workers()), None)
        if worker is None:
            if settings.JOURNAL_INLINE:
                raise RuntimeError(
                    "With JOURNAL_INLINE everything happens in the caller's database connection, "
                    "which a thread does not share: write 'async with session_context(…):'."
                )
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="chatsessions-outside", daemon=True
            )
            self._thread.start()
            worker = self._run(_make_worker())
        else:
            self._loop = worker.loop
        self._worker = worker

    def run(self, step: Callable[[Worker], Coroutine[Any, Any, T]]) -> T:
        return self._run(step(self._worker))

    def close(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _make_worker() -> Worker:
    return get_worker()


async def release(live: LiveSession) -> None:
    """Store what a block changed, and let the session go."""
    try:
        live.user_session_used()
        if not (live.closed and live.ending):
            await live.sink.flush()
    finally:
        live.holders -= 1
        live.note()
    if live.can_release and not live.closed:
        # Whoever is next, maybe in another process, finds it given back.
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.STORE_TIMEOUT):
                await live.until_closed()


async def _in_loop(loop: asyncio.AbstractEventLoop, step: Callable[[], Awaitable[T]]) -> T:
    """Await ``step`` in the event loop of the session's owner."""
    if loop is asyncio.get_running_loop():
        return await step()

    async def there() -> T:
        return await step()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))


def _holder(session_id: UUID) -> Worker | None:
    """The worker of this process that has the session in memory."""
    return next((worker for worker in running_workers() if session_id in worker.live), None)


def _as_uuid(session_id: UUID | str) -> UUID:
    try:
        return session_id if isinstance(session_id, UUID) else UUID(session_id)
    except (ValueError, AttributeError, TypeError) as error:
        raise SessionNotFound(session_id) from error


def _checked(reason: str) -> str:
    if reason not in ChatSession.EndReason.values:
        raise ValueError(
            f"{reason!r} is no reason to end a session; there are: "
            f"{', '.join(ChatSession.EndReason.values)}."
        )
    return reason


def _refuse_in_transaction(name: str) -> None:
    """SQLite has one writer: the session's owner would wait for the transaction of this one."""
    connection = connections[settings.DATABASE]
    waits = connection.vendor == "sqlite" and not settings.JOURNAL_INLINE
    if waits and connection.in_atomic_block:
        raise RuntimeError(
            f"{name} was called inside of a transaction, for whose end the session's store has "
            "to wait. Call it after the block, for instance with transaction.on_commit()."
        )


def _refuse_in_loop(name: str, instead: str = "") -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    remedy = f"await {instead}()" if instead else f"write 'async with {name}(…):'"
    raise RuntimeError(f"{name} would block the event loop here; {remedy}.")
