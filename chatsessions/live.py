"""
``LiveSession``: a session in its owner's memory, which is the truth while the owner lives.

It takes the client's events, gathers what handlers change for the journal, and lets nothing
leave for the client before the journal says that it is stored.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings as django_settings
from django.utils import timezone

from . import frames, signals
from .chat import ANSWER, Chat, InterruptedTurn
from .conf import settings
from .context import Context, current_turn
from .delivery import Gate, Intake, RateLimit
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
from .journal import Journal
from .models import ChatSession
from .ports import Host, Listener
from .session import Session, Tokens
from .sink import SessionSink
from .store import Change, Entry, Loaded, Position
from .tasks import SessionTasks
from .turns import Job, NoHandler, Turns, event_job, hook_job, turn_job
from .user_session import UserSession, split_state

logger = logging.getLogger("chatsessions.live")

#: The name of the turn that greets a new session.
START = "start"


class LiveSession:
    """One session, held by this worker. Only its event loop's thread may touch it."""

    def __init__(
        self, host: Host, chat: Chat, session: Session, row: ChatSession, loaded: Loaded | None
    ) -> None:
        self.host = host
        self.loop = host.loop
        self.owner_id = row.user_id
        self.tokens = Tokens(row.token_hash, row.previous_token_hash)
        self._loaded = loaded
        self._begun = False
        self.chat = chat
        self.session = session
        self.first = 1 if loaded is None else loaded.first
        self.head = self.stored = row.head
        self.handled = row.handled
        self.running: int | None = row.running
        self.listener: Listener | None = None
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
            {} if loaded is None else split_state(loaded.state),
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=lambda: self.check(current_turn()),
            after_change=self._after_change,
        )
        if loaded is not None and loaded.state and settings.USER_SESSION_STORE == "cache":
            # Its key carries the generation, and this owner's is a new one.
            self.draft.set_state(loaded.state)
        self.gate = Gate(
            Intake(row.accepted),
            RateLimit(
                rate=settings.EVENTS_PER_SECOND, burst=settings.EVENT_BURST, now=self.loop.time()
            ),
            max_pending=settings.MAX_PENDING_EVENTS,
            max_strikes=settings.MAX_RATE_LIMITED,
        )
        #: When there was a client last.
        self._seen_at = row.last_seen_at or timezone.now()
        self._events_in = row.events_in
        self._events_out = row.events_out
        self._turns_failed = row.turns_failed
        self._connections = row.connections
        #: Blocks of session_context() that work with this session.
        self.holders = 0
        # Some slack, so that a full log is not trimmed at every entry.
        self._log_limit = settings.MAX_LOG_ENTRIES + max(1, settings.MAX_LOG_ENTRIES // 20)
        self.sink = SessionSink(self)
        self.tasks = SessionTasks(
            f"Session {row.pk}, {chat.name}", done=self.note, turn_done=self._spawned_done
        )
        #: Repeats of events that are older than what the intake remembers.
        self._asked: set[int] = set()
        self._finder: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._quiet = asyncio.Event()
        self._ring: deque[Entry] | None = None
        if settings.EVENT_LOG == "memory":
            self._ring = deque(maxlen=settings.MAX_LOG_ENTRIES)
        self._thread = threading.get_ident()

    @property
    def id(self) -> UUID:
        return self.session.id

    # Client events

    def submit(self, event: frames.ClientEvent, data: Any) -> None:
        """
        Take a client's event: store it, then run its handler.

        Raises ``FrameError`` for one that cannot be accepted now. A repeat is answered with the
        same ``accepted`` again, once it is stored.
        """
        if self.closed or self.ending is not None:
            return  # the connection is about to hear of it
        if not self._admit(event.n):
            return
        raw = bytes(event.data)
        self._take(event.n, event.name, raw)
        job = self._event_job(event.n, event.name, data)
        job.size = len(raw)
        self.turns.add(job)

    def submit_answer(self, answer: frames.Answer) -> None:
        """
        Take the answer to a question. Raises ``FrameError``, also when nobody asks it.

        It is in the log all the same: it had its number.
        """
        if self.closed or self.ending is not None or not self._admit(answer.n):
            return
        data = msgspec.json.encode({"call": answer.call, "data": answer.data})
        self._take(answer.n, ANSWER, data)
        if self.handled == answer.n - 1:
            self.handled = answer.n  # it has no turn that would say so
        raise FrameError("call_closed", f"nobody asks {answer.call!r} any more", n=answer.n)

    def stop(self) -> None:
        """The client stops the running turn."""
        if self.turns.number is None:
            return  # a hook is no turn of the client's
        if self.turns.cancel("stopped") and "stop" in self.chat.hooks:
            job = hook_job(self.chat, "stop")
            job.waits_for_store = True  # the client hears first that the turn is stopped
            self.turns.add(job, first=True)

    def _admit(self, n: int) -> bool:
        storing = self.host.journal.failure is None
        if self.gate.admit(
            n,
            now=self.loop.time(),
            pending=self.turns.pending,
            storing=storing,
            crowded=self.turns.pending_bytes > settings.MAX_PENDING_BYTES,
        ):
            return True
        seq = self.gate.intake.seq_of(n)
        if seq is None:
            self._asked.add(n)
            if self._finder is None:
                self._finder = self.loop.create_task(self._find_accepted())
                self.tasks.own(self._finder)
        elif seq <= self.stored:
            self.tell(frames.Accepted(n, seq))
        return False

    async def _find_accepted(self) -> None:
        """
        Repeats of events from long ago; 0 stands for an entry that is no longer kept.

        One look at a time, and one for however many repeats: they cost the client nothing.
        """
        try:
            while self._asked:
                n = self._asked.pop()
                seq = await self.host.find_seq(self.id, n)
                self.tell(frames.Accepted(n, seq or 0))
        finally:
            self._finder = None

    def _take(self, n: int, name: str, data: bytes) -> None:
        self.gate.intake.take(n, self._append(name, data, n=n))
        self._events_in += 1

    @property
    def accepted_and_stored(self) -> int:
        """The highest number of a client's event that a crash cannot lose."""
        intake = self.gate.intake
        n = intake.accepted
        while (intake.seq_of(n) or 0) > self.stored:
            n -= 1
        return n

    # Jobs

    def _event_job(self, n: int, name: str, data: Any) -> Job:
        if name != "settings":
            return event_job(self.chat, n, name, data)
        job = turn_job(n, name, self.chat.hooks.get(name), self.session.chat_settings)
        job.prepare = partial(self._update_settings, data)
        job.needs_handler = False
        return job

    def add_hook(self, name: str, argument: Any = None) -> None:
        """Queue a lifecycle hook, if the application has it."""
        if name in self.chat.hooks:
            self.turns.add(hook_job(self.chat, name, argument))

    def go(self) -> None:
        """Run what comes before anything else; once, after the first connection is known."""
        if self._begun:
            return
        self._begun = True
        self.add_hook("session_load")
        if self._loaded is not None:
            self._recover(self._loaded)
            self._loaded = None
            return
        start = self.chat.hooks.get("chat_start")
        if start is not None:
            self.running = 0  # from now on a crash leaves a turn that was cut short
            self.turns.add(turn_job(0, START, start))

    def _recover(self, loaded: Loaded) -> None:
        """A session from the store: close what a crash left open, go on with what waits."""
        self._close_left_open(loaded)
        for n, entry in self._left(loaded):
            if entry is None:
                self._end_turn(n, "event", "interrupted", seconds=0.0)
            elif entry.name != ANSWER:
                data = msgspec.json.decode(entry.data)
                self.turns.add(self._event_job(n, entry.name, data))

    def _close_left_open(self, loaded: Loaded) -> None:
        """The streams and the turn that a crash has cut short."""
        for message in loaded.row.streams:
            self._say("message_update", message | {"streaming": False})
        if loaded.row.streams:
            self.draft.set(streams=[])
        if loaded.row.running is not None:
            self._interrupt(loaded.row.running, loaded)

    def _left(self, loaded: Loaded) -> list[tuple[int, Entry | None]]:
        """What was accepted and not handled; no entry where the log was in memory."""
        entries = {entry.n: entry for entry in loaded.pending}
        return [(n, entries.get(n)) for n in range(self.handled + 1, loaded.row.accepted + 1)]

    def _give_up(self) -> None:
        """A session that ends before it went on: what waits in it will never run."""
        self._begun = True
        loaded, self._loaded = self._loaded, None
        self.add_hook("session_load")
        if loaded is None:
            return
        self._close_left_open(loaded)
        for n, entry in self._left(loaded):
            if entry is None or entry.name != ANSWER:
                name = "event" if entry is None else entry.name
                self._end_turn(n, name, "interrupted", seconds=0.0)

    def _interrupt(self, n: int, loaded: Loaded) -> None:
        """Turn ``n`` was cut short: say so, and let the application decide."""
        event = next((entry for entry in loaded.pending if entry.n == n), None)
        name = START if n == 0 else "event" if event is None else event.name
        data = None if event is None else msgspec.json.decode(event.data)
        detail = "The server was interrupted while it worked on this."
        self._say("error", {"code": "interrupted", "detail": detail}, turn=n)
        self._end_turn(n, name, "interrupted", seconds=0.0)
        self.add_hook("interrupted", InterruptedTurn(turn=n, name=name, data=data))

    def _update_settings(self, data: dict[str, Any]) -> None:
        changed = self.session.chat_settings | data
        self._say("settings", changed)
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
        )

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        return await self.host.run_in_thread(function)

    def when_stored(self, callback: Callable[[], None]) -> None:
        self.draft.then(callback)
        self.note()

    def turn_waits(self, job: Job | None) -> None:
        self.running = None if job is None else job.turn.n

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
        self.user_session.settle()
        if turn.n is None:
            self.note()
        elif status == "interrupted":
            self.running = turn.n  # whoever takes the session next tells what became of it
        else:
            self._end_turn(turn.n, turn.name, status, seconds=self.loop.time() - job.started)

    def idle(self) -> None:
        """Nothing is left to run: a session that nobody is connected to may be let go."""
        self.note()

    def _end_turn(self, n: int, name: str, status: str, *, seconds: float) -> None:
        self.running = None
        self.handled = max(self.handled, n)
        if status != "done":
            self.draft.set_outcome(n, status)
        self._turns_failed += status == "failed"
        self.when_stored(partial(self._turn_stored, n, name, status, seconds))

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
            logger.error(
                "Session %s, %s: the handler of %s failed",
                self.id,
                self.chat.name,
                turn.name,
                exc_info=error,
            )
            code = "handler_error"
        if turn.n is not None:
            generic = "Something went wrong. Please try again."
            shown = code == "no_handler" or django_settings.DEBUG
            detail = _printable(str(error) or repr(error)) if shown else generic
            self._say("error", {"code": code, "detail": detail}, turn=turn.n)

    # SinkHost

    @property
    def journal(self) -> Journal:
        return self.host.journal

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        self._events_out += 1
        return self._append(name, data, turn=turn)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        self.check(current_turn())
        return self.tasks.spawn(coroutine, name)

    def user_session_used(self) -> None:
        """Code outside of turns is through with the values it got out."""
        self.sink.error = self._collect() or self.sink.error
        self.user_session.settle()

    def _close_streams(self, turn: Turn) -> StorageError | None:
        """``turn`` is over, and nothing that it spawned runs any more."""
        error = None
        for stream in self.sink.take_streams(turn):
            try:
                self._say("message_update", stream.as_event(), turn=turn.n)
            except StorageError as refused:
                error = refused
                self._say("message_update", _salvaged(stream.as_event()), turn=turn.n)
        return error

    def _spawned_done(self, turn: Turn) -> None:
        job = self.turns.job
        if not self.closed and (job is None or job.turn is not turn):
            self._close_streams(turn)

    # The log and the journal

    def note(self) -> None:
        """There is something to store, or something that ran has ended."""
        if not self.closed:
            self.host.journal.note(self)
        if not self.is_busy:
            self._quiet.set()

    def _append(
        self, name: str, data: bytes, *, n: int | None = None, turn: int | None = None
    ) -> int:
        self.head += 1
        self.draft.append(Entry(self.head, n, turn, name, data, timezone.now()))
        if not self.closed:
            self.host.journal.count(1)
            self.note()
        return self.head

    def _say(self, name: str, data: Any, *, turn: int | None = None) -> None:
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
        if self.can_release:
            self.draft.set(worker_id=None)
        if self.head - self.first >= self._log_limit:
            self.draft.trim(self.head - settings.MAX_LOG_ENTRIES)
        if self.listener is not None:
            self._seen_at = timezone.now()
        return self.draft.take(
            Position(
                accepted=self.gate.intake.accepted,
                handled=self.handled,
                running=self.running,
                head=self.head,
                events_in=self._events_in,
                events_out=self._events_out,
                turns_failed=self._turns_failed,
                last_seen_at=self._seen_at,
            )
        )

    def committed(self, change: Change) -> None:
        self.stored = change.position.head
        if change.trim is not None:
            self.first = change.trim + 1
        if self._ring is not None:
            self._ring.extend(change.entries)
            self.first = self._ring[0].seq if self._ring else self.stored + 1
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
            if run and self.listener is not None:
                self.listener.entries(run)
            self.sink.release(run[-1].seq if run else self.stored, self.tell)

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
        for n in range(self.handled + 1, self.gate.intake.accepted + 1):
            seq = self.gate.intake.seq_of(n)
            if seq is not None and seq > self.stored:
                self.tell(frames.Error("storage_unavailable", str(error), n, 1.0))

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Stored entries behind ``after``, oldest first."""
        if self._ring is None:
            return await self.host.read_log(self.id, after, limit)
        return [entry for entry in self._ring if entry.seq > after][:limit]

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
        if not self._begun and self._loaded is None:
            send = self.host.send_signal
            self.when_stored(
                partial(send, signals.session_started, self.chat, session=self.session)
            )
        self.when_stored(welcome)

    def issue_token(self, used: str | None) -> str:
        """A new token for a connection that came with ``used``."""
        token = self.tokens.rotate(used)
        self.draft.set(token_hash=self.tokens.current, previous_token_hash=self.tokens.previous)
        return token

    def confirm_token(self) -> None:
        """The client was heard after its welcome."""
        if self.tokens.confirm():
            self.draft.set(previous_token_hash="")
            self.note()

    def disconnect(self, listener: Listener, code: int) -> None:
        """``listener`` is gone. The session goes on without it."""
        if listener is not self.listener or self.closed:
            return
        self.listener = None
        self.session.connected = False
        self._seen_at = timezone.now()
        self.draft.set(status=ChatSession.Status.AWAY, disconnected_at=self._seen_at)
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

    def tell(self, frame: frames.ServerFrame) -> None:
        if self.listener is not None:
            self.listener.frame(frame)

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
        if not self._begun:
            self._give_up()
        # Stored before on_chat_end runs: it runs once, also if the server dies meanwhile.
        self.draft.set(end_reason=self.ending)
        job = hook_job(self.chat, "chat_end", self.ending)
        job.waits_for_store = True
        job.after = self.finish
        self.turns.add(job)

    def finish(self) -> None:
        """Store that the session has ended, and tell the client."""
        now = timezone.now()
        if self.running is not None:  # the server died before it was stopped for the end
            self.draft.set_outcome(self.running, "interrupted")
        self.running = None
        self.handled = self.gate.intake.accepted
        self.draft.set(status=ChatSession.Status.ENDED, ended_at=now, worker_id=None, streams=[])
        self.draft.set(previous_token_hash="")
        self.when_stored(self._over)

    def _over(self) -> None:
        reason = self.ending or ""
        if self.listener is not None:
            self.listener.close(frames.CloseCode.SESSION_ENDED, ended=reason)
            self.listener = None
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
            and (self._ring is None or self.turns.draining)
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

    def discard(self, error: Exception | None = None) -> None:
        """Nothing holds the session in memory any more; whoever waits gets ``error``."""
        self._closing.set()
        self.closed = True
        self.host.journal.count(-self.draft.discard())
        self.draft.fail(error or OwnershipLost(self.id))
        self.tasks.cancel()
        self.turns.clear()
        self.turns.cancel("stopped")
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
        elif self.turns.job is None or self.turns.job.turn is not current_turn():
            # A turn's changes go with its next event or its end; anything else has no end.
            self.loop.call_soon(self.note)


def _printable(text: str) -> str:
    """``text`` without what UTF-8 cannot write: halves of surrogate pairs."""
    return text.encode(errors="replace").decode()


def _salvaged(message: dict[str, Any]) -> dict[str, Any]:
    """What can be sent of a streamed message that cannot be sent as it is."""
    # A character takes at most six bytes in JSON.
    content = _printable(message["content"])[: settings.MAX_EVENT_BYTES // 8]
    kept = {key: message[key] for key in ("id", "created_at", "streaming")}
    return kept | {"author": _printable(message["author"]), "content": content}
