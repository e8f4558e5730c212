"""
``Turns``: a session's handlers, run one at a time and in order, by tasks of the worker.

A numbered turn starts only when its event and the fact that it runs are stored, so that after a
crash it is known to have been begun and is never begun again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from .chat import Chat, Handler
from .conf import settings
from .context import Context, use_context
from .emitter import Turn
from .exceptions import ChatSessionsError, StorageError, TurnStopped
from .messages import USER_AUTHOR, Message


class NoHandler(ChatSessionsError):
    """An event came for which the chat has no handler."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """Something to run for a session: the turn of an event, or a lifecycle hook."""

    turn: Turn
    handler: Handler | None
    argument: Any = None
    #: Called when its time has come, before the handler.
    prepare: Callable[[], None] | None = None
    #: Called when it is over, whatever came of it.
    after: Callable[[], None] | None = None
    #: Whether it is not to start before all that the session has changed is stored.
    waits_for_store: bool = False
    #: Bytes that it keeps while it waits.
    size: int = 0
    #: Whether it is an error to have no handler.
    needs_handler: bool = False
    task: asyncio.Task[None] | None = None
    started: float = 0.0
    #: Why it is being cancelled: ``stopped`` or ``interrupted``.
    cancelled_as: str | None = None


def turn_job(n: int, name: str, handler: Handler | None, argument: Any = None) -> Job:
    """A numbered turn."""
    return Job(
        turn=Turn(n, name),
        handler=handler,
        argument=argument,
        waits_for_store=True,
        needs_handler=True,
    )


def event_job(chat: Chat, n: int, name: str, data: Any) -> Job:
    """The turn of an event that is the application's business alone."""
    if name == "message":
        message = Message(data["content"], id=data.get("id"), author=USER_AUTHOR)
        return turn_job(n, name, chat.hooks.get(name), message)
    return turn_job(n, name, chat.events.get(name), data)


def hook_job(chat: Chat, name: str, argument: Any = None) -> Job:
    """A lifecycle hook."""
    return Job(turn=Turn(None, name), handler=chat.hooks.get(name), argument=argument)


class TurnHost(Protocol):
    """What running turns need of their session."""

    loop: asyncio.AbstractEventLoop

    def context(self, turn: Turn) -> Context: ...

    async def run_in_thread(self, function: Callable[[], Any]) -> Any: ...

    def when_stored(self, callback: Callable[[], None]) -> None:
        """Call back when everything changed so far is stored."""

    def turn_waits(self, job: Job | None) -> None:
        """``job`` is next, and starts when that is stored; with None, it is not after all."""

    def turn_starts(self, job: Job) -> None: ...

    def turn_ends(self, job: Job, status: str, error: BaseException | None) -> None:
        """The handler is through: change what that changes, and tell it once it is stored."""

    def idle(self) -> None:
        """There is nothing left to run."""


class Turns:
    """The queue of one session, and what of it is running."""

    __slots__ = ("_host", "_queue", "draining", "job")

    def __init__(self, host: TurnHost) -> None:
        self._host = host
        self._queue: deque[Job] = deque()
        self.job: Job | None = None
        #: Whether nothing new is started: the server is shutting down.
        self.draining = False

    @property
    def pending(self) -> int:
        """How many jobs wait for the one that runs."""
        return len(self._queue)

    @property
    def pending_bytes(self) -> int:
        """What the waiting jobs keep in memory."""
        return sum(job.size for job in self._queue)

    @property
    def is_idle(self) -> bool:
        return self.job is None and (self.draining or not self._queue)

    @property
    def number(self) -> int | None:
        """The number of the running turn."""
        return None if self.job is None else self.job.turn.n

    def add(self, job: Job, *, first: bool = False) -> None:
        """Queue ``job``, at the end or before all that waits."""
        if first:
            self._queue.appendleft(job)
        else:
            self._queue.append(job)
        self._next()

    def clear(self) -> list[Job]:
        """Take out everything that waits."""
        jobs = list(self._queue)
        self._queue.clear()
        return jobs

    def cancel(self, status: str) -> Job | None:
        """
        End what runs, as ``stopped`` or ``interrupted``; the job, or None if there is none.

        Its handler gets ``STOP_TIMEOUT`` seconds to clean up; then it is abandoned, and what it
        still does is refused.
        """
        job = self.job
        if job is None or job.cancelled_as is not None:
            return None
        job.cancelled_as = status
        for task in job.turn.spawned:
            task.cancel()
        if job.task is not None:
            job.task.cancel()
            # One that had not begun to run never gets as far as its own end.
            job.task.add_done_callback(lambda _: self._finish(job, status))
            self._host.loop.call_later(settings.STOP_TIMEOUT, self._finish, job, status)
        return job

    def _next(self) -> None:
        if self.job is not None:
            return
        if self.draining or not self._queue:
            self._host.idle()
            return
        job = self.job = self._queue.popleft()
        if job.waits_for_store:
            self._host.turn_waits(job)
            self._host.when_stored(partial(self._start, job))
        else:
            self._start(job)

    def _start(self, job: Job) -> None:
        if job is not self.job:
            return  # it had been given up
        if job.cancelled_as is not None:
            self._finish(job, job.cancelled_as)
            return
        if self.draining and job.turn.n is not None:
            self._put_back(job)
            return
        job.started = self._host.loop.time()
        self._host.turn_starts(job)
        try:
            if job.prepare is not None:
                job.prepare()
        except StorageError as refused:
            self._finish(job, "failed", refused)
            return
        if job.handler is None:
            error = NoHandler(f"No handler for {job.turn.name!r}.") if job.needs_handler else None
            self._finish(job, "failed" if error else "done", error)
            return
        job.task = self._host.loop.create_task(
            self._run(job, job.handler), name=f"chatsessions-turn-{job.turn.name}"
        )

    def _put_back(self, job: Job) -> None:
        """The event is stored, its turn has not begun: whoever takes the session next runs it."""
        self.job = None
        if job.turn.n:
            self._queue.appendleft(job)
            self._host.turn_waits(None)
        # Of a start that has not begun, the row cannot say more than that it was cut short.
        self._host.idle()

    async def _run(self, job: Job, handler: Handler) -> None:
        status = "done"
        error: BaseException | None = None
        try:
            with use_context(self._host.context(job.turn)):
                await self._call(handler, job.argument)
        except (asyncio.CancelledError, TurnStopped) as cancelled:
            # Without our asking it is the handler's own doing, and a failure like any other.
            status, error = "failed", cancelled
        except (
            BaseException
        ) as failure:  # SystemExit too: it is not for a handler to end the server
            status, error = "failed", failure
        if job.cancelled_as is not None:
            status = job.cancelled_as
        self._finish(job, status, error)

    async def _call(self, handler: Handler, argument: Any) -> None:
        if handler.is_async:
            await handler(argument)
            return
        result = await self._host.run_in_thread(partial(handler, argument))
        if inspect.isawaitable(result):
            await result

    def _finish(self, job: Job, status: str, error: BaseException | None = None) -> None:
        if job is not self.job:
            return  # it had been abandoned
        job.turn.stopped = job.cancelled_as is not None
        self._host.turn_ends(job, status, error)
        self.job = None
        if job.after is not None:
            job.after()
        self._next()
