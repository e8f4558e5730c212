"""
``LiveSession``: a session in its owner's memory, which is the truth while the owner lives.

The way of one message stands here: it is received, stored, handled, what comes of it is stored,
and then it is told.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from django.dispatch import Signal
from django.utils import timezone, translation

from chatsessions import signals
from chatsessions.conf import settings
from chatsessions.exceptions import (
    OwnershipLost,
    SessionOver,
    SessionOwned,
    StoreUnavailable,
    TurnStopped,
)
from chatsessions.handlers.bridge import no_await_forgotten
from chatsessions.handlers.chat import (
    ANSWER,
    START,
    Chat,
    Handler,
)
from chatsessions.handlers.chat_context import in_use
from chatsessions.handlers.context import (
    Context,
    current_turn,
    use_context,
)
from chatsessions.handlers.emitter import (
    Emitter,
    Turn,
)
from chatsessions.handlers.session import Session, supported_language
from chatsessions.handlers.steps import ended
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Handled
from chatsessions.protocol.frames import message_key
from chatsessions.storage.conversation import ConversationMessage
from chatsessions.storage.database import Executors
from chatsessions.storage.files import SessionFiles
from chatsessions.storage.journal import Change, ChangeSource, Journal, Position
from chatsessions.storage.log import Entry, find_message, find_seq, read_entries, topic_of
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded, Store
from chatsessions.storage.thread_rows import Mark
from chatsessions.storage.worker_rows import WorkerRows

from .asks import Asks, OfferedActions, SettingsForm
from .history import ConversationCache, InterruptedWork, ThreadContinuation
from .inbound import InboundEvents
from .outbound import SessionSink, Streams, Writers
from .pending import PendingChange, SessionLog
from .posted import PostedEvents
from .subscribers import SessionClient, Standing, Subscriber, Subscribers
from .tasks import Lifespan, SessionTasks
from .turns import (
    Job,
    NoHandler,
    Turns,
    event_job,
    hook_job,
    report,
    turn_job,
)
from .values import SessionValues

if TYPE_CHECKING:
    from chatsessions.auth.access import User

logger = logging.getLogger("chatsessions.live")


class SessionHost(ABC):
    """What a session needs of the worker that holds it."""

    id: UUID
    loop: asyncio.AbstractEventLoop
    journal: Journal
    store: Store
    threads: Executors
    rows: WorkerRows

    @abstractmethod
    def own(self, task: asyncio.Task[Any]) -> None:
        """See ``task`` to its end, and log what it raises."""

    @abstractmethod
    def start_lifespan(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start what sets up and tears down for a session. A closing worker waits for its end."""

    @abstractmethod
    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None:
        """Send a signal from a task of its own."""

    @abstractmethod
    def refresh_connections(self, *, failed: bool = False) -> None:
        """
        Close connections that the database has closed, which async handlers would find.

        Called before an async handler, and after one that has ``failed``.
        """

    @abstractmethod
    def drop(self, live: LiveSession) -> None:
        """Hold ``live`` in memory no more."""

    @abstractmethod
    def lost(self, live: LiveSession, error: Exception, *, held: bool) -> None:
        """Part with a session that could not be stored; ``held`` is false if it never was here."""


class LiveSession(ChangeSource):
    """One session, held by this worker. Only its event loop's thread may touch it."""

    def __init__(
        self,
        worker: SessionHost,
        chat: Chat,
        session: Session,
        row: ChatSession,
        loaded: Loaded | None,
        *,
        past: ThreadContinuation | None = None,
    ) -> None:
        self.id = session.id
        self.worker = worker
        self.loop = worker.loop
        self.owner_id = row.user_id
        self.chat = chat
        self.session = session
        self.position = Position.of(row)
        self.ending: str | None = row.end_reason or None
        self.closed = False
        #: Why the session was dropped before all of it was stored, if it was.
        self.lost: Exception | None = None
        #: The latest changes that other processes have asked for, by their numbers.
        self.applied: list[str] = row.applied
        #: Blocks of session_context() that work with this session.
        self.holders = 0
        self._has_topic = bool(row.topic)
        self._aside: int | None = row.aside
        #: What the last owner left undone, and the thread that the session goes on with.
        self._left = None if loaded is None else InterruptedWork.of(loaded)
        self._past = past
        self._begun = False
        self._closing = asyncio.Event()
        self._quiet = asyncio.Event()

        self.pending = PendingChange(
            row.pk,
            generation=row.generation + (loaded is not None),
            position=self.position,
            claims=None if loaded is None else loaded.claim,
            state_revision=row.state_revision,
            tell_journal=partial(worker.journal.note, self),
        )
        self.log = SessionLog(
            self.pending,
            self.position,
            first=1 if loaded is None else loaded.first,
            journal=worker.journal,
        )
        self.turns = Turns(
            Handled(row.handled, row.handled_ahead),
            start=self._start,
            finish=self._finish,
            idle=self._idle,
        )
        self.values = SessionValues(
            session,
            _values(loaded, past),
            pending=self.pending,
            turns=self.turns,
            loop=worker.loop,
            check=self.check,
            keep=chat.kept_in_memory if chat.keeps_unstorable else None,
        )
        self.user_session = self.values.user_session
        if loaded is not None and loaded.state and settings.USER_SESSION_STORE == "cache":
            # Its key carries the generation, and this owner's is a new one.
            self.pending.set_state(loaded.state)
        if past is not None and past.values:
            self.pending.set_state(self.user_session.as_json())
        self.subscribers = Subscribers()
        self.tasks = SessionTasks(
            f"Session {row.pk}, {chat.name}",
            session,
            done=self._idle,
            turn_done=self._spawned_done,
        )
        self.offers = OfferedActions(self.pending, row.actions)
        self.form = SettingsForm(session, self.log, row.inputs)
        self.asks = Asks(self.log, self.turns, check=self.check)
        self.files = SessionFiles(
            self.id, worker.loop, worker.threads, may_save=self._may_save_files
        )
        session.stored_files = self.files
        self.inbound = InboundEvents(
            self.log,
            self.turns,
            loaded,
            posted_from=row.posted_from,
            loop=worker.loop,
            journal=worker.journal,
            tell=self.subscribers.frame,
            tasks=self.tasks,
            asks=self.asks,
            files=self.files,
            find_seq=partial(worker.threads.read, find_seq, self.id),
        )
        self.inbound.is_open = self.ending is None
        self.client = SessionClient(
            chat,
            session,
            row,
            is_new=loaded is None,
            log=self.log,
            inbound=self.inbound,
            subscribers=self.subscribers,
            worker_id=worker.id,
            worker_rows=worker.rows,
            send_signal=worker.send_signal,
            add_hook=self._add_hook,
        )
        self.sink = SessionSink(
            self.log,
            Streams(
                self.log,
                self.subscribers,
                loop=worker.loop,
                rows=worker.rows,
                claim_again=self.client.claim_again,
            ),
            asks=self.asks,
            offers=self.offers,
            form=self.form,
            loop=worker.loop,
            journal=worker.journal,
            check=self.check,
            values=self.values,
            find_message=partial(worker.threads.read, find_message, self.id),
        )
        self.posted = PostedEvents(
            self.id,
            self.log,
            self.turns,
            inbound=self.inbound,
            asks=self.asks,
            sink=self.sink,
            subscribers=self.subscribers,
            submit=self.submit,
            check_open=self.check_open,
            threads=worker.threads,
        )
        self.writers = Writers(self.log, self.sink)
        self.conversation = ConversationCache(
            session,
            self.log,
            worker.threads,
            loop=worker.loop,
            mark=Mark.of(row.chat_context),
            said=_messages(loaded, past),
            texts=self.sink.streams.texts,
            before_change=self.values.before_change,
            after_change=self.values.after_change,
        )
        self.lifespan = Lifespan(
            chat,
            session,
            context=self.context,
            start=worker.start_lifespan,
            run_in_thread=worker.threads.handle,
        )

    def context(self, turn: Turn | None, *, writer: Turn | None = None) -> Context:
        """Return what code of ``turn`` sees, or of a block outside of turns (``writer``)."""
        return Context(
            session=self.session,
            user_session=self.user_session,
            emitter=Emitter(self.sink, turn or writer),
            chat=self.chat,
            turn=turn,
            spawn=self._spawn,
            recall=self.conversation,
        )

    # The way of one message: received, and stored

    async def receive(self, subscriber: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """
        Take an event or an answer of the connection ``subscriber``, with its ``data`` decoded.

        Raises ``FrameError`` for one that cannot be accepted now.
        """
        if isinstance(frame, frames.ClientEvent):
            if frame.name == "message" and data.get("files"):
                await self.inbound.check_files(frame, data)
            if self.subscribers.connection is subscriber:  # it speaks for the session still
                self.submit(frame, data)
        elif isinstance(frame, frames.Answer):
            await self.inbound.check_answer_files(frame, data)
            if self.subscribers.connection is subscriber:
                self.inbound.answer(frame, data)

    def submit(self, event: frames.ClientEvent, data: Any) -> None:
        """
        Take a client's event into the log, and queue its turn.

        Raises ``FrameError`` for one that cannot be accepted now.
        """
        if not self.inbound.admit(event.n):
            return
        raw, key = bytes(event.data), None
        if event.name == "message":
            key = None if data.get("id") is None else message_key(data["id"])
        elif event.name == "action":
            raw = self.offers.chosen(data, n=event.n)
            data = msgspec.json.decode(raw)
        elif event.name == "settings":
            self.form.check(data, n=event.n)
        self.inbound.take(event.n, event.name, raw, key=key)
        if not self._has_topic and event.name == "message":
            self._set_topic(data["content"])
        self._queue(event.n, event.name, data, size=len(raw))

    def _queue(self, n: int, name: str, data: Any, *, size: int = 0) -> None:
        """Queue the turn of event ``n``, which keeps ``size`` bytes while it waits."""
        job = event_job(self.chat, self.session, n, name=name, data=data)
        job.size = size
        if name == "settings":
            job.prepare = partial(self.form.update, n, data)
        self.turns.add(job)

    # Handled

    def _start(self, job: Job) -> None:
        """Store that ``job``, which is next, runs, and start its task in a context of its own."""
        stored = None
        if job.waits_for_store:
            if self.closed:
                return  # nothing is stored any more
            if job is self.turns.aside:
                self._aside = job.turn.n
                self.pending.set(aside=job.turn.n)
            else:
                self.position.running = job.turn.n
            stored = self.pending.stored()
        job.task = self.loop.create_task(
            self._run(job, stored),
            name=f"chatsessions-turn-{job.turn.name}",
            context=contextvars.Context(),
        )

    async def _run(self, job: Job, stored: asyncio.Future[None] | None) -> None:
        """
        Run a job once it is ``stored`` that it runs: after a crash it is never begun again.

        It is cancelled by :meth:`Turns.cancel`.
        """
        turn, error = job.turn, None
        try:
            if stored is not None:
                await stored
            if self.turns.draining and turn.n is not None:
                self._put_back(job)
                return
            job.started = self.loop.time()
            if job.handler is not None and job.handler.is_async:
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
            # SystemExit too: it is not for a handler to end the server. And a cancellation that
            # we have not asked for is the handler's own doing, a failure like any other.
            error = failure
        self._finish(job, job.cancelled_as or ("done" if error is None else "failed"), error)

    def _put_back(self, job: Job) -> None:
        """Leave a job that has not begun to whoever takes the session next."""
        if job.turn.n:
            self._runs_no_more(job.turn.n)
        # Of a start that has not begun, the row cannot say more than that it was cut short.
        self.turns.put_back(job)

    async def _handle(self, job: Job, handler: Handler) -> None:
        turn = job.turn
        with use_context(self.context(turn)), no_await_forgotten():
            translation.activate(supported_language(self.session.language))
            if job.files:
                job.argument.files = await self.files.named(job.files)
            if handler.is_async:
                await handler(job.argument)
                return
            call = partial(_in_thread, turn, handler, job.argument)
            result = await self.worker.threads.handle(call)
            if inspect.isawaitable(result):
                await result

    def _finish(self, job: Job, status: str, error: BaseException | None = None) -> None:
        """Store what came of a job, and start the next one."""
        turn = job.turn
        if not self.turns.is_running(turn):
            return  # it had been abandoned
        turn.stopped = job.cancelled_as is not None
        unclosed = None if turn.spawned else self.sink.close_streams(turn)
        refused = self.values.look() or self.values.error or unclosed
        self.values.error = None
        if refused is not None and status == "done":
            status, error = "failed", refused
        if status == "failed" and error is not None:
            told = report(self.session, turn, error)
            if turn.n is not None:
                self.log.say("error", told, turn=turn.n)
            if job.handler is not None and job.handler.is_async:
                self.worker.refresh_connections(failed=True)
        self.values.settle(turn)
        if turn.n is None:
            self.pending.note()
        elif status != "interrupted":  # of that, whoever takes the session next tells
            seconds = 0.0 if job.started is None else self.loop.time() - job.started
            self._end_turn(turn.n, turn.name, status, seconds=seconds)
        self.turns.finished(job)

    def _end_turn(self, n: int, name: str, status: str, *, seconds: float) -> None:
        """Store that turn ``n`` is over, then tell it."""
        self._runs_no_more(n)
        self.inbound.has_handled(n)
        if status != "done":
            self.pending.set_outcome(n, status)
        self.position.turns_failed += status == "failed"
        self.pending.then(partial(self._tell_end_of_turn, n, name, status, seconds))

    def _tell_end_of_turn(self, n: int, name: str, status: str, seconds: float) -> None:
        self.subscribers.frame(frames.TurnStatus(n, name, status))
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
            self.pending.set(aside=None)
        else:
            self.position.running = None

    # Stored, and told: for the journal

    def take_change(self, now: datetime) -> Change | None:
        """Return what there is to store now."""
        pending = self.pending
        pending.is_noted = False
        if self.closed:
            return None
        if self.user_session.is_dirty:
            self.values.look_between(is_used=self.turns.job is not None or self.holders > 0)
        if self.conversation.is_changed:
            self.conversation.collect()
        if self.can_release:
            pending.set(worker_id=None)
        if self.log.is_long:
            self.log.trim(self.inbound.seq_of(self.position.handled + 1))
        if self.subscribers.connection is not None:
            self.position.last_seen_at = now
        return pending.take()

    def committed(self, change: Change) -> None:
        """Tell what is stored now, and wake who waits for it."""
        self.log.committed(change)
        self.sink.streams.release(change.entries)
        self.pending.committed()
        if "worker_id" in change.fields and change.fields["worker_id"] is None and not self.closed:
            self._let_go()

    def refused(self, change: Change | None, error: Exception) -> None:
        """Drop the session: it cannot be stored, and is not this worker's any more."""
        if isinstance(error, OwnershipLost):
            logger.warning("Session %s is no longer held by this worker", self.id)
        else:
            logger.error("Session %s cannot be stored; it is dropped", self.id, exc_info=error)
        self.lost = error
        self.discard(error)
        self.worker.lost(self, error, held=change is None or change.claims is None)

    def delayed(self, error: StoreUnavailable) -> None:
        """Tell who waits that the store takes nothing just now."""
        self.pending.fail(error)
        for n in self.inbound.not_stored:
            self.subscribers.frame(frames.Error("storage_unavailable", str(error), n, 1.0))
        frame = frames.Error("storage_unavailable", str(error), retry_after=1.0)
        self.subscribers.tell_followers(frame)

    def _set_topic(self, text: str) -> None:
        """Call the session by its first message that says something."""
        topic = topic_of(text)
        self._has_topic = bool(topic)
        if topic:
            self.pending.set(topic=topic)

    # The beginning

    def assign_user(self, user: User) -> None:
        """
        Give the session to ``user``. Raises ``SessionOwned`` if it is somebody's.

        Whoever has its connection comes back, and is let in if they are that user.
        """
        if self.owner_id is not None:
            raise SessionOwned(self.id)
        self.owner_id = user.pk
        self.session.renew_user(user)
        self.pending.set(user_id=user.pk)
        self.client.revoke_tokens()
        code = frames.CloseCode.SHUTTING_DOWN
        self.pending.then(partial(self.client.part, code))
        self.pending.then(partial(self.subscribers.close_followers, code))

    def go(self, *, run: bool = True) -> None:
        """
        Run what comes before anything else, once; after the first connection is known.

        Without ``run`` the session ends, and nothing that waits is run.
        """
        if self._begun:
            return
        self._begun = True
        self.client.is_new = False
        self.lifespan.begin()
        set_up = self.lifespan.handler
        if set_up is not None:
            turn = Turn(None, "session_lifespan")
            self.turns.add(Job(turn=turn, handler=set_up, has_deadline=True))
        self._add_hook("session_load")
        left, self._left = self._left, None
        past, self._past = self._past, None
        if left is not None:
            self._recover(left, run=run)
            return
        if past is not None:
            self.form.tell(past)
        elif run and self.chat.may_have_starters:
            offer = Handler(function=self._offer_starters, takes_argument=False, is_async=True)
            self.turns.add(Job(turn=Turn(None, "starters"), handler=offer))
        start = self.chat.hooks.get("chat_start" if past is None else "chat_resume")
        if run and start is not None:
            self.position.running = 0  # from now on a crash leaves a turn that was cut short
            self.turns.add(turn_job(0, START, start, past and past.thread))

    async def _offer_starters(self) -> None:
        """Tell the client of a new session what it may begin with."""
        session = self.session
        found = await self.chat.get_starters(
            session.user, session.profile, run_in_thread=self.worker.threads.handle
        )
        if found:
            self.log.say("starters", {"starters": [one.as_event() for one in found]})

    def _recover(self, left: InterruptedWork, *, run: bool) -> None:
        """Close what the last owner left open, and go on with what waits."""
        for stream in left.streams:
            self.log.say(*ended(stream, cut=True))
        if left.streams:
            self.pending.set(streams=[])
        for ask in left.asks:
            self.log.say("ask_closed", {"call": ask["call"], "outcome": "cancelled"})
        if left.asks:
            self.pending.set(asks=[])
        for cut in left.cut:
            detail = "The server was interrupted while it worked on this."
            self.log.say("error", {"code": "interrupted", "detail": detail}, turn=cut.turn)
            self._end_turn(cut.turn, cut.name, "interrupted", seconds=0.0)
            self._add_hook("interrupted", cut)
        for event in left.waiting:
            if event.name == ANSWER:
                self.inbound.has_handled(event.n)
            elif run and event.data is not None:
                self._queue(event.n, event.name, msgspec.json.decode(event.data))
            else:
                self._end_turn(event.n, event.name, "interrupted", seconds=0.0)

    def _add_hook(self, name: str, argument: Any = None) -> None:
        """Queue a lifecycle hook, if the application has it."""
        if name in self.chat.hooks:
            job = hook_job(self.chat, name, argument)
            # Not before it is sure that the session is ours: its last owner may have woken up.
            job.waits_for_store = name == "interrupted"
            job.sets_up = name == "session_load"
            self.turns.add(job)

    # The end

    def stop(self) -> None:
        """Stop the running turn, as its client."""
        if self.turns.number is None:
            return  # a hook is no turn of the client's
        if self.turns.cancel("stopped") and "stop" in self.chat.hooks:
            job = hook_job(self.chat, "stop")
            job.waits_for_store = True  # the client hears first that the turn is stopped
            self.turns.add(job, first=True)

    def end(self, reason: str) -> None:
        """End the session: stop what runs, run ``on_chat_end``, and store the end."""
        if self.closed or self.ending is not None:
            return
        self.ending = str(reason)  # a plain one, for handlers to keep
        self.inbound.is_open = False
        # What waits is stopped before it began. What sets up goes before on_chat_end all the same.
        for waiting in self.turns.clear():
            if waiting.turn.n is not None:
                self._end_turn(waiting.turn.n, waiting.turn.name, "stopped", seconds=0.0)
        self.turns.cancel("stopped")
        self.tasks.cancel()
        self.writers.interrupt_all()
        self.asks.cancel()
        self.go(run=False)
        # Stored before on_chat_end runs: it runs once, also if the server dies meanwhile.
        self.pending.set(end_reason=self.ending)
        job = hook_job(self.chat, "chat_end", self.ending)
        job.waits_for_store = True
        job.after = self.finish
        self.turns.add(job)

    def finish(self) -> None:
        """Store that the session has ended: nothing runs, and all that was accepted is handled."""
        pending, position = self.pending, self.position
        if position.running is not None:  # the server died before it was stopped for the end
            pending.set_outcome(position.running, "interrupted")
        position.running = None
        if self._aside is not None:
            pending.set_outcome(self._aside, "interrupted")
            pending.set(aside=None)
        if self.turns.handled.all(position.accepted):
            pending.set(handled_ahead=[])
        position.handled = self.turns.handled.up_to
        pending.set(
            status=ChatSession.Status.ENDED,
            ended_at=timezone.now(),
            worker_id=None,
            streams=[],
            previous_token_hash="",
        )
        pending.then(self._over)

    def _over(self) -> None:
        reason = self.ending or ""
        self.subscribers.end(reason)
        self.session.connected = False
        self.discard(SessionOver(self.id, reason))
        self.worker.send_signal(
            signals.session_ended, self.chat, session=self.session, reason=reason
        )

    # Letting go

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits to be run."""
        return not self.turns.is_idle or len(self.tasks) > 0

    @property
    def can_release(self) -> bool:
        """Whether nobody needs the session in memory."""
        connection = self.subscribers.connection
        return (connection is None or connection.relayed) and self.is_spare

    @property
    def is_spare(self) -> bool:
        """Whether nothing but a connection needs the session in memory."""
        return (
            not self.is_busy
            and self.holders == 0
            and not self.writers.is_writing
            and self.ending is None
        )

    def let_go(self) -> None:
        """Note that somebody who held the session by ``holders`` does so no more."""
        self.holders -= 1
        self.pending.note()

    async def until_closed(self) -> None:
        """Wait until nobody holds the session here any more."""
        await self._closing.wait()

    async def given_back(self) -> None:
        """Wait until another worker can take the session, if it can be let go at all."""
        if self.can_release and not self.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.STORE_TIMEOUT):
                    await self.until_closed()

    async def until_idle(self) -> None:
        """Wait until nothing runs."""
        while self.is_busy:
            self._quiet.clear()
            await self._quiet.wait()

    def drain(self) -> None:
        """Part with the client, and start nothing new: the server is about to stop."""
        self.turns.draining = self.ending is None
        connection = self.subscribers.connection
        if connection is not None and not connection.relayed:
            self.client.part(frames.CloseCode.SHUTTING_DOWN)
        self._idle()

    def interrupt(self) -> None:
        """Cut short what runs: whoever takes the session next tells what became of it."""
        self.turns.cancel("interrupted")
        self.tasks.cancel()
        self.writers.interrupt_all()
        if self.ending is None:  # else they are told of the end
            # Behind the ends of turns that came in time.
            code = frames.CloseCode.SHUTTING_DOWN
            self.pending.then(partial(self.subscribers.close_followers, code))

    def discard(self, error: Exception | None = None) -> None:
        """Hold the session in memory no more; whoever waits gets ``error``."""
        self._closing.set()
        self.closed = True
        self.inbound.is_open = False
        self.lifespan.stop()
        self.worker.journal.count(-self.pending.close())
        self.pending.fail(error or OwnershipLost(self.id))
        self.tasks.cancel()
        self.turns.clear()
        self.turns.cancel("stopped")
        self.subscribers.close_followers(frames.CloseCode.SHUTTING_DOWN)
        self.subscribers.followers.clear()
        self.worker.drop(self)

    def _let_go(self) -> None:
        """Drop the session, which is stored as nobody's, unless somebody needs it after all."""
        if not self.can_release:
            self.pending.set(worker_id=self.worker.id)
            self.pending.note()
            return
        connection, self.subscribers.connection = self.subscribers.connection, None
        self.discard()
        if connection is not None:  # whoever relays the session may take it
            connection.close(frames.CloseCode.SHUTTING_DOWN)

    def _idle(self) -> None:
        """Let the session go if nobody needs it in memory: something that ran has ended."""
        self.pending.note()
        self._quiet.set()

    # What handlers do beside

    def check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not change the session any more."""
        if turn is not None and turn.stopped:
            raise TurnStopped
        if self.closed:
            if self.ending is not None:
                raise SessionOver(self.id, self.ending)
            raise OwnershipLost(self.id)

    def check_open(self) -> None:
        """Raise ``SessionOver`` if the session is over or about to be, ``OwnershipLost``."""
        if self.ending is not None:
            raise SessionOver(self.id, self.ending)
        self.check(None)

    def _spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        self.check(current_turn())
        return self.tasks.spawn(coroutine, name)

    def _spawned_done(self, turn: Turn) -> None:
        """Close what ``turn`` left streaming, as the last of its tasks has ended."""
        if not self.closed and not self.turns.is_running(turn):
            self.sink.close_streams(turn)

    async def _may_save_files(self) -> None:
        self.check(current_turn())
        await self.sink.flush()  # the row of a new session

    # For those who follow it

    def standing(self) -> Standing:
        """Return how the session stands."""
        running = self.turns.running
        return Standing(
            first=self.log.first,
            stored=self.log.stored,
            head=self.log.head,
            received=self.inbound.stored,
            numbered=self.inbound.numbered,
            turn=running[0].n if running else None,
            turn_name=running[0].name if running else "",
            is_idle=self.position.is_idle,
            handled=self.log.handled,
            handled_ahead=self.turns.handled.ahead,
            connections=self.client.connections,
            streams=self.sink.streams.so_far,
        )

    def follow(self, subscriber: Subscriber) -> Standing:
        """Tell ``subscriber``, which is no connection, what comes; return how things stand now."""
        self.subscribers.followers.add(subscriber)
        return self.standing()

    def unfollow(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` nothing more."""
        self.subscribers.followers.discard(subscriber)

    async def settle(self) -> None:
        """Wait until what was emitted so far is stored."""
        if self.log.head > self.log.stored and not self.closed:
            await self.sink.flush()

    async def begun(self) -> None:
        """Wait until a new session has begun, and all that its start has emitted is stored."""
        await self.until_idle()
        await self.sink.flush()

    @property
    def is_ending(self) -> bool:
        """Whether the session is over, or about to be."""
        return self.ending is not None

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Return stored entries behind ``after``, oldest first."""
        read = partial(read_entries, self.id, after=after, limit=limit)
        return await self.worker.threads.read(read)


def _in_thread(turn: Turn, handler: Handler, argument: Any) -> Any:
    turn.thread = threading.get_ident()
    try:
        return handler(argument)
    finally:
        turn.thread = None


def _values(loaded: Loaded | None, past: ThreadContinuation | None) -> dict[str, bytes]:
    """Return the ``user_session`` that a session begins with here."""
    if loaded is not None:
        return split_state(loaded.state)
    return {} if past is None else dict(past.values)


def _messages(
    loaded: Loaded | None, past: ThreadContinuation | None
) -> list[ConversationMessage] | None:
    """Return what ``chat_context`` begins with; None if it is not kept."""
    if loaded is not None:
        return loaded.said
    if past is not None:
        return past.said
    return [] if in_use() else None
