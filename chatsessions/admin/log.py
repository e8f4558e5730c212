"""Reads a page's worth of a session's log, whatever its length."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.db.models.functions import Substr

from chatsessions.models import ChatSession, SessionEvent

from .transcript import Entry

#: Entries on one page.
PAGE = 500
#: The ``seq`` that a log begins with.
FIRST = 1
#: Characters of one entry that are fetched: 500 entries of the largest frame would be 128 MB.
MAX_FETCHED = 64 * 1024

_FIELDS = ("seq", "n", "turn", "name", "status", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """
    Entries in the order of ``seq``, and what ``before`` is for the pages on both sides.

    ``later`` is None on the last page, ``earlier`` on the first; ``last`` says which it is.
    ``dropped`` counts the entries at the log's start that are no longer kept.
    """

    entries: list[Entry]
    earlier: int | None
    later: int | None
    last: bool
    dropped: int

    @property
    def last_seq(self) -> int:
        """The number of the last entry here."""
        return self.entries[-1].seq


def read_page(session: ChatSession, before: int | None = None) -> LogPage:
    """
    Return the last entries, or the last ones before the ``seq`` given; one bounded query.

    Before ``FIRST`` there is nothing: these are the first entries that are kept.
    """
    if before == FIRST:
        return _first_page(session)
    entries = _read(session, before)
    more = len(entries) > PAGE
    entries = entries[-PAGE:]
    first = entries[0].seq if entries else 1
    last = before is None or before > session.head
    return LogPage(
        entries=entries,
        earlier=first if more else None,
        later=None if before is None or last or before + PAGE > session.head else before + PAGE,
        last=last,
        dropped=0 if more else first - 1,
    )


def _first_page(session: ChatSession) -> LogPage:
    entries = _fetch(SessionEvent.objects.filter(session=session).order_by("seq"))
    last = len(entries) <= PAGE
    entries = entries[:PAGE]
    following = entries[-1].seq + 1 + PAGE if entries else FIRST
    return LogPage(
        entries=entries,
        earlier=None,
        later=None if following > session.head else following,
        last=last,
        dropped=entries[0].seq - 1 if entries else 0,
    )


def parse_before(text: str | None) -> int | None:
    """The ``seq`` in a query string; None for what is not one."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 17):
        return None
    return int(text) or None


def _read(session: ChatSession, before: int | None) -> list[Entry]:
    events = SessionEvent.objects.filter(session=session).order_by("-seq")
    if before is not None:
        events = events.filter(seq__lt=before)
    return _fetch(events)[::-1]


def _fetch(events: QuerySet[SessionEvent]) -> list[Entry]:
    """The first of ``events``, a page and one more."""
    # As text: the field would decode every entry, at whatever length.
    rows = events.values(*_FIELDS, text=Substr("data", 1, MAX_FETCHED))[: PAGE + 1]
    return [Entry(data=row.pop("text"), **row) for row in rows]
