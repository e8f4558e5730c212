"""
The log of a session for its client: its entries, a page at a time, and the whole as a document.

A document is Markdown to be read, or JSON for programs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from chatsessions.conf import settings, with_offset
from chatsessions.files.types import clean_name
from chatsessions.models import ChatSession, SessionFile
from chatsessions.protocol.frames import parse_seq, parse_uuid
from chatsessions.storage.conversation import SYSTEM, USER, ConversationMessage, ConversationReducer
from chatsessions.storage.log import read_before, read_entries
from chatsessions.websocket.subscriber import event_frame

from .requests import RequestRefused, client_session, not_found, reading_pace
from .responses import AsyncParts, json_response, json_view

#: Entries on one page of the log, if the request does not say, and at most.
PAGE_SIZE = 200
MAX_PAGE_SIZE = 1000
#: The version of the JSON's shape.
VERSION = 1
#: The extension and the type of the file, by the format that a request asks for.
FORMATS = {"markdown": ("md", "text/markdown"), "json": ("json", "application/json")}
#: Entries that are read at a time, and characters that are sent at a time.
_READ = 500
_SENT = 64 * 1024
#: Characters, and beginnings of lines, that have a meaning in Markdown.
_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_BEGINNINGS = re.compile(r"^(\s*)([-+=]|\d+[.)])", re.MULTILINE)


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


# Documents


@json_view("GET", "HEAD")
async def export(request: HttpRequest, session_id: str) -> HttpResponseBase:
    """
    Answer ``GET`` with the conversation of a session as a file, ``?format=markdown`` or ``json``.

    404 if the session is not the client's, 400 for another format, 429 if the log is read faster
    than ``REPLAY_BYTES_PER_SECOND``.
    """
    kind = request.GET.get("format", "markdown")
    if kind not in FORMATS:
        raise RequestRefused(400, "bad_request", f"'format' is one of {', '.join(FORMATS)}.")
    session, _has_token = await sync_to_async(client_session)(request, session_id)
    # Counted before the log is read: it is read whole, and many requests may come at once.
    reading_pace(request, session.pk).took(session.log_bytes)
    conversation = await sync_to_async(read_conversation)(session.pk)
    if conversation is None:
        raise not_found()
    return respond(request, conversation, kind)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session and what was said in it."""

    session: ChatSession
    messages: list[ConversationMessage]
    #: The files of the session by their ids, as they go over the wire.
    files: dict[str, dict[str, Any]]

    @property
    def title(self) -> str:
        return self.session.topic or self.session.chat


def read_conversation(session_id: Any) -> Conversation | None:
    """Return what was said in a session, as it is now; None if there is no such session."""
    rows = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id)
    session = rows.only("chat", "topic", "thread_id", "created_at").first()
    if session is None:
        return None
    reducer = ConversationReducer(session.pk)
    after = 0
    while entries := read_entries(session.pk, after=after, limit=_READ):
        for entry in entries:
            reducer.take(entry)
        after = entries[-1].seq
    files = SessionFile.objects.using(settings.DATABASE).filter(session=session)
    named = {
        str(pk): {"id": str(pk), "name": name, "mime": mime, "size": size}
        for pk, name, mime, size in files.values_list("pk", "name", "mime", "size")
    }
    return Conversation(session, reducer.messages, named)


def respond(
    request: HttpRequest,
    conversation: Conversation,
    kind: str,
    *,
    shown: Callable[[Any], Any] = lambda metadata: metadata,
) -> HttpResponseBase:
    """
    Answer with a conversation as a file, message by message.

    ``kind`` is one of ``FORMATS``; ``shown`` is called with the metadata of each message, and
    returns the metadata for the file. The caller checks who may have the conversation.
    """
    ending, mime = FORMATS[kind]
    parts = _markdown(conversation) if kind == "markdown" else _json(conversation, shown)
    chunks = _chunks(parts, translation.get_language())
    content: Any = AsyncParts(chunks) if isinstance(request, ASGIRequest) else chunks
    if request.method == "HEAD":
        content = ()
    response = StreamingHttpResponse(content, content_type=f"{mime}; charset=utf-8")
    day = f"{conversation.session.created_at:%Y-%m-%d}"
    name = clean_name(f"{conversation.title.replace('/', ' ')} {day}.{ending}")
    response.headers["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = "no-store"
    return response


def _chunks(parts: Iterator[str], language: str | None) -> Iterator[str]:
    """Yield ``parts`` in larger pieces, each made in ``language``: they are sent after the view."""
    while True:
        gathered: list[str] = []
        size = 0
        with translation.override(language):
            for part in parts:
                gathered.append(part)
                size += len(part)
                if size >= _SENT:
                    break
        if not gathered:
            return
        yield "".join(gathered)


# JSON


def _json(conversation: Conversation, shown: Callable[[Any], Any]) -> Iterator[str]:
    session = conversation.session
    head = {
        "version": VERSION,
        "session": session.pk,
        "thread": session.thread_id,
        "chat": session.chat,
        "topic": session.topic,
        "started": with_offset(session.created_at),
    }
    yield msgspec.json.encode(head).decode()[:-1] + ',"messages":['
    for number, message in enumerate(conversation.messages):
        told = msgspec.json.encode(_told(message, conversation.files, shown)).decode()
        yield f",{told}" if number else told
    yield "]}\n"


def _told(
    message: ConversationMessage,
    files: dict[str, dict[str, Any]],
    shown: Callable[[Any], Any],
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": message.id,
        "type": message.type,
        "author": message.author,
        "content": message.content,
        "format": message.format,
        "created_at": with_offset(message.created_at),
    }
    if message.metadata:
        told["metadata"] = shown(message.metadata)
    if message.files:
        told["files"] = [_file(one, files) for one in message.files]
    if message.feedback is not None:
        told["feedback"] = {"value": message.feedback, "comment": message.comment}
    return told


def _file(file: Any, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a file as it goes over the wire; if it is deleted, what the message has of it."""
    if isinstance(file, dict):
        return file
    # A client may write the id as it likes.
    return files.get(str(parse_uuid(str(file)))) or {"id": str(file)}


# Markdown


def _markdown(conversation: Conversation) -> Iterator[str]:
    yield f"# {_escaped(_line(conversation.title))}\n"
    for message in conversation.messages:
        at = with_offset(message.created_at)
        local = at if timezone.is_naive(at) else timezone.localtime(at)
        yield f"\n## {_escaped(_line(_author(message)))}\n\n"
        yield f"*{date_format(local, 'DATETIME_FORMAT')}*\n"
        if message.content:
            is_text = message.format == "text"
            yield f"\n{_text(message.content) if is_text else message.content.strip()}\n"
        for file in message.files:
            name = _file(file, conversation.files).get("name") or _("a file")
            yield f"\n- {_escaped(_line(str(name)))}\n"


def _author(message: ConversationMessage) -> str:
    if message.type == USER:
        return _("You")
    return message.author or (_("System") if message.type == SYSTEM else _("Assistant"))


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Return plain text as Markdown that shows the same."""
    escaped = _BEGINNINGS.sub(r"\1\\\2", _escaped(text.strip()))
    # Markdown has no escape for a digit: escape the character after it instead.
    escaped = re.sub(r"^(\s*)\\(\d+)([.)])", r"\1\2\\\3", escaped, flags=re.MULTILINE)
    lines = [line.strip() for line in escaped.splitlines()]
    return "\n".join(
        f"{line}\\" if line and number + 1 < len(lines) and lines[number + 1] else line
        for number, line in enumerate(lines)
    )


def _escaped(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)
