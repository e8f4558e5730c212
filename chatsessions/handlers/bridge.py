"""
The bridge from synchronous code to the session's event loop.

Async methods may also be called by code without an event loop: a handler written as ``def``, a view
or a task inside ``with session_context(…)``, a function in an executor. Such a call returns when
the work is done. The bridge also detects calls whose ``await`` was forgotten.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from asgiref.sync import markcoroutinefunction
from channels.layers import channel_layers
from msgspec import Struct

from chatsessions.exceptions import ChatSessionsError, TurnStopped

T = TypeVar("T")

#: The name of the background event loop's thread.
THREAD = "chatsessions-outside"

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the background event loop of this process, and start it at its first use."""
    global _loop  # noqa: PLW0603, RUF100  # one per process
    with _lock:
        if _loop is None:
            loop = asyncio.new_event_loop()
            has_started = threading.Event()
            loop.call_soon(has_started.set)
            threading.Thread(target=loop.run_forever, name=THREAD, daemon=True).start()
            has_started.wait()
            _loop = loop
        return _loop


def is_background(loop: asyncio.AbstractEventLoop) -> bool:
    """Return True if ``loop`` is the background event loop of this process."""
    return loop is _loop


def _forget() -> None:
    """
    Forget the parent's event loop and channel layer in a forked child.

    The loop's thread does not run in the child. With the parent's channel layer each process would
    receive what is meant for the other.
    """
    global _lock, _loop  # noqa: PLW0603, RUF100
    _lock, _loop = threading.Lock(), None
    channel_layers.backends.clear()


os.register_at_fork(after_in_child=_forget)


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

#: Seconds after which code that waits for another event loop checks that it still runs.
PATIENCE = 1.0


class Done(Coroutine[Any, Any, T], Generic[T]):
    """A coroutine that is done: awaiting it returns its result at once."""

    __slots__ = ("result",)

    def __init__(self, result: T) -> None:
        self.result = result

    def send(self, value: Any) -> Any:
        raise StopIteration(self.result)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        raise typ if val is None else val

    def close(self) -> None:
        """Do nothing."""

    def __await__(self) -> Generator[Any, Any, T]:
        return self.result
        yield

    def __repr__(self) -> str:
        return f"<Done {self.result!r}>"


def has_loop() -> bool:
    """Return True if an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


#: The most calls of a turn that are watched at a time.
_MAX_CALLS = 100


class _Calls(Struct):
    """The calls of a turn that have to be awaited."""

    #: Their coroutines, with the file and the line of each call.
    made: list[tuple[Coroutine[Any, Any, Any], str, int]] = []
    #: Whether the turn is over. Later calls of its tasks are not watched; Python warns about them.
    is_over: bool = False


_calls: ContextVar[_Calls | None] = ContextVar("chatsessions_calls", default=None)


def _references(call: tuple[object, str, int]) -> int:
    """Return how many references there are to the first object of ``call``."""
    return sys.getrefcount(call[0])


#: The result for an object that nothing else refers to. It differs between versions of Python.
_ALONE = _references((object(), "", 0))


@contextmanager
def no_await_forgotten() -> Iterator[None]:
    """
    Raise ``ChatSessionsError`` at the end of the block for calls whose ``await`` was forgotten.

    These are :func:`watched` coroutines that have not begun, and that nothing else refers to.
    """
    calls = _Calls()
    _calls.set(calls)
    try:
        yield
    finally:
        calls.is_over = True
    forgotten = []
    for call in calls.made:
        if getcoroutinestate(call[0]) == CORO_CREATED and _references(call) <= _ALONE:
            work, file, line = call
            work.close()
            name = getattr(work, "__qualname__", repr(work))
            forgotten.append(f"{name}() in {file}, line {line}")
    if forgotten:
        raise ChatSessionsError(
            f"Never awaited, so that nothing came of it: {'; '.join(forgotten)}. Write 'await' "
            "before it."
        )


def watched(work: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
    """
    Return ``work``, and let the turn fail if it is never awaited.

    Call it directly in the function that the application calls: the error names the file and the
    line of that function's caller.
    """
    calls = _calls.get()
    if calls is not None and not calls.is_over:
        made = calls.made
        while made and made[-1][0].cr_frame is None:  # type: ignore[attr-defined]
            made.pop()  # it is done, as nearly every call is before the next one
        if len(made) >= _MAX_CALLS:
            made[:] = [call for call in made if getcoroutinestate(call[0]) == CORO_CREATED]
        if len(made) < _MAX_CALLS:
            caller = sys._getframe(2)
            made.append((work, caller.f_code.co_filename, caller.f_lineno))
    return work


def has_to_be_awaited(
    function: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Decorate ``function`` so that a turn fails if it calls it without awaiting it."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return watched(function(*args, **kwargs))

    return markcoroutinefunction(call)


def also_sync(
    loop_of: Callable[[Any, str], asyncio.AbstractEventLoop],
    *,
    within: Callable[[Any, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]] | None = None,
) -> Callable[
    [Callable[Concatenate[S, P], Coroutine[Any, Any, R]]],
    Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
]:
    """
    Make an async method run at once where no event loop runs, and return a :class:`Done`.

    ``loop_of(self, name)`` returns the event loop in which the method runs. ``within`` may wrap
    the coroutine that runs there.
    """

    def decorate(
        method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
        @functools.wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            if has_loop():
                return watched(method(self, *args, **kwargs))
            loop = loop_of(self, method.__qualname__)
            refuse_stopped(loop)  # before a coroutine is made that nobody would await
            work = method(self, *args, **kwargs)
            if within is not None:
                work = within(self, work)
            return Done(wait_for(submit(work, loop), loop))

        return markcoroutinefunction(call)

    return decorate


def submit(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
    """Run ``coroutine`` in ``loop``, in the caller's context. Raises as :func:`refuse_stopped`."""
    try:
        refuse_stopped(loop)
    except RuntimeError:
        coroutine.close()
        raise
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


def refuse_stopped(loop: asyncio.AbstractEventLoop) -> None:
    """Raise ``RuntimeError`` if ``loop`` no longer runs."""
    if not loop.is_running():
        raise RuntimeError(
            "The event loop of the session does not run any more: its server was stopped, or the "
            "block of session_context() has ended."
        )


async def in_loop(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Await ``work`` in ``loop``, which may be another one. Raises as :func:`wait_for`."""
    if loop is asyncio.get_running_loop():
        return await work
    future = asyncio.wrap_future(submit(work, loop))
    try:
        while not (await asyncio.wait([future], timeout=PATIENCE))[0]:
            refuse_stopped(loop)
        if future.cancelled():
            raise TurnStopped  # it was cancelled with its turn
        return future.result()
    finally:
        future.cancel()


def wait_for(future: Future[T], loop: asyncio.AbstractEventLoop) -> T:
    """
    Wait for ``future``, whose work runs in ``loop``, and return its result.

    Raises ``RuntimeError`` if the loop is stopped meanwhile, and ``TurnStopped`` if the work is
    cancelled.
    """
    try:
        while not wait([future], PATIENCE).done:
            refuse_stopped(loop)
        return future.result()
    except CancelledError:
        raise TurnStopped from None  # it was cancelled with its turn
    except BaseException:
        future.cancel()
        raise
