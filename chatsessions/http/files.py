"""Upload and download of a session's files."""

from __future__ import annotations

import errno
import logging
from functools import partial
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.core.handlers.asgi import ASGIRequest
from django.db import Error as DatabaseError
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.utils.http import content_disposition_header
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt

from chatsessions.exceptions import FileRefused, SessionNotFound, SessionOver
from chatsessions.files.storage import ChatFile
from chatsessions.files.types import RASTER, claimed_type, clean_name
from chatsessions.models import ChatSession
from chatsessions.storage.files import (
    check_open,
    check_room,
    check_size,
    check_type,
    find_files,
    store_upload,
)

from .requests import RequestRefused, client_session, csrf_problem, not_found
from .responses import SOON, AsyncParts, json_response, json_view

logger = logging.getLogger("chatsessions.files")

#: The field of a form that the file is in.
FIELD = "file"
#: The header with the percent-encoded name of a file that is the whole body.
NAME_HEADER = "X-File-Name"
#: Bytes that a form may have beside its file.
FORM_OVERHEAD = 64 * 1024
#: Bytes that are read and written at a time.
CHUNK = 64 * 1024
#: The types of forms, which Django reads.
FORM = "multipart/form-data"
PLAIN_FORM = "application/x-www-form-urlencoded"

_STATUS = {"too_large": 413, "too_many_files": 409, "type_mismatch": 415, "type_not_accepted": 415}


def _bad_upload(detail: str) -> RequestRefused:
    """Return the error of a request that is no upload."""
    return RequestRefused(400, "bad_request", detail)


def _unavailable(detail: str) -> RequestRefused:
    """Return the error of a request for which the storage or the database has failed."""
    return RequestRefused(503, "storage_unavailable", detail, retry_after=SOON)


@csrf_exempt  # the view itself checks requests without the session's token
@json_view("POST")
def upload(request: HttpRequest, session_id: str) -> HttpResponse:
    """
    Store one file by ``POST``: the field ``file`` of a form, or the whole body.

    The answer is 201 with ``{"id", "name", "mime", "size"}``; for an error another status with
    ``{"error", "detail"}``.
    """
    session, has_token = client_session(request, session_id)
    try:
        stored = _take(request, session, check_csrf=not has_token)
    except RequestRefused:
        raise
    except FileRefused as error:
        status = _STATUS.get(error.code, 400)
        raise RequestRefused(status, error.code, error.detail) from error
    except SessionOver as error:
        raise RequestRefused(
            410, "session_ended", gettext("The conversation has ended.")
        ) from error
    except SessionNotFound as error:
        raise not_found() from error
    except (MultiPartParserError, UnreadablePostError, SuspiciousOperation, BadRequest) as error:
        raise _bad_upload(f"The upload cannot be read: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise _bad_upload(gettext("The name of the file is too long.")) from error
        logger.exception("A file of session %s could not be stored", session.pk)
        raise _unavailable(gettext("The file could not be stored; try again.")) from error
    return json_response(stored.as_event(), status=201)


def _take(request: HttpRequest, session: ChatSession, *, check_csrf: bool) -> ChatFile:
    """Store the upload. What can be checked without the body is checked before reading it."""
    check_open(session, by_client=True)
    is_form = request.content_type == FORM
    length = _length_of(request)
    least = max(0, length - FORM_OVERHEAD) if is_form else length
    check_size(least)
    check_room(session.pk, adding=least)
    one_file = _OneFile(request)
    if is_form:
        request.upload_handlers.insert(0, one_file)
    elif request.content_type == PLAIN_FORM:
        raise _bad_upload("Send the file's own Content-Type, or a form with the field 'file'.")
    if check_csrf:
        # The check reads a form, to find the CSRF token: set all limits before.
        reason = csrf_problem(request)
        if reason is not None:
            raise RequestRefused(403, "csrf_failed", reason)
    if is_form:
        return _store_form(request, session, one_file)
    return _store_body(request, session, length)


def _length_of(request: HttpRequest) -> int:
    """Return the length that the request declares for its body; 0 if none."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise _bad_upload("The Content-Length is no number.") from error


class _OneFile(FileUploadHandler):
    """Stops a form with more than one file, or more bytes than a file may have."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.problem: Exception | None = None
        self._files = 0

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        self._files += 1
        if field_name != FIELD or self._files > 1:
            self._stop(_bad_upload(f"Send one file, in the field {FIELD!r}."))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        try:
            check_size(start + len(raw_data))
        except FileRefused as error:
            self._stop(error)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None  # the next handler has the file

    def _stop(self, why: Exception) -> None:
        self.problem = why
        raise StopUpload


def _store_form(request: HttpRequest, session: ChatSession, one_file: _OneFile) -> ChatFile:
    given = request.FILES.get(FIELD)
    if one_file.problem is not None:
        raise one_file.problem
    if not isinstance(given, UploadedFile):
        raise _bad_upload(f"There is no file in the field {FIELD!r}.")
    declared = given.content_type or ""
    return store_upload(session.pk, given, name=given.name or "", declared=declared)


def _store_body(request: HttpRequest, session: ChatSession, length: int) -> ChatFile:
    name = unquote(request.headers.get(NAME_HEADER, ""))
    declared = request.content_type or ""
    claimed = claimed_type(clean_name(name), declared)
    if claimed and not claimed.startswith("image/"):  # for a picture the content decides
        check_type(claimed)
    # A temporary file: not every storage takes a stream, and a local storage moves the file.
    with TemporaryUploadedFile("body", declared, 0, None) as content:
        size = 0
        while chunk := request.read(CHUNK):
            size += len(chunk)
            check_size(size)
            content.write(chunk)
        if size < length:
            raise _bad_upload(f"The body ended after {size} of {length} bytes.")
        content.size = size
        return store_upload(session.pk, content, name=name, declared=declared)


@json_view("GET", "HEAD")
def download(request: HttpRequest, session_id: str, file_id: str) -> HttpResponseBase:
    """Answer ``GET`` with the content of one file of the session."""
    session, _ = client_session(request, session_id)
    try:
        [file] = find_files(session.pk, [file_id])
        return respond_with(request, file)
    except FileRefused as error:
        raise not_found() from error
    except FileNotFoundError as error:
        logger.exception("The content of file %s is not in the storage", file_id)
        raise not_found() from error
    except (OSError, DatabaseError) as error:
        logger.exception("File %s could not be read", file_id)
        raise _unavailable(gettext("The file could not be read; try again.")) from error


def respond_with(request: HttpRequest, file: ChatFile) -> HttpResponseBase:
    """
    Answer with the content of ``file``, streamed, with headers that keep a browser from running it.

    The caller checks who may have it. Raises what the storage raises.
    """
    response: HttpResponseBase
    content = file.open()
    if request.method == "HEAD":
        content.close()
        response = HttpResponse()
    elif isinstance(request, ASGIRequest):
        chunks = iter(partial(content.read, CHUNK), b"")
        response = StreamingHttpResponse(AsyncParts(chunks, close=content.close))
    else:
        response = FileResponse(content)
    for name, value in _headers(file).items():
        response.headers[name] = value
    return response


def _headers(file: ChatFile) -> dict[str, str]:
    as_attachment = file.mime not in RASTER
    disposition = content_disposition_header(as_attachment, file.name)
    return {
        "Content-Type": file.mime,
        "Content-Length": str(file.size),
        # Django returns None for a file that is shown inline and has no name.
        "Content-Disposition": disposition or "inline",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=3600",
        "Vary": "Authorization, Cookie",
    }
