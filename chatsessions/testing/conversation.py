"""
``Conversation``: what a client that applies every frame knows. Pure data, no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from chatsessions.handlers.messages import USER_AUTHOR
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import (
    DEFAULT_WINDOW,
    ClientDelivery,
)
from chatsessions.protocol.frames import message_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEvent:
    """One entry of the session's log, as the client saw it."""

    seq: int
    name: str
    data: Any
    #: The turn that emitted it; None for one from outside of turns, or of the client's own.
    turn: int | None = None
    #: The number of the client's own event; None for what the server emitted.
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """A message of the conversation, as a page would show it at that moment."""

    id: str
    author: str
    content: str
    #: Whether more tokens may come.
    streaming: bool = False
    #: When the server made it; None for the client's own.
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    actions: list[Any] = field(default_factory=list)
    files: list[Any] = field(default_factory=list)
    #: The number of the client's event that said it; None for the server's.
    n: int | None = None

    @property
    def key(self) -> str | int:
        """What a client knows it by: a client's message by its number, whatever its id is."""
        return self.id if self.n is None else self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """An error that the client was told, by an ``error`` frame or an ``error`` event."""

    #: One of the protocol's codes: ``handler_error``, ``no_handler``, ``rate_limited``, …
    code: str
    detail: str
    #: The client's event concerned, if any.
    n: int | None = None


@dataclass(slots=True, eq=False)
class Sent:
    """
    A numbered frame of the client's: an event, or the answer to a question.

    Raises ``TypeError`` for data that JSON cannot say.
    """

    name: str
    data: Any
    #: Its number. A new session, or one refused before it, may give it another.
    n: int = 0
    #: The question that it answers.
    call: str | None = None
    #: Whether the server can never take it.
    refused: bool = False
    #: The data as JSON.
    raw: msgspec.Raw = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.raw = msgspec.Raw(msgspec.json.encode(self.data))

    def frame(self) -> frames.ClientEvent | frames.Answer:
        """What is sent, with the number that it has now."""
        if self.call is not None:
            return frames.Answer(self.n, self.call, self.raw)
        return frames.ClientEvent(self.n, self.name, self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button that a page shows: an action under a message, or a choice of an open question."""

    label: str
    action: dict[str, Any]
    #: The question that it answers.
    call: str | None = None

    def press(self) -> Sent:
        """What a page sends for a click."""
        id = self.action["id"]  # noqa: A001  # the wire's name
        if self.call is not None:
            return Sent("answer", {"id": id}, call=self.call)
        payload = self.action.get("payload") or {}
        return Sent("action", {"id": id, "name": self.action["name"], "payload": payload})


class Delivery(ClientDelivery[Sent]):
    """The client's side of exact delivery, for a client that may send what cannot be accepted."""

    def add(self, sent: Sent) -> None:
        """Number ``sent``, and keep it until it is accepted."""
        sent.n = self.number(sent)

    def find(self, n: int) -> Sent | None:
        return self._unaccepted.get(n)

    def refuse(self, n: int) -> None:
        """Event ``n`` will never be accepted; those behind it move up."""
        refused = self._unaccepted.pop(n, None)
        if refused is None:
            return
        refused.refused = True
        oldest = self._next - len(self._unaccepted) - 1
        self._renumber(oldest)
        self.send_again(n)
        self.renumber()

    def refuse_all(self) -> None:
        """Somebody else is here: nothing of what waits will ever be accepted."""
        for _, sent in self.unaccepted:
            sent.refused = True
        self._next -= len(self._unaccepted)
        self._unaccepted.clear()

    def renumber(self) -> None:
        """Tell what is unaccepted the numbers it has now."""
        for n, sent in self.unaccepted:
            sent.n = n


class Conversation:
    """Everything that was said on the connections of one session, applied in order."""

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.welcome: frames.Welcome | None = None
        self.events: list[ChatEvent] = []
        #: By turn: ``running``, then ``done``, ``failed``, ``stopped`` or ``interrupted``.
        self.turns: dict[int, str] = {}
        #: How far the log went at each answer to a ping.
        self.pongs: list[int] = []
        self.ended: str | None = None
        self._messages: dict[str | int, ChatMessage] = {}
        self._removed: dict[str | int, ChatMessage] = {}
        #: By open stream: the index of its next token.
        self._expected: dict[str, int] = {}
        self._errors: list[ErrorReport] = []

    @property
    def messages(self) -> list[ChatMessage]:
        """The conversation as a page shows it now, the client's own messages included."""
        return list(self._messages.values())

    @property
    def errors(self) -> list[ErrorReport]:
        """All errors told so far: those in the log, then those that are not."""
        logged = [
            ErrorReport(code=event.data["code"], detail=event.data["detail"], n=event.turn)
            for event in self.events
            if event.name == "error" and event.n is None
        ]
        return logged + self._errors

    @property
    def buttons(self) -> list[Button]:
        """The buttons that can be pressed now: those of messages, then those of questions."""
        offered = [(None, action) for message in self.messages for action in message.actions]
        closed = {sent.call for _, sent in self.delivery.unaccepted} | {
            event.data["call"] for event in self.events if event.name in ("answer", "ask_closed")
        }
        for event in self.events:
            if event.name == "ask" and event.n is None and event.data["call"] not in closed:
                asked = event.data["actions"] if event.data["kind"] == "action" else ()
                offered += [(event.data["call"], action) for action in asked]
        return [
            Button(label=action.get("label") or action["name"], action=action, call=call)
            for call, action in offered
        ]

    def since(self, seq: int) -> Iterator[ChatEvent]:
        """The entries behind ``seq``."""
        return (event for event in self.events if event.seq > seq)

    def forget(self) -> None:
        """The page was reloaded: all that it showed is gone."""
        self.events.clear()
        self._messages.clear()
        self._removed.clear()
        self._expected.clear()
        self.delivery.received = 0

    # Frames

    def apply(self, frame: frames.ServerFrame) -> None:
        """
        One more frame has come. Raises ``ValueError`` for a hole in the log, and for a second
        outcome of a turn: the server broke a promise.
        """
        if isinstance(frame, frames.Welcome):
            self._welcomed(frame)
        elif isinstance(frame, frames.ServerEvent):
            n = None if frame.n is msgspec.UNSET else frame.n
            if self.delivery.apply(frame.seq, n=n):
                turn = None if frame.turn is msgspec.UNSET else frame.turn
                data = msgspec.json.decode(frame.data)
                self._add(ChatEvent(seq=frame.seq, name=frame.name, data=data, turn=turn, n=n))
        elif isinstance(frame, frames.Accepted):
            self._accepted(frame)
        elif isinstance(frame, frames.TurnStatus):
            self._turn(frame)
        elif isinstance(frame, frames.Token):
            self._token(frame)
        elif isinstance(frame, frames.Stream):
            self._stream(frame)
        elif isinstance(frame, frames.Error):
            n = None if frame.n is msgspec.UNSET else frame.n
            self._errors.append(ErrorReport(code=frame.code, detail=frame.detail, n=n))
        elif isinstance(frame, frames.Ended):
            self.ended = frame.reason
        else:
            self.pongs.append(frame.head)

    def is_another_owner(self, welcome: frames.Welcome) -> bool:
        """Whether what was written so far was written by somebody else."""
        before = self.welcome
        return before is not None and not welcome.resumed and before.owner != welcome.owner

    def _welcomed(self, welcome: frames.Welcome) -> None:
        if not welcome.resumed:
            self.turns.clear()
            self.ended = None
        cleared = self.delivery.welcomed(
            resumed=welcome.resumed,
            accepted=welcome.received,
            first=welcome.first,
            yours=None if welcome.yours is msgspec.UNSET else welcome.yours,
            window=DEFAULT_WINDOW if welcome.window is msgspec.UNSET else welcome.window,
        )
        if cleared:
            received = self.delivery.received
            self.forget()
            self.delivery.received = received
        self.delivery.renumber()
        self.welcome = welcome

    def _accepted(self, frame: frames.Accepted) -> None:
        sent = self.delivery.find(frame.n)
        before = self.delivery.received
        self.delivery.accepted(frame.n, frame.seq)
        if sent is not None and self.delivery.received > before:
            data = sent.data if sent.call is None else {"call": sent.call, "data": sent.data}
            self._add(ChatEvent(seq=frame.seq, name=sent.name, data=data, n=frame.n))

    def _turn(self, frame: frames.TurnStatus) -> None:
        known = self.turns.get(frame.turn, "running")
        if known != "running":
            raise ValueError(f"turn {frame.turn} is {known}, and then {frame.status}")
        self.turns[frame.turn] = frame.status

    # The log

    def _add(self, event: ChatEvent) -> None:
        self.events.append(event)
        if event.name == "message" or (event.name == "message_update" and event.n is None):
            message = self._message_of(event)
            if event.n is None and message.n is not None:
                old = self._messages.get(message.key)
                if old is None:
                    return  # an answer, or no longer kept
                if "files" not in event.data:
                    message = replace(message, files=old.files)
            self._messages[message.key] = message
            if message.n is not None:
                return  # it is no stream, whatever its id is
            if message.streaming:
                self._expected[message.id] = 0
            else:
                self._expected.pop(message.id, None)
        elif event.name == "message_remove" and event.n is None:
            removed = self._messages.pop(_key_of(event), None)
            if removed is not None:
                self._removed[removed.key] = removed

    def _message_of(self, event: ChatEvent) -> ChatMessage:
        message = message_of(event)
        if message.id or self.welcome is None or message.n is None:
            return message
        return replace(message, id=message_id(UUID(self.welcome.session), message.n))

    def _token(self, frame: frames.Token) -> None:
        message = self._messages.get(frame.message)
        if message is not None and self._expected.get(frame.message) == frame.index:
            self._expected[frame.message] = frame.index + 1
            self._messages[frame.message] = replace(message, content=message.content + frame.text)

    def _stream(self, frame: frames.Stream) -> None:
        message = self._messages.get(frame.message)
        if message is not None:
            self._expected[frame.message] = frame.index
            self._messages[frame.message] = replace(message, content=frame.content)

    # Whole messages

    def whole(self, opening: ChatEvent) -> tuple[ChatMessage, ChatEvent] | None:
        """
        The message that ``opening`` told of, and the entry that made it whole.

        None while it is still streaming. One that was sent in one piece is whole at once,
        whatever became of it afterwards.
        """
        message = message_of(opening)
        if not message.streaming:
            return message, opening
        for event in self.since(opening.seq):
            if event.n is not None or _key_of(event) != message.key:
                continue
            if event.name == "message_remove":
                return replace(self._removed.get(message.key, message), streaming=False), event
            if event.name == "message_update" and not event.data["streaming"]:
                return message_of(event), event
        return None


def _key_of(event: ChatEvent) -> Any:
    """Which message a ``message_update`` or ``message_remove`` is about."""
    if not isinstance(event.data, dict):
        return None
    n = event.data.get("n")
    return event.data.get("id") if n is None else n


def message_of(event: ChatEvent) -> ChatMessage:
    """The message that a ``message`` or ``message_update`` entry tells of."""
    data = event.data
    if event.n is not None:
        return ChatMessage(
            id=data.get("id") or "",
            author=USER_AUTHOR,
            content=data["content"],
            files=data.get("files") or [],
            n=event.n,
        )
    return ChatMessage(
        id=data["id"],
        author=data["author"],
        content=data["content"],
        streaming=data["streaming"],
        created_at=datetime.fromisoformat(data["created_at"]),
        metadata=data.get("metadata") or {},
        actions=data.get("actions") or [],
        files=data.get("files") or [],
        n=data.get("n") if event.name == "message_update" else None,
    )
