"""The log of a session, for its client: entries before a position, a page at a time."""

from __future__ import annotations

from functools import partial

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse

from chatsessions.protocol.frames import parse_seq
from chatsessions.storage.log import read_before
from chatsessions.websocket.subscriber import event_frame

from .requests import RequestRefused, client_session, reading_pace
from .responses import json_response, json_view

#: Entries in one answer, if the request does not say, and at most.
PAGE_SIZE = 200
MAX_PAGE_SIZE = 1000


@json_view("GET", "HEAD")
async def entries(request: HttpRequest, session_id: str) -> HttpResponse:
    """
    Answer ``GET`` with the stored entries before ``?before=`` (a ``seq``), by default the last.

    They are at most ``limit`` (default 200, at most 1000) and 512 KiB, unless the last one alone
    has more; oldest first, without gaps, each as the websocket's ``event``. ``before`` in the
    answer is the value for the next request, null if there are no earlier entries. 404 if the
    session is not the client's, 429 if the log is read faster than ``REPLAY_BYTES_PER_SECOND``.
    """
    before = _number(request, "before")
    limit = _number(request, "limit")
    session, _ = await sync_to_async(client_session)(request, session_id)
    pace = reading_pace(request, session.pk)
    size = min(limit or PAGE_SIZE, MAX_PAGE_SIZE)
    read = partial(read_before, session.pk, before=before, limit=size)
    found, first = await sync_to_async(read)()
    pace.took(sum(len(entry.data) for entry in found))
    return json_response(
        {
            "entries": [event_frame(entry) for entry in found],
            "before": found[0].seq if found and found[0].seq > first else None,
        }
    )


def _number(request: HttpRequest, name: str) -> int | None:
    """Return a parameter that is a number from 1 on; None without it. Raises ``RequestRefused``."""
    text = request.GET.get(name)
    if text is None:
        return None
    found = parse_seq(text)
    if not found:
        raise RequestRefused(400, "bad_request", f"'{name}' is a number from 1 on.")
    return found
