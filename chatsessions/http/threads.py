"""The threads of the logged-in user, as JSON: a searchable list, and the transcript of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext

from chatsessions.conf import settings, with_offset
from chatsessions.exceptions import AccessRefused
from chatsessions.handlers.chat import Chat, find_chat, routed_chats
from chatsessions.handlers.chat_context import to_message
from chatsessions.handlers.messages import Message
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol.frames import parse_seq, parse_uuid
from chatsessions.storage.thread_rows import ThreadKey, read_page

from .requests import RequestRefused, check_access, limits_of, user_of
from .responses import json_response, json_view

#: Threads on one page of the list.
PAGE_SIZE = 20
#: Messages in one answer of a transcript, and bytes of them.
TRANSCRIPT_SIZE = 100
TRANSCRIPT_BYTES = 1_000_000
#: The fewest bytes that a search counts for an entry: reading a short entry takes time, too.
ENTRY_BYTES = 1024
#: Sessions whose logs are searched by one statement.
SEARCHED_AT_A_TIME = 200
#: The longest text to search for, in characters; the rest is cut off.
MAX_QUERY = 200


def _user(request: HttpRequest) -> Any:
    """Return the logged-in user. Raises ``RequestRefused`` for an anonymous one."""
    user = user_of(request)
    if not user.is_authenticated:
        raise RequestRefused(
            401, "unauthorized", gettext("Log in to see your earlier conversations.")
        )
    return user


@json_view("GET", "HEAD")
async def thread_list(request: HttpRequest) -> HttpResponse:
    """
    List the threads in which the user has said something, the latest used first; 20 a page.

    ``q`` is searched for in titles, and in the latest ``MAX_SEARCH_BYTES`` of messages; ``chat``
    limits the list to the chat of that name; ``page`` counts from 1, and a page beyond the end is
    the last one. Threads of a chat that no longer admits the user are left out. 401 for anonymous
    users, 429 for more than ``SEARCHES_PER_MINUTE``.
    """
    user = await sync_to_async(_user)(request)
    if _query(request):
        limits_of(request).search(user.pk)
    return await sync_to_async(_list)(request, user)


def _query(request: HttpRequest) -> str:
    return request.GET.get("q", "").replace("\0", "").strip()[:MAX_QUERY]


def _list(request: HttpRequest, user: Any) -> HttpResponse:
    threads: Any = ChatSession.objects.using(settings.DATABASE).threads_of(user)
    threads = threads.filter(said__gt=0)
    closed = [one.name for one in routed_chats() if not _is_open(one, user)]
    if closed:
        threads = threads.exclude(chat__in=closed)
    chat = request.GET.get("chat", "").replace("\0", "")
    if chat:
        threads = threads.filter(chat=chat)
    text = _query(request)
    if text:
        found = Q(title__icontains=text) | Q(thread_id__in=_threads_that_say(user, text))
        threads = threads.filter(found)
    paginator = Paginator(threads, PAGE_SIZE)
    page = paginator.get_page(request.GET.get("page"))
    return json_response(
        {
            "threads": [_listed(thread) for thread in page],
            "page": page.number,
            "pages": paginator.num_pages,
            "count": paginator.count,
        }
    )


def _is_open(chat: Chat, user: Any) -> bool:
    try:
        check_access(chat, user)
    except AccessRefused:
        return False
    return True


def _listed(thread: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": thread["thread_id"],
        **{name: thread[name] for name in ("chat", "title", "sessions")},
        **{name: with_offset(thread[name]) for name in ("started", "last_seen")},
    }


def _threads_that_say(user: Any, text: str) -> set[UUID]:
    """
    Return the user's threads with a message that contains ``text``, in upper or lower case.

    The database finds the entries that contain it anywhere; this function checks that it is in the
    message's content, not in a key or an id. Only the logs of the latest sessions are searched.
    """
    # A client's JSON is stored as it came, with non-ASCII characters escaped or not.
    written = {msgspec.json.encode(text).decode()[1:-1], json.dumps(text)[1:-1]}
    anywhere = Q()
    for form in written:
        anywhere |= Q(data__icontains=form)
    entries = SessionEvent.objects.using(settings.DATABASE).filter(
        anywhere, name__in=("message", "message_update", "ask", "answer")
    )
    wanted = text.casefold()
    found: set[UUID] = set()
    searched = _latest_sessions(user)
    while ids := list(islice(searched, SEARCHED_AT_A_TIME)):
        rows = entries.filter(session__in=ids).exclude(session__thread_id__in=found)
        for thread_id, data in rows.values_list("session__thread_id", "data").iterator(100):
            if thread_id not in found and wanted in _content(data).casefold():
                found.add(thread_id)
    return found


def _latest_sessions(user: Any) -> Iterator[UUID]:
    """Yield the user's sessions, the latest first, until their logs have ``MAX_SEARCH_BYTES``."""
    rows = ChatSession.objects.using(settings.DATABASE).for_user(user).filter(events_in__gt=0)
    left = settings.MAX_SEARCH_BYTES
    facts = rows.order_by("-last_seen_at").values_list("pk", "head", "log_bytes")
    for pk, head, log_bytes in facts[: left // ENTRY_BYTES]:
        left -= max(log_bytes, ENTRY_BYTES * min(head, settings.MAX_LOG_ENTRIES))
        yield pk
        if left <= 0:
            return


def _content(data: Any) -> str:
    """Return the text of a message, question or answer, from its entry in the log."""
    if isinstance(data, dict) and isinstance(data.get("data"), dict):
        data = data["data"]  # an answer
    content = data.get("content") if isinstance(data, dict) else None
    return content if isinstance(content, str) else ""


@json_view("GET", "HEAD")
def thread_detail(request: HttpRequest, thread_id: UUID) -> HttpResponse:
    """
    Return the latest messages of one of the user's threads, oldest first; at most 100 and 1 MB.

    ``before`` in the answer is null, or the value of ``?before=…`` that gives the messages before
    these. 401 for anonymous users; 404 for a thread of another user or that does not exist; 403
    for a thread of a chat that no longer admits the user; 400 for an invalid ``before``.
    """
    user = _user(request)
    rows = ChatSession.objects.using(settings.DATABASE).threads_of(user)
    thread = rows.filter(thread_id=thread_id).first()
    if thread is None:
        raise RequestRefused(404, "not_found", gettext("There is no such conversation of yours."))
    check_access(find_chat(thread["chat"]), user)
    page = read_page(
        ThreadKey(id=thread_id, user_id=user.pk, chat=thread["chat"]),
        limit=TRANSCRIPT_SIZE,
        max_bytes=TRANSCRIPT_BYTES,
        before=_position(request.GET.get("before")),
    )
    first = page.messages[0] if page.more and page.messages else None
    return json_response(
        {
            **_listed(thread),
            "messages": [_shown(to_message(said)) for said in page.messages],
            "before": None if first is None else f"{first.session}:{first.seq}",
        }
    )


def _shown(message: Message) -> dict[str, Any]:
    shown = message.as_event()
    del shown["streaming"]
    return {"type": message.type} | shown


def _position(text: str | None) -> tuple[UUID, int] | None:
    """
    Return the session and the ``seq`` that ``before`` of an answer names; None without one.

    Raises ``RequestRefused``.
    """
    if not text:
        return None
    session, _, seq = text.partition(":")
    pk, number = parse_uuid(session), parse_seq(seq)
    if pk is None or number is None:
        raise RequestRefused(400, "bad_request", "'before' is none that an answer has given.")
    return pk, number
