"""
``LiveSession``: a session in its owner's memory, which is the truth while the owner lives.

It takes the client's events, gathers what handlers change for the journal, and lets nothing
leave for the client before the journal says that it is stored.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings as django_settings
from django.utils import timezone

from . import env, frames, signals
from .asks import Asks
from .chat import ANSWER, START, Chat
from .conf import settings
from .context import Context, current_turn
from .conversation import in_use
from .delivery import Handled
from .draft import Draft
from .emitter import Emitter, Turn, encode_data
from .exceptions import (
    FrameError,
    OwnershipLost,
    SessionOver,
    StorageError,
    StoreUnavailable,
    TurnStopped,
)
from .inbox import Inbox
from .input_widget import check_settings
from .journal import Journal
from .log import SessionLog
from .messages import Message
from .models import ChatSession
from .offers import Offers
from .ports import Host, Listener
from .recall import Recall
from .recovery import LeftOver
from .resumption import Resumption
from .session import Session, Tokens
from .session_files import SessionFiles
from .sink import SessionSink
from .store import Change, Entry, Loaded, Position, find_message
from .tasks import SessionTasks
from .thread_rows import Mark
from .transcript import Said, topic_of
from .turns import Job, NoHandler, Turns, event_job, hook_job, turn_job
from .user_session import UserSession, split_state

logger = logging.getLogger("chatsessions.live")

T = TypeVar("T")


class LiveSession:
    """One session, held by this worker. Only its event loop's thread may touch it."""

    def __init__(
        self,
        host: Host,
        chat: Chat,
        session: Session,
        row: ChatSession,
        loaded: Loaded | None,
        *,
        past: Resumption | None = None,
    ) -> None:
        self.host = host
        self.loop = host.loop
        self.owner_id = row.user_id
        self.tokens = Tokens(row.token_hash, row.previous_token_hash)
        self._left = None if loaded is None else LeftOver.of(loaded)
        self._past = past
        self._begun = False
        self._has_topic = bool(row.topic)
        self.chat = chat
        self.session = session
        self.log = SessionLog(head=row.head, first=1 if loaded is None else loaded.first)
        self.position = Position.of(row)
        self._aside: int | None = row.aside
        self.listener: Listener | None = None
        #: Clients without a connection of their own, who wait for what comes of a request.
        self.followers: set[Listener] = set()
        #: Held while an event is taken that no client has numbered.
        self.posting = asyncio.Lock()
        self._posted_from = row.posted_from
        self.ending: str | None = row.end_reason or None
        self.closed = False
        #: Why the session was dropped before all of it was stored, if it was.
        self.lost: Exception | None = None
        self.turns = Turns(self)
        self.draft = Draft(
            row.pk,
            generation=row.generation + (loaded is not None),
            claims=None if loaded is None else row.generation,
        )
        self.user_session = UserSession(
            session,
            _values(loaded, past),
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=lambda: self.check(current_turn()),
            after_change=self._after_change,
        )
        if loaded is not None and loaded.state and settings.USER_SESSION_STORE == "cache":
            # Its key carries the generation, and this owner's is a new one.
            self.draft.set_state(loaded.state)
        if past is not None and past.values:
            self.draft.set_state(self.user_session.encoded())
        self._connections = row.connections
        #: Blocks of session_context() that work with this session.
        self.holders = 0
        self.sink = SessionSink(self)
        self.files = SessionFiles(self)
        session.kept_by = self.files
        self.tasks = SessionTasks(
            f"Session {row.pk}, {chat.name}",
            session,
            done=self.note,
            turn_done=self._spawned_done,
        )
        self.inbox = Inbox(self, loaded)
        self.handled = Handled(row.handled, row.handled_ahead)
        self.asks = Asks(self)
        self.offers = Offers(self.draft, row.actions)
        self._inputs: list[dict[str, Any]] = row.inputs
        self.recall = Recall(
            self,
            Mark.of(row.chat_context),
            _said(loaded, past),
            before_change=lambda: self.check(current_turn()),
            after_change=self._after_change,
        )
        self._closing = asyncio.Event()
        self._quiet = asyncio.Event()
        self._thread = threading.get_ident()

    @property
    def id(self) -> UUID:
        return self.session.id

    # Client events

    def submit(self, event: frames.ClientEvent, data: Any) -> None:
        """
        Take a client's event: store it, then run its handler.

        Raises ``FrameError`` for one that cannot be accepted now.
        """
        if not self._takes or not self.inbox.admit(event.n):
            return
        raw = bytes(event.data)
        if event.name == "action":
            raw = self.offers.chosen(data, n=event.n)
            data = msgspec.json.decode(raw)
        elif event.name == "settings":
            check_settings(self._inputs, data, n=event.n)
        self.inbox.take(event.n, event.name, raw)
        if not self._has_topic and event.name == "message":
            self._set_topic(data["content"])
        job = self._event_job(event.n, event.name, data)
        job.size = len(raw)
        self.turns.add(job)

    async def check_files(self, event: frames.ClientEvent, data: Any) -> None:
        """
        Raise ``FrameError`` for a message with files that are not this session's.

        To be awaited before :meth:`submit`. Such a message is not accepted: without its files it
        would be another one than the user has sent.
        """
        is_next = event.n == self.position.accepted + 1  # any other has its answer without them
        if event.name == "message" and is_next and data.get("files"):
            self.inbox.charge(event.n)
            await self.files.check(event.n, data["files"])

    async def check_answer_files(self, answer: frames.Answer, data: Any) -> None:
        """
        Raise ``FrameError`` for files that are not this session's, or not what is asked for.

        To be awaited before :meth:`submit_answer`; the question stays open.
        """
        event = self.asks.open_event(answer.call)
        is_next = answer.n == self.position.accepted + 1
        if event is not None and event["kind"] == "files" and is_next:
            self.inbox.charge(answer.n)
            await self.files.check_answer(answer.n, data, event)

    def submit_answer(self, answer: frames.Answer, data: Any) -> None:
        """
        Take the answer to a question. Raises ``FrameError``, also when nobody asks it any more.

        It is in the log all the same: it had its number.
        """
        # However much waits: it waits for this.
        if not self._takes or not self.inbox.admit(answer.n, overtakes=True):
            return
        self.asks.check(answer.call, data, n=answer.n)
        raw = msgspec.json.encode({"call": answer.call, "data": answer.data})
        self.inbox.take(answer.n, ANSWER, raw)
        self._is_handled(answer.n)  # it has no turn that would say so
        if not self.asks.answer(answer.call, data):
            raise FrameError("call_closed", f"nobody asks {answer.call!r} any more", n=answer.n)

    def _set_topic(self, text: str) -> None:
        """The first message that says something is what the session is called by."""
        topic = topic_of(text)
        self._has_topic = bool(topic)
        if topic:
            self.draft.set(topic=topic)

    @property
    def _takes(self) -> bool:
        """Whether events are taken; if not, the connection is about to hear of it."""
        return not self.closed and self.ending is None

    def post(self, name: str, raw: bytes, data: Any) -> int:
        """
        Take an event of a client that numbers nothing, and return the number it got.

        Raises ``FrameError`` for one that cannot be accepted now. Only while there is no
        connection, whose client would give the same number to something else.
        """
        n = self.inbox.gate.intake.expected
        self.submit(frames.ClientEvent(n, name, msgspec.Raw(raw)), data)
        self._has_posted(n)
        return n

    def post_answer(self, call: str, raw: bytes, data: Any) -> int:
        """As :meth:`post`, for the answer to a question."""
        n = self.inbox.gate.intake.expected
        try:
            self.submit_answer(frames.Answer(n, call, msgspec.Raw(raw)), data)
        finally:
            if self.position.accepted == n:  # refused or not, it has the number
                self._has_posted(n)
        return n

    def _has_posted(self, n: int) -> None:
        if self._posted_from is None:
            self._posted_from = n
            self.draft.set(posted_from=n)

    @property
    def numbered(self) -> int:
        """The highest stored number that a connection's own client may have given."""
        stored = self.inbox.stored
        return stored if self._posted_from is None else min(stored, self._posted_from - 1)

    def stop(self) -> None:
        """The client stops the running turn."""
        if self.turns.number is None:
            return  # a hook is no turn of the client's
        if self.turns.cancel("stopped") and "stop" in self.chat.hooks:
            job = hook_job(self.chat, "stop")
            job.waits_for_store = True  # the client hears first that the turn is stopped
            self.turns.add(job, first=True)

    # Jobs

    def _event_job(self, n: int, name: str, data: Any) -> Job:
        if name == "message":
            return self._message_job(n, data)
        if name != "settings":
            return event_job(self.chat, n, name, data)
        job = turn_job(n, name, self.chat.hooks.get(name), self.session.chat_settings)
        job.prepare = partial(self._update_settings, n, data)
        job.needs_handler = False
        job.overtakes = True
        return job

    def _message_job(self, n: int, data: dict[str, Any]) -> Job:
        job = event_job(self.chat, n, "message", data)
        if data.get("files"):
            job.load = partial(self._load_files, job.argument, data["files"])
        return job

    async def _load_files(self, message: Message, ids: list[str]) -> None:
        message.files = await self.files.named(ids)

    def add_hook(self, name: str, argument: Any = None) -> None:
        """Queue a lifecycle hook, if the application has it."""
        if name in self.chat.hooks:
            self.turns.add(hook_job(self.chat, name, argument))

    def go(self) -> None:
        """Run what comes before anything else; once, after the first connection is known."""
        if not self._begun:
            self._begin()

    def _begin(self, *, run: bool = True) -> None:
        """The first that happens here; without ``run`` the session ends, and nothing waits."""
        self._begun = True
        self.add_hook("session_load")
        left, self._left = self._left, None
        if left is not None:
            self._recover(left, run=run)
            return
        past, self._past = self._past, None
        if past is not None:
            self._tell_settings(past)
        start = self.chat.hooks.get("chat_start" if past is None else "chat_resume")
        if run and start is not None:
            self.position.running = 0  # from now on a crash leaves a turn that was cut short
            self.turns.add(turn_job(0, START, start, past and past.thread))

    def _recover(self, left: LeftOver, *, run: bool) -> None:
        """A session from the store: close what a crash left open, go on with what waits."""
        for message in left.streams:
            self.say("message_update", message | {"streaming": False})
        if left.streams:
            self.draft.set(streams=[])
        for ask in left.asks:
            self.say("ask_closed", {"call": ask["call"], "outcome": "cancelled"})
        if left.asks:
            self.draft.set(asks=[])
        for cut in left.cut:
            detail = "The server was interrupted while it worked on this."
            self.say("error", {"code": "interrupted", "detail": detail}, turn=cut.turn)
            self._end_turn(cut.turn, cut.name, "interrupted", seconds=0.0)
            self.add_hook("interrupted", cut)
        for event in left.waiting:
            if event.name == ANSWER:
                self._is_handled(event.n)
            elif run and event.data is not None:
                data = msgspec.json.decode(event.data)
                self.turns.add(self._event_job(event.n, event.name, data))
            else:
                self._end_turn(event.n, event.name, "interrupted", seconds=0.0)

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The settings' inputs from now on, and their values."""
        self.say("settings_form", {"inputs": inputs}, turn=turn)
        self.say("settings", values, turn=turn)
        self._inputs = inputs
        self.session.chat_settings.clear()
        self.session.chat_settings.update(values)
        self.draft.set(inputs=inputs, chat_settings=dict(values))

    def _tell_settings(self, past: Resumption) -> None:
        """The client of a new session on an old thread knows nothing of what was declared there."""
        if past.inputs:
            self.say("settings_form", {"inputs": past.inputs})
        if past.inputs or past.chat_settings:
            self.say("settings", past.chat_settings)

    def _update_settings(self, n: int, data: dict[str, Any]) -> None:
        check_settings(self._inputs, data, n=n)  # they may be others than when it was accepted
        changed = self.session.chat_settings | data
        self.say("settings", changed)
        self.session.chat_settings.update(data)
        self.draft.set(chat_settings=changed)

    # TurnHost

    def context(self, turn: Turn | None) -> Context:
        """What code that belongs to ``turn`` sees."""
        return Context(
            session=self.session,
            user_session=self.user_session,
            emitter=Emitter(self.sink, turn),
            chat=self.chat,
            turn=turn,
            spawn=self.spawn,
            recall=self.recall,
        )

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        return await self.host.run_in_thread(function)

    def when_stored(self, callback: Callable[[], None]) -> None:
        self.draft.then(callback)
        self.note()

    def turn_waits(self, job: Job) -> None:
        if job is self.turns.aside:
            self._aside = job.turn.n
            self.draft.set(aside=job.turn.n)
        else:
            self.position.running = job.turn.n

    def turn_put_back(self, job: Job) -> None:
        self._runs_no_more(job.turn.n)

    def _runs_no_more(self, n: int | None) -> None:
        if n is not None and n == self._aside:
            self._aside = None
            self.draft.set(aside=None)
        else:
            self.position.running = None

    def turn_starts(self, job: Job) -> None:
        if job.handler is not None and job.handler.is_async:
            self.host.refresh_connections()
        if job.turn.n is not None:
            self.tell(frames.TurnStatus(job.turn.n, job.turn.name, "running"))

    def turn_ends(self, job: Job, status: str, error: BaseException | None) -> None:
        turn = job.turn
        unclosed = None if turn.spawned else self._close_streams(turn)
        refused = self._collect() or self.sink.error or unclosed
        self.sink.error = None
        if refused is not None and status == "done":
            status, error = "failed", refused
        if status == "failed" and error is not None:
            self._report(turn, error)
        self._settle(turn)
        if turn.n is None:
            self.note()
        elif status != "interrupted":  # of that, whoever takes the session next tells
            self._end_turn(turn.n, turn.name, status, seconds=self.loop.time() - job.started)

    def idle(self) -> None:
        """Nothing is left to run: a session that nobody is connected to may be let go."""
        self.note()

    def _end_turn(self, n: int, name: str, status: str, *, seconds: float) -> None:
        self._runs_no_more(n)
        self._is_handled(n)
        if status != "done":
            self.draft.set_outcome(n, status)
        self.position.turns_failed += status == "failed"
        self.when_stored(partial(self._turn_stored, n, name, status, seconds))

    def _is_handled(self, n: int) -> None:
        if self.handled.add(n):
            self.draft.set(handled_ahead=self.handled.ahead)
        self.position.handled = self.handled.up_to

    def _turn_stored(self, n: int, name: str, status: str, seconds: float) -> None:
        self.tell(frames.TurnStatus(n, name, status))
        self.host.send_signal(
            signals.turn_finished,
            self.chat,
            session=self.session,
            turn=n,
            name=name,
            status=status,
            seconds=seconds,
        )

    def _report(self, turn: Turn, error: BaseException) -> None:
        """A handler failed: the log of the server gets everything, the client that it failed."""
        if isinstance(error, NoHandler):
            logger.warning("Session %s, %s: %s", self.id, self.chat.name, error)
            code = "no_handler"
        else:
            env.log_error(
                logger,
                self.session.env,
                "Session %s, %s: the handler of %s failed",
                self.id,
                self.chat.name,
                turn.name,
                error=error,
            )
            code = "handler_error"
        if turn.n is not None:
            generic = "Something went wrong. Please try again."
            shown = code == "no_handler" or django_settings.DEBUG
            detail = _printable(str(error) or repr(error)) if shown else generic
            detail = env.hide(detail, self.session.env)
            self.say("error", {"code": code, "detail": detail}, turn=turn.n)

    # FilesHost

    async def until_stored(self) -> None:
        await self.sink.flush()

    async def do_files(self, step: Callable[[], T]) -> T:
        return await self.host.do_files(step)

    # SinkHost

    @property
    def journal(self) -> Journal:
        return self.host.journal

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        self.position.events_out += 1
        return self.append(name, data, turn=turn)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        self.check(current_turn())
        return self.tasks.spawn(coroutine, name)

    def user_session_used(self) -> None:
        """Code outside of turns is through with the values it got out."""
        self.sink.error = self._collect() or self.sink.error
        self._settle(None)

    def _settle(self, turn: Turn | None) -> None:
        """What ``turn`` got out of user_session is no longer looked at, unless another runs."""
        if not self.turns.has_other(turn):
            self.user_session.settle()

    def _close_streams(self, turn: Turn) -> StorageError | None:
        """``turn`` is over, and nothing that it spawned runs any more."""
        error = None
        for stream in self.sink.take_streams(turn):
            try:
                event = stream.as_event()
                self.say("message_update", event, turn=turn.n)
                self.offers.offer(stream.id, event.get("actions", []))
            except StorageError as refused:
                error = refused
                self.say("message_update", _salvaged(stream.as_event()), turn=turn.n)
        return error

    def _spawned_done(self, turn: Turn) -> None:
        if not self.closed and not self.turns.is_running(turn):
            self._close_streams(turn)

    # The log and the journal

    def note(self) -> None:
        """There is something to store, or something that ran has ended."""
        if not self.closed:
            self.host.journal.note(self)
        if not self.is_busy:
            self._quiet.set()

    def append(
        self, name: str, data: bytes, *, n: int | None = None, turn: int | None = None
    ) -> int:
        seq = self.position.head = self.log.number()
        entry = Entry(seq, n, turn, name, data, timezone.now())
        self.draft.append(entry)
        self.recall.take(entry)
        if not self.closed:
            self.host.journal.count(1)
            self.note()
        return seq

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None:
        """An entry of our own, whatever state the session is in."""
        self.emit(name, encode_data(name, data), turn=turn)

    def _collect(self) -> StorageError | None:
        """Look for changes inside values; what cannot be stored any more is refused."""
        try:
            state = self.user_session.collect()
        except StorageError as error:
            return error
        if state is not None:
            self.draft.set_state(state)
        return None

    def take_change(self) -> Change | None:
        if self.closed:
            return None
        self.sink.error = self._collect() or self.sink.error
        self.recall.collect(self.draft)
        if self.can_release:
            self.draft.set(worker_id=None)
        trim = self.log.trim(self.inbox.seq_of(self.position.handled + 1))
        if trim is not None:
            self.draft.trim(trim)
        if self.listener is not None:
            self.position.last_seen_at = timezone.now()
        return self.draft.take(self.position.copy())

    def committed(self, change: Change) -> None:
        self.log.committed(change)
        self._release(change.entries)
        self.draft.stored()
        if change.fields.get("worker_id", self.host.id) is None and not self.closed:
            if self.can_release:
                self.discard()
            else:
                self.draft.set(worker_id=self.host.id)
                self.note()

    def _release(self, entries: Sequence[Entry]) -> None:
        """``entries`` are stored: they may leave, and so may the tokens between them."""
        runs = [[entry] for entry in entries] if self.sink.is_ordered else [entries]
        for run in runs:
            if run:
                for hearer in self._hearers:
                    hearer.entries(run)
            self.sink.release(run[-1].seq if run else self.log.stored, self.tell)

    def refused(self, change: Change | None, error: Exception) -> None:
        if isinstance(error, OwnershipLost):
            logger.warning("Session %s is no longer held by this worker", self.id)
        else:
            logger.error("Session %s cannot be stored; it is dropped", self.id, exc_info=error)
        self.lost = error
        self.discard(error)
        self.host.lost(self, error, held=change is None or change.claims is None)

    def delayed(self, error: StoreUnavailable) -> None:
        self.draft.fail(error)
        for n in self.inbox.not_stored:
            self.tell(frames.Error("storage_unavailable", str(error), n, 1.0))
        for follower in list(self.followers):
            follower.frame(frames.Error("storage_unavailable", str(error), retry_after=1.0))

    async def find_seq(self, n: int) -> int | None:
        """The entry that event ``n`` became, from the store."""
        return await self.host.find_seq(self.id, n)

    async def find_message(self, message: str) -> dict[str, Any] | None:
        """A message as it was sent or updated last, if that is still kept."""
        remembered = self.log.remembered(0, settings.MAX_LOG_ENTRIES)
        if remembered is None:
            return await self.host.find_message(self.id, message)
        return find_message(remembered, message)

    async def find_posted(self, message: str) -> Entry | None:
        """The client's message with this id, among those that are kept and stored."""
        remembered = self.log.remembered(0, settings.MAX_LOG_ENTRIES)
        if remembered is None:
            return await self.host.find_posted(self.id, message)
        return next((entry for entry in remembered if entry.has_id(message)), None)

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Stored entries behind ``after``, oldest first."""
        remembered = self.log.remembered(after, limit)
        if remembered is not None:
            return remembered
        return await self.host.read_log(self.id, after, limit)

    # Connections

    def connect(self, listener: Listener, *, welcome: Callable[[], None], **fields: Any) -> None:
        """
        ``listener`` is the session's connection from now on, instead of any other.

        ``welcome`` is called when that is stored; it makes the listener hear.
        """
        if self.listener is not None:
            self.listener.close(frames.CloseCode.TAKEN_OVER)
            self.disconnect(self.listener, frames.CloseCode.TAKEN_OVER)
        self.listener = listener
        self.session.connected = True
        self._connections += 1
        self.draft.set(
            status=ChatSession.Status.CONNECTED,
            worker_id=self.host.id,
            connected_at=timezone.now(),
            connections=self._connections,
            **fields,
        )
        if not self._begun and self._left is None:
            self.when_stored(self._tell_started)
        self.when_stored(welcome)

    def issue_token(self, used: str | None, *, named: bool = False) -> str:
        """A new token for a connection that came with ``used``; ``named`` says whose it is."""
        token = self.tokens.rotate(used, self.id if named else None)
        self.draft.set(token_hash=self.tokens.current, previous_token_hash=self.tokens.previous)
        return token

    def confirm_token(self) -> None:
        """The client was heard after its welcome."""
        if self.tokens.confirm():
            self.draft.set(previous_token_hash="")
            self.note()
        if self._posted_from is not None:  # it knows which numbers are taken
            self._posted_from = None
            self.draft.set(posted_from=None)
            self.note()

    def disconnect(self, listener: Listener, code: int) -> None:
        """``listener`` is gone. The session goes on without it."""
        if listener is not self.listener or self.closed:
            return
        self.listener = None
        self.session.connected = False
        now = self.position.last_seen_at = timezone.now()
        self.draft.set(status=ChatSession.Status.AWAY, disconnected_at=now)
        if self.ending is None:
            self.add_hook("disconnect")
        session, chat = self.session, self.chat
        self.when_stored(
            partial(
                self.host.send_signal,
                signals.session_disconnected,
                chat,
                session=session,
                code=int(code),
            )
        )

    def visited(self, **fields: Any) -> None:
        """A client is here that has no connection, by a request."""
        if self.closed or self.listener is not None:
            return
        now = self.position.last_seen_at = timezone.now()
        self.draft.set(disconnected_at=now, **fields)
        if not self._begun and self._left is None:
            self.when_stored(self._tell_started)
        self.note()

    def _tell_started(self) -> None:
        self.host.send_signal(signals.session_started, self.chat, session=self.session)

    @property
    def _hearers(self) -> list[Listener]:
        own = () if self.listener is None else (self.listener,)
        return [*own, *self.followers]

    def tell(self, frame: frames.ServerFrame) -> None:
        for hearer in self._hearers:
            hearer.frame(frame)

    # The end

    def end(self, reason: str) -> None:
        """The session is over: stop what runs, run ``on_chat_end``, and store the end."""
        if self.closed or self.ending is not None:
            return
        self.ending = str(reason)  # a plain one, for handlers to keep
        for job in self.turns.clear():
            if job.turn.n is not None:
                self._end_turn(job.turn.n, job.turn.name, "stopped", seconds=0.0)
        self.turns.cancel("stopped")
        self.tasks.cancel()
        self.asks.cancel()
        if not self._begun:
            self._begin(run=False)
        # Stored before on_chat_end runs: it runs once, also if the server dies meanwhile.
        self.draft.set(end_reason=self.ending)
        job = hook_job(self.chat, "chat_end", self.ending)
        job.waits_for_store = True
        job.after = self.finish
        self.turns.add(job)

    def finish(self) -> None:
        """Store that the session has ended, and tell the client."""
        now = timezone.now()
        position = self.position
        if position.running is not None:  # the server died before it was stopped for the end
            self.draft.set_outcome(position.running, "interrupted")
        position.running = None
        if self._aside is not None:
            self.draft.set_outcome(self._aside, "interrupted")
            self.draft.set(aside=None)
        if self.handled.all(position.accepted):
            self.draft.set(handled_ahead=[])
        position.handled = self.handled.up_to
        self.draft.set(status=ChatSession.Status.ENDED, ended_at=now, worker_id=None, streams=[])
        self.draft.set(previous_token_hash="")
        self.when_stored(self._over)

    def _over(self) -> None:
        reason = self.ending or ""
        for hearer in self._hearers:
            hearer.close(frames.CloseCode.SESSION_ENDED, ended=reason)
        self.listener = None
        self.followers.clear()
        self.session.connected = False
        self.discard(SessionOver(self.id, reason))
        self.host.send_signal(signals.session_ended, self.chat, session=self.session, reason=reason)

    def refresh_cache(self) -> None:
        """Write the values again before the cache forgets them."""
        if len(self.user_session):
            self.draft.set_state(self.user_session.encoded())
            self.note()

    # Letting go

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits to be run."""
        return not self.turns.is_idle or len(self.tasks) > 0

    @property
    def can_release(self) -> bool:
        """Whether nobody needs the session in memory."""
        return (
            self.listener is None
            and not self.is_busy
            and self.holders == 0
            and self.ending is None
            and (self.turns.draining or not self.log.in_memory)
        )

    async def until_closed(self) -> None:
        """Wait until nobody holds the session here any more."""
        await self._closing.wait()

    async def until_idle(self) -> None:
        """Wait until nothing runs."""
        while self.is_busy:
            self._quiet.clear()
            await self._quiet.wait()

    def drain(self) -> None:
        """The server is on its way down: part with the client, and start nothing new."""
        self.turns.draining = self.ending is None
        if self.listener is not None:
            self.listener.close(frames.CloseCode.SHUTTING_DOWN)
            self.disconnect(self.listener, frames.CloseCode.SHUTTING_DOWN)
        self.note()

    def interrupt(self) -> None:
        """The server stops now: whoever takes the session next tells what became of the turn."""
        self.turns.cancel("interrupted")
        self.tasks.cancel()
        if self.ending is None:  # else they are told of the end
            # Behind the ends of turns that came in time.
            self.when_stored(partial(self._part_with_followers, frames.CloseCode.SHUTTING_DOWN))

    def _part_with_followers(self, code: frames.CloseCode) -> None:
        for follower in list(self.followers):
            follower.close(code)

    def discard(self, error: Exception | None = None) -> None:
        """Nothing holds the session in memory any more; whoever waits gets ``error``."""
        self._closing.set()
        self.closed = True
        self.host.journal.count(-self.draft.discard())
        self.draft.fail(error or OwnershipLost(self.id))
        self.tasks.cancel()
        self.turns.clear()
        self.turns.cancel("stopped")
        self._part_with_followers(frames.CloseCode.SHUTTING_DOWN)
        self.followers.clear()
        self.host.drop(self)

    # Guards

    def check(self, turn: Turn | None) -> None:
        """Whether ``turn`` may still change the session."""
        if turn is not None and turn.stopped:
            raise TurnStopped
        if self.closed:
            if self.ending is not None:
                raise SessionOver(self.id, self.ending)
            raise OwnershipLost(self.id)

    def _after_change(self) -> None:
        if threading.get_ident() != self._thread:
            self.loop.call_soon_threadsafe(self.note)
        elif (turn := current_turn()) is None or not self.turns.is_running(turn):
            # A turn's changes go with its next event or its end; anything else has no end.
            self.loop.call_soon(self.note)


def _values(loaded: Loaded | None, past: Resumption | None) -> dict[str, bytes]:
    """The ``user_session`` that a session begins with here."""
    if loaded is not None:
        return split_state(loaded.state)
    return {} if past is None else dict(past.values)


def _said(loaded: Loaded | None, past: Resumption | None) -> list[Said] | None:
    """What ``chat_context`` begins with; None if it is not kept."""
    if loaded is not None:
        return loaded.said
    if past is not None:
        return past.said
    return [] if in_use() else None


def _printable(text: str) -> str:
    """``text`` without what UTF-8 cannot write: halves of surrogate pairs."""
    return text.encode(errors="replace").decode()


def _salvaged(message: dict[str, Any]) -> dict[str, Any]:
    """What can be sent of a streamed message that cannot be sent as it is."""
    # A character takes at most six bytes in JSON.
    content = _printable(message["content"])[: settings.MAX_EVENT_BYTES // 8]
    kept = {
        key: message[key] for key in ("id", "created_at", "streaming", "files") if key in message
    }
    return kept | {"author": _printable(message["author"]), "content": content}
