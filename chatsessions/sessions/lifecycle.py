"""
``SessionLifecycle``: the parts of a session in its owner's memory, and how it begins and ends.

The path of a message is in ``session.py``.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from django.utils.translation import gettext

from chatsessions import signals
from chatsessions.conf import settings
from chatsessions.exceptions import OwnershipLost, SessionOver, SessionOwned, SessionUnavailable
from chatsessions.handlers.bridge import in_loop
from chatsessions.handlers.chat import ANSWER, Chat, Handler
from chatsessions.handlers.chat_context import in_use
from chatsessions.handlers.context import Context, current_turn, use_context
from chatsessions.handlers.emitter import Emitter, Turn
from chatsessions.handlers.session import Session, in_language_of
from chatsessions.handlers.steps import ended
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Handled
from chatsessions.storage.conversation import ConversationMessage
from chatsessions.storage.files import SessionFiles
from chatsessions.storage.journal import ChangeSource, Position
from chatsessions.storage.log import Entry, read_entries
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark

from .asks import Asks, OfferedActions, SettingsForm
from .history import ConversationCache, ThreadContinuation, work_left
from .host import SessionHost
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


class SessionLifecycle(ChangeSource):
    """A session and its parts, without the path of its messages."""

    __slots__ = (
        "_aside",
        "_begun",
        "_closing",
        "_has_topic",
        "_loaded",
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
        #: What the session goes on from, until it has begun: a stored session, or a thread.
        self._loaded = loaded
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
        # The values of user_session, and the messages of chat_context, if they are in memory.
        values: dict[str, bytes] = {}
        said: list[ConversationMessage] | None = [] if in_use() else None
        if loaded is not None:
            values, said = split_state(loaded.state), loaded.said
        elif past is not None:
            values, said = dict(past.values), past.said
        self.values = SessionValues(
            session,
            values,
            log=self.log,
            turns=self.turns,
            tasks=self.tasks,
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
            self.log,
            self.turns,
            loaded,
            posted_from=row.posted_from,
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
            worker=worker,
            add_hook=self._add_hook,
        )
        self.sink = SessionSink(
            session,
            self.log,
            self.subscribers,
            worker=worker,
            asks=self.asks,
            offers=self.offers,
            form=self.form,
            values=self.values,
            claim_again=self.client.claim_again,
        )
        self.posted = PostedEvents(
            self.log,
            self.turns,
            inbound=self.inbound,
            asks=self.asks,
            sink=self.sink,
            subscribers=self.subscribers,
            submit=self.submit,
            check_open=self.check_open,
        )
        self.writers = Writers(session, self.log, self.sink)
        self.conversation = ConversationCache(
            session,
            self.log,
            worker.threads,
            loop=worker.loop,
            mark=Mark.of(row.chat_context),
            said=said,
            texts=self.sink.texts,
            before_change=self.values.before_change,
            after_change=self.values.after_change,
        )
        self.lifespan = Lifespan(chat, session, worker, context=self.context)

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
        set_up = self.lifespan.begin()
        if set_up is not None:
            turn = Turn(None, "session_lifespan")
            self.turns.add(Job(turn=turn, handler=set_up, sets_up=True, has_deadline=True))
        self._add_hook("session_load")
        loaded, self._loaded = self._loaded, None
        past, self._past = self._past, None
        if loaded is not None:
            with in_language_of(self.session):
                self._recover(loaded, run=run)
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

    def _recover(self, loaded: Loaded, *, run: bool) -> None:
        """
        Close what the last owner has left open, and queue the events that wait.

        It was interrupted by a crash, or by a shutdown that could not wait for it.
        """
        row = loaded.row
        for stream in row.streams:
            self.log.say(*ended(stream, cut=True))
        if row.streams:
            self.log.set(streams=[])
        for ask in row.asks:
            self.log.say("ask_closed", {"call": ask["call"], "outcome": "cancelled"})
        if row.asks:
            self.log.set(asks=[])
        cut, waiting = work_left(loaded)
        replaced = {
            msgspec.json.decode(entry.data).get("replaces")
            for _, entry in waiting
            if entry is not None and entry.name == "message"
        }
        for turn in cut:
            if turn.turn in replaced:
                self.end_turn(turn.turn, turn.name, "stopped")
                continue
            detail = gettext("The server was interrupted while it worked on this.")
            self.log.say("error", {"code": "interrupted", "detail": detail}, turn=turn.turn)
            self.end_turn(turn.turn, turn.name, "interrupted")
            self._add_hook("interrupted", turn)
        for n, entry in waiting:
            if entry is None:
                self.end_turn(n, "event", "interrupted")
            elif entry.name == ANSWER:
                self.inbound.mark_handled(n)
            elif run:
                self.queue_turn(n, entry.name, msgspec.json.decode(entry.data))
            else:
                self.end_turn(n, entry.name, "interrupted")

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

    def context(self, turn: Turn | None, *, writer: Turn | None = None) -> Context:
        """Return the context for code of ``turn``, or of a block outside of turns (``writer``)."""
        return Context(
            session=self.session,
            user_session=self.user_session,
            emitter=Emitter(self.sink, turn or writer),
            chat=self.chat,
            turn=turn,
            spawn=self._spawn,
            recall=self.conversation,
        )

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

    # Leaving memory

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits to run."""
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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the session in memory while the block runs."""
        self.holders += 1
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Undo one increment of ``holders``."""
        self.holders -= 1
        self.log.note()

    async def until_closed(self) -> None:
        """Wait until this worker no longer holds the session."""
        if not self.closed:
            self._closing = self._closing or asyncio.Event()
            await self._closing.wait()

    async def given_back(self) -> None:
        """
        Wait until another worker can take the session, if it can be released at all.

        Gives up after ``STORE_TIMEOUT`` seconds.
        """
        if self.can_release and not self.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.STORE_TIMEOUT):
                    await self.until_closed()

    async def until_idle(self) -> None:
        """Wait until nothing runs."""
        while self.is_busy:
            self._quiet = self._quiet or asyncio.Event()
            self._quiet.clear()
            await self._quiet.wait()

    def _drop_released(self) -> None:
        """
        Drop the session from memory, now that it is stored without an owner.

        If the session is needed again, or has more to store, make this worker its owner again; a
        later commit may release it.
        """
        if not self.can_release or self.log.is_noted:
            self.log.set(worker_id=self.worker.id)
            self.log.note()
            return
        connection, self.subscribers.connection = self.subscribers.connection, None
        self.discard()
        if connection is not None:  # it is relayed: its worker may take the session now
            connection.close(frames.CloseCode.SHUTTING_DOWN)

    def _idle(self) -> None:
        """Wake :meth:`until_idle`; the next commit releases the session if nobody needs it."""
        if not self.log.is_noted:
            self.log.note()
        if self._quiet is not None:
            self._quiet.set()

    # The path of a message, in ``LiveSession``

    @abstractmethod
    def submit(self, event: frames.ClientEvent, data: Any, about: int | None = None) -> None:
        """Append a client's event to the log and queue its turn."""

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
