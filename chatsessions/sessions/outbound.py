"""A session's output: events and streams, also of blocks outside of its turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext_lazy

from chatsessions.conf import settings
from chatsessions.handlers.emitter import Sink, Streaming, Turn, encode_data
from chatsessions.handlers.session import Session, in_language_of, printable
from chatsessions.handlers.steps import ended
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Outbox
from chatsessions.storage.log import MESSAGE_EVENTS, Entry, find_message

from .asks import Asks, OfferedActions, SettingsForm
from .host import SessionHost
from .pending import SessionLog, SessionValues
from .subscribers import Subscribers

#: Seconds between two commits of an open stream's text. A crash loses the text since the last one.
CHECKPOINT = 1.0
#: The most tokens that wait for the journal before the handler has to wait.
MAX_WAITING = 1000


@dataclass(slots=True, eq=False)
class _Open:
    """A message that is being streamed."""

    stream: Streaming
    turn: Turn | None
    #: The entry that opened it.
    seq: int
    #: The index of the next token.
    index: int = 0
    #: The log's last entry when the stream was closed; no token of it waits for a later one.
    held_until: int = 0


class SessionSink(Sink):
    """
    Takes the output of all emitters: those of turns, and of blocks outside of turns.

    Events become entries of the log. Tokens are held back until the entries before them are stored;
    the texts of open streams are stored every ``CHECKPOINT`` seconds.
    """

    def __init__(
        self,
        session: Session,
        log: SessionLog,
        subscribers: Subscribers,
        *,
        worker: SessionHost,
        asks: Asks,
        offers: OfferedActions,
        form: SettingsForm,
        values: SessionValues,
        claim_again: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._session = session
        self._worker = worker
        self._log = log
        self._subscribers = subscribers
        self._asks = asks
        self._offers = offers
        self._form = form
        self._values = values
        #: Writes the owner to the row again.
        self._claim_again = claim_again
        #: ``WorkerRows.pauses`` when the worker last knew that it owns the session, and when it
        #: last wrote the owner again to find out.
        self._pauses = self._asked = worker.rows.pauses
        self._open: dict[str, _Open] = {}
        #: Closed streams whose entry ``held_until`` is not stored yet.
        self._closing: list[_Open] = []
        self._outbox: Outbox[frames.ServerFrame] = Outbox(log.stored)
        self._checkpointed = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # For emitters: events

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        """Add an event to the log; return its ``seq``."""
        self._log.check(turn)
        self._values.check(turn)
        return self._log.append(name, data, turn=None if turn is None else turn.n)

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        """Set the actions that a message offers."""
        self._offers.offer(message, actions)

    def withdrawn(self, message: str) -> set[str]:
        """Return the ids of the actions of ``message`` that were withdrawn."""
        return self._offers.withdrawn(message)

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        """Withdraw an action, and update its message."""
        self._log.check(turn)
        while (offer := self._offers.find(action)) is not None:
            message = offer["message"]
            found = self._open.get(message)
            event = self._unstored_event(message) if found is None else found.stream.as_event()
            if event is None:
                event = await self._worker.threads.read(find_message, self._session.id, message)
                if self._offers.find(action) is not offer:
                    continue  # the message was sent again meanwhile, or the action withdrawn
            if event is not None:
                offered = self._offers.of(message)
                event["actions"] = [one for one in offered if one["id"] != action]
                self.append("message_update", encode_data("message_update", event), turn)
            self._offers.withdraw(action)
            if found is not None:
                found.stream.take_off(action)
                self._checkpoint()
                # For clients that count the pieces of a stream from its last entry on.
                so_far = frames.Stream(message, found.index, found.stream.content)
                self._outbox.hold(self._log.head, so_far)

    def _unstored_event(self, message: str) -> dict[str, Any] | None:
        """Return the data of a message as it was last sent or updated, if that is not stored."""
        quoted = msgspec.json.encode(message)
        for entry in reversed(self._log.unstored):
            if entry.n is None and entry.name in MESSAGE_EVENTS and quoted in entry.data:
                data: dict[str, Any] = msgspec.json.decode(entry.data)
                if data["id"] == message and data.get("n") is None:
                    return data
        return None

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        """Set the inputs of the chat settings and their values."""
        self._log.check(turn)
        self._values.check(turn)
        self._form.declare(inputs, values, turn=None if turn is None else turn.n)

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        """Ask the client, and wait for its answer. Raises ``TimeoutError``."""
        self._log.check(turn)
        self._values.check(turn)
        return await self._asks.call(kind, data, timeout=timeout, turn=turn)

    # For emitters: streams

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        """Open a stream, whose first event is the last entry of the log."""
        self._open[stream.id] = _Open(stream, turn, self._log.head)
        self._checkpoint()

    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        """
        Add a token to a stream, or with ``replaces`` set its whole text.

        If the stream is not open, the text is sent with its next event.
        """
        self._log.check(turn)
        if replaces:
            stream.replace_content(text)
        else:
            stream.add_content(text)
        found = self._open.get(stream.id)
        if found is None:
            return
        frame: frames.ServerFrame
        if replaces:
            frame = frames.Stream(stream.id, found.index, text)
        else:
            frame = frames.Token(stream.id, found.index, text)
            found.index += 1
        if not self._outbox.hold(self._log.head, frame):
            self._tell(frame)
        if self.loop.time() - self._checkpointed > CHECKPOINT:
            self._checkpoint()
        elif self._timer is None:  # else a pause would leave the last tokens unstored
            self._timer = self.loop.call_later(CHECKPOINT, self._checkpoint_late)

    def close_stream(self, stream_id: str) -> None:
        """Accept no more tokens of a stream."""
        found = self._open.pop(stream_id, None)
        if found is None:
            return
        if self._outbox.waiting:
            found.held_until = self._log.head
            self._closing.append(found)
        self._checkpoint()

    def find_stream(self, stream_id: str) -> Streaming | None:
        """Return the open stream with this id."""
        found = self._open.get(stream_id)
        return None if found is None else found.stream

    # For emitters: backpressure

    @property
    def is_crowded(self) -> bool:
        """Whether :meth:`room` would wait."""
        log = self._log
        return (
            log.head - log.stored > settings.MAX_UNCOMMITTED
            or len(self._outbox.waiting) > MAX_WAITING
            or log.journal.waiting >= settings.MAX_JOURNAL_ENTRIES
        )

    async def room(self) -> None:
        """Wait while too many entries or tokens wait for a commit. Raises ``StoreUnavailable``."""
        while self.is_crowded:
            if self._log.journal.is_full:
                await self._log.journal.room()
            else:
                await self.flush()

    async def flush(self, turn: Turn | None = None) -> None:
        """Wait until everything so far is stored. Raises ``StoreUnavailable``."""
        self._log.check(None)
        self._values.check(turn)
        if self._log.journal.failure is not None:
            raise self._log.journal.failure
        await self._log.flushed()
        self._values.raise_error()

    # For the session

    def release(self, entries: Sequence[Entry]) -> None:
        """Send ``entries``, which are stored now, and the tokens between them, in order."""
        outbox, subscribers = self._outbox, self._subscribers
        if self._closing:
            stored = self._log.stored
            self._closing = [found for found in self._closing if found.held_until > stored]
        if not outbox.waiting:
            outbox.stored = self._log.stored
            if entries:
                subscribers.entries(entries)
            return
        for entry in entries:
            subscribers.entries([entry])
            for frame in outbox.release(entry.seq):
                self._tell(frame)
        for frame in outbox.release(self._log.stored):
            self._tell(frame)

    @property
    def so_far(self) -> list[frames.Stream]:
        """
        The text so far of each stream that is open in the stored log.

        A new connection needs these frames in addition to the log.
        """
        return [
            # A handler may have set a text that no frame can have; its message will be refused.
            frames.Stream(found.stream.id, found.index, printable(found.stream.content))
            for found in (*self._closing, *self._open.values())
            if found.seq <= self._log.stored
        ]

    def texts(self) -> dict[str, str]:
        """Return the text so far of each open stream, by id."""
        return {found.stream.id: found.stream.content for found in list(self._open.values())}

    def streaming(self) -> set[Turn]:
        """Return the turns, and the blocks outside of turns, that have open streams."""
        return {found.turn for found in self._open.values() if found.turn is not None}

    def has_open(self, turn: Turn) -> bool:
        """Return True if ``turn`` has streams that are not closed."""
        return any(found.turn is turn for found in self._open.values())

    def close_streams(self, turn: Turn) -> Exception | None:
        """
        Close the streams that ``turn``, which has ended, has left open.

        If a message cannot be sent as it is, send the parts of it that can be, and return the
        error.
        """
        error = None
        if not self._open:
            return None
        for stream in [found.stream for found in self._open.values() if found.turn is turn]:
            with in_language_of(self._session):
                stream.end_stream(cut=turn.stopped)
            self.close_stream(stream.id)
            raw, actions, refused = sendable(stream, is_open=False)
            error = refused or error
            self._log.append(stream.update_name, raw, turn=turn.n)
            self._offers.offer(stream.id, actions)
        return error

    # Inside

    def _tell(self, frame: frames.ServerFrame) -> None:
        """
        Send ``frame``, unless another worker may have taken the session during a pause.

        Tokens are sent without a commit, so this worker would not notice that it has lost the
        session. After a pause frames are left out until a commit has shown who owns the session.
        """
        pauses = self._worker.rows.pauses
        if pauses == self._pauses:
            self._subscribers.frame(frame)
        elif pauses != self._asked:
            self._asked = pauses
            self._claim_again()
            self._log.then(partial(self._made_sure, pauses))

    def _made_sure(self, pauses: int) -> None:
        """Send the text of open streams, whose tokens were left out: the session is still ours."""
        self._pauses = pauses
        for stream in self.so_far:
            if stream.has_text:
                self._tell(stream)

    def _checkpoint_late(self) -> None:
        self._timer = None
        if self._open:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Store the text of open streams with the next commit, for the next owner."""
        self._checkpointed = self.loop.time()
        streams = [sendable(found.stream, is_open=True)[0] for found in self._open.values()]
        self._log.set(streams=[msgspec.Raw(raw) for raw in streams])
        self._log.note()


#: Keys of the opening event that the event of a spoiled stream still has.
_SAFE_KEYS = ("id", "type", "format", "created_at", "streaming", "files", "parent", "start")
#: The keys of its texts. Each text is cut to MAX_EVENT_BYTES characters divided by this number; a
#: character takes up to six bytes.
_TEXT_SHARES = {
    "content": 8,
    "input": 16,
    "output": 16,
    "error": 100,
    "author": 100,
    "name": 100,
}


def sendable(
    stream: Streaming, *, is_open: bool
) -> tuple[bytes, list[dict[str, Any]], Exception | None]:
    """
    Return the event of a stream as JSON, and its actions.

    If the application has made it unsendable, return the parts of it that can be sent, no actions,
    and the error.
    """
    try:
        event = stream.as_event()
        return encode_data(stream.update_name, event), event.get("actions", []), None
    except Exception as error:  # its attributes may have any values
        event = _salvaged(stream)
        if not is_open:
            _, event = ended(event, cut=False)
        return encode_data(stream.update_name, event), [], error


def _salvaged(stream: Streaming) -> dict[str, Any]:
    """Return the event that has opened a stream, with the present texts, cut to fit."""
    limit, opened = settings.MAX_EVENT_BYTES, stream.opened
    event = {key: opened[key] for key in _SAFE_KEYS if key in opened}
    for key, share in _TEXT_SHARES.items():
        is_output = key in ("content", "output")
        text = stream.content if is_output else getattr(stream, key, None)
        if not isinstance(text, str):
            text = opened.get(key)
        if isinstance(text, str) and (key in opened or not is_output):
            event[key] = printable(text)[: limit // share]
    return event


#: The error text that a client gets when a block has left a message unfinished.
WRITER_STOPPED = gettext_lazy("What was writing this has stopped.")


def new_writer() -> Turn:
    """Return a turn that stands for a ``session_context()`` block, which runs in no turn."""
    return Turn(None, "session_context")


@dataclass(slots=True)
class Writer:
    """A block of ``session_context()`` in another process."""

    #: The worker of that process; None if it did not say.
    worker: UUID | None
    turn: Turn
    heard_at: float = 0.0


class Writers:
    """The blocks in other processes that stream into a session, by their numbers."""

    __slots__ = ("_log", "_loop", "_session", "_sink", "_writers")

    def __init__(self, session: Session, log: SessionLog, sink: SessionSink) -> None:
        self._session = session
        self._log = log
        self._sink = sink
        self._loop = sink.loop
        self._writers: dict[str, Writer] = {}

    def heard(self, number: str, worker: UUID | None) -> Turn:
        """Note that a block has sent something, and return the turn that stands for it."""
        writer = self._writers.setdefault(number, Writer(worker, new_writer()))
        writer.heard_at = self._loop.time()
        return writer.turn

    def settle(self, number: str) -> None:
        """Forget a block that has no open stream."""
        writer = self._writers.get(number)  # None if a concurrent change has done it
        if writer is not None and not self._sink.has_open(writer.turn):
            del self._writers[number]

    @property
    def is_writing(self) -> bool:
        """Whether a block may be streaming a message."""
        return bool(self._writers)

    def suspects(self) -> dict[str, Writer]:
        """Return the blocks that were silent for longer than ``WORKER_HEARTBEAT`` seconds."""
        late = self._loop.time() - settings.WORKER_HEARTBEAT
        return {number: one for number, one in self._writers.items() if one.heard_at < late}

    def is_lost(self, writer: Writer) -> bool:
        """Return True if a block was silent for ``WORKER_STALE`` seconds, and counts as dead."""
        return self._loop.time() - writer.heard_at > settings.WORKER_STALE

    def interrupt(self, number: str) -> None:
        """Close the streams that a block has left open, and report that it was interrupted."""
        writer = self._writers.pop(number, None)
        if writer is not None:
            self.close(writer.turn, interrupted=True)

    def interrupt_all(self) -> None:
        """Interrupt all blocks."""
        for number in list(self._writers):
            self.interrupt(number)

    def close(self, turn: Turn, *, interrupted: bool) -> None:
        """Close the streams that ``turn`` has left open; report it if it was ``interrupted``."""
        if self._sink.has_open(turn):
            turn.stopped = interrupted
            self._sink.close_streams(turn)
            if interrupted:
                with in_language_of(self._session):
                    detail = str(WRITER_STOPPED)
                self._log.say("error", {"code": "interrupted", "detail": detail})
        self._log.note()
