"""
The conversation in a session's log: its messages as they are now, and its open questions.

:class:`ConversationReducer` takes the entries of a log in their order. ``chat_context``, threads,
the admin's transcript and the client of ``chatsessions.testing`` all use it. Nothing here asks the
database.

A new kind of entry is one more row in ``_FROM_SERVER`` or ``_FROM_CLIENT``: the shape of its data,
and the method that applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from chatsessions.protocol.frames import message_id

#: Who a message is from, by Chainlit's names.
Type = Literal["user_message", "assistant_message", "system_message"]
USER: Type = "user_message"
ASSISTANT: Type = "assistant_message"
SYSTEM: Type = "system_message"

#: How a text is to be read.
Format = Literal["text", "markdown"]
TEXT: Format = "text"
MARKDOWN: Format = "markdown"
FORMATS = (TEXT, MARKDOWN)

#: The names of the entries that make the messages of a conversation.
MESSAGE_NAMES = ("message", "message_update", "message_remove", "ask", "ask_closed", "answer")
#: The names among them whose entries may add a message.
OPENING_NAMES = ("message", "ask", "answer")

#: The names of the entries that end a stream.
_CLOSING = ("message_update", "message_remove", "step_update", "step_remove")

#: The most questions that are kept, including those that are known only by their answers.
_MAX_QUESTIONS = 100


class Entry(msgspec.Struct, gc=False):
    """One entry of a session's log. ``data`` is JSON, as it goes over the wire."""

    seq: int
    n: int | None
    turn: int | None
    name: str
    data: bytes
    created_at: datetime
    #: The id that the client gave its message, in hexadecimal. It is written, and not read back.
    key: str | None = None

    @property
    def closes(self) -> str | None:
        """The id of the message or step whose stream this entry closes."""
        if self.name not in _CLOSING:
            return None
        data: Any = msgspec.json.decode(self.data)
        if not isinstance(data, dict) or data.get("n") is not None:
            return None  # a message of the client has no stream
        found = data.get("id")
        return found if isinstance(found, str) else None


class ConversationMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One message of a conversation."""

    id: str
    type: Type
    content: str
    #: How ``content`` is to be read.
    format: Format = TEXT
    created_at: datetime
    #: "" for a message of the user.
    author: str = ""
    metadata: dict[str, Any] | None = None
    actions: list[dict[str, Any]] = []
    #: Files as they go over the wire; a message of the client has only their ids.
    files: list[Any] = []
    #: Whether its stream is open, and how many pieces of the stream it has.
    streaming: bool = False
    pieces: int = 0
    #: The size of its entry in bytes.
    size: int = 0
    #: The session, and the number of the entry in its log.
    session: UUID | None = None
    seq: int = 0
    #: The number of the client's event; None for a message of the server.
    n: int | None = None
    #: The turn that has sent it; None for a message of the client, and outside of turns.
    turn: int | None = None
    #: The call of the question that it asks or answers.
    call: str | None = None
    #: The user's feedback: ``up`` or ``down``; None if there is none.
    feedback: Literal["up", "down"] | None = None
    #: The user's comment on the feedback.
    comment: str = ""

    @property
    def key(self) -> object:
        """
        The message's key in its conversation.

        It is the id for a message of the server, and the event's number for one of the client. A
        client chooses the ids of its messages, and may choose one that is taken.
        """
        return self.id if self.n is None else (self.session, self.n)


class Question(msgspec.Struct, kw_only=True):
    """An open question."""

    call: str
    #: ``text``, ``action``, ``files`` or the application's own; "" if the question is not known.
    kind: str = ""
    #: The question as a message; None if it is not known.
    message: ConversationMessage | None = None
    actions: list[dict[str, Any]] = []
    answered: bool = False
    #: The data of the answer: a dict, of the question's kind.
    data: Any = None
    #: A text answer as a message. It becomes part of the conversation when the question is closed
    #: as ``answered``.
    answer: ConversationMessage | None = None


class MessageChange(msgspec.Struct, kw_only=True):
    """The change of a message by an entry."""

    what: Literal["added", "changed", "removed"]
    key: object
    #: The message before the change; None if it is not known. An unknown message is not changed.
    old: ConversationMessage | None = None
    #: The message as it is now; None if it was removed.
    new: ConversationMessage | None = None
    #: The number of the client's message that this one replaces. The results of that message are
    #: dropped.
    replaces: int | None = None
    #: Whether it belongs to a turn that was dropped, so that it is not part of the conversation.
    is_dropped: bool = False


class FeedbackChange(msgspec.Struct, kw_only=True, rename={"id": "message"}):
    """The user's feedback on a message."""

    #: The id of the message, which the entry names ``message``.
    id: str
    #: None if it was taken back.
    value: Literal["up", "down"] | None
    comment: str = ""


class QuestionChange(msgspec.Struct, kw_only=True):
    """The change of a question by an entry."""

    what: Literal["asked", "answered", "closed"]
    question: Question
    #: How it was closed: ``answered``, ``timeout`` or ``cancelled``.
    outcome: str = ""


class StepData(msgspec.Struct, kw_only=True):
    """A step towards an answer. It is not part of the conversation, and no reducer keeps it."""

    id: str
    name: str = ""
    type: str = ""
    input: str = ""
    output: str = ""
    #: How ``output`` is to be read.
    format: Format = TEXT
    error: str = ""
    #: The id of the step that this step is part of.
    parent: str = ""
    #: Whether the step still runs.
    streaming: bool = False


class StepChange(msgspec.Struct, kw_only=True):
    """The change of a step by an entry."""

    what: Literal["added", "changed", "removed"]
    step: StepData


class Failure(msgspec.Struct, kw_only=True):
    """An error that the client was sent."""

    code: str
    detail: str = ""


ConversationChange = MessageChange | FeedbackChange | QuestionChange | StepChange | Failure


# The data of entries


class _ClientMessage(msgspec.Struct):
    content: str
    id: str = ""
    #: The ids of files.
    files: list[Any] = []
    replaces: int | None = None


class _Message(msgspec.Struct):
    content: str
    id: str = ""
    author: str = ""
    type: Type = ASSISTANT
    format: Format = TEXT
    created_at: datetime | None = None
    metadata: dict[str, Any] | None = None
    actions: list[dict[str, Any]] = []
    #: None in a change of the client's message that leaves its files as they were.
    files: list[Any] | None = None
    streaming: bool = False
    #: In a ``message_update``: the number of the client's message that it changes.
    n: int | None = None


class _Removal(msgspec.Struct):
    id: str
    n: int | None = None


class _Ask(msgspec.Struct):
    call: str
    content: str = ""
    format: Format = TEXT
    author: str = ""
    kind: str = ""
    actions: list[dict[str, Any]] = []


class _Answer(msgspec.Struct):
    call: str
    data: Any = None


class _Closing(msgspec.Struct):
    call: str
    outcome: str = ""


class ConversationReducer:
    """
    Builds a conversation from the entries of a log.

    It keeps at most ``max_messages`` messages of at most ``max_bytes`` bytes, the latest ones. The
    last message is always kept.
    """

    __slots__ = (
        "_bytes",
        "_dropped",
        "_last_said",
        "_max_bytes",
        "_max_messages",
        "_messages",
        "_replaced",
        "questions",
        "session",
    )

    def __init__(
        self, session: UUID, *, max_messages: int | None = None, max_bytes: int | None = None
    ) -> None:
        #: The session whose log is read.
        self.session = session
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: dict[object, ConversationMessage] = {}
        self._bytes = 0
        #: The open questions, by call, oldest first.
        self.questions: dict[str, Question] = {}
        #: The number of the client's last message, and its entry.
        self._last_said: tuple[int, int] | None = None
        #: The ranges of dropped turns: each has its first turn, and the first turn after it.
        self._replaced: list[tuple[int, int]] = []
        #: The keys of messages that were dropped.
        self._dropped: set[object] = set()

    def __contains__(self, message: ConversationMessage) -> bool:
        return message.key in self._messages

    @property
    def messages(self) -> list[ConversationMessage]:
        """The messages as they are now, oldest first."""
        return list(self._messages.values())

    def begin(self, session: UUID) -> None:
        """Go on with the log of another session."""
        self.session = session
        self.questions.clear()
        self._last_said = None
        self._replaced.clear()
        self._dropped.clear()

    def drops(self, turn: int | None) -> bool:
        """Return True if a turn belongs to a message that was replaced."""
        return turn is not None and any(first <= turn < end for first, end in self._replaced)

    def take(self, entry: Entry) -> ConversationChange | None:
        """
        Apply the next entry of the log, and return what it has changed.

        Returns None for an entry that is not part of a conversation, such as an application's own
        event that has one of these names and data of another shape.
        """
        found = (_FROM_SERVER if entry.n is None else _FROM_CLIENT).get(entry.name)
        if found is None:
            return None
        decoder, apply = found
        try:
            data = decoder.decode(entry.data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return apply(self, entry, data)

    def put(self, message: ConversationMessage) -> None:
        """Put a message at the end, or a new version of a message in its place."""
        old = self._messages.get(message.key)
        self._bytes += message.size - (0 if old is None else old.size)
        self._messages[message.key] = message
        while self._is_over():
            self.remove(next(iter(self._messages)))

    def remove(self, key: object) -> ConversationMessage | None:
        """Remove a message, and return it; None if it was not there."""
        old = self._messages.pop(key, None)
        self._bytes -= 0 if old is None else old.size
        return old

    # Streams, which are not in the log

    def token(self, id_: str, index: int, text: str) -> None:
        """Add a piece to a message that is being streamed, if it is the next piece."""
        message = self._messages.get(id_)
        if message is not None and message.streaming and message.pieces == index:
            self.stream(id_, message.content + text, pieces=index + 1)

    def stream(self, id_: str, content: str, *, pieces: int = 0) -> None:
        """Set the text so far of a message that is being streamed."""
        message = self._messages.get(id_)
        if message is not None:
            new = msgspec.structs.replace(message, content=content, pieces=pieces)
            self._messages[id_] = new

    def clear(self) -> None:
        """Remove all messages and questions so far."""
        self._messages.clear()
        self.questions.clear()
        self._bytes = 0

    # Entries

    def _client_message(self, entry: Entry, data: _ClientMessage) -> MessageChange:
        id_ = data.id or message_id(self.session, entry.n or 0)
        message = self._made(entry, id=id_, content=data.content, files=data.files)
        if data.replaces is not None:
            self._drop_from(data.replaces, entry.n or 0)
        self._last_said = entry.n or 0, entry.seq
        self.put(message)
        return MessageChange(what="added", key=message.key, new=message, replaces=data.replaces)

    def _message(self, entry: Entry, data: _Message) -> MessageChange:
        message = self._message_of(entry, data, n=None)
        if self.drops(entry.turn):
            self._dropped.add(message.key)
            return MessageChange(what="added", key=message.key, new=message, is_dropped=True)
        self._dropped.discard(message.key)
        self.remove(message.key)  # a message that is sent again moves to the end
        self.put(message)
        return MessageChange(what="added", key=message.key, new=message)

    def _update(self, entry: Entry, data: _Message) -> MessageChange:
        new = self._message_of(entry, data, n=data.n)
        old = self._messages.get(new.key)
        if old is not None:
            new.seq, new.turn = old.seq, old.turn
            new.feedback, new.comment = old.feedback, old.comment
            if old.n is not None:
                new.created_at = old.created_at
                new.files = old.files if data.files is None else data.files
            self.put(new)
        is_dropped = old is None and new.key in self._dropped
        return MessageChange(what="changed", key=new.key, old=old, new=new, is_dropped=is_dropped)

    def _remove(self, _entry: Entry, data: _Removal) -> MessageChange:
        key = data.id if data.n is None else (self.session, data.n)
        return MessageChange(what="removed", key=key, old=self.remove(key))

    def _feedback(self, _entry: Entry, data: FeedbackChange) -> FeedbackChange:
        if data.value is None:
            data.comment = ""
        old = self._messages.get(data.id)
        if old is not None:
            new = msgspec.structs.replace(old, feedback=data.value, comment=data.comment)
            self._messages[data.id] = new
        return data

    def _ask(self, entry: Entry, data: _Ask) -> QuestionChange:
        message = self._text_of(
            entry, data.call, data.content, author=data.author, format=data.format
        )
        question = Question(call=data.call, kind=data.kind, message=message, actions=data.actions)
        if self.drops(entry.turn):
            self._dropped.add(message.key)
            return QuestionChange(what="asked", question=question)
        self._keep(question)
        self.put(message)
        return QuestionChange(what="asked", question=question)

    def _answer(self, entry: Entry, data: _Answer) -> QuestionChange:
        question = self.questions.get(data.call)
        if question is None:
            question = Question(call=data.call)
            self._keep(question)
        text = data.data.get("content") if isinstance(data.data, dict) else None
        question.answered, question.data = True, data.data
        question.answer = self._text_of(entry, data.call, text) if isinstance(text, str) else None
        return QuestionChange(what="answered", question=question)

    def _close(self, _entry: Entry, data: _Closing) -> QuestionChange:
        question = self.questions.pop(data.call, None) or Question(call=data.call)
        is_part = data.call not in self._dropped
        if question.answer is not None and data.outcome == "answered" and is_part:
            self._insert(question.answer)
        return QuestionChange(what="closed", question=question, outcome=data.outcome)

    def _step(self, _entry: Entry, data: StepData) -> StepChange:
        return StepChange(what="added", step=data)

    def _step_update(self, _entry: Entry, data: StepData) -> StepChange:
        return StepChange(what="changed", step=data)

    def _step_remove(self, _entry: Entry, data: StepData) -> StepChange:
        return StepChange(what="removed", step=data)

    def _fail(self, _entry: Entry, data: Failure) -> Failure:
        return data

    # Inside

    def _message_of(self, entry: Entry, data: _Message, *, n: int | None) -> ConversationMessage:
        return self._made(
            entry,
            # An id that is the same whenever the entry is read.
            id=data.id or str(uuid5(self.session, str(entry.seq))),
            type=data.type,
            content=data.content,
            format=data.format if n is None and data.type != USER else TEXT,
            author=data.author if n is None else "",
            created_at=data.created_at or entry.created_at,
            metadata=data.metadata,
            actions=data.actions,
            files=data.files or [],
            streaming=data.streaming,
            n=n,
        )

    def _text_of(self, entry: Entry, call: str, text: str, **fields: Any) -> ConversationMessage:
        id_ = call if entry.n is None else message_id(self.session, entry.n)
        return self._made(entry, id=id_, content=text, call=call, **fields)

    def _made(self, entry: Entry, **fields: Any) -> ConversationMessage:
        """Return the message of ``entry`` that has ``fields``."""
        known = {
            "type": ASSISTANT if entry.n is None else USER,
            "created_at": entry.created_at,
            "size": len(entry.data),
            "session": self.session,
            "seq": entry.seq,
            "n": entry.n,
            "turn": entry.turn,
        }
        return ConversationMessage(**(known | fields))

    def _keep(self, question: Question) -> None:
        self.questions[question.call] = question
        while len(self.questions) > _MAX_QUESTIONS:
            del self.questions[next(iter(self.questions))]

    def _insert(self, message: ConversationMessage) -> None:
        """Put a message at the place of its entry in the log."""
        later = [
            one
            for one in self._messages.values()
            if one.session == message.session and one.seq > message.seq
        ]
        self.put(message)
        for one in later:
            if self._messages.pop(one.key, None) is not None:
                self._messages[one.key] = one

    def _drop_from(self, n: int, end: int) -> None:
        """
        Drop the client's message ``n`` and what came after it, up to its event ``end``.

        Later messages of turns before ``n`` stay.
        """
        if self._replaced and self._replaced[-1][1] == n:
            self._replaced[-1] = self._replaced[-1][0], end
        else:
            self._replaced.append((n, end))
        said = self._messages.get((self.session, n))
        if said is not None:
            first = said.seq
        elif self._last_said is not None and self._last_said[0] == n:
            first = self._last_said[1]
        else:
            first = 0  # it is older than all known entries of this session
        is_after = False
        for one in list(self._messages.values()):
            is_after = is_after or (one.session == self.session and one.seq >= first)
            number = one.turn if one.n is None else one.n
            if is_after and (number is None or number >= n):
                self.remove(one.key)
                self._dropped.add(one.key)
        for call in self._dropped & self.questions.keys():
            del self.questions[str(call)]

    def _is_over(self) -> bool:
        """Return True if the messages exceed the limits."""
        count = len(self._messages)
        return (self._max_messages is not None and count > self._max_messages) or (
            self._max_bytes is not None and self._bytes > self._max_bytes and count > 1
        )


_Reader = tuple[
    "msgspec.json.Decoder[Any]", Callable[[ConversationReducer, "Entry", Any], ConversationChange]
]

#: By the name of an entry: the decoder of its data, and the method that applies it.
_FROM_SERVER: dict[str, _Reader] = {
    "message": (msgspec.json.Decoder(_Message), ConversationReducer._message),
    "message_update": (msgspec.json.Decoder(_Message), ConversationReducer._update),
    "message_remove": (msgspec.json.Decoder(_Removal), ConversationReducer._remove),
    "ask": (msgspec.json.Decoder(_Ask), ConversationReducer._ask),
    "ask_closed": (msgspec.json.Decoder(_Closing), ConversationReducer._close),
    "step": (msgspec.json.Decoder(StepData), ConversationReducer._step),
    "step_update": (msgspec.json.Decoder(StepData), ConversationReducer._step_update),
    "step_remove": (msgspec.json.Decoder(StepData), ConversationReducer._step_remove),
    "error": (msgspec.json.Decoder(Failure), ConversationReducer._fail),
}
#: The same for a client's events, which may have the name of an event of the server.
_FROM_CLIENT: dict[str, _Reader] = {
    "message": (msgspec.json.Decoder(_ClientMessage), ConversationReducer._client_message),
    "answer": (msgspec.json.Decoder(_Answer), ConversationReducer._answer),
    "feedback": (msgspec.json.Decoder(FeedbackChange), ConversationReducer._feedback),
}
