"""
``SessionLifecycle``: the parts of a session in its owner's memory, and how it begins and ends.

The path of a message is in ``session.py``.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from django.dispatch import Signal
from django.utils.translation import gettext

from chatsessions import signals
from chatsessions.conf import settings
from chatsessions.exceptions import OwnershipLost, SessionOver, SessionOwned, SessionUnavailable
from chatsessions.handlers.bridge import in_loop
from chatsessions.handlers.chat import ANSWER, Chat, Handler
from chatsessions.handlers.chat_context import in_use
from chatsessions.handlers.context import Context, current_turn, use_context
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.session import Session, in_language_of
from chatsessions.handlers.steps import ended
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Handled
from chatsessions.storage.conversation import ConversationMessage
from chatsessions.storage.database import Executors
from chatsessions.storage.files import SessionFiles
from chatsessions.storage.journal import ChangeSource, Journal, Position
from chatsessions.storage.log import Entry, read_entries
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded, Store
from chatsessions.storage.thread_rows import Mark
from chatsessions.storage.worker_rows import WorkerRows

from .asks import Asks, OfferedActions, SettingsForm
from .history import ConversationCache, InterruptedWork, ThreadContinuation
from .inbound import InboundEvents
from .outbound import SessionSink, Writers, new_writer
from .pending import SessionLog, SessionValues
from .posted import PostedEvents
from .subscribers import SessionClient, Standing, Subscriber, Subscribers
from .tasks import Lifespan, SessionTasks
from .turns import Job, Turns, hook_job, start_job

if TYPE_CHECKING:
    from chatsessions.auth.access import User

logger = logging.getLogger("chatsessions.live")


class SessionHost(ABC):
    """What a session needs from the worker that holds it."""

    id: UUID
    loop: asyncio.AbstractEventLoop
    journal: Journal
    store: Store
    threads: Executors
    rows: WorkerRows
    #: When to check the database connections of async handlers again, by the loop's clock.
    connections_due: float

    @abstractmethod
    def own(self, task: asyncio.Task[Any]) -> None:
        """Keep ``task`` until its end, and log what it raises."""

    @abstractmethod
    def start_lifespan(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start the task of a session's lifespan handler. A worker that closes awaits it."""

    @abstractmethod
    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None:
        """Send a signal in a new task."""

    @abstractmethod
    def refresh_connections(self, *, failed: bool = False) -> None:
        """
        Close those database connections of async handlers that no longer work.

        Called before an async handler, and after one that has ``failed``.
        """

    @abstractmethod
    def drop(self, live: SessionLifecycle) -> None:
        """Remove ``live`` from memory."""

    @abstractmethod
    def session_lost(self, live: SessionLifecycle, error: Exception, *, held: bool) -> None:
        """Note that ``live`` could not be stored; ``held`` is False if its claim was refused."""


class SessionLifecycle(ChangeSource):
    """A session and its parts, without the path of its messages."""

    __slots__ = (
        "_aside",
        "_begun",
        "_closing",
        "_has_topic",
        "_left",
        "_past",
        "_quiet",
        "_untold",
        "applied",
        "asks",
        "chat",
        "client",
        "closed",
        "conversation",
        "ending",
        "failure",
        "files",
        "form",
        "holders",
        "id",
        "inbound",
        "lifespan",
        "log",
        "loop",
        "offers",
        "owner_id",
        "position",
        "posted",
        "session",
        "sink",
        "subscribers",
        "tasks",
        "turns",
        "user_session",
        "values",
        "worker",
        "writers",
    )

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
        #: Why the session was dropped with unstored changes; None if it was not.
        self.failure: Exception | None = None
        #: The numbers of the latest changes that other processes have requested.
        self.applied: list[str] = row.applied
        #: How many blocks of code, such as ``session_context()``, need this session in memory.
        self.holders = 0
        self._has_topic = bool(row.topic)
        self._aside: int | None = row.aside
        #: Number and name of each ended turn, until the end is stored and sent to the subscribers.
        self._untold: list[tuple[int | None, str]] = []
        #: The unfinished work of the last owner, and the thread that the session continues.
        self._left = None if loaded is None else InterruptedWork.of(loaded)
        self._past = past
        self._begun = False
        #: Created only when code waits for it: an ``asyncio.Event`` takes most of a kilobyte.
        self._closing: asyncio.Event | None = None
        self._quiet: asyncio.Event | None = None

        self.log = SessionLog(
            row.pk,
            self.position,
            worker.journal,
            self,
            first=1 if loaded is None else loaded.first,
            generation=row.generation + (loaded is not None),
            claims=None if loaded is None else loaded.claim,
            state_revision=row.state_revision,
            handled_ahead=row.handled_ahead,
        )
        self.turns = Turns(
            Handled(row.handled, row.handled_ahead),
            start=self._start,
            finish=self._finish,
            idle=self._idle,
        )
        self.tasks = SessionTasks(
            f"Session {row.pk}, {chat.name}",
            session,
            done=self._task_done,
            turn_done=self._spawned_done,
        )
        self.values = SessionValues(
            session,
            _values(loaded, past),
            log=self.log,
            turns=self.turns,
            tasks=self.tasks,
            loop=worker.loop,
            keep=chat.kept_in_memory if chat.keeps_unstorable else None,
        )
        self.user_session = self.values.user_session
        if loaded is not None and loaded.state and settings.USER_SESSION_STORE == "cache":
            # The cache key of the values contains the generation, which is new for each owner.
            self.log.set_state(loaded.state)
        if past is not None and past.values:
            self.log.set_state(self.user_session.as_json())
        self.subscribers = Subscribers()
        self.offers = OfferedActions(self.log, row.actions)
        self.form = SettingsForm(session, self.log, row.inputs)
        self.asks = Asks(self.log, self.turns)
        self.files = SessionFiles(
            self.id,
            worker.threads,
            may_save=lambda: in_loop(self._may_save_files(), worker.loop),
        )
        session.stored_files = self.files
        self.inbound = InboundEvents(
            self.id,
            self.log,
            self.turns,
            loaded,
            posted_from=row.posted_from,
            loop=worker.loop,
            journal=worker.journal,
            tell=self.subscribers.tell_connection,
            tasks=self.tasks,
            asks=self.asks,
            files=self.files,
            threads=worker.threads,
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
            session,
            self.log,
            self.subscribers,
            loop=worker.loop,
            journal=worker.journal,
            rows=worker.rows,
            asks=self.asks,
            offers=self.offers,
            form=self.form,
            values=self.values,
            claim_again=self.client.claim_again,
            threads=worker.threads,
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
        self.writers = Writers(session, self.log, self.sink)
        self.conversation = ConversationCache(
            session,
            self.log,
            worker.threads,
            loop=worker.loop,
            mark=Mark.of(row.chat_context),
            said=_messages(loaded, past),
            texts=self.sink.texts,
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

    # The beginning

    def assign_user(self, user: User) -> None:
        """
        Give the session to ``user``. Raises ``SessionOwned`` if it has a user.

        Its subscribers are closed: the client connects again, and is let in if it is that user.
        """
        if self.owner_id is not None:
            raise SessionOwned(self.id)
        self.owner_id = user.pk
        self.session.renew_user(user)
        self.log.set(user_id=user.pk)
        self.client.assign()
        code = frames.CloseCode.SHUTTING_DOWN
        self.log.then(partial(self.client.close_connection, code))
        self.log.then(partial(self.subscribers.close_followers, code))

    def go(self, *, run: bool = True) -> None:
        """
        Queue the jobs that run before all others. A second call does nothing.

        Call it when the first connection is known. ``run`` is False if the session ends: waiting
        events, starters and the start are not run.
        """
        if self._begun:
            return
        self._begun = True
        self.client.is_new = False
        self.lifespan.begin()
        set_up = self.lifespan.handler
        if set_up is not None:
            turn = Turn(None, "session_lifespan")
            self.turns.add(Job(turn=turn, handler=set_up, sets_up=True, has_deadline=True))
        self._add_hook("session_load")
        left, self._left = self._left, None
        past, self._past = self._past, None
        if left is not None:
            with in_language_of(self.session):
                self._recover(left, run=run)
            return
        if past is not None:
            self.form.tell(past)
        elif run and self.chat.may_have_starters:
            offer = Handler(function=self._offer_starters, takes_argument=False, is_async=True)
            self.turns.add(Job(turn=Turn(None, "starters"), handler=offer))
        start = self.chat.hooks.get("chat_start" if past is None else "chat_resume")
        if run and start is not None:
            # If this worker dies from now on, the next owner reports the start as interrupted.
            self.position.running = 0
            self.turns.add(start_job(start, past and past.thread))

    async def _offer_starters(self) -> None:
        """Send the client of a new session the starters: suggestions for its first message."""
        session = self.session
        found = await self.chat.get_starters(
            session.user, session.profile, run_in_thread=self.worker.threads.handle
        )
        if found:
            self.log.say("starters", {"starters": [one.as_event() for one in found]})

    def _recover(self, left: InterruptedWork, *, run: bool) -> None:
        """Close the streams and questions that are left open, and queue the waiting events."""
        for stream in left.streams:
            self.log.say(*ended(stream, cut=True))
        if left.streams:
            self.log.set(streams=[])
        for ask in left.asks:
            self.log.say("ask_closed", {"call": ask["call"], "outcome": "cancelled"})
        if left.asks:
            self.log.set(asks=[])
        for cut in left.cut:
            if cut.turn in left.replaced:
                self.end_turn(cut.turn, cut.name, "stopped")  # its message was replaced
                continue
            detail = gettext("The server was interrupted while it worked on this.")
            self.log.say("error", {"code": "interrupted", "detail": detail}, turn=cut.turn)
            self.end_turn(cut.turn, cut.name, "interrupted")
            self._add_hook("interrupted", cut)
        for event in left.waiting:
            if event.name == ANSWER:
                self.inbound.mark_handled(event.n)
            elif run and event.data is not None:
                self.queue_turn(event.n, event.name, msgspec.json.decode(event.data))
            else:
                self.end_turn(event.n, event.name, "interrupted")

    def _add_hook(self, name: str, argument: Any = None) -> None:
        """Queue a lifecycle hook, if the application has it."""
        if name in self.chat.hooks:
            job = hook_job(self.chat, name, argument)
            # A commit proves that we own the session: its last owner may be alive after all.
            job.waits_for_store = name == "interrupted"
            job.sets_up = name == "session_load"
            self.turns.add(job)

    # The end

    def stop(self) -> None:
        """Stop the running turn, at the client's request."""
        if self.turns.number is None:
            return  # a lifecycle hook cannot be stopped
        if self._untold and not self.turns.has_begun:
            return  # the client has not seen the end of the last turn, and means that one
        if self.turns.cancel("stopped", hooks=False) and "stop" in self.chat.hooks:
            job = hook_job(self.chat, "stop")
            job.waits_for_store = True  # the client learns first that the turn is stopped
            self.turns.add(job, first=True)

    def end(self, reason: str) -> None:
        """End the session: stop what runs, run ``on_chat_end``, and store the end."""
        if self.closed or self.ending is not None:
            return
        self.ending = str(reason)  # a plain str, which handlers can store
        self.inbound.is_open = False
        self.turns.draining = False  # a server that stops waits for the end
        # Waiting turns end as stopped. Jobs that set up still run before on_chat_end.
        for waiting in self.turns.clear():
            if waiting.turn.n is not None:
                self.end_turn(waiting.turn.n, waiting.turn.name, "stopped")
        self.turns.cancel("stopped")
        self.tasks.cancel()
        self.writers.interrupt_all()
        self.asks.cancel(SessionOver(self.id, self.ending))
        self.go(run=False)
        # Stored before on_chat_end runs, so that it runs once even if the server dies meanwhile.
        self.log.set(end_reason=self.ending)
        job = hook_job(self.chat, "chat_end", self.ending)
        job.waits_for_store = True
        job.after = self.finish
        self.turns.add(job)

    def expire(self) -> bool:
        """
        End the session as expired; return False if it goes on.

        The client may have come back after a query has found the session as expired.
        """
        if self.client.has_expired:
            self.end(ChatSession.EndReason.EXPIRED)
        return self.closed or self.ending is not None

    def finish(self) -> None:
        """
        Store that the session has ended: no turn runs, and all accepted events count as handled.

        Streams that are still open outside of turns are closed as interrupted.
        """
        log, position = self.log, self.position
        for turn in self.sink.streaming():
            self.writers.close(turn, interrupted=True)
            # The code of this turn gets TurnStopped until the end is stored, then SessionOver.
            log.then(partial(setattr, turn, "stopped", False))
        if position.running is not None:  # the server died before the turn was stopped
            log.set_outcome(position.running, "interrupted")
        position.running = None
        if self._aside is not None:
            log.set_outcome(self._aside, "interrupted")
            log.set(aside=None)
        if self.turns.handled.add_all(position.accepted):
            log.set(handled_ahead=[])
        position.handled = self.turns.handled.up_to
        log.set(
            status=ChatSession.Status.ENDED,
            ended_at=self.worker.rows.now(),
            worker_id=None,
            streams=[],
            previous_token_hash="",
        )
        log.then(self._over)

    def _over(self) -> None:
        reason = self.ending or ""
        self.subscribers.end(reason)
        self.session.connected = False
        self.discard(SessionOver(self.id, reason))
        self.worker.send_signal(
            signals.session_ended, self.chat, session=self.session, reason=reason
        )

    # The end of the worker

    def drain(self) -> None:
        """Close the connection, and start nothing new: the server is about to stop."""
        self.turns.draining = self.ending is None
        connection = self.subscribers.connection
        if connection is not None and not connection.relayed:
            self.client.close_connection(frames.CloseCode.SHUTTING_DOWN)
        self._idle()

    def interrupt(self) -> None:
        """Cancel all turns, tasks and questions; the next owner reports turns as interrupted."""
        self.turns.cancel("interrupted")
        self.tasks.cancel()
        self.writers.interrupt_all()
        self.asks.cancel(OwnershipLost(self.id))
        if self.ending is None:  # else the end closes them
            # The followers first get the frames of turns that ended in time.
            code = frames.CloseCode.SHUTTING_DOWN
            self.log.then(partial(self.subscribers.close_followers, code))

    def discard(self, error: Exception | None = None) -> None:
        """
        Remove the session from memory, and raise ``error`` in the code that waits for it.

        The default of ``error`` is ``OwnershipLost``.
        """
        self.closed = True
        if error is None and self.ending is not None:
            self.failure = SessionUnavailable()  # the worker closes before the end is stored
        if self._closing is not None:
            self._closing.set()
        self.inbound.is_open = False
        self.lifespan.stop()
        self.log.close(self.ending)
        error = error or OwnershipLost(self.id)
        self.log.fail(error)
        self.asks.drop(error)
        self.tasks.cancel()
        self.turns.queue.clear()
        self.turns.cancel("stopped")
        self.subscribers.close_followers(frames.CloseCode.SHUTTING_DOWN)
        self.subscribers.followers.clear()
        self.worker.drop(self)

    # For handlers

    def check_open(self) -> None:
        """Raise ``SessionOver`` if the session is ending or over, ``OwnershipLost`` if lost."""
        if self.ending is not None:
            raise SessionOver(self.id, self.ending)
        self.log.check(None)

    def _spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        turn = current_turn()
        self.log.check(turn)
        if turn is not None:
            return self.tasks.spawn(coroutine, name)
        writer = new_writer()  # not the caller's: the caller may end before the task
        with use_context(self.context(None, writer=writer)):
            task = self.tasks.spawn(coroutine, name)
        task.add_done_callback(partial(self._spawned_alone_done, writer))
        return task

    def _spawned_alone_done(self, writer: Turn, task: asyncio.Task[Any]) -> None:
        """Close the streams that ``task``, which belonged to no turn, has left open."""
        if not self.closed:
            interrupted = task.cancelled() or task.exception() is not None
            self.writers.close(writer, interrupted=interrupted)

    def _spawned_done(self, turn: Turn) -> None:
        """Close the streams that ``turn`` left open; the last of its tasks has ended."""
        if not self.closed and not self.turns.is_running(turn):
            self.sink.close_streams(turn)

    def _task_done(self) -> None:
        """Look for changes of the values that tasks have used; the last task has ended."""
        if self.user_session.touched and not self.tasks and not self.closed:
            self.values.used()
        self._idle()

    async def _may_save_files(self) -> None:
        self.log.check(current_turn())
        await self.sink.flush()  # a new session needs its row first

    # For followers

    def standing(self) -> Standing:
        """
        Return the session's position and state.

        A turn counts as running until its end is sent to the subscribers: by then all its entries
        are stored.
        """
        running = [(turn.n, turn.name) for turn in self.turns.running]
        turn, turn_name = (running or self._untold or [(None, "")])[0]
        return Standing(
            first=self.log.first,
            stored=self.log.stored,
            head=self.log.head,
            received=self.inbound.stored,
            numbered=self.inbound.numbered,
            turn=turn,
            turn_name=turn_name,
            is_idle=self.is_idle,
            handled=self.log.handled,
            handled_ahead=self.log.handled_ahead,
            connections=self.client.connections,
            streams=self.sink.so_far,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no turn runs or waits, and the subscribers were sent the ends of all turns."""
        return self.position.is_idle and not self._untold

    def follow(self, subscriber: Subscriber) -> Standing:
        """Add ``subscriber`` to the followers; return the standing that it follows from."""
        if self.closed:
            subscriber.close(frames.CloseCode.SHUTTING_DOWN)
        else:
            self.subscribers.followers.add(subscriber)
        return self.standing()

    def unfollow(self, subscriber: Subscriber) -> None:
        """Remove ``subscriber`` from the followers."""
        self.subscribers.followers.discard(subscriber)

    async def settle(self) -> None:
        """Wait until all emitted entries are stored; return at once if the session is closed."""
        if self.log.head > self.log.stored and not self.closed:
            with suppress(SessionOver):
                await (self.log.flushed() if self.is_ending else self.sink.flush())

    async def begun(self) -> None:
        """Wait until the start of a new session has ended, and all its entries are stored."""
        await self.until_idle()
        await self.sink.flush()

    @property
    def language(self) -> str:
        """The language that the client has asked for."""
        return self.session.language

    @property
    def is_ending(self) -> bool:
        """Whether the session is ending or over."""
        return self.ending is not None

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Return at most ``limit`` stored entries after ``after``, oldest first."""
        read = partial(read_entries, self.id, after=after, limit=limit)
        return await self.worker.threads.read(read)

    # The path of a message, in ``LiveSession``

    @abstractmethod
    def context(self, turn: Turn | None, *, writer: Turn | None = None) -> Context:
        """Return the context for code of ``turn``, or of a block outside of turns (``writer``)."""

    @abstractmethod
    def _idle(self) -> None:
        """Wake :meth:`until_idle`; the next commit releases the session if nobody needs it."""

    @abstractmethod
    def submit(self, event: frames.ClientEvent, data: Any, *, about: int | None = None) -> None:
        """Append a client's event to the log and queue its turn."""

    @abstractmethod
    async def until_idle(self) -> None:
        """Wait until nothing runs."""

    @abstractmethod
    def queue_turn(self, n: int, name: str, data: Any, *, size: int = 0) -> None:
        """Queue the turn of event ``n``, which takes ``size`` bytes while it waits."""

    @abstractmethod
    def end_turn(self, n: int, name: str, status: str, *, seconds: float = 0.0) -> None:
        """Store that turn ``n`` has ended, then tell the subscribers."""

    @abstractmethod
    def _start(self, job: Job) -> None:
        """Start the next job."""

    @abstractmethod
    def _finish(self, job: Job, status: str, error: BaseException | None = None) -> None:
        """Store the outcome of a job, and start the next one."""


def _values(loaded: Loaded | None, past: ThreadContinuation | None) -> dict[str, bytes]:
    """Return the values, encoded, that the ``user_session`` begins with here."""
    if loaded is not None:
        return split_state(loaded.state)
    return {} if past is None else dict(past.values)


def _messages(
    loaded: Loaded | None, past: ThreadContinuation | None
) -> list[ConversationMessage] | None:
    """Return the messages that ``chat_context`` begins with; None if they are not in memory."""
    if loaded is not None:
        return loaded.said
    if past is not None:
        return past.said
    return [] if in_use() else None
