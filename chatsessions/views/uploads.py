"""
Uploads in slices: begun, brought slice by slice, finished, or given up.

Every step may be repeated: a client whose line broke asks again, and is told how far it has come.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from chatsessions.exceptions import FileRefused
from chatsessions.files import uploads
from chatsessions.files.chatfile import ChatFile
from chatsessions.files.rows import check_open
from chatsessions.models import ChatSession, SessionUpload

from .access import not_allowed, not_found, parse_id
from .bodies import FORM, PLAIN_FORM, BadUpload, answer_client, body_of, length_of, require_csrf

#: Seconds after which to ask again whether the slices are put together.
RETRY_AFTER = 1


class _Begin(msgspec.Struct):
    name: str
    size: int
    mime: str = ""


@csrf_exempt  # the view makes the check itself, for whom it is meant
@transaction.non_atomic_requests
def begin(request: HttpRequest, session_id: str) -> HttpResponse:
    """``POST {"name", "mime", "size"}``: 201 with ``{"upload", "offset", "slice"}``."""
    if request.method != "POST":
        return not_allowed("POST")
    return answer_client(request, session_id, _begin)


def _begin(request: HttpRequest, session: ChatSession, *, check_csrf: bool) -> HttpResponse:
    _check(request, session, check_csrf=check_csrf)
    try:
        asked = msgspec.json.decode(request.body, type=_Begin)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadUpload(f"The body is to be {{name, mime, size}} in JSON: {error}") from error
    if asked.size < 0:
        raise BadUpload("The size is below 0.")
    begun = uploads.begin(session.pk, name=asked.name, declared=asked.mime, size=asked.size)
    told = {"upload": str(begun.pk), "offset": 0, "slice": begun.slice_bytes}
    return JsonResponse(told, status=201)


@csrf_exempt  # as above
@transaction.non_atomic_requests
def upload(request: HttpRequest, session_id: str, upload_id: str) -> HttpResponse:
    """
    ``PUT ?offset=`` a slice, ``POST`` to finish, ``DELETE`` to give up.

    200 with ``{"offset"}``, how far it has come; 201 with the file. 202: it is being put
    together, ask again. 409 ``wrong_offset``: not there, but at ``offset``. 204: there is none
    any more; a file that it has become stays.
    """
    steps = {"PUT": _take, "POST": _finish, "DELETE": _give_up}
    step = steps.get(request.method or "")
    if step is None:
        return not_allowed(*steps)
    return answer_client(request, session_id, partial(_find, upload_id=upload_id, step=step))


def _find(
    request: HttpRequest, session: ChatSession, *, check_csrf: bool, upload_id: str, step: Any
) -> HttpResponse:
    pk = parse_id(upload_id)
    found = None if pk is None else uploads.find(session.pk, pk)
    if isinstance(found, SessionUpload):
        _check(request, session, check_csrf=check_csrf)
        answer: HttpResponse = step(request, found)
        return answer
    if step is _give_up:
        return HttpResponse(status=204)  # there is none, or none any more
    return not_found() if found is None else _finished(found)


def _check(request: HttpRequest, session: ChatSession, *, check_csrf: bool) -> None:
    if request.content_type in (FORM, PLAIN_FORM) and length_of(request):
        raise BadUpload("This is no form.")
    if check_csrf:
        require_csrf(request)
    if request.method != "DELETE":
        check_open(session, by_client=True)


def _take(request: HttpRequest, found: SessionUpload) -> HttpResponse:
    offset = _offset_of(request, found)
    if offset != found.received:
        return _told(found.received, asked=offset)
    length = found.length_at(offset)
    check = partial(_check_slice, length=length)
    check(length_of(request))
    with body_of(request, length, check) as content:
        return _told(uploads.take(found, offset, content), asked=offset)


def _offset_of(request: HttpRequest, found: SessionUpload) -> int:
    text = request.GET.get("offset", "")
    # Longer ones are beyond any file, and cost time to read.
    offset = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not found.length_at(offset):
        raise BadUpload(
            f"No slice begins at {text[:20]!r}: offset is a multiple of {found.slice_bytes} below "
            f"{found.size}."
        )
    return offset


def _check_slice(size: int, length: int) -> None:
    if size > length:
        raise FileRefused("too_large", f"This slice has {length} bytes.")


def _told(received: int, *, asked: int) -> HttpResponse:
    """How far an upload has come, to who has brought or asked for the slice at ``asked``."""
    if received >= asked:
        return JsonResponse({"offset": received})
    return _missing(received)


def _missing(received: int) -> HttpResponse:
    answer = {"error": "wrong_offset", "detail": "Slices are missing.", "offset": received}
    return JsonResponse(answer, status=409)


def _finish(request: HttpRequest, found: SessionUpload) -> HttpResponse:
    if found.received < found.size:
        return _missing(found.received)
    file = uploads.put_together(found)
    if file is not None:
        return _finished(file)
    headers = {"Retry-After": str(RETRY_AFTER)}
    return JsonResponse({"offset": found.received}, status=202, headers=headers)


def _finished(file: ChatFile) -> HttpResponse:
    return JsonResponse(file.as_event(), status=201)


def _give_up(request: HttpRequest, found: SessionUpload) -> HttpResponse:
    uploads.give_up(found)
    return HttpResponse(status=204)
