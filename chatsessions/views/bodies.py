"""What comes in a request's body: read to the disk, or refused with an answer that says why."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from chatsessions.exceptions import FileRefused, SessionNotFound, SessionOver
from chatsessions.models import ChatSession, SessionUpload

from .access import client_session, csrf_problem, not_found, problem

logger = logging.getLogger("chatsessions.files")

#: Bytes that are read and written at a time.
CHUNK = 64 * 1024
#: The types of forms, which Django reads.
FORM = "multipart/form-data"
PLAIN_FORM = "application/x-www-form-urlencoded"

_STATUS = {
    "slices_expected": 413,
    "too_large": 413,
    "too_many_files": 409,
    "type_mismatch": 415,
    "type_not_accepted": 415,
}


class BadUpload(Exception):
    """A request that is no upload."""


class CsrfFailed(Exception):
    """A request that another site may have made its user's browser send."""


class Taker(Protocol):
    """Takes what the session's client brings."""

    def __call__(
        self, request: HttpRequest, session: ChatSession, *, check_csrf: bool
    ) -> HttpResponse: ...


def answer_client(request: HttpRequest, session_id: str, take: Taker) -> HttpResponse:
    """What ``take`` answers the session's client; anybody else, and what is refused, is told so."""
    found = client_session(request, session_id)
    if isinstance(found, HttpResponse):
        return found
    session, has_token = found
    try:
        return take(request, session, check_csrf=not has_token)
    except CsrfFailed as error:
        return problem(403, "csrf_failed", str(error))
    except FileRefused as error:
        return problem(_STATUS.get(error.code, 400), error.code, error.detail)
    except SessionOver:
        return problem(410, "session_ended", "The conversation has ended.")
    except (SessionNotFound, SessionUpload.DoesNotExist):
        return not_found()
    except BadUpload as error:
        return problem(400, "bad_request", str(error))
    except (MultiPartParserError, UnreadablePostError, SuspiciousOperation, BadRequest) as error:
        return problem(400, "bad_request", f"The upload cannot be read: {error}")
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return problem(400, "bad_request", "The name of the file is too long.")
        logger.exception("A file of session %s could not be stored", session.pk)
        return problem(503, "storage_unavailable", "The file could not be stored; try again.")


def require_csrf(request: HttpRequest) -> None:
    """Raise ``CsrfFailed`` if Django's check refuses the request."""
    reason = csrf_problem(request)
    if reason is not None:
        raise CsrfFailed(reason)


def length_of(request: HttpRequest) -> int:
    """What the request says of its body's length; 0 if nothing."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise BadUpload("The Content-Length is no number.") from error


@contextmanager
def body_of(
    request: HttpRequest, length: int, check: Callable[[int], None]
) -> Iterator[TemporaryUploadedFile]:
    """
    The body, in a file of its own: not every storage takes a stream, and a local one moves it.

    Raises ``BadUpload`` for less than ``length`` bytes. ``check`` is given the number of bytes so
    far, and raises for too many.
    """
    with TemporaryUploadedFile("body", request.content_type or "", 0, None) as content:
        size = 0
        while chunk := request.read(CHUNK):
            size += len(chunk)
            check(size)
            content.write(chunk)
        if size < length:
            raise BadUpload(f"The body ended after {size} of {length} bytes.")
        content.size = size
        yield content
