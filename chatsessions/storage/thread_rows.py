"""Threads in the database: their sessions and messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import dropwhile
from typing import Any
from uuid import UUID

import msgspec

from chatsessions.conf import settings
from chatsessions.models import ChatSession, ChatSessionQuerySet, SessionEvent

from .conversation import MESSAGE_NAMES, OPENING_NAMES, ConversationMessage, ConversationReducer
from .log import Entry, read_chunk

#: How many entries are read at a time. An entry may have a megabyte.
_CHUNK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadKey:
    """A thread of one user. It has sessions of this user only."""

    id: UUID
    user_id: Any
    chat: str

    def sessions(self) -> ChatSessionQuerySet:
        """Return the thread's sessions, oldest first; none for an anonymous user."""
        rows = ChatSession.objects.using(settings.DATABASE)
        if self.user_id is None:
            return rows.none()
        found = rows.filter(thread_id=self.id, user=self.user_id, chat=self.chat)
        return found.order_by("created_at", "pk")


@dataclass(slots=True)
class Mark:
    """The changes of a conversation by ``chat_context.clear()``, ``add()`` and ``remove()``."""

    #: The entry up to which the conversation was cleared, and with it the thread's earlier
    #: sessions; None if it was not cleared.
    after: int | None = None
    #: Messages that are not in the log, each with the entry that it follows.
    added: list[tuple[int, ConversationMessage]] = field(default_factory=list)
    #: The keys of removed messages.
    removed: list[str | tuple[UUID, int]] = field(default_factory=list)

    @classmethod
    def of(cls, data: Any) -> Mark:
        """Return the mark from a row's column, an empty one if that is not valid."""
        try:
            return msgspec.convert(data or {}, cls)
        except msgspec.ValidationError:
            return cls()

    def as_json(self) -> Any:
        return msgspec.to_builtins(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPart:
    """One session's part of a conversation, and how far its log is read."""

    session: UUID
    mark: Mark = field(default_factory=Mark)
    streams: list[dict[str, Any]] = field(default_factory=list)
    #: Only entries up to this one, and up to this moment, are read; None means all.
    up_to: int | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Messages of a thread, oldest first."""

    messages: list[ConversationMessage]
    #: Whether there are older messages.
    more: bool


def read_page(
    key: ThreadKey, *, limit: int, max_bytes: int, before: tuple[UUID, int] | None = None
) -> Page:
    """
    Return the last ``limit`` messages of a thread, of at most ``max_bytes``, but at least one.

    ``before`` is a session and one of its entries: only messages before that entry are returned.
    """
    parts: Iterator[ThreadPart] = _parts(key)
    if before is not None:
        newest = before[0]
        parts = dropwhile(lambda part: part.session != newest, parts)
    messages, more = last_messages(
        ((part, _chunks(part)) for part in parts),
        limit=limit + 1,
        max_bytes=max_bytes,
        before=before,
    )
    return Page(messages=messages[-limit:], more=more)


def read_context(
    key: ThreadKey, own: ThreadPart | None, *, before: datetime | None = None
) -> list[ConversationMessage]:
    """
    Return the messages that ``chat_context`` begins with: the last of a session and its thread.

    ``own`` is the session's own part, None for a new session. From the thread's other sessions only
    messages ``before`` that moment are read: when the session began.
    """
    messages, _ = last_messages(
        ((part, _chunks(part)) for part in _context_parts(key, own, before)),
        limit=settings.CHAT_CONTEXT_MESSAGES,
        max_bytes=settings.CHAT_CONTEXT_BYTES,
    )
    return messages


def _context_parts(
    key: ThreadKey, own: ThreadPart | None, before: datetime | None
) -> Iterator[ThreadPart]:
    """Yield the parts of a conversation, newest first, back to the last ``clear()``."""
    if own is not None:
        yield own
        if own.mark.after is not None:
            return
    for part in _parts(key, before=before, marks=True):
        if own is None or part.session != own.session:
            yield part
            if part.mark.after is not None:
                return


def _parts(
    key: ThreadKey, *, before: datetime | None = None, marks: bool = False
) -> Iterator[ThreadPart]:
    """Yield a thread's sessions, newest first; with ``before`` as they were at that moment."""
    rows = key.sessions().order_by("-created_at", "-pk")
    if before is not None:
        rows = rows.filter(created_at__lte=before)
    columns: Any = rows.values_list("pk", "chat_context", "streams")
    for id_, mark, streams in columns:
        yield ThreadPart(
            session=id_,
            mark=Mark.of(mark) if marks else Mark(),
            streams=streams or [],
            until=before,
        )


def _chunks(part: ThreadPart) -> Iterator[list[Entry]]:
    """Yield the entries of a session that make messages, the last ones first."""
    rows = SessionEvent.objects.using(settings.DATABASE)
    rows = rows.filter(session=part.session, name__in=MESSAGE_NAMES, seq__gt=part.mark.after or 0)
    if part.up_to is not None:
        rows = rows.filter(seq__lte=part.up_to)
    if part.until is not None:
        rows = rows.filter(created_at__lte=part.until)
    rows = rows.order_by("-seq")
    chunk, more = read_chunk(rows, _CHUNK)
    yield chunk
    while more:
        chunk, more = read_chunk(rows.filter(seq__lt=chunk[-1].seq), _CHUNK)
        yield chunk


@dataclass(slots=True)
class _Tail:
    """The part of a session's log that was read: its last entries, newest first."""

    part: ThreadPart
    entries: list[Entry] = field(default_factory=list)
    is_whole: bool = False

    def apply(self, reducer: ConversationReducer) -> None:
        reducer.begin(self.part.session)
        first = 0 if self.is_whole else self.entries[-1].seq
        added = deque(one for one in self.part.mark.added if one[0] >= first)
        for entry in reversed(self.entries):
            while added and added[0][0] < entry.seq:
                reducer.put(added.popleft()[1])
            reducer.take(entry)
        for _, message in added:
            reducer.put(message)
        for stream in self.part.streams:
            if "content" in stream:  # else it is a step
                reducer.stream(stream["id"], stream["content"])
        again = {message.key for _, message in self.part.mark.added}
        for key in self.part.mark.removed:
            if key not in again:
                reducer.remove(key)


def last_messages(
    logs: Iterable[tuple[ThreadPart, Iterable[list[Entry]]]],
    *,
    limit: int,
    max_bytes: int,
    before: tuple[UUID, int] | None = None,
) -> tuple[list[ConversationMessage], bool]:
    """
    Return the last messages of a conversation, and whether a limit was reached.

    ``logs`` are its sessions, the newest first, each with its entries in chunks from the last to
    the first. Chunks are read until they have ``limit`` messages, or ``max_bytes`` of them.
    Messages from entry ``before`` of a session on are left out.
    """
    tails: list[_Tail] = []
    count, size = limit, max_bytes  # how much has still to be read, at least
    for part, chunks in logs:
        tail = _Tail(part)
        tails.append(tail)
        for chunk in chunks:
            for entry in chunk:
                opens = entry.name in OPENING_NAMES
                if before is not None and before[0] == part.session and entry.seq >= before[1]:
                    # The entry may change or replace earlier messages.
                    if not opens or entry.n is not None:
                        tail.entries.append(entry)
                else:
                    tail.entries.append(entry)
                    count -= opens
                    size -= len(entry.data)
            if tail.entries and (count <= 0 or size < 0):
                found, full = _reduced(tails, limit, max_bytes, before)
                if full:
                    return found, True
                count, size = limit - len(found), max_bytes
        tail.is_whole = True
    return _reduced(tails, limit, max_bytes, before)


def _reduced(
    tails: list[_Tail], limit: int, max_bytes: int, before: tuple[UUID, int] | None
) -> tuple[list[ConversationMessage], bool]:
    """Return the last messages within the limits, and whether a limit was reached."""
    if not tails:
        return [], False
    reducer = ConversationReducer(tails[-1].part.session)
    for tail in reversed(tails):
        tail.apply(reducer)
    found: list[ConversationMessage] = []
    for message in reversed(reducer.messages):
        if before is not None and before[0] == message.session and message.seq >= before[1]:
            continue
        max_bytes -= message.size
        if len(found) == limit or (found and max_bytes < 0):
            return found[::-1], True
        found.append(message)
    return found[::-1], len(found) == limit
