"""A session's log: queries for its entries, and the topic in the session's row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, IntegerField, Min, QuerySet, TextField
from django.db.models.functions import Cast
from django.db.models.sql.compiler import SQLCompiler

from chatsessions.conf import settings
from chatsessions.models import ChatSession, SessionEvent

from .conversation import ASSISTANT, OPENING_NAMES
from .conversation import Entry as Entry  # exported: the functions here return entries

#: The longest topic; it is a column of the session's row.
MAX_TOPIC = 100
#: The most bytes of entries that are read at a time.
CHUNK_BYTES = 512 * 1024
#: Events that carry a whole message.
MESSAGE_EVENTS = ("message", "message_update")
#: The server's events that set a state, so that only the last one counts.
STATE_EVENTS = ("settings_form", "settings")
#: The server's events that open a question or a stream.
_OPENED = ("ask", "message", "step")


def topic_of(text: str) -> str:
    """Return the beginning of ``text`` as one line of printable characters."""
    words = text[: 8 * MAX_TOPIC].encode(errors="replace").decode().split()
    line = "".join(char for char in " ".join(words) if char.isprintable())
    return line if len(line) <= MAX_TOPIC else f"{line[: MAX_TOPIC - 1].rstrip()}…"


class OctetLength(Func):
    """The bytes of a text in UTF-8; Django's ``Length`` counts characters."""

    function = "OCTET_LENGTH"
    output_field = IntegerField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(
            compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context
        )


def _log(session_id: UUID) -> QuerySet[SessionEvent]:
    return SessionEvent.objects.using(settings.DATABASE).filter(session=session_id)


def read_entries(session_id: UUID, *, after: int, limit: int) -> list[Entry]:
    """Return the next entries of the stored log, oldest first; see :func:`read_chunk`."""
    entries, _ = read_chunk(_log(session_id).filter(seq__gt=after).order_by("seq"), limit)
    return entries


def read_before(session_id: UUID, *, before: int | None, limit: int) -> tuple[list[Entry], int]:
    """
    Return the last entries of the stored log before entry ``before``, or of all, oldest first.

    Also return the number of the first entry that is kept, 1 if none is. :func:`read_chunk` says
    how many entries are returned.
    """
    rows = _log(session_id).order_by("-seq")
    entries, _ = read_chunk(rows if before is None else rows.filter(seq__lt=before), limit)
    first: int | None = _log(session_id).aggregate(first=Min("seq"))["first"]
    return entries[::-1], first or 1


class Latest(msgspec.Struct, kw_only=True):
    """Where the log begins for a client that asks for the latest messages only."""

    #: The first entry that the client gets.
    first: int
    #: The last entry of each of ``STATE_EVENTS`` before ``first``; these still count.
    state: list[Entry]


def find_latest(session_id: UUID, messages: int) -> Latest | None:
    """
    Return where a session's latest messages begin; None if it has at most ``messages`` messages.

    If an open question, or a message or step that is being streamed, is older, it begins there.
    """
    log = _log(session_id)
    begun = log.filter(name__in=OPENING_NAMES).order_by("-seq").values_list("seq", flat=True)
    found = list(begun[messages - 1 : messages + 1])
    if len(found) < 2:
        return None
    first = found[0]
    rows = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id)
    columns: Any = rows.values_list("asks", "streams")
    for asks, streams in columns:
        ids = [ask["call"] for ask in asks] + [stream["id"] for stream in streams]
        for id_ in ids:
            quoted = msgspec.json.encode(id_).decode()
            of_it = log.filter(n=None, name__in=_OPENED, seq__lt=first, data__contains=quoted)
            first = of_it.order_by("seq").values_list("seq", flat=True).first() or first
    state = [
        entry
        for name in STATE_EVENTS
        for entry in entries_of(log.filter(n=None, name=name, seq__lt=first).order_by("-seq")[:1])
    ]
    return Latest(first=first, state=state)


def find_message(session_id: UUID, message: str) -> dict[str, Any] | None:
    """Return the data of a message as it was last sent or updated, if that is still kept."""
    found = None
    for _, data in _about(session_id, message, MESSAGE_EVENTS):
        found = data
    return found


def find_answer(session_id: UUID, message: str) -> int | None:
    """
    Return the number of the entry of an assistant's message.

    Returns None if there is no such message, if it was removed, or if its entry is no longer kept.
    """
    found = None
    for entry, data in _about(session_id, message, ("message", "message_remove")):
        is_answer = entry.name == "message" and data.get("type", ASSISTANT) == ASSISTANT
        found = entry.seq if is_answer else None
    return found


def _about(
    session_id: UUID, message: str, names: Collection[str]
) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Yield the entries of these names about a message of the server, oldest first."""
    quoted = msgspec.json.encode(message).decode()
    rows = _log(session_id).filter(n=None, name__in=names, data__contains=quoted)
    for entry in entries_of(rows.order_by("seq")):
        data = msgspec.json.decode(entry.data)
        if data.get("id") == message and data.get("n") is None:
            yield entry, data


def find_seq(session_id: UUID, n: int) -> int | None:
    """Return the number of the entry of event ``n``, if it is still kept."""
    return _log(session_id).filter(n=n).values_list("seq", flat=True).first()


def find_last_message(session_id: UUID) -> int | None:
    """Return the number of the client's last message, if it is still kept."""
    rows = _log(session_id).filter(name="message", n__isnull=False)
    return rows.order_by("-n").values_list("n", flat=True).first()


def find_posted(session_id: UUID, key: str) -> Entry | None:
    """Return the entry of the client's message with the id ``key``, if it is still kept."""
    return next(iter(entries_of(_log(session_id).filter(key=key).order_by("seq")[:1])), None)


def find_outcome(session_id: UUID, n: int) -> str:
    """Return how the turn of event ``n`` has ended."""
    return _log(session_id).filter(n=n).values_list("status", flat=True).first() or "done"


def find_events(session_id: UUID, numbers: Collection[int]) -> list[tuple[int, str, str]]:
    """Return number, name and outcome of client's events that are kept, in their order."""
    rows = _log(session_id).filter(n__in=numbers).order_by("n")
    found = rows.values_list("n", "name", "status")
    return [(n or 0, name, status or "done") for n, name, status in found]


def entries_of(rows: Any) -> list[Entry]:
    """Return the entries of a query of ``SessionEvent``, in its order."""
    return list(map(_entry, _columns(rows)))


def read_chunk(rows: Any, limit: int) -> tuple[list[Entry], bool]:
    """
    Return the first entries of an ordered query, and whether there may be more.

    They are at most ``limit`` entries, and at most ``CHUNK_BYTES`` bytes unless the first entry
    alone has more. A single entry may have a megabyte, and many clients may read at a time.
    """
    entries: list[Entry] = []
    left = CHUNK_BYTES
    for entry in _one_by_one(rows, limit):
        left -= len(entry.data)
        if left < 0 and entries:
            return entries, True
        entries.append(entry)
    return entries, len(entries) == limit


def _one_by_one(rows: Any, limit: int) -> Iterator[Entry]:
    """Yield the first ``limit`` of ``rows``; read little more than :func:`read_chunk` takes."""
    if connections[rows.db].vendor == "sqlite":
        yield from map(_entry, _columns(rows[:limit]).iterator(chunk_size=1))
        return
    # Other databases send all rows at once, but know the length of a text without reading it.
    fitting: list[int] = []
    left = CHUNK_BYTES
    for seq, size in rows.annotate(size=OctetLength("data")).values_list("seq", "size")[:limit]:
        fitting.append(seq)
        left -= size
        if left < 0 and len(fitting) > 1:
            break
    yield from entries_of(rows.filter(seq__in=fitting))


def _columns(rows: Any) -> Any:
    # Without the cast a JSONTextField would be decoded, only to be encoded again.
    return rows.values_list("seq", "n", "turn", "name", Cast("data", TextField()), "created_at")


def _entry(columns: tuple[int, int | None, int | None, str, str, datetime]) -> Entry:
    seq, n, turn, name, data, created_at = columns
    return Entry(seq, n, turn, name, data.encode(), created_at)
