"""Functions that mix synchronous and async code: ``make_async``, ``run_sync``, ``sleep``."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from inspect import isawaitable
from typing import Any, Concatenate, ParamSpec, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db import close_old_connections

from chatsessions.exceptions import TurnStopped
from chatsessions.storage.database import call_in_thread

from .bridge import Done, has_loop, refuse_stopped, wait_for, watched
from .context import Context, current
from .emitter import Turn

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


def run_sync(awaitable: Awaitable[T]) -> T:
    """
    Run ``awaitable`` in the session's event loop, wait for it, and return its result.

    It is for handlers written as ``def``, and other threads that have the context:
    ``answer = run_sync(client.ask(text))``. When the turn is stopped, ``awaitable`` is cancelled,
    and ``TurnStopped`` is raised here. Raises ``RuntimeError`` in a thread with a running event
    loop, which it would block; ``ContextNotFound``; ``TypeError`` for an object that is not
    awaitable; and what ``awaitable`` raises.
    """
    if isinstance(awaitable, Done):
        return awaitable.result  # type: ignore[no-any-return]
    if not isawaitable(awaitable):
        raise TypeError(f"run_sync() takes something to await, not {awaitable!r}.")
    try:
        if has_loop():
            raise RuntimeError("run_sync() would block the event loop here; await it instead.")
        found = current("run_sync")
        refuse_stopped(found.emitter.loop)
    except BaseException:
        _close(awaitable)
        raise
    future: Future[T] = Future()
    turn = found.turn
    # Only for the handler's own thread: a wait in another thread does not end with the turn.
    waiting = turn if turn is not None and turn.thread == threading.get_ident() else None
    found.emitter.loop.call_soon_threadsafe(_start, found, awaitable, future, waiting)
    return wait_for(future, found.emitter.loop)


def waits_in_sync(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """
    Make an async method run at once where no event loop runs, as ``bridge.also_sync`` does.

    It is for methods that wait for the user: a stop of the turn ends the wait.
    """

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        work = method(self, *args, **kwargs)
        return watched(work) if has_loop() else Done(run_sync(work))

    return markcoroutinefunction(call)


def _start(
    found: Context, awaitable: Awaitable[T], future: Future[T], waiting: Turn | None
) -> None:
    """Start a task that the session and its turn, if any, own. Runs in the event loop."""
    work = _outcome(awaitable)
    try:
        task = found.spawn(work, "chatsessions-run-sync")
    except BaseException as refused:  # noqa: BLE001, RUF100  # it is the caller's
        work.close()
        _close(awaitable)
        future.set_exception(refused)
        return
    if waiting is not None:
        waiting.waits_for(task)
    task.add_done_callback(functools.partial(_tell, awaitable, future))


async def _outcome(awaitable: Awaitable[T]) -> tuple[T | None, BaseException | None]:
    """Return the result and the error. The error goes to the caller, not to the server's log."""
    try:
        return await awaitable, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001, RUF100  # it is the caller's
        return None, error


def _tell(awaitable: Awaitable[T], future: Future[T], task: asyncio.Task[Any]) -> None:
    if future.cancelled():
        return
    if task.cancelled():
        _close(awaitable)  # in case it has not begun
        future.set_exception(TurnStopped())
        return
    result, error = task.result()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _close(awaitable: Awaitable[Any]) -> None:
    """Close a coroutine that will not be awaited, so that Python does not warn about it."""
    if isinstance(awaitable, Coroutine):
        awaitable.close()


def sleep(seconds: float) -> Coroutine[Any, Any, None]:
    """
    Wait for some seconds: ``await sleep(1)`` in async code, ``sleep(1)`` in a ``def`` handler.

    It never blocks an event loop.
    """
    if has_loop():
        return asyncio.sleep(seconds)
    time.sleep(seconds)
    return Done(None)


def make_async(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """
    Return an async function that runs the blocking ``function`` in a thread, with the context.

    ``answer = await make_async(client.ask)(text)``. The function may use the ORM. Its thread cannot
    be killed: when the turn is stopped, the handler no longer waits, and what the function sends or
    sets after that is refused. Raises ``TypeError`` for a function that is async already, and for
    an object that cannot be called.
    """
    if not callable(function):
        raise TypeError(
            f"make_async() takes a function, not {function!r:.80}: "
            "await make_async(work)(1) calls work(1)."
        )
    if iscoroutinefunction(function):
        raise TypeError(f"{function!r} is async already: await it.")

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        work = functools.partial(function, *args, **kwargs)
        return await sync_to_async(_with_connections, thread_sensitive=False)(work)

    return call


def _with_connections(work: Callable[[], R]) -> R:
    """Run ``work``; close the thread's unusable database connections before and after."""
    close_old_connections()
    try:
        return call_in_thread(work)
    finally:
        close_old_connections()
