"""The state of a client of the protocol, from the frames it received. No socket and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self
from uuid import UUID

import msgspec

from chatsessions.handlers.messages import USER_AUTHOR
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import DEFAULT_WINDOW, ClientDelivery
from chatsessions.protocol.frames import parse_uuid
from chatsessions.storage.conversation import (
    TEXT,
    ConversationChange,
    ConversationMessage,
    ConversationReducer,
    Entry,
    Failure,
    Format,
    MessageChange,
)

#: Stands for the session before there is one.
NO_SESSION = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEvent:
    """One entry of the session's log, as the client saw it."""

    seq: int
    name: str
    data: Any
    #: The turn that emitted it; None for the client's own, and outside of turns.
    turn: int | None = None
    #: The number of the client's own event; None for what the server emitted.
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """A message of the conversation, as a page would show it at that moment."""

    id: str
    author: str
    content: str
    #: The format of ``content``.
    format: Format = TEXT
    #: Whether its stream is still open.
    streaming: bool = False
    #: When the server made it; None for the client's own.
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    actions: list[Any] = field(default_factory=list)
    files: list[Any] = field(default_factory=list)
    #: The number of the client's event; None for the server's messages.
    n: int | None = None
    #: ``up`` or ``down``: the user's feedback on it; None without.
    feedback: Literal["up", "down"] | None = None
    comment: str = ""

    @classmethod
    def of(cls, message: ConversationMessage) -> Self:
        """Return ``message``, of a log, as a page shows it."""
        return cls(
            id=message.id,
            author=message.author if message.n is None else USER_AUTHOR,
            content=message.content,
            format=message.format,
            streaming=message.streaming,
            created_at=message.created_at if message.n is None else None,
            metadata=message.metadata or {},
            actions=message.actions,
            files=message.files,
            n=message.n,
            feedback=message.feedback,
            comment=message.comment,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """An error that the server sent, as an ``error`` frame or an ``error`` event."""

    #: One of the protocol's codes: ``handler_error``, ``no_handler``, ``rate_limited``, …
    code: str
    detail: str
    #: The client's event concerned, if any.
    n: int | None = None


@dataclass(slots=True, eq=False)
class Sent:
    """
    A numbered frame of the client: an event, or the answer to a question.

    Raises ``TypeError`` for data that is not JSON.
    """

    name: str
    data: Any
    #: Its number. It changes in a new session, and when an event before it is refused.
    n: int = 0
    #: The call of the question that it answers.
    call: str | None = None
    #: Whether the server has refused it for good.
    refused: bool = False
    #: The data as JSON.
    raw: msgspec.Raw = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.raw = msgspec.Raw(msgspec.json.encode(self.data))

    def frame(self) -> frames.ClientEvent | frames.Answer:
        """Return the frame, with its present number."""
        if self.call is not None:
            return frames.Answer(self.n, self.call, self.raw)
        return frames.ClientEvent(self.n, self.name, self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button that a page shows: an action under a message, or a choice of an open question."""

    label: str
    action: dict[str, Any]
    #: The call of the question that it answers.
    call: str | None = None

    def press(self) -> Sent:
        """Return the frame that a page sends for a click."""
        id = self.action["id"]  # noqa: A001  # the wire's name
        if self.call is not None:
            return Sent("answer", {"id": id}, call=self.call)
        payload = self.action.get("payload") or {}
        return Sent("action", {"id": id, "name": self.action["name"], "payload": payload})


class Delivery(ClientDelivery[Sent]):
    """Delivery for a client whose events may be refused for good."""

    def add(self, sent: Sent) -> None:
        """Number ``sent``, and keep it until it is accepted."""
        sent.n = self.number(sent)

    def find(self, n: int) -> Sent | None:
        return self._unaccepted.get(n)

    def refuse(self, n: int) -> None:
        """Drop event ``n``, which the server will never accept; renumber those after it."""
        refused = self._unaccepted.pop(n, None)
        if refused is None:
            return
        refused.refused = True
        oldest = self._next - len(self._unaccepted) - 1
        self._renumber(oldest)
        self.send_again(n)
        self.renumber()

    def refuse_all(self) -> None:
        """Drop all waiting events: they are of another user, and will not be accepted."""
        for _, sent in self.unaccepted:
            sent.refused = True
        self._next -= len(self._unaccepted)
        self._unaccepted.clear()

    def renumber(self) -> None:
        """Give the unaccepted events their present numbers."""
        for n, sent in self.unaccepted:
            sent.n = n


class Conversation:
    """
    A client's knowledge of its session, and a test's positions in the log.

    A test receives each of the server's entries once. Each name has its own position in the log:
    receiving one name passes over entries of others, which can still be received.
    """

    def __init__(self) -> None:
        #: Why the session has ended: ``user``, ``app``, …; None while it is not known to have.
        self.ended: str | None = None
        self._delivery = Delivery()
        self._welcome: frames.Welcome | None = None
        self._events: list[ChatEvent] = []
        #: The status by turn: ``running``, then ``done``, ``failed``, ``stopped``, ``interrupted``.
        self._turns: dict[int, str] = {}
        #: The ``seq`` of the last stored entry, from each answer to a ping.
        self._pongs: list[int] = []
        self._log = ConversationReducer(NO_SESSION)
        #: The change that each entry has made, by ``seq``.
        self._changes: dict[int, ConversationChange] = {}
        #: Errors that are not in the log.
        self._errors: list[ErrorReport] = []
        #: The first entry that the server keeps, as far as is known.
        self._kept_from = 1
        #: The ``seq`` of the last entry received, by name.
        self._positions: dict[str, int] = {}
        #: The entries that completed the streams of messages received.
        self._completing: set[int] = set()

    @property
    def session_id(self) -> UUID:
        """The session's id, of the last welcome. Raises ``RuntimeError`` before the first."""
        return UUID(self._last_welcome().session)

    @property
    def token(self) -> str:
        """The token with which an anonymous client returns; a new one with every welcome."""
        return self._last_welcome().token

    @property
    def resumed(self) -> bool:
        """Whether the last welcome resumed a session."""
        return self._last_welcome().resumed

    @property
    def reason(self) -> str | None:
        """Why the session is a new one: ``new``, ``unknown``, ``ended``, ``expired``; else None."""
        return self._last_welcome().reason

    @property
    def has_earlier(self) -> bool:
        """Whether the server keeps entries before those that the client knows."""
        return self._first > self._kept_from

    @property
    def _first(self) -> int:
        """The ``seq`` from which on the client knows every entry."""
        first = self._delivery.received + 1
        for event in reversed(self._events):
            if event.seq != first - 1:
                break
            first = event.seq
        return first

    @property
    def offers(self) -> list[str]:
        """What the chat offers, by the last welcome: ``feedback``, ``edits``."""
        offers = self._last_welcome().offers
        return [] if isinstance(offers, msgspec.UnsetType) else offers

    @property
    def events(self) -> list[ChatEvent]:
        """The entries received so far and the client's own accepted events, oldest first."""
        return list(self._events)

    def events_since(self, seq: int) -> list[ChatEvent]:
        """Return the entries after entry ``seq``."""
        return [event for event in self._events if event.seq > seq]

    @property
    def messages(self) -> list[ChatMessage]:
        """The messages as a page shows them now, with changes, without removed ones."""
        return [ChatMessage.of(one) for one in self._log.messages if one.call is None]

    @property
    def errors(self) -> list[ErrorReport]:
        """The errors that the server sent: those in the log, then the others."""
        logged = [
            ErrorReport(code=change.code, detail=change.detail, n=event.turn)
            for event in self._events
            if isinstance(change := self._changes.get(event.seq), Failure)
        ]
        return logged + self._errors

    def _buttons(self) -> list[Button]:
        """Return the buttons that can be pressed now: of messages, then of open questions."""
        answered = {sent.call for _, sent in self._delivery.unaccepted}
        offered: list[tuple[str | None, dict[str, Any]]] = [
            (None, action) for message in self._log.messages for action in message.actions
        ]
        for question in self._log.questions.values():
            if not (question.answered or question.call in answered):
                asked = question.actions if question.kind == "action" else ()
                offered += [(question.call, action) for action in asked]
        return [
            Button(label=action.get("label") or action["name"], action=action, call=call)
            for call, action in offered
        ]

    def _forget(self, received: int = 0) -> None:
        """Forget the entries, as a page does when it is reloaded; those up to ``received`` came."""
        self._events.clear()
        self._changes.clear()
        self._log = ConversationReducer(self._log.session)
        self._delivery.received = received

    # Frames

    def _apply(self, frame: frames.ServerFrame) -> None:
        """
        Apply a frame of the server.

        Raises ``ValueError`` if the server breaks the protocol, by a gap in the log or a second
        outcome of a turn.
        """
        if isinstance(frame, frames.Welcome):
            self._welcomed(frame)
        elif isinstance(frame, frames.ServerEvent):
            n = None if frame.n is msgspec.UNSET else frame.n
            if self._delivery.apply(frame.seq, n=n):
                turn = None if frame.turn is msgspec.UNSET else frame.turn
                self._add(frame.seq, frame.name, bytes(frame.data), turn=turn, n=n)
        elif isinstance(frame, frames.Accepted):
            self._accepted(frame)
        elif isinstance(frame, frames.TurnStatus):
            self._turn(frame)
        elif isinstance(frame, frames.Token):
            self._log.token(frame.message, frame.index, frame.text)
        elif isinstance(frame, frames.Stream):
            self._log.stream(frame.message, frame.content, pieces=frame.index)
        elif isinstance(frame, frames.Error):
            n = None if frame.n is msgspec.UNSET else frame.n
            self._errors.append(ErrorReport(code=frame.code, detail=frame.detail, n=n))
        elif isinstance(frame, frames.Ended):
            self.ended = frame.reason
        else:
            self._pongs.append(frame.head)

    def _welcomed(self, welcome: frames.Welcome) -> None:
        if not welcome.resumed:
            self._turns.clear()
            self._positions.clear()
            self._completing.clear()
            self.ended = None
        cleared = self._delivery.welcomed(
            resumed=welcome.resumed,
            accepted=welcome.received,
            first=welcome.first,
            yours=None if welcome.yours is msgspec.UNSET else welcome.yours,
            window=DEFAULT_WINDOW if welcome.window is msgspec.UNSET else welcome.window,
        )
        if cleared:
            self._forget(self._delivery.received)
        self._delivery.renumber()
        if not isinstance(welcome.earlier, msgspec.UnsetType):
            self._kept_from = welcome.earlier
        elif cleared:
            self._kept_from = welcome.first
        self._welcome = welcome
        self._log.session = parse_uuid(welcome.session) or NO_SESSION
        if cleared and not isinstance(welcome.state, msgspec.UnsetType):
            for event in welcome.state:
                self._add(event.seq, event.name, bytes(event.data))

    def _accepted(self, frame: frames.Accepted) -> None:
        sent = self._delivery.find(frame.n)
        before = self._delivery.received
        self._delivery.accepted(frame.n, frame.seq)
        if sent is not None and self._delivery.received > before:
            data = sent.data if sent.call is None else {"call": sent.call, "data": sent.data}
            self._add(frame.seq, sent.name, msgspec.json.encode(data), n=frame.n)

    def _turn(self, frame: frames.TurnStatus) -> None:
        known = self._turns.get(frame.turn, "running")
        if known != "running":
            raise ValueError(f"turn {frame.turn} is {known}, and then {frame.status}")
        self._turns[frame.turn] = frame.status

    # The log

    def _add(
        self, seq: int, name: str, raw: bytes, *, turn: int | None = None, n: int | None = None
    ) -> None:
        data = msgspec.json.decode(raw)
        self._events.append(ChatEvent(seq=seq, name=name, data=data, turn=turn, n=n))
        change = self._log.take(Entry(seq, n, turn, name, raw, datetime.now(UTC)))
        if change is None:
            return
        self._changes[seq] = change
        match change:
            case MessageChange(
                what="changed",
                old=None,
                new=ConversationMessage(n=None) as new,
                is_dropped=False,
            ):
                self._log.put(new)  # a page that lacks the message shows it here

    def _prepend(self, entries: Sequence[Entry]) -> None:
        """Apply entries that are earlier than the known ones, as if they had come first."""
        known, streaming = self._events, self._log.messages
        # By number: the state in the welcome may contain an earlier entry.
        log = {event.seq: event for event in known} | {entry.seq: entry for entry in entries}
        self._events, self._changes = [], {}
        self._log = ConversationReducer(self._log.session)
        for seq, one in sorted(log.items()):
            raw = one.data if isinstance(one, Entry) else msgspec.json.encode(one.data)
            self._add(seq, one.name, raw, turn=one.turn, n=one.n)
        for message in streaming:
            if message.streaming:
                self._log.stream(message.id, message.content, pieces=message.pieces)

    # Whole messages

    def _whole(self, opening: ChatEvent) -> tuple[ChatMessage, ChatEvent] | None:
        """
        Return the message that entry ``opening`` began, and the entry that completed it.

        Return None while it is streaming. A message without a stream is complete at once.
        """
        change = self._changes.get(opening.seq)
        if not isinstance(change, MessageChange) or change.new is None:
            raise ValueError(f"entry {opening.seq} is no message: {opening.data!r}")
        if not change.new.streaming:
            return ChatMessage.of(change.new), opening
        for event in self.events_since(opening.seq):
            match self._changes.get(event.seq):
                case MessageChange(what="removed", key=change.key, old=old):
                    last = ChatMessage.of(old or change.new)
                    return replace(last, streaming=False), event
                case MessageChange(key=change.key, new=ConversationMessage(streaming=False) as new):
                    return ChatMessage.of(new), event
        return None

    def _last_welcome(self) -> frames.Welcome:
        if self._welcome is None:
            raise RuntimeError("not connected yet: write 'async with ChatCommunicator(…) as chat:'")
        return self._welcome

    # Receiving

    def _peek(self, name: str | None) -> ChatEvent | None:
        """Return the next entry ``name``, or of any name; None if there is none yet."""
        for event in self._events:
            is_later = event.seq > self._positions.get(event.name, 0)
            is_unread = is_later and event.seq not in self._completing
            if is_unread and event.n is None and name in (None, event.name):
                return event
        return None

    def _take(self, name: str | None) -> ChatEvent | None:
        """Return the next entry ``name``, and count it as received."""
        event = self._peek(name)
        if event is not None:
            self._positions[event.name] = event.seq
        return event

    def _take_message(self) -> ChatMessage | None:
        """
        Return the next message, and count it as received; None until it is complete.

        The entry that completed a stream is received with it.
        """
        opening = self._peek("message")
        if opening is None or (found := self._whole(opening)) is None:
            return None
        message, closing = found
        self._positions[opening.name] = opening.seq
        self._completing.add(closing.seq)
        return message
