"""Threads in the database: their sessions, and what was said in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from chatsessions.conf import settings
from chatsessions.models import (
    ChatSession,
    ChatSessionQuerySet,
    SessionEvent,
)

from .log import NAMES, Backwards, Entry, Said
from .store import read_chunk

#: How many entries are read at a time. An entry may have a megabyte.
_CHUNK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadKey:
    """The thread of a user. It has the sessions of this user and no others."""

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
    """What ``chat_context.clear()``, ``add()`` and ``remove()`` have changed in a conversation."""

    #: What was said up to this entry is forgotten, and so is the thread before the session; None
    #: if nothing is.
    after: int | None = None
    #: Messages that are not in the log, each with the entry that it follows.
    added: list[tuple[int, Said]] = field(default_factory=list)
    #: The keys of messages that are forgotten.
    removed: list[str | tuple[UUID, int]] = field(default_factory=list)

    @classmethod
    def of(cls, data: Any) -> Mark:
        """Return the mark that a row's column has."""
        try:
            return msgspec.convert(data or {}, cls)
        except msgspec.ValidationError:
            return cls()

    def as_json(self) -> Any:
        return msgspec.to_builtins(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One session's part of a conversation, and how much of its log is read."""

    session: UUID
    mark: Mark = field(default_factory=Mark)
    streams: list[dict[str, Any]] = field(default_factory=list)
    #: Only entries up to this one, and up to this moment, are read.
    up_to: int | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Messages of a thread, oldest first."""

    messages: list[Said]
    #: Whether there are older messages.
    more: bool


def read_page(
    key: ThreadKey, *, limit: int, max_bytes: int, before: tuple[UUID, int] | None = None
) -> Page:
    """
    Return the last ``limit`` messages of a thread, of at most ``max_bytes``, but at least one.

    ``before`` is a session and one of its entries: the messages are those before that entry.
    """
    back = Backwards(limit=limit + 1, max_bytes=max_bytes)
    parts = _parts(key)
    if before is not None:
        parts = _from_session(parts, before[0])
    for part in parts:
        skip_from = before[1] if before is not None and part.session == before[0] else None
        _read(back, part, skip_from=skip_from)
        if back.full:
            break
    messages = back.messages
    more = back.full
    return Page(messages=messages[-limit:], more=more)


def read_context(key: ThreadKey, own: Part | None, *, before: datetime | None = None) -> list[Said]:
    """
    Return the messages that ``chat_context`` begins with: the last of a session and its thread.

    ``own`` is the session's own part, None for a new session. Of the thread's other sessions the
    messages are read that were sent ``before`` the session began.
    """
    back = Backwards(limit=settings.CHAT_CONTEXT_MESSAGES, max_bytes=settings.CHAT_CONTEXT_BYTES)
    if own is not None:
        _read(back, own)
        if back.full or own.mark.after is not None:
            return back.messages
    for part in _parts(key, before=before, marks=True):
        if own is not None and part.session == own.session:
            continue
        _read(back, part)
        if back.full or part.mark.after is not None:
            break
    return back.messages


def _parts(
    key: ThreadKey, *, before: datetime | None = None, marks: bool = False
) -> Iterator[Part]:
    """Yield a thread's sessions, newest first; with ``before`` as they were at that moment."""
    rows = key.sessions().order_by("-created_at", "-pk")
    if before is not None:
        rows = rows.filter(created_at__lte=before)
    columns: Any = rows.values_list("pk", "chat_context", "streams")
    for id_, mark, streams in columns:
        yield Part(
            session=id_,
            mark=Mark.of(mark) if marks else Mark(),
            streams=streams or [],
            until=before,
        )


def _from_session(parts: Iterator[Part], session: UUID) -> Iterator[Part]:
    """Yield ``parts`` from ``session`` on; none if it is not among them."""
    reached = False
    for part in parts:
        reached = reached or part.session == session
        if reached:
            yield part


def _read(back: Backwards, part: Part, *, skip_from: int | None = None) -> None:
    """
    Read a session's log from its end until ``back`` is full.

    Messages of the entries from ``skip_from`` on are left out.
    """
    back.begin(part.streams)
    back.forget(part.mark.removed)
    added = list(part.mark.added)
    for entry in _entries(part):
        while added and added[-1][0] >= entry.seq:
            back.put(added.pop()[1])
        back.take(entry, part.session, skip=skip_from is not None and entry.seq >= skip_from)
        if back.full:
            return
    for _, said in reversed(added):
        back.put(said)


def _entries(part: Part) -> Iterator[Entry]:
    rows = SessionEvent.objects.using(settings.DATABASE)
    rows = rows.filter(session=part.session, name__in=NAMES, seq__gt=part.mark.after or 0)
    if part.up_to is not None:
        rows = rows.filter(seq__lte=part.up_to)
    if part.until is not None:
        rows = rows.filter(created_at__lte=part.until)
    rows = rows.order_by("-seq")
    chunk, more = read_chunk(rows, _CHUNK)
    yield from chunk
    while more:
        chunk, more = read_chunk(rows.filter(seq__lt=chunk[-1].seq), _CHUNK)
        yield from chunk
