"""
``make_async``, ``run_sync`` and ``sleep``: synchronous code beside async code.

``run_sync()`` in a plain function that an async handler calls has to suspend the handler from
inside of that function. The steps of the handler's coroutine therefore run in greenlets: the
handler's own task awaits, outside of them, what ``run_sync()`` waits for. The event loop is never
blocked, and never entered a second time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from inspect import iscoroutine
from types import coroutine
from typing import Any, ParamSpec, TypeVar, cast

import chatsessions
from chatsessions.handlers.bridge import Done, has_loop

try:
    import greenlet
except ImportError:  # the extra "chainlit" brings it
    greenlet = None

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

sleep = chatsessions.sleep


def make_async(function: Callable[P, R], **_options: Any) -> Callable[P, Coroutine[Any, Any, R]]:
    """
    Return an async function that runs ``function`` in a thread, with the context.

    Options of Chainlit's, such as ``cancellable``, do nothing.
    """
    return chatsessions.make_async(function)


def run_sync(co: Awaitable[T]) -> T:
    """
    Wait for ``co``, and return its result: in a thread, or in a function that a handler calls.

    In the event loop, an awaitable that has to wait needs the extra ``chatsessions[chainlit]`` and
    a function that a handler calls. Raises ``RuntimeError`` otherwise.
    """
    if isinstance(co, Done) or not has_loop():
        return chatsessions.run_sync(co)
    inner = None if greenlet is None else greenlet.getcurrent()
    if isinstance(inner, _Step):
        result, error = inner.parent.switch(_Wait(co))
        if error is not None:
            raise error
        return cast("T", result)
    return _run_at_once(co)


async def suspendable(co: Awaitable[T]) -> T:
    """Await ``co``; plain functions that it calls may call :func:`run_sync`."""
    if greenlet is None or not iscoroutine(co):
        return await co
    return await _in_steps(co)


def _run_at_once(co: Awaitable[T]) -> T:
    """Run an awaitable that need not wait, such as that of sending a message."""
    if iscoroutine(co):
        try:
            co.send(None)
        except StopIteration as end:
            return cast("T", end.value)
        co.close()
    install = "" if greenlet else ', or install greenlet: pip install "chatsessions[chainlit]"'
    raise RuntimeError(
        "run_sync() would block the event loop here. Call the function that uses it by 'await "
        f"make_async(function)()', or in the handler's own task{install}."
    )


class _Wait:
    """Carries what ``run_sync()`` waits for out of the greenlet."""

    __slots__ = ("awaitable",)

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.awaitable = awaitable


@coroutine
def _in_steps(co: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a coroutine whose steps run in greenlets."""
    call: Callable[[], Any] = partial(co.send, None)
    while True:
        step = _Step(partial(_outcome, call))
        step.gr_context = greenlet.getcurrent().gr_context
        found = step.switch()
        while isinstance(found, _Wait):
            try:
                result = yield from suspendable(found.awaitable).__await__()
            except BaseException as error:  # run_sync() raises it
                found = step.switch((None, error))
            else:
                found = step.switch((result, None))
        is_over, value, failure = found
        if failure is not None:
            raise failure
        if is_over:
            return cast("T", value)
        try:
            sent = yield value
        except BaseException as error:  # a cancellation, for instance: the coroutine gets it
            call = partial(co.throw, error)
        else:
            call = partial(co.send, sent)


def _outcome(call: Callable[[], Any]) -> tuple[bool, Any, BaseException | None]:
    """Run a step; return whether the coroutine is over, its result or awaitable, and its error."""
    try:
        return False, call(), None
    except StopIteration as end:
        return True, end.value, None
    except BaseException as error:
        return True, None, error


if greenlet is not None:

    class _Step(greenlet.greenlet):  # type: ignore[misc]  # it is untyped
        """One step of a coroutine, from one ``await`` to the next."""

else:

    class _Step:  # type: ignore[no-redef]
        """A placeholder, of which there are no instances."""
