"""
``Turns``: a session's handlers, run one at a time and in order, by tasks of the worker.

Each task starts in an empty ``contextvars`` context. It has our ``context`` and the session's
language, and no variable of a connection, a request or another session.

A numbered turn starts only when its event and the fact that it runs are stored, so that after a
crash it is known to have been begun and is never begun again.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from django.utils import translation
from msgspec import Struct

from chatsessions.conf import settings
from chatsessions.exceptions import (
    ChatSessionsError,
    FrameError,
    StorageError,
    TurnStopped,
)
from chatsessions.handlers.bridge import no_await_forgotten
from chatsessions.handlers.chat import (
    Chat,
    Handler,
)
from chatsessions.handlers.context import (
    Context,
    use_context,
)
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.messages import (
    USER_AUTHOR,
    Action,
    Message,
)
from chatsessions.handlers.session import supported_language
from chatsessions.protocol.frames import message_id
from chatsessions.storage.log import USER


class NoHandler(ChatSessionsError):
    """An event came for which the chat has no handler."""


class Job(Struct, eq=False, kw_only=True):
    """Something to run for a session: the turn of an event, or a lifecycle hook."""

    turn: Turn
    handler: Handler | None
    argument: Any = None
    #: Called when its time has come, before the handler.
    prepare: Callable[[], None] | None = None
    #: Awaited right before the handler, as a part of the turn.
    load: Callable[[], Awaitable[None]] | None = None
    #: Called when it is over, whatever came of it.
    after: Callable[[], None] | None = None
    #: Whether it is not to start before all that the session has changed is stored.
    waits_for_store: bool = False
    #: Bytes that it keeps while it waits.
    size: int = 0
    #: Whether it is an error to have no handler.
    needs_handler: bool = False
    #: Whether it may run while the turn before it waits for an answer.
    overtakes: bool = False
    #: Whether all others count on it, so that it runs before the end of a session, too.
    sets_up: bool = False
    #: Whether it comes to an end by itself, and is not stopped.
    has_deadline: bool = False
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


def event_job(chat: Chat, session_id: UUID, n: int, *, name: str, data: Any) -> Job:
    """The turn of an event that is the application's business alone."""
    if name == "message":
        id_ = data.get("id") or message_id(session_id, n)
        message = Message(data["content"], id=id_, author=USER_AUTHOR, type=USER)
        message.came_as(session_id, n)
        return turn_job(n, name, chat.hooks.get(name), message)
    if name == "action":
        job = turn_job(n, name, chat.actions.get(data["name"]), Action.offered(data))
        job.overtakes = True
        return job
    if name == "window_message":
        return turn_job(n, name, chat.hooks.get(name), data)
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

    def turn_waits(self, job: Job) -> None:
        """``job`` is next, and starts when that is stored."""

    def turn_put_back(self, job: Job) -> None:
        """It is not after all: whoever takes the session next starts it."""

    def turn_starts(self, job: Job) -> None: ...

    def turn_ends(self, job: Job, status: str, error: BaseException | None) -> None:
        """The handler is through: change what that changes, and tell it once it is stored."""

    def idle(self) -> None:
        """There is nothing left to run."""


class Turns:
    """
    The queue of one session, and what of it is running.

    That is one job, and beside it, while that one waits for an answer, one that overtakes.
    """

    __slots__ = ("_asking", "_gone_by", "_host", "_queue", "aside", "draining", "job")

    def __init__(self, host: TurnHost) -> None:
        self._host = host
        self._queue: deque[Job] = deque()
        self.job: Job | None = None
        self.aside: Job | None = None
        #: How many answers the running job waits for.
        self._asking = 0
        self._gone_by: asyncio.Event | None = None
        #: Whether nothing new is started: the server is shutting down.
        self.draining = False

    @property
    def pending(self) -> int:
        """How many jobs wait for the one that runs."""
        return len(self._queue)

    @property
    def pending_bytes(self) -> int:
        """What the waiting jobs keep in memory."""
        return sum(job.size for job in self._queue) if self._queue else 0

    @property
    def is_idle(self) -> bool:
        running = self.job is not None or self.aside is not None
        return not running and (self.draining or not self._queue)

    def is_running(self, turn: Turn) -> bool:
        job, aside = self.job, self.aside
        return (job is not None and job.turn is turn) or (aside is not None and aside.turn is turn)

    def has_other(self, turn: Turn | None) -> bool:
        """Whether any but ``turn`` is running."""
        return (self.job is not None and self.job.turn is not turn) or (
            self.aside is not None and self.aside.turn is not turn
        )

    @property
    def running(self) -> list[Turn]:
        """The turns that run and have a number, the one that was first before the other."""
        jobs = (self.job, self.aside)
        return [job.turn for job in jobs if job is not None and job.turn.n is not None]

    @property
    def number(self) -> int | None:
        """The number of the running turn, of two the one that was first."""
        return next((turn.n for turn in self.running), None)

    def add(self, job: Job, *, first: bool = False) -> None:
        """Queue ``job``, at the end or before all that waits."""
        if first:
            self._queue.appendleft(job)
        else:
            self._queue.append(job)
        self._next()

    def clear(self) -> list[Job]:
        """Take out everything that waits, but for what sets up."""
        jobs = [job for job in self._queue if not job.sets_up]
        self._queue = deque(job for job in self._queue if job.sets_up)
        return jobs

    def cancel(self, status: str) -> bool:
        """
        End what runs, as ``stopped`` or ``interrupted``; whether there is anything.

        Its handler gets ``STOP_TIMEOUT`` seconds to clean up; then it is abandoned, and what it
        still does is refused.
        """
        anything = False
        for job in (self.job, self.aside):
            if job is not None and not (job.has_deadline and status == "stopped"):
                anything = self._cancel(job, status) or anything
        return anything

    def _cancel(self, job: Job, status: str) -> bool:
        if job.cancelled_as is not None:
            return False
        job.cancelled_as = status
        for task in job.turn.spawned | job.turn.awaited:
            task.cancel()
        if job.task is not None:
            job.task.cancel()
            # One that had not begun to run never gets as far as its own end.
            job.task.add_done_callback(lambda _: self._finish(job, status))
            self._host.loop.call_later(settings.STOP_TIMEOUT, self._finish, job, status)
        return True

    @contextmanager
    def waiting_for_answer(self, turn: Turn | None) -> Iterator[None]:
        """Inside the block ``turn`` waits for its client: what may overtake it runs."""
        job = self.job
        task = asyncio.current_task()
        if job is None or job.turn is not turn or task in turn.spawned - turn.awaited:
            yield  # somebody else waits, while the handler may be at work
            return
        self._asking += 1
        self._next()
        try:
            yield
        finally:
            if self.job is job:
                self._asking -= 1

    async def alone(self, turn: Turn | None) -> None:
        """Wait until what has overtaken ``turn`` is through: one at a time goes on."""
        while self.aside is not None and self.aside.turn is not turn:
            self._gone_by = self._gone_by or asyncio.Event()
            await self._gone_by.wait()

    def _next(self) -> None:
        if self.job is not None:
            self._next_aside()
        elif self.aside is not None:
            pass  # what was overtaken is gone; this one first
        elif self.draining or not self._queue:
            self._host.idle()
        else:
            self.job = self._queue.popleft()
            self._prepare(self.job)

    def _next_aside(self) -> None:
        if not self._asking or self.aside is not None or self.draining:
            return
        job = next((job for job in self._queue if job.overtakes), None)
        if job is not None:
            self._queue.remove(job)
            self.aside = job
            self._prepare(job)

    def _prepare(self, job: Job) -> None:
        if job.waits_for_store:
            self._host.turn_waits(job)
            self._host.when_stored(partial(self._start, job))
        else:
            self._start(job)

    def _start(self, job: Job) -> None:
        if job is not self.job and job is not self.aside:
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
        except (FrameError, StorageError) as refused:
            self._finish(job, "failed", refused)
            return
        if job.handler is None:
            error = NoHandler(f"No handler for {job.turn.name!r}.") if job.needs_handler else None
            self._finish(job, "failed" if error else "done", error)
            return
        job.task = self._host.loop.create_task(
            self._run(job, job.handler),
            name=f"chatsessions-turn-{job.turn.name}",
            context=contextvars.Context(),
        )

    def _put_back(self, job: Job) -> None:
        """The event is stored, its turn has not begun: whoever takes the session next runs it."""
        self._clear(job)
        if job.turn.n:
            self._queue.appendleft(job)
            self._host.turn_put_back(job)
        # Of a start that has not begun, the row cannot say more than that it was cut short.
        self._host.idle()

    async def _run(self, job: Job, handler: Handler) -> None:
        status = "done"
        error: BaseException | None = None
        try:
            with use_context(self._host.context(job.turn)) as context:
                translation.activate(supported_language(context.session.language))
                if job.load is not None:
                    await job.load()
                with no_await_forgotten():
                    await self._call(job.turn, handler, job.argument)
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

    async def _call(self, turn: Turn, handler: Handler, argument: Any) -> None:
        if handler.is_async:
            await handler(argument)
            return
        result = await self._host.run_in_thread(partial(_in_thread, turn, handler, argument))
        if inspect.isawaitable(result):
            await result

    def _finish(self, job: Job, status: str, error: BaseException | None = None) -> None:
        if job is not self.job and job is not self.aside:
            return  # it had been abandoned
        job.turn.stopped = job.cancelled_as is not None
        self._host.turn_ends(job, status, error)
        self._clear(job)
        if job.after is not None:
            job.after()
        self._next()

    def _clear(self, job: Job) -> None:
        if job is self.job:
            self.job = None
            self._asking = 0
        else:
            self.aside = None
            if self._gone_by is not None:
                self._gone_by.set()
                self._gone_by = None


def _in_thread(turn: Turn, handler: Handler, argument: Any) -> Any:
    turn.thread = threading.get_ident()
    try:
        return handler(argument)
    finally:
        turn.thread = None
