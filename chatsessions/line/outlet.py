"""``Outlet``: the way out of one websocket. In order, and without a task where none is needed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from functools import partial
from typing import Any

from channels.sessions import InstanceSessionWrapper

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Outlet:
    """
    Sends messages by ``send``, the server's.

    A server that takes a message at once is done with it when :meth:`put` returns. Where it makes
    the sender wait, a task waits, which ``own`` gets, and what comes meanwhile queues behind.
    ``failed`` is called for a message that the server has not taken.
    """

    __slots__ = ("_context", "_failed", "_own", "_send", "_task", "_waiting")

    def __init__(
        self,
        send: Send,
        *,
        failed: Callable[[Message, BaseException], None],
        own: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._send = _past_sessions(send)
        self._failed = failed
        self._own = own
        self._waiting: deque[Message] = deque()
        self._task: asyncio.Task[None] | None = None
        #: Its own, whoever has something to tell: what sets a variable around the server's send
        #: may have to wait in between, and finds the same one afterwards.
        self._context = copy_context()

    def put(self, message: Message) -> None:
        """Send ``message``, behind those before it."""
        if self._task is not None:
            self._waiting.append(message)
            return
        sending = self._send(message).__await__()
        try:
            waits_for = self._context.run(next, sending)
        except StopIteration:
            return  # the server has taken it: a task for every frame would cost more than that
        except (Exception, asyncio.CancelledError) as error:  # nobody has cancelled us
            self._failed(message, error)
            return
        rest = self._go_on(message, _Begun(sending, waits_for))
        self._task = asyncio.get_running_loop().create_task(rest, context=self._context)
        self._own(self._task)

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    async def _go_on(self, message: Message, begun: Awaitable[None]) -> None:
        try:
            await self._finish(message, begun)
            while self._waiting:
                message = self._waiting.popleft()
                await self._finish(message, self._send(message))
        finally:
            self._task = None

    async def _finish(self, message: Message, sending: Awaitable[None]) -> None:
        try:
            await sending
        except Exception as error:
            self._failed(message, error)


class _Begun(Awaitable[None]):
    """Something awaited whose first step was made elsewhere."""

    __slots__ = ("_steps", "_waits_for")

    def __init__(self, steps: Generator[Any, Any, None], waits_for: object) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                step = partial(self._steps.throw, error)
            else:
                step = partial(self._steps.send, value)
            try:
                waits_for = step()
            except StopIteration:
                return


def _past_sessions(send: Send) -> Send:
    """
    ``send`` without Channels' session middleware around it.

    That looks at every message for one that could carry a cookie, which a websocket's never do.
    """
    around: Any = getattr(send, "__self__", None)
    if type(around) is not InstanceSessionWrapper:
        return send
    real: Send = around.real_send
    return real
