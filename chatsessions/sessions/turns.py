"""
``Turns``: the queue of a session's handlers, which run one at a time and in order.

A second handler may run beside the first one while the first one waits for an answer, or at any
time if the chat allows it (``Chat(beside=…)``).
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
from chatsessions.timers import Timer

logger = logging.getLogger("chatsessions.live")

#: The error text that a client gets when a handler has failed.
WENT_WRONG = gettext_lazy("Something went wrong. Please try again.")


class NoHandler(ChatSessionsError):
    """The chat has no handler for an event."""


class Job(Struct, eq=False, kw_only=True):
    """Something to run for a session: the turn of an event, or a lifecycle hook."""

    turn: Turn
    handler: Handler | None
    argument: Any = None
    #: The ids of a message's files.
    files: list[str] = []
    #: Called when the job starts, before the handler.
    prepare: Callable[[], None] | None = None
    #: Called when the job has ended, with success or not.
    after: Callable[[], None] | None = None
    #: Whether all changes of the session are stored before the job starts.
    waits_for_store: bool = False
    #: Bytes that the job takes while it waits.
    size: int = 0
    #: Whether it is an error to have no handler.
    needs_handler: bool = False
    #: Whether it may run while the turn before it waits for an answer.
    overtakes: bool = False
    #: Whether it may run beside the turn before it, unless that one may, too.
    beside: bool = False
    #: Whether the other jobs depend on it, so that it runs even when the session ends.
    sets_up: bool = False
    #: Whether it has its own deadline, so that nobody stops it.
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
    The queue of one session, and its running jobs.

    ``start`` is called with the next job, ``finish`` with a cancelled job and its status, ``idle``
    when there is nothing left to run.
    """

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
        #: The waiting jobs. A list: mostly it is empty, and an empty deque takes more than half a
        #: kilobyte.
        self.queue: list[Job] = []
        self.job: Job | None = None
        #: The second running job, which runs beside ``job`` or has outlived it.
        self.aside: Job | None = None
        #: How many answers the running job waits for.
        self._asking = 0
        self._gone_by: asyncio.Event | None = None
        #: Whether nothing new is started: the server is shutting down.
        self.draining = False

    @property
    def pending(self) -> int:
        """How many turns wait; hooks do not count."""
        return sum(job.turn.n is not None for job in self.queue)

    @property
    def pending_bytes(self) -> int:
        """The bytes that the waiting jobs take."""
        return sum(job.size for job in self.queue)

    @property
    def is_idle(self) -> bool:
        """Whether no job runs, and none waits to run here."""
        running = self.job is not None or self.aside is not None
        return not running and (self.draining or not self.queue)

    def is_running(self, turn: Turn) -> bool:
        """Return True while ``turn`` runs."""
        job, aside = self.job, self.aside
        return (job is not None and job.turn is turn) or (aside is not None and aside.turn is turn)

    def has_other(self, turn: Turn | None) -> bool:
        """Return True while another turn than ``turn`` runs."""
        return (self.job is not None and self.job.turn is not turn) or (
            self.aside is not None and self.aside.turn is not turn
        )

    @property
    def running(self) -> list[Turn]:
        """The running turns that have a number, the earlier one first."""
        jobs = (self.job, self.aside)
        return [job.turn for job in jobs if job is not None and job.turn.n is not None]

    @property
    def number(self) -> int | None:
        """The number of the running turn, of the earlier one if there are two."""
        return next((turn.n for turn in self.running), None)

    @property
    def has_begun(self) -> bool:
        """Whether a job has begun to run its handler, and does not only wait for its commit."""
        return any(job is not None and job.started is not None for job in (self.job, self.aside))

    def add(self, job: Job, *, first: bool = False) -> None:
        """Queue ``job`` at the end, or with ``first`` at the beginning."""
        if first:
            self.queue.insert(0, job)
        else:
            self.queue.append(job)
        self._next()

    def withdraw(self, n: int) -> bool:
        """Take turn ``n`` out of the queue; return False if it is not there."""
        job = next((job for job in self.queue if job.turn.n == n), None)
        if job is not None:
            self.queue.remove(job)
        return job is not None

    def clear(self) -> list[Job]:
        """Remove the waiting jobs from the queue, except those with ``sets_up``; return them."""
        jobs = [job for job in self.queue if not job.sets_up]
        self.queue = [job for job in self.queue if job.sets_up]
        return jobs

    def cancel(self, status: str, *, hooks: bool = True) -> bool:
        """
        Cancel the running jobs as ``stopped`` or ``interrupted``; return False if there is none.

        Without ``hooks``, lifecycle hooks go on. A handler gets ``STOP_TIMEOUT`` seconds to clean
        up; then it is abandoned, and its later changes are refused.
        """
        anything = False
        for job in (self.job, self.aside):
            if job is None or job.cancelled_as is not None or job.task is None:
                continue
            if (job.has_deadline and status == "stopped") or (job.turn.n is None and not hooks):
                continue
            anything = True
            job.cancelled_as = status
            for task in job.turn.spawned | job.turn.awaited:
                task.cancel()
            job.task.cancel()
            # A task that is cancelled before it begins does not call finish itself.
            job.task.add_done_callback(partial(self._cancelled, job, status))
            Timer(job.task.get_loop(), settings.STOP_TIMEOUT, self._finish, job, status)
        return anything

    def _cancelled(self, job: Job, status: str, _task: asyncio.Task[None]) -> None:
        self._finish(job, status)

    def finished(self, job: Job) -> None:
        """Remove ``job``, which has ended, and start the next job."""
        self._clear(job)
        if job.after is not None:
            job.after()
        self._next()

    def put_back(self, job: Job) -> None:
        """Leave ``job``, which has not begun, to the session's next owner."""
        self._clear(job)
        if job.turn.n:
            self.queue.insert(0, job)
        self._idle()

    @contextmanager
    def waiting_for_answer(self, turn: Turn | None) -> Iterator[None]:
        """Let other jobs overtake ``turn`` inside the block, in which it waits for an answer."""
        job = self.job
        task = asyncio.current_task()
        if job is None or job.turn is not turn or task in turn.spawned - turn.awaited:
            yield  # another task waits, and the handler itself may be working
            return
        self._asking += 1
        self._next()
        try:
            yield
        finally:
            if self.job is job:
                self._asking -= 1

    async def alone(self, turn: Turn | None) -> None:
        """Wait until the job that has overtaken ``turn`` has ended."""
        while self.aside is not None and self.aside.turn is not turn and not self.aside.beside:
            self._gone_by = self._gone_by or asyncio.Event()
            await self._gone_by.wait()

    def _next(self) -> None:
        running = self.job
        if running is not None:
            if self.aside is None and not self.draining and self._is_set_up(running):
                job = next((one for one in self.queue if self._may_overtake(one, running)), None)
                if job is not None:
                    self.queue.remove(job)
                    self.aside = job
                    self._start(job)
        elif self.aside is not None:
            pass  # the overtaken job has ended, and the one that overtook it still runs
        elif self.draining or not self.queue:
            self._idle()
        else:
            self.job = self.queue.pop(0)
            self._start(self.job)
            if self.queue:
                self._next()  # one that waits may run beside it

    def _is_set_up(self, running: Job) -> bool:
        """Return True if no job that sets up runs or waits, and the start does not wait."""
        waits = any(job.sets_up or job.turn.n == 0 for job in self.queue)
        return not (running.sets_up or waits)

    def _may_overtake(self, job: Job, running: Job) -> bool:
        if self._asking > 0:
            return job.beside or job.overtakes
        return job.beside and not running.beside  # of those one runs at a time

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
    """Log a handler's exception, and return the data of the client's ``error`` event."""
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
    # Under DEBUG it has the error's own text. A character takes up to six bytes.
    return {"code": code, "detail": detail[: settings.MAX_EVENT_BYTES // 16]}
