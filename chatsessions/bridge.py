"""
The bridge from synchronous code to the session's event loop.

What is async here may also be called by code that has no event loop: a handler written as
``def``, a view or a task inside ``with session_context(…)``, a function in an executor. There it
happens at once, and is done when the call returns.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from asgiref.sync import markcoroutinefunction

from .exceptions import TurnStopped

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

#: How often a thread that waits for an event loop looks whether it is still there, in seconds.
PATIENCE = 1.0


class Done(Coroutine[Any, Any, T], Generic[T]):
    """What a coroutine would give that has run already: awaiting it returns at once."""

    __slots__ = ("result",)

    def __init__(self, result: T) -> None:
        self.result = result

    def send(self, value: Any) -> Any:
        raise StopIteration(self.result)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        raise typ if val is None else val

    def close(self) -> None:
        """There is nothing to close."""

    def __await__(self) -> Generator[Any, Any, T]:
        return self.result
        yield

    def __repr__(self) -> str:
        return f"<Done {self.result!r}>"


def has_loop() -> bool:
    """Whether an event loop runs in this thread, so that one can await."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def also_sync(
    loop_of: Callable[[Any, str], asyncio.AbstractEventLoop],
    *,
    within: Callable[[Any, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]] | None = None,
) -> Callable[
    [Callable[Concatenate[S, P], Coroutine[Any, Any, R]]],
    Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
]:
    """
    Make an async method run at once where no event loop runs, and return what is done.

    ``loop_of(self, name)`` is the event loop to run it in, ``within`` what runs it there.
    """

    def decorate(
        method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
        @functools.wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            if has_loop():
                return method(self, *args, **kwargs)
            loop = loop_of(self, method.__qualname__)
            refuse_stopped(loop)  # before there is a coroutine that nobody would await
            work = method(self, *args, **kwargs)
            if within is not None:
                work = within(self, work)
            return Done(wait_for(submit(work, loop), loop))

        return markcoroutinefunction(call)

    return decorate


def submit(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
    """Run ``coroutine`` in ``loop``, with the context of here. Raises ``RuntimeError``."""
    try:
        refuse_stopped(loop)
    except RuntimeError:
        coroutine.close()
        raise
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


def refuse_stopped(loop: asyncio.AbstractEventLoop) -> None:
    """Raise ``RuntimeError`` for an event loop that will run nothing any more."""
    if not loop.is_running():
        raise RuntimeError(
            "The event loop of the session does not run any more: its server was stopped, or the "
            "block of session_context() has ended."
        )


def wait_for(future: Future[T], loop: asyncio.AbstractEventLoop) -> T:
    """
    The result of what runs in ``loop``. Raises ``RuntimeError`` when that is gone, ``TurnStopped``
    when it is cancelled.
    """
    try:
        while True:
            try:
                return future.result(PATIENCE)
            except TimeoutError:
                if future.done():
                    raise
                if loop.is_closed():
                    raise RuntimeError("The event loop was stopped meanwhile.") from None
    except CancelledError:
        raise TurnStopped from None  # with the turn that it was for
    except BaseException:
        future.cancel()
        raise
