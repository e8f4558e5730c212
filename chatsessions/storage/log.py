"""
A session's log: its entries, and the conversation that they make.

Nothing here asks the database. A session that goes on takes each new entry (:class:`Recent`). A
log that is stored is read from its end (:class:`Backwards`), so that no more of it is read than was
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from chatsessions.conf import with_offset
from chatsessions.protocol.frames import message_id

#: Whose part of the conversation a message is, by Chainlit's names.
Type = Literal["user_message", "assistant_message", "system_message"]
USER: Type = "user_message"
ASSISTANT: Type = "assistant_message"
SYSTEM: Type = "system_message"

#: The names of the entries that make a conversation.
_FROM_SERVER = ("message", "message_update", "message_remove", "ask", "ask_closed")
#: A client may give its event the name of an event of the server; these are its own.
_FROM_CLIENT = ("message", "answer")
NAMES = (*_FROM_SERVER, "answer")

#: The names of the entries that end a stream.
_CLOSING = ("message_update", "message_remove", "step_update", "step_remove")

#: The longest topic; it is a column of the session's row.
MAX_TOPIC = 100
#: The most answers that are kept until their questions are closed.
_MAX_ANSWERS = 16


class Entry(msgspec.Struct, gc=False):
    """One entry of a session's log. ``data`` is JSON, as it goes over the wire."""

    seq: int
    n: int | None
    turn: int | None
    name: str
    data: bytes
    created_at: datetime
    #: The id that the client gave its message, in hexadecimal. It is written, and never read.
    key: str | None = None

    @property
    def closes(self) -> str | None:
        """The id of the message or step that is changed here, which ends its stream."""
        if self.name not in _CLOSING:
            return None
        data: Any = msgspec.json.decode(self.data)
        if not isinstance(data, dict) or data.get("n") is not None:
            return None  # it is about a message of the client, which has no stream
        found = data.get("id")
        return found if isinstance(found, str) else None


class Said(msgspec.Struct, kw_only=True):
    """One message of a conversation."""

    id: str
    type: Type
    content: str
    created_at: datetime
    #: "" for a message of the user.
    author: str = ""
    metadata: dict[str, Any] | None = None
    actions: list[dict[str, Any]] = []
    #: The files of a message of the server, as they go over the wire.
    files: list[dict[str, Any]] = []
    #: How many bytes its entry has.
    size: int = 0
    #: The session, and the number of the entry in its log.
    session: UUID | None = None
    seq: int = 0
    #: The number of the client's event; None for a message of the server.
    n: int | None = None

    @property
    def key(self) -> object:
        """
        The message's key in its conversation.

        It is the id for a message of the server. A client chooses the ids of its messages and may
        choose one that is taken, so theirs is the number of the event.
        """
        return self.id if self.n is None else (self.session, self.n)

    def changed_to(self, new: Said) -> Said:
        """Return ``new`` in the place of this message. A client's message keeps its time."""
        created_at = new.created_at if self.n is None else self.created_at
        return msgspec.structs.replace(new, seq=self.seq, created_at=created_at)


class _Message(msgspec.Struct):
    content: str
    id: str = ""
    author: str = ""
    type: Type = ASSISTANT
    created_at: datetime | None = None
    metadata: dict[str, Any] | None = None
    actions: list[dict[str, Any]] = []
    #: In a message of the client they are ids.
    files: list[Any] | None = None
    #: In a ``message_update``: the number of the client's message that it changes.
    n: int | None = None


class _Call(msgspec.Struct):
    call: str
    content: str = ""
    author: str = ""
    outcome: str = ""
    data: Any = None


class _Id(msgspec.Struct):
    id: str
    n: int | None = None

    def key(self, session: UUID) -> object:
        return self.id if self.n is None else (session, self.n)


_message = msgspec.json.Decoder(_Message)
_call = msgspec.json.Decoder(_Call)
_id = msgspec.json.Decoder(_Id)


def topic_of(text: str) -> str:
    """Return the beginning of ``text`` as one line of printable characters."""
    words = text[: 8 * MAX_TOPIC].encode(errors="replace").decode().split()
    line = "".join(char for char in " ".join(words) if char.isprintable())
    return line if len(line) <= MAX_TOPIC else f"{line[: MAX_TOPIC - 1].rstrip()}…"


def _decoded(decoder: msgspec.json.Decoder[Any], entry: Entry) -> Any:
    """Return an entry's data, or None if it is the application's own and has another shape."""
    try:
        return decoder.decode(entry.data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _said(entry: Entry, session: UUID) -> Said | None:
    """Return the message that an entry contains, if it does."""
    if entry.name in ("ask", "answer"):
        return _asked(entry, session)
    found = _decoded(_message, entry)
    if found is None:
        return None
    if entry.n is not None:
        return Said(
            id=found.id or message_id(session, entry.n),
            type=USER,
            content=found.content,
            created_at=with_offset(entry.created_at),
            size=len(entry.data),
            session=session,
            seq=entry.seq,
            n=entry.n,
        )
    n = found.n if entry.name == "message_update" else None
    return Said(
        id=found.id or _made_up_id(entry, session),
        type=found.type,
        content=found.content,
        author=found.author if n is None else "",
        created_at=with_offset(found.created_at or entry.created_at),
        metadata=found.metadata,
        actions=found.actions,
        files=found.files or [],
        size=len(entry.data),
        session=session,
        seq=entry.seq,
        n=n,
    )


def _asked(entry: Entry, session: UUID) -> Said | None:
    found = _decoded(_call, entry)
    if found is None:
        return None
    text = found.content
    if entry.name == "answer":
        text = found.data.get("content") if isinstance(found.data, dict) else None
        if not isinstance(text, str):
            return None  # a button, or files
    n = entry.n
    return Said(
        id=found.call if n is None else message_id(session, n),
        type=ASSISTANT if n is None else USER,
        content=text,
        author=found.author if n is None else "",
        created_at=with_offset(entry.created_at),
        size=len(entry.data),
        session=session,
        seq=entry.seq,
        n=n,
    )


def _made_up_id(entry: Entry, session: UUID) -> str:
    """Return an id that is the same whenever the entry is read."""
    return str(uuid5(session, str(entry.seq)))


class Recent:
    """
    The latest messages of a session that goes on: at most so many, of at most so many bytes.

    The oldest are forgotten first. The latest is always kept.
    """

    __slots__ = ("_answers", "_bytes", "_max_bytes", "_max_messages", "_said", "_session")

    def __init__(self, session: UUID, *, max_messages: int, max_bytes: int) -> None:
        self._session = session
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._said: dict[object, Said] = {}
        self._answers: dict[str, Said] = {}
        self._bytes = 0

    def __contains__(self, said: Said) -> bool:
        return said.key in self._said

    def __iter__(self) -> Iterator[Said]:
        return iter(list(self._said.values()))

    def take(self, entry: Entry) -> str | None:
        """Take a new entry of the log; return the id of the message that the server sent by it."""
        if entry.name not in (_FROM_SERVER if entry.n is None else _FROM_CLIENT):
            return None
        if entry.name == "ask_closed":
            self._close(entry)
        elif entry.name == "message_remove":
            gone = _decoded(_id, entry)
            if gone is not None:
                self._remove(gone.key(self._session))
        elif (said := _said(entry, self._session)) is not None:
            return self._take(entry, said)
        return None

    def _take(self, entry: Entry, said: Said) -> str | None:
        if entry.name == "answer":
            self._answers[_call.decode(entry.data).call] = said
            while len(self._answers) > _MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
            return None
        if entry.name == "message_update":
            old = self._said.get(said.key)
            if old is not None:
                self.put(old.changed_to(said))
            return None
        self._remove(said.key)  # a message that is sent again is where it was sent last
        self.put(said)
        return said.id if said.n is None else None

    def _close(self, entry: Entry) -> None:
        """Put the answer that has closed a question into the conversation."""
        closed = _decoded(_call, entry)
        answer = None if closed is None else self._answers.pop(closed.call, None)
        if answer is not None and closed.outcome == "answered":
            self.put(answer)

    def put(self, said: Said) -> None:
        """Put a message at the end, or a new version of a message in its place."""
        old = self._said.get(said.key)
        self._bytes += said.size - (0 if old is None else old.size)
        self._said[said.key] = said
        while len(self._said) > self._max_messages or (
            self._bytes > self._max_bytes and len(self._said) > 1
        ):
            self._remove(next(iter(self._said)))

    def remove(self, key: object) -> bool:
        """Forget a message; return whether it was there."""
        is_known = key in self._said
        self._remove(key)
        return is_known

    def _remove(self, key: object) -> None:
        old = self._said.pop(key, None)
        self._bytes -= 0 if old is None else old.size

    def clear(self) -> None:
        self._said.clear()
        self._answers.clear()
        self._bytes = 0


class Backwards:
    """
    The last messages of a conversation, found by reading logs from their ends.

    A change is read before the message that it changes, and kept until then. There is nothing more
    to read once it is ``full``.
    """

    def __init__(self, *, limit: int, max_bytes: int) -> None:
        self._limit = limit
        self._bytes_left = max_bytes
        self._found: list[Said] = []
        self._keys: set[object] = set()
        self._streams: dict[Any, Any] = {}
        self._changed: dict[object, Said] = {}
        self._removed: set[object] = set()
        self._answered: set[str] = set()
        self.full = False

    @property
    def messages(self) -> list[Said]:
        """The messages that were found, oldest first."""
        return self._found[::-1]

    def begin(self, streams: list[dict[str, Any]]) -> None:
        """Begin with the log of another session, in which ``streams`` are open."""
        self._changed.clear()
        self._removed.clear()
        self._answered.clear()
        self._streams = {stream.get("id"): stream.get("content") for stream in streams}

    def forget(self, keys: Iterable[object]) -> None:
        """Leave out the messages with these keys, also those of logs that are read later."""
        self._keys.update(keys)

    def take(self, entry: Entry, session: UUID, *, skip: bool = False) -> None:
        """Take the entry before the last one. With ``skip`` its own message is left out."""
        if entry.n is not None:
            self._take_clients(entry, session, skip=skip)
        elif entry.name == "message_remove":
            gone = _decoded(_id, entry)
            if gone is not None and gone.key(session) not in self._changed:
                self._removed.add(gone.key(session))
        elif entry.name == "ask_closed":
            closed = _decoded(_call, entry)
            if closed is not None and closed.outcome == "answered":
                self._answered.add(closed.call)
        elif entry.name == "message_update":
            said = _said(entry, session)
            if said is not None and said.key not in self._removed:
                self._changed.setdefault(said.key, said)
        elif entry.name in ("message", "ask"):
            said = _said(entry, session)
            if said is not None:
                self._put_as_it_is(said, text=self._streams.get(said.id), skip=skip)

    def _take_clients(self, entry: Entry, session: UUID, *, skip: bool) -> None:
        if entry.name == "answer":
            answer = _decoded(_call, entry)
            if answer is None or answer.call not in self._answered:
                return
            self._answered.discard(answer.call)
        elif entry.name != "message":
            return
        said = _said(entry, session)
        if said is not None:
            self._put_as_it_is(said, skip=skip)

    def _put_as_it_is(self, said: Said, *, text: object = None, skip: bool = False) -> None:
        """Put a message as later entries have changed it; ``text`` is that of its open stream."""
        new = self._changed.pop(said.key, None)
        if said.key in self._removed:
            self._removed.discard(said.key)
            return
        if new is not None:
            said = said.changed_to(new)
        if isinstance(text, str):
            said.content = text
        if not skip:
            self._put(said)

    def put(self, said: Said) -> None:
        """Put a message that is not in the log before those that were found."""
        self._put_as_it_is(said)

    def _put(self, said: Said) -> None:
        if self.full or said.key in self._keys:
            return  # a message that was sent again is where it was sent last
        if self._found and said.size > self._bytes_left:
            self.full = True
            return
        self._found.append(said)
        self._keys.add(said.key)
        self._bytes_left -= said.size
        self.full = len(self._found) >= self._limit
