"""
``LiveSession``: a session in its owner's memory, which is authoritative while the owner lives.

This module has the path of one message: it is received, stored and handled; its results are
stored, and then sent to the subscribers.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from django.utils import translation
from django.utils.translation import gettext

from chatsessions import signals
from chatsessions.exceptions import FrameError, OwnershipLost, StoreUnavailable
from chatsessions.handlers.bridge import no_await_forgotten
from chatsessions.handlers.chat import Handler
from chatsessions.handlers.context import current_context
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.session import supported_language
from chatsessions.protocol import frames
from chatsessions.protocol.frames import message_key
from chatsessions.storage.journal import Change, Rating
from chatsessions.storage.log import topic_of

from .lifecycle import SessionLifecycle
from .subscribers import Subscriber
from .turns import Job, NoHandler, event_job, report

logger = logging.getLogger("chatsessions.live")


class LiveSession(SessionLifecycle):
    """A session that this worker owns. Only the thread of the worker's event loop may use it."""

    __slots__ = ()

    # The path of one message: received and stored

    async def receive(self, subscriber: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """
        Take an event or an answer from the connection ``subscriber``, with its decoded ``data``.

        Raises ``FrameError`` if it cannot be accepted now.
        """
        if isinstance(frame, frames.ClientEvent):
            about = None
            is_plain = frame.name == "message" and not (data.get("files") or data.get("replaces"))
            if not is_plain:
                about = await self.inbound.look_up(frame, data)
            if self.subscribers.connection is subscriber:  # not replaced during the await
                self.submit(frame, data, about)
        elif isinstance(frame, frames.Answer):
            await self.inbound.check_answer_files(frame, data)
            if self.subscribers.connection is subscriber:
                self.inbound.answer(frame, data)

    def submit(self, event: frames.ClientEvent, data: Any, about: int | None = None) -> None:
        """
        Append a client's event to the log and queue its turn.

        ``about`` is the result of :meth:`InboundEvents.look_up`. Raises ``FrameError`` if the
        event cannot be accepted now.
        """
        if not self.inbound.admit(event.n):
            return
        raw, key = bytes(event.data), None
        if event.name == "message":
            key = None if data.get("id") is None else message_key(data["id"])
            if data.get("replaces") is not None:
                self._check_replaced(event.n, data["replaces"])
        elif event.name == "action":
            raw = self.offers.chosen(data, n=event.n)
            data = msgspec.json.decode(raw)
        elif event.name == "settings":
            self.form.check(data, n=event.n)
        elif event.name == "feedback":
            self._take_feedback(event.n, data, about)
        self.inbound.take(event.n, event.name, raw, key=key)
        if not self._has_topic and event.name == "message":
            self._set_topic(data["content"])
        if event.name == "message" and data.get("replaces") is not None:
            self._end_replaced(data["replaces"])
        self.queue_turn(event.n, event.name, data, size=len(raw))

    def _check_replaced(self, n: int, replaces: int) -> None:
        """Raise ``FrameError`` if message ``n`` may not replace message ``replaces``."""
        if "edits" not in self.chat.offers:
            raise FrameError("forbidden", gettext("Messages cannot be sent again here."), n=n)
        if replaces != self.inbound.last_message:
            raise FrameError("forbidden", gettext("Only the last message can be sent again."), n=n)

    def _end_replaced(self, n: int) -> None:
        """Remove the turn of the replaced message ``n`` from the queue, or stop running turns."""
        if self.turns.withdraw(n):
            self.end_turn(n, "message", "stopped")
        else:
            self.turns.cancel("stopped", hooks=False)

    def _take_feedback(self, n: int, data: dict[str, Any], seq: int | None) -> None:
        """Store feedback on the message of entry ``seq``. Raises ``FrameError``."""
        if "feedback" not in self.chat.offers:
            raise FrameError("forbidden", gettext("This chat takes no feedback."), n=n)
        if seq is None:
            raise FrameError("forbidden", gettext("There is no such answer in this session."), n=n)
        comment = data.get("comment", "")
        self.log.set_feedback(
            Rating(message=data["message"], seq=seq, value=data["value"], comment=comment)
        )

    def queue_turn(self, n: int, name: str, data: Any, *, size: int = 0) -> None:
        """Queue the turn of event ``n``, which takes ``size`` bytes while it waits."""
        job = event_job(self.chat, self.session, n, name=name, data=data)
        job.size = size
        if name == "settings":
            job.prepare = partial(self.form.update, n, data)
        self.turns.add(job)

    # Handled

    def _start(self, job: Job) -> None:
        """Start the task of ``job`` in its own context, and store that the job runs."""
        stored = None
        if job.waits_for_store:
            if self.closed:
                return  # nothing more is stored
            if job is self.turns.aside:
                self._aside = job.turn.n
                self.log.set(aside=job.turn.n)
            else:
                self.position.running = job.turn.n
            stored = self.log.when_stored()
        job.task = self.loop.create_task(
            self._run(job, stored),
            name=f"chatsessions-turn-{job.turn.name}",
            context=contextvars.Context(),
        )

    async def _run(self, job: Job, stored: asyncio.Future[None] | None) -> None:
        """
        Run a job after ``stored``: the commit that says that the job runs.

        The commit comes first, so that no crash makes the job run twice. :meth:`Turns.cancel`
        cancels the task of the job.
        """
        turn, error = job.turn, None
        try:
            if stored is not None:
                await stored
            if self.turns.draining and turn.n is not None:
                self._put_back(job)
                return
            now = job.started = self.loop.time()
            if now > self.worker.connections_due and job.handler and job.handler.is_async:
                self.worker.refresh_connections()
            if turn.n is not None:
                self.subscribers.frame(frames.TurnStatus(turn.n, turn.name, "running"))
            if job.prepare is not None:
                job.prepare()
            if job.handler is not None:
                await self._handle(job, job.handler)
            elif job.needs_handler:
                raise NoHandler(f"No handler for {turn.name!r}.")
        except BaseException as failure:
            # SystemExit too: a handler must not end the server. A cancellation that we did not
            # request comes from the handler and counts as a failure.
            error = failure
        self._finish(job, job.cancelled_as or ("done" if error is None else "failed"), error)

    def _put_back(self, job: Job) -> None:
        """Leave a job that has not begun to the next owner."""
        if job.turn.n:
            self._runs_no_more(job.turn.n)
        # The row cannot say that a start has not begun; the next owner reports it as interrupted.
        self.turns.put_back(job)

    async def _handle(self, job: Job, handler: Handler) -> None:
        token = current_context.set(self.context(job.turn))
        try:
            with no_await_forgotten():
                translation.activate(supported_language(self.session.language))
                if job.files:
                    job.argument.files = await self.files.named(job.files)
                if handler.is_async:
                    function = handler.function
                    await (function(job.argument) if handler.takes_argument else function())
                    return
                call = partial(_in_thread, job.turn, handler, job.argument)
                result = await self.worker.threads.handle(call)
                if inspect.isawaitable(result):
                    await result
        finally:
            current_context.reset(token)

    def _finish(self, job: Job, status: str, error: BaseException | None = None) -> None:
        """Store the outcome of a job, and start the next one."""
        turn = job.turn
        if job is not self.turns.job and job is not self.turns.aside:
            return  # it was abandoned
        turn.stopped = job.cancelled_as is not None
        unclosed = None if turn.spawned else self.sink.close_streams(turn)
        # Another running handler may still correct a value; but a handler that this job has
        # overtaken waits for an answer.
        is_beside = self.turns.has_other(turn) and (job is self.turns.job or job.beside)
        found = self.values.look(drop=not is_beside)
        refused = (None if is_beside else found) or self.values.error or unclosed
        self.values.error = None
        if refused is not None and status == "done":
            status, error = "failed", refused
        if status == "failed" and error is not None:
            told = report(self.session, turn, error)
            if turn.n is not None:
                self.log.say("error", told, turn=turn.n)
            if job.handler is not None and job.handler.is_async:
                self.worker.refresh_connections(failed=True)
        if self.user_session.touched:
            self.values.settle(turn)
        if turn.n is None:
            self.log.note()
        elif status != "interrupted":  # else the next owner stores its end
            seconds = 0.0 if job.started is None else self.loop.time() - job.started
            self.end_turn(turn.n, turn.name, status, seconds=seconds)
        self.turns.finished(job)

    def end_turn(self, n: int, name: str, status: str, *, seconds: float = 0.0) -> None:
        """Store that turn ``n`` has ended, then tell the subscribers."""
        self._runs_no_more(n)
        self.inbound.mark_handled(n)
        if status != "done":
            self.log.set_outcome(n, status)
        self.position.turns_failed += status == "failed"
        self._untold.append((n, name))
        self.log.then(partial(self._tell_end_of_turn, n, name, status, seconds))

    def _tell_end_of_turn(self, n: int, name: str, status: str, seconds: float) -> None:
        self._untold.remove((n, name))
        self.subscribers.frame(frames.TurnStatus(n, name, status))
        if signals.turn_finished.receivers:
            self.worker.send_signal(
                signals.turn_finished,
                self.chat,
                session=self.session,
                turn=n,
                name=name,
                status=status,
                seconds=seconds,
            )

    def _runs_no_more(self, n: int) -> None:
        if n == self._aside:
            self._aside = None
            self.log.set(aside=None)
        elif n == self.position.running:  # else the turn ends before it has begun
            self.position.running = None

    # Stored and sent: for the journal

    def take_change(self, now: datetime) -> Change | None:
        """Return the change to store now; None if the session is closed."""
        log = self.log
        log.is_noted = False
        if self.closed:
            return None
        if self.user_session.touched or self.user_session.changed:
            is_used = self.turns.has_other(None) or self.holders > 0 or len(self.tasks) > 0
            self.values.look_between(is_used=is_used)
        if self.conversation.is_changed:
            self.conversation.collect()
        if self.can_release:
            log.set(worker_id=None)
        if log.is_long:
            log.trim(self.inbound.gate.seq_of(self.position.handled + 1))
        if self.subscribers.connection is not None:
            self.position.last_seen_at = now
        return log.take()

    def committed(self, change: Change) -> None:
        """Send the entries of ``change`` to the subscribers, and call the callbacks that wait."""
        self.log.committed(change)
        self.sink.release(change.entries)
        self.log.wake()
        if "worker_id" in change.fields and change.fields["worker_id"] is None and not self.closed:
            self._drop_released()

    def refused(self, change: Change | None, error: Exception) -> None:
        """Drop the session: it cannot be stored, or this worker no longer owns it."""
        if isinstance(error, OwnershipLost):
            logger.warning("Session %s is no longer held by this worker", self.id)
        else:
            logger.error("Session %s cannot be stored; it is dropped", self.id, exc_info=error)
        self.failure = error
        self.discard(error)
        self.worker.session_lost(self, error, held=change is None or change.claims is None)

    def delayed(self, error: StoreUnavailable) -> None:
        """Raise ``error`` in code that waits for a commit, and report it to the subscribers."""
        self.log.fail(error)
        for n in self.inbound.not_stored:
            self.subscribers.frame(frames.Error("storage_unavailable", str(error), n, 1.0))
        frame = frames.Error("storage_unavailable", str(error), retry_after=1.0)
        self.subscribers.tell_followers(frame)

    def _set_topic(self, text: str) -> None:
        """Set the session's topic from the first message that has text."""
        topic = topic_of(text)
        self._has_topic = bool(topic)
        if topic:
            self.log.set(topic=topic)


def _in_thread(turn: Turn, handler: Handler, argument: Any) -> Any:
    turn.thread = threading.get_ident()
    try:
        return handler(argument)
    finally:
        turn.thread = None
