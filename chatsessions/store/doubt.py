"""
Whether a change is stored, of a commit whose answer was lost with the connection.

The database may have committed and could not say so. Storing such a change again would fail on
its own traces, and its session would be lost for that.
"""

from __future__ import annotations

import msgspec
from django.db.models import QuerySet

from chatsessions.conf import settings
from chatsessions.models import ChatSession, SessionEvent

from .changes import Change


def is_stored(change: Change) -> bool:
    """
    Whether the rows have what only ``change`` can have brought there.

    False also for one that leaves no traces of its own, and may be stored once more.
    """
    if change.entries:
        return _has_last_entry(change)
    if change.insert:
        return _row(change).exists()
    return change.claims is not None and _has_claimed(change)


def _has_last_entry(change: Change) -> bool:
    last = change.entries[-1]
    log = SessionEvent.objects.using(settings.DATABASE).filter(session=change.session_id)
    found = log.filter(seq=last.seq, created_at=last.created_at, n=last.n, name=last.name).first()
    return found is not None and found.data == msgspec.json.decode(last.data)


def _has_claimed(change: Change) -> bool:
    """Another worker may have given itself the same generation."""
    position = change.position
    worker = change.fields.get("worker_id")
    row = _row(change).filter(generation=change.generation, worker=worker)
    return row.filter(head=position.head, last_seen_at=position.last_seen_at).exists()


def _row(change: Change) -> QuerySet[ChatSession]:
    return ChatSession.objects.using(settings.DATABASE).filter(pk=change.session_id)
