"""
``Turns``: the queue of a session's handlers, which run one at a time and in order.

Beside the one that runs, another may: while that waits for an answer, or at any time if the chat
says so (``Chat(beside=…)``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.utils.translation import gettext, gettext_lazy
from msgspec import Struct

from chatsessions.auth import env
from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError
from chatsessions.handlers.chat import START, Chat, Handler
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.messages import USER_AUTHOR, Action, Feedback, Message
from chatsessions.handlers.session import Session, error_text, in_language_of, printable
from chatsessions.protocol.delivery import Handled
from chatsessions.protocol.frames import message_id
from chatsessions.storage.conversation import USER

logger = logging.getLogger("chatsessions.live")

#: What a client is told of a handler that has failed.
WENT_WRONG = gettext_lazy("Something went wrong. Please try again.")


class NoHandler(ChatSessionsError):
    """An event came for which the chat has no handler."""


class Job(Struct, eq=False, kw_only=True):
    """Something to run for a session: the turn of an event, or a lifecycle hook."""

    turn: Turn
    handler: Handler | None
    argument: Any = None
    #: Ids of the files that a message came with.
    files: list[str] = []
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
    #: Whether it may run while the turn before it waits for an answer.
    overtakes: bool = False
    #: Whether it may run beside the turn before it, whatever that does.
    beside: bool = False
    #: Whether all others count on it, so that it runs before the end of a session, too.
    sets_up: bool = False
    #: Whether it comes to an end by itself, and is not stopped.
    has_deadline: bool = False
    task: asyncio.Task[None] | None = None
    #: When its handler began.
    started: float | None = None
    #: Why it is being cancelled: ``stopped`` or ``interrupted``.
    cancelled_as: str | None = None


def event_job(chat: Chat, session: Session, n: int, *, name: str, data: Any) -> Job:
    """Return the job of a client's event."""
    argument: Any = data
    files: list[str] = []
    if name == "message":
        handler = chat.hooks.get(name)
        argument = Message(
            data["content"],
            id=data.get("id") or message_id(session.id, n),
            author=USER_AUTHOR,
            type=USER,
        )
        argument.came_as(session.id, n)
        argument.replaces = data.get("replaces")
        files = data.get("files") or []
    elif name == "action":
        handler, argument = chat.actions.get(data["name"]), Action.offered(data)
    elif name == "settings":
        handler, argument = chat.hooks.get(name), session.chat_settings
    elif name == "feedback":
        handler = chat.hooks.get(name)
        argument = Feedback(
            message_id=data["message"], value=data["value"], comment=data.get("comment", "")
        )
    elif name == "window_message":
        handler = chat.hooks.get(name)
    else:
        handler = chat.events.get(name)
    return Job(
        turn=Turn(n, name),
        handler=handler,
        argument=argument,
        files=files,
        waits_for_store=True,
        needs_handler=name not in ("settings", "feedback"),
        overtakes=name in ("action", "settings", "feedback"),
        beside=name in chat.beside,
    )


def start_job(handler: Handler, argument: Any) -> Job:
    """Return the job of the turn that begins a new session."""
    return Job(turn=Turn(0, START), handler=handler, argument=argument, waits_for_store=True)


def hook_job(chat: Chat, name: str, argument: Any = None) -> Job:
    """Return the job of a lifecycle hook."""
    return Job(turn=Turn(None, name), handler=chat.hooks.get(name), argument=argument)


class Turns:
    """
    The queue of one session, and what of it is running.

    ``start`` is called with the job that is next, ``finish`` with one that was cancelled and the
    status that it ends with, ``idle`` when there is nothing left to run.
    """

    __slots__ = (
        "_asking",
        "_finish",
        "_gone_by",
        "_idle",
        "_start",
        "aside",
        "draining",
        "handled",
        "job",
        "queue",
    )

    def __init__(
        self,
        handled: Handled,
        *,
        start: Callable[[Job], None],
        finish: Callable[[Job, str], None],
        idle: Callable[[], None],
    ) -> None:
        #: Which events have been handled.
        self.handled = handled
        self._start = start
        self._finish = finish
        self._idle = idle
        #: The jobs that wait for those that run. A list: mostly it is empty, and an empty deque
        #: takes more than half a kilobyte.
        self.queue: list[Job] = []
        self.job: Job | None = None
        self.aside: Job | None = None
        #: How many answers the running job waits for.
        self._asking = 0
        self._gone_by: asyncio.Event | None = None
        #: Whether nothing new is started: the server is shutting down.
        self.draining = False

    @property
    def pending_bytes(self) -> int:
        """What the waiting jobs keep in memory."""
        return sum(job.size for job in self.queue)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, or waits to be run here."""
        running = self.job is not None or self.aside is not None
        return not running and (self.draining or not self.queue)

    def is_running(self, turn: Turn) -> bool:
        """Return True while ``turn`` runs."""
        job, aside = self.job, self.aside
        return (job is not None and job.turn is turn) or (aside is not None and aside.turn is turn)

    def has_other(self, turn: Turn | None) -> bool:
        """Return True while any but ``turn`` runs."""
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
            self.queue.insert(0, job)
        else:
            self.queue.append(job)
        self._next()

    def withdraw(self, n: int) -> bool:
        """Take turn ``n`` out of the queue; return False if it does not wait there."""
        job = next((job for job in self.queue if job.turn.n == n), None)
        if job is not None:
            self.queue.remove(job)
        return job is not None

    def clear(self) -> list[Job]:
        """Take out everything that waits, but for what sets up."""
        jobs = [job for job in self.queue if not job.sets_up]
        self.queue = [job for job in self.queue if job.sets_up]
        return jobs

    def cancel(self, status: str) -> bool:
        """
        End what runs, as ``stopped`` or ``interrupted``; return True if there is anything.

        A handler gets ``STOP_TIMEOUT`` seconds to clean up; then it is abandoned, and what it
        still does is refused.
        """
        anything = False
        for job in (self.job, self.aside):
            if job is None or job.cancelled_as is not None or job.task is None:
                continue
            if job.has_deadline and status == "stopped":
                continue
            anything = True
            job.cancelled_as = status
            for task in job.turn.spawned | job.turn.awaited:
                task.cancel()
            job.task.cancel()
            # A task that had not begun never gets as far as its own end.
            job.task.add_done_callback(partial(self._cancelled, job, status))
            loop = job.task.get_loop()
            loop.call_later(settings.STOP_TIMEOUT, self._finish, job, status)
        return anything

    def _cancelled(self, job: Job, status: str, _task: asyncio.Task[None]) -> None:
        self._finish(job, status)

    def finished(self, job: Job) -> None:
        """Start the next job: ``job`` runs no more."""
        self._clear(job)
        if job.after is not None:
            job.after()
        self._next()

    def put_back(self, job: Job) -> None:
        """Leave ``job``, which has not begun, to whoever takes the session next."""
        self._clear(job)
        if job.turn.n:
            self.queue.insert(0, job)
        self._idle()

    @contextmanager
    def waiting_for_answer(self, turn: Turn | None) -> Iterator[None]:
        """Run what may overtake ``turn`` while it waits for its client, inside the block."""
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
        """Wait until what has overtaken ``turn`` has ended: one at a time goes on."""
        while self.aside is not None and self.aside.turn is not turn and not self.aside.beside:
            self._gone_by = self._gone_by or asyncio.Event()
            await self._gone_by.wait()

    def _next(self) -> None:
        if self.job is not None:
            if self.aside is None and not self.draining:
                job = next((job for job in self.queue if self._may_overtake(job)), None)
                if job is not None:
                    self.queue.remove(job)
                    self.aside = job
                    self._start(job)
        elif self.aside is not None:
            pass  # what was overtaken is gone; this one first
        elif self.draining or not self.queue:
            self._idle()
        else:
            self.job = self.queue.pop(0)
            self._start(self.job)

    def _may_overtake(self, job: Job) -> bool:
        return job.beside or (job.overtakes and self._asking > 0)

    def _clear(self, job: Job) -> None:
        if job is self.job:
            self.job = None
            self._asking = 0
        else:
            self.aside = None
            if self._gone_by is not None:
                self._gone_by.set()
                self._gone_by = None


def report(session: Session, turn: Turn, error: BaseException) -> dict[str, str]:
    """Log what a handler has raised, and return the ``error`` that its client is told."""
    if isinstance(error, NoHandler):
        logger.warning("Session %s, %s: %s", session.id, session.chat, error)
        code = "no_handler"
        with in_language_of(session):
            told = gettext("There is no handler for “%(name)s”.") % {"name": turn.name}
        detail = env.hide(printable(told), session.env)
    else:
        message = "Session %s, %s: the handler of %s failed"
        arguments = (session.id, session.chat, turn.name)
        env.log_error(logger, session.env, message, *arguments, error=error)
        code = "handler_error"
        detail = error_text(session, error, WENT_WRONG)
    return {"code": code, "detail": detail}
