"""
``LiveSession``: a session in its owner's memory, which is the truth while the owner lives.

It takes the client's events and knows how long it is held. What happens in it has rooms of its own:
:class:`~chatsessions.sessions.handling.Handling` of turns,
:class:`~chatsessions.sessions.commits.Commits` of what is to be stored,
:class:`~chatsessions.sessions.subscribers.Subscribers` of who hears.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec
from django.utils import timezone

from chatsessions import signals
from chatsessions.conf import settings
from chatsessions.exceptions import (
    FrameError,
    OwnershipLost,
    SessionOver,
    SessionOwned,
    StorageError,
    TurnStopped,
)
from chatsessions.handlers.chat import (
    ANSWER,
    Chat,
)
from chatsessions.handlers.chat_context import in_use
from chatsessions.handlers.context import (
    Context,
    current_turn,
)
from chatsessions.handlers.emitter import (
    Emitter,
    Turn,
)
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import UserSession
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.protocol.frames import message_key
from chatsessions.storage.journal import Journal, Position
from chatsessions.storage.log import Entry, Said, topic_of
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark

from .asks import Asks, OfferedActions
from .commits import Commits
from .files import SessionFiles
from .handling import Handling, SettingsForm
from .history import ConversationCache, ThreadContinuation
from .inbound import InboundEvents
from .outbound import DETAIL, SessionSink, Writers
from .pending import PendingChange, SessionLog
from .ports import Host
from .startup import Startup
from .subscribers import Subscriber, Subscribers
from .tasks import Lifespan, SessionTasks
from .turns import hook_job

if TYPE_CHECKING:
    from chatsessions.auth.access import User

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
        past: ThreadContinuation | None = None,
    ) -> None:
        self.host = host
        self.loop = host.loop
        self.owner_id = row.user_id
        self.chat = chat
        self.session = session
        self._has_topic = bool(row.topic)
        self.log = SessionLog(head=row.head, first=1 if loaded is None else loaded.first)
        self.position = Position.of(row)
        self.ending: str | None = row.end_reason or None
        self.closed = False
        #: Why the session was dropped before all of it was stored, if it was.
        self.lost: Exception | None = None
        #: The latest changes that other processes have asked for, by their numbers.
        self.applied: list[str] = row.applied
        #: Blocks of session_context() that work with this session.
        self.holders = 0
        #: Held while an event is taken that no client has numbered.
        self.posting = asyncio.Lock()
        self.draft = PendingChange(
            row.pk,
            generation=row.generation + (loaded is not None),
            position=self.position,
            claims=None if loaded is None else loaded.claim,
            state_revision=row.state_revision,
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
            self.draft.set_state(self.user_session.as_json())
        self.sink = SessionSink(self)
        self.files = SessionFiles(self)
        session.list_files, session.keep_file = self.files.all, self.files.save
        self.offers = OfferedActions(self.draft, row.actions)
        self.form = SettingsForm(self, row.inputs)
        self.handling = Handling(self, row)
        self.turns = self.handling.turns
        self.handled = self.handling.handled
        self.tasks = SessionTasks(
            f"Session {row.pk}, {chat.name}",
            session,
            done=self.note,
            turn_done=self.handling.spawned_done,
        )
        self.inbox = InboundEvents(self, loaded, posted_from=row.posted_from)
        self.asks = Asks(self)
        self.subscribers = Subscribers(self, row)
        self.lifespan = Lifespan(self)
        self.beginning = Startup(self, loaded, past)
        self.recall = ConversationCache(
            self,
            Mark.of(row.chat_context),
            _said(loaded, past),
            before_change=lambda: self.check(current_turn()),
            after_change=self._after_change,
        )
        self.commits = Commits(self)
        self.writers = Writers(self.loop, self.sink.streams, close_streams=self.close_streams)
        self._closing = asyncio.Event()
        self._quiet = asyncio.Event()
        self._thread = threading.get_ident()

    @property
    def id(self) -> UUID:
        return self.session.id

    @property
    def journal(self) -> Journal:
        return self.host.journal

    @property
    def listener(self) -> Subscriber | None:
        """The session's connection."""
        return self.subscribers.listener

    def context(self, turn: Turn | None, *, writer: Turn | None = None) -> Context:
        """What code that belongs to ``turn`` sees, or to a block outside of turns (``writer``)."""
        return Context(
            session=self.session,
            user_session=self.user_session,
            emitter=Emitter(self.sink, turn or writer),
            chat=self.chat,
            turn=turn,
            spawn=self.spawn,
            recall=self.recall,
        )

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
            self.form.check(data, n=event.n)
        self.inbox.take(event.n, event.name, raw, key=_key_of(event.name, data))
        if not self._has_topic and event.name == "message":
            self._set_topic(data["content"])
        self.handling.add(event.n, event.name, data, size=len(raw))

    async def check_files(self, event: frames.ClientEvent, data: Any) -> None:
        """
        Raise ``FrameError`` for a message with files that are not this session's.

        To be awaited before :meth:`submit`. Such a message is not accepted: without its files it
        would be another one than the user has sent.
        """
        # Any but a new one has its answer without them.
        if event.name == "message" and data.get("files") and self.inbox.is_new(event.n):
            self.inbox.charge(event.n)
            await self.files.check(event.n, data["files"])

    async def check_answer_files(self, answer: frames.Answer, data: Any) -> None:
        """
        Raise ``FrameError`` for files that are not this session's, or not what is asked for.

        To be awaited before :meth:`submit_answer`; the question stays open.
        """
        event = self.asks.open_event(answer.call)
        if event is not None and event["kind"] == "files" and self.inbox.is_new(answer.n):
            self.inbox.charge(answer.n)
            await self.files.check_answer(answer.n, data, event)

    def submit_answer(self, answer: frames.Answer, data: Any) -> None:
        """
        Take the answer to a question. Raises ``FrameError``, also when nobody asks it any more.

        It is in the log all the same: it had its number.
        """
        # However much waits: it waits for this. Nothing waits for any other answer.
        overtakes = self.asks.open_event(answer.call) is not None
        if not self._takes or not self.inbox.admit(answer.n, overtakes=overtakes):
            return
        self.asks.check(answer.call, data, n=answer.n)
        raw = msgspec.json.encode({"call": answer.call, "data": answer.data})
        self.inbox.take(answer.n, ANSWER, raw)
        self.handling.is_handled(answer.n)  # it has no turn that would say so
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
        self.inbox.has_posted(n)
        return n

    def post_answer(self, call: str, raw: bytes, data: Any) -> int:
        """As :meth:`post`, for the answer to a question."""
        n = self.inbox.gate.intake.expected
        try:
            self.submit_answer(frames.Answer(n, call, msgspec.Raw(raw)), data)
        finally:
            if self.position.accepted == n:  # refused or not, it has the number
                self.inbox.has_posted(n)
        return n

    # Served: what a connection asks of it

    @property
    def first(self) -> int:
        return self.log.first

    @property
    def stored(self) -> int:
        return self.log.stored

    @property
    def received(self) -> int:
        return self.inbox.stored

    @property
    def numbered(self) -> int:
        return self.inbox.numbered

    @property
    def turn(self) -> int | None:
        return self.turns.number

    @property
    def open_streams(self) -> list[frames.Stream]:
        return self.sink.streams.so_far

    @property
    def texts(self) -> dict[str, str]:
        """The text so far of each message that is being streamed, by id."""
        return self.sink.streams.texts

    @property
    def is_hammered(self) -> bool:
        return self.inbox.gate.is_hammered

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        return await self.host.read_log(self.id, after, limit)

    def issue_token(self, used: str | None) -> str:
        return self.subscribers.issue_token(used)

    def connect(self, listener: Subscriber, *, welcome: Callable[[], None]) -> None:
        self.subscribers.connect(listener, welcome=welcome)

    def go(self) -> None:
        """Run what comes before anything else; once, after the first connection is known."""
        self.beginning.begin()

    def announce(self, *, resumed: bool) -> None:
        """The connection is stored: tell the application."""
        self.add_hook("connect")
        self.host.send_signal(
            signals.session_connected, self.chat, session=self.session, resumed=resumed
        )

    def renew_user(self, user: User) -> None:
        """Handlers see the user as they are now."""
        self.session.renew_user(user)

    def assign_user(self, user: User) -> None:
        """
        Give the session to ``user``. Raises ``SessionOwned`` if it is somebody's.

        Whoever has its connection comes back, and is let in if they are that user.
        """
        if self.owner_id is not None:
            raise SessionOwned(self.id)
        self.owner_id = user.pk
        self.session.renew_user(user)
        self.draft.set(user_id=user.pk)
        self.subscribers.revoke_tokens()
        code = frames.CloseCode.SHUTTING_DOWN
        self.when_stored(partial(self.subscribers.part, code))
        self.when_stored(partial(self.subscribers.part_with_followers, code))

    def own(self, task: asyncio.Task[Any]) -> None:
        self.tasks.own(task)

    def confirm_token(self, listener: Subscriber) -> None:
        self.subscribers.confirm_token(listener)

    async def receive(self, listener: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """An event or an answer of the connection ``listener``, with its ``data`` decoded."""
        if isinstance(frame, frames.ClientEvent):
            if frame.name == "message" and data.get("files"):
                await self.check_files(frame, data)
            if self.subscribers.listener is listener:  # it speaks for the session still
                self.submit(frame, data)
        elif isinstance(frame, frames.Answer):
            await self.check_answer_files(frame, data)
            if self.listener is listener:
                self.submit_answer(frame, data)

    def stop(self) -> None:
        """The client stops the running turn."""
        self.handling.stop()

    def disconnect(self, listener: Subscriber, code: int) -> None:
        self.subscribers.disconnect(listener, code)

    @property
    def turn_name(self) -> str:
        """The name of what the running turn handles."""
        return next((turn.name for turn in self.turns.running), "")

    @property
    def is_idle(self) -> bool:
        """Whether no turn runs or waits."""
        return self.position.is_idle

    @property
    def is_ending(self) -> bool:
        """Whether the session is over, or about to be."""
        return self.ending is not None

    def follow(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber``, which is no connection, what comes of the session."""
        self.subscribers.followers.add(subscriber)

    def unfollow(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` nothing more."""
        self.subscribers.followers.discard(subscriber)

    def let_go(self) -> None:
        """Note that somebody who held the session by ``holders`` does so no more."""
        self.holders -= 1
        self.note()

    # What the rooms need of each other

    @property
    def is_new(self) -> bool:
        """Whether the session was made here, and nothing has run in it."""
        return self.beginning.is_ahead

    def add_hook(self, name: str, argument: Any = None) -> None:
        """Queue a lifecycle hook, if the application has it."""
        self.handling.add_hook(name, argument)

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The settings' inputs from now on, and their values."""
        self.form.declare(inputs, values, turn=turn)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        self.check(current_turn())
        return self.tasks.spawn(coroutine, name)

    async def until_stored(self) -> None:
        await self.sink.flush()

    async def do_files(self, step: Callable[[], T]) -> T:
        return await self.host.do_files(step)

    def tell(self, frame: frames.ServerFrame) -> None:
        """Something that is not in the log, to whoever hears."""
        self.subscribers.tell(frame)

    def append(
        self,
        name: str,
        data: bytes,
        *,
        n: int | None = None,
        turn: int | None = None,
        key: str | None = None,
    ) -> int:
        """One more entry of the log; its ``seq``."""
        return self.commits.append(name, data, n=n, turn=turn, key=key)

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        """One more entry of the server's."""
        return self.commits.emit(name, data, turn=turn)

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None:
        """An entry of our own, whatever state the session is in."""
        self.commits.say(name, data, turn=turn)

    def when_stored(self, callback: Callable[[], None]) -> None:
        """Call back when everything changed so far is stored."""
        self.commits.when_stored(callback)

    def note(self) -> None:
        """There is something to store, or something that ran has ended."""
        self.commits.note()
        if not self.is_busy:
            self._quiet.set()

    def collect(self, *, drop: bool = True) -> StorageError | None:
        """Look for changes inside values; what cannot be stored any more is refused."""
        return self.commits.collect(drop=drop)

    def user_session_used(self) -> None:
        """
        Code outside of turns is through with the values it got out.

        While a turn runs, a value that cannot be stored is for that turn to mend, or to fail of.
        """
        if self.turns.job is None:
            self.sink.error = self.collect() or self.sink.error
        else:
            self.collect(drop=False)
        self.handling.settle(None)

    def close_streams(self, turn: Turn, interrupted: bool) -> None:
        """Close what ``turn`` has left open, and say so if it was ``interrupted``."""
        if self.sink.streams.has_open(turn):
            self.handling.close_streams(turn)
            if interrupted:
                self.say("error", {"code": "interrupted", "detail": DETAIL})
        self.note()

    # The end

    def end(self, reason: str) -> None:
        """The session is over: stop what runs, run ``on_chat_end``, and store the end."""
        if self.closed or self.ending is not None:
            return
        self.ending = str(reason)  # a plain one, for handlers to keep
        self.handling.clear()
        self.tasks.cancel()
        self.writers.interrupt_all()
        self.asks.cancel()
        self.beginning.begin(run=False)
        # Stored before on_chat_end runs: it runs once, also if the server dies meanwhile.
        self.draft.set(end_reason=self.ending)
        job = hook_job(self.chat, "chat_end", self.ending)
        job.waits_for_store = True
        job.after = self.finish
        self.turns.add(job)

    def finish(self) -> None:
        """Store that the session has ended, and tell the client."""
        self.handling.finish()
        now = timezone.now()
        self.draft.set(status=ChatSession.Status.ENDED, ended_at=now, worker_id=None, streams=[])
        self.draft.set(previous_token_hash="")
        self.when_stored(self._over)

    def _over(self) -> None:
        reason = self.ending or ""
        self.subscribers.tell_end(reason)
        self.discard(SessionOver(self.id, reason))
        self.host.send_signal(signals.session_ended, self.chat, session=self.session, reason=reason)

    def write_values(self) -> None:
        """Store all values again, whatever has changed."""
        self.draft.set_state(self.user_session.as_json())
        self.note()

    # Letting go

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits to be run."""
        return not self.turns.is_idle or len(self.tasks) > 0

    @property
    def can_release(self) -> bool:
        """Whether nobody needs the session in memory."""
        listener = self.subscribers.listener
        return (listener is None or listener.relayed) and self.is_spare

    @property
    def is_spare(self) -> bool:
        """Whether nothing but a connection needs the session in memory."""
        return (
            not self.is_busy
            and self.holders == 0
            and not self.writers.is_writing
            and self.ending is None
        )

    @property
    def is_worked_with(self) -> bool:
        """Whether a turn, or a block outside of turns, works with the session's values."""
        return self.turns.job is not None or self.holders > 0

    def release(self) -> None:
        """It is stored that nobody owns the session; whoever relays it may take it."""
        listener, self.subscribers.listener = self.listener, None
        self.discard()
        if listener is not None:
            listener.close(frames.CloseCode.SHUTTING_DOWN)

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
        """The server is on its way down: part with the client, and start nothing new."""
        self.turns.draining = self.ending is None
        if self.listener is not None and not self.listener.relayed:
            self.subscribers.part(frames.CloseCode.SHUTTING_DOWN)
        self.note()

    def interrupt(self) -> None:
        """The server stops now: whoever takes the session next tells what became of the turn."""
        self.turns.cancel("interrupted")
        self.tasks.cancel()
        self.writers.interrupt_all()
        if self.ending is None:  # else they are told of the end
            # Behind the ends of turns that came in time.
            self.when_stored(
                partial(self.subscribers.part_with_followers, frames.CloseCode.SHUTTING_DOWN)
            )

    def lose(self, error: Exception, *, held: bool) -> None:
        """The session cannot be stored, and is not this worker's any more."""
        self.lost = error
        self.discard(error)
        self.host.lost(self, error, held=held)

    def discard(self, error: Exception | None = None) -> None:
        """Nothing holds the session in memory any more; whoever waits gets ``error``."""
        self._closing.set()
        self.closed = True
        self.lifespan.stop()
        self.host.journal.count(-self.draft.discard())
        self.draft.fail(error or OwnershipLost(self.id))
        self.tasks.cancel()
        self.turns.clear()
        self.turns.cancel("stopped")
        self.subscribers.part_with_followers(frames.CloseCode.SHUTTING_DOWN)
        self.subscribers.followers.clear()
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

    def check_values(self, turn: Turn | None) -> None:
        """
        Raise what keeps a change inside a value from being stored, before ``turn`` tells of it.

        ``turn`` may stand for a block outside of turns. What a running turn has changed is that
        turn's to hear of, and nobody else's; and nobody without a turn works with values.
        """
        if turn is not None and (self.turns.job is None or self.turns.is_running(turn)):
            self.user_session.check()

    def _after_change(self) -> None:
        if threading.get_ident() != self._thread:
            self.loop.call_soon_threadsafe(self.note)
        elif (turn := current_turn()) is None or not self.turns.is_running(turn):
            # A turn's changes go with its next event or its end; anything else has no end.
            self.loop.call_soon(self.note)


def _key_of(name: str, data: Any) -> str | None:
    """By what a client's event is known if it comes again: the id that it gave its message."""
    found = data.get("id") if name == "message" else None
    return None if found is None else message_key(found)


def _values(loaded: Loaded | None, past: ThreadContinuation | None) -> dict[str, bytes]:
    """The ``user_session`` that a session begins with here."""
    if loaded is not None:
        return split_state(loaded.state)
    return {} if past is None else dict(past.values)


def _said(loaded: Loaded | None, past: ThreadContinuation | None) -> list[Said] | None:
    """What ``chat_context`` begins with; None if it is not kept."""
    if loaded is not None:
        return loaded.said
    if past is not None:
        return past.said
    return [] if in_use() else None
