"""
Files that come in slices: begun, brought one slice after another, and put together at the end.

A server may have a whole request in memory before it asks any application, as daphne does. So one
request brings no more than ``UPLOAD_SLICE_BYTES``. Slices are all of one size, come in order, and
each is stored when it comes, with a row; one that is there already changes nothing. What is given
up takes its slices with it. Everything here is synchronous.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.core.files.base import File
from django.db import transaction
from django.db.models import Q

from chatsessions.conf import settings
from chatsessions.exceptions import FileRefused, SessionOver
from chatsessions.models import SessionFile, SessionUpload, UploadSlice
from chatsessions.store.database_time import DatabaseNow, ago

from .chatfile import ChatFile
from .joined import JoinedSlices
from .models import SessionUploadQuerySet
from .names import clean_name
from .rows import (
    check_open,
    check_room,
    check_size,
    keep,
    locked_session,
    store_upload,
    uploaded_type,
)
from .storage import path_of
from .types import HEAD, normal_type

#: Who puts an upload together touches it with every slice; one who has not for so many seconds is
#: dead.
JOINER_SILENCE = 60.0


def begin(session_id: UUID, *, name: str, declared: str, size: int) -> SessionUpload:
    """
    Begin an upload of ``size`` bytes. What is stale of the session's others is given up.

    Raises ``FileRefused``, ``SessionOver``, ``SessionNotFound``, and what the database raises.
    """
    check_size(size, empty=False)
    alias = settings.DATABASE
    with transaction.atomic(using=alias):
        check_open(locked_session(session_id), by_client=True)
        SessionUpload.objects.using(alias).filter(session=session_id).stale().delete()
        check_room(session_id, adding=size)
        return SessionUpload.objects.using(alias).create(
            session_id=session_id,
            name=clean_name(name),
            mime=normal_type(declared),
            size=size,
            slice_bytes=settings.UPLOAD_SLICE_BYTES,
            touched_at=DatabaseNow(),
        )


def find(session_id: UUID, upload_id: UUID) -> SessionUpload | ChatFile | None:
    """An upload of the session; its file, if it is one by now."""
    uploads = SessionUpload.objects.using(settings.DATABASE)
    upload = uploads.filter(pk=upload_id, session=session_id).first()
    if upload is not None:
        return upload
    files = SessionFile.objects.using(settings.DATABASE)
    file = files.filter(pk=upload_id, session=session_id).first()
    return None if file is None else file.as_chat_file()


def take(upload: SessionUpload, offset: int, content: File[Any]) -> int:
    """
    Store the slice at ``offset``, of the length that it has to have. How far it has come then.

    If that is not where the slice belongs, nothing is stored. Raises ``FileRefused`` if the
    first one shows that the file is not what it says, and the upload is given up; what ``begin``
    raises; ``SessionUpload.DoesNotExist``; and what the storage raises.
    """
    if offset == 0:
        _check_type(upload, content)
    part = UploadSlice(id=uuid4(), upload=upload, number=offset // upload.slice_bytes)
    length = upload.length_at(offset)
    with suppress(_TooLate):
        keep(part, path_of(upload.session_id, part.id), content, partial(_insert, part, length))
        return offset + length
    return _rows(upload).get().received


class _TooLate(Exception):
    """Another request has stored the slice meanwhile, or it is not its turn."""


def _check_type(upload: SessionUpload, content: File[Any]) -> None:
    content.seek(0)
    try:
        uploaded_type(upload.name, content.read(HEAD), declared=upload.mime)
    except FileRefused:
        give_up(upload)
        raise
    content.seek(0)


def _insert(part: UploadSlice, length: int) -> None:
    upload = part.upload
    offset = part.number * upload.slice_bytes
    with transaction.atomic(using=settings.DATABASE):
        check_open(locked_session(upload.session_id), by_client=True)
        here = _rows(upload).filter(received=offset)
        if not here.update(received=offset + length, touched_at=DatabaseNow()):
            raise _TooLate
        part.save(using=settings.DATABASE, force_insert=True)
        check_room(upload.session_id, files=0)


def put_together(upload: SessionUpload) -> ChatFile | None:
    """
    Make a file of an upload whose slices are all there; None if that is another request's.

    Raises ``FileRefused`` and ``SessionOver``, and the upload is given up; ``SessionNotFound``;
    and what the storage and the database raise, after which it can be tried again.
    """
    if not _claimed(upload):
        return None
    try:
        with _content(upload) as content:
            return store_upload(
                upload.session_id,
                content,
                name=upload.name,
                declared=upload.mime,
                instead_of=upload,
            )
    except (FileRefused, SessionOver):
        give_up(upload)
        raise
    except Exception:
        if _mine(upload).update(joiner=None):
            raise
        return None  # somebody else has made it a file, is about to, or has given it up


def _claimed(upload: SessionUpload) -> bool:
    upload.joiner = uuid4()
    free = Q(joiner=None) | Q(touched_at__lt=ago(JOINER_SILENCE))
    return bool(_rows(upload).filter(free).update(joiner=upload.joiner, touched_at=DatabaseNow()))


def _content(upload: SessionUpload) -> File[Any]:
    keys = upload.slices.using(settings.DATABASE).order_by("number").values_list("content")
    joined = JoinedSlices(
        [key for (key,) in keys],
        slice_bytes=upload.slice_bytes,
        size=upload.size,
        opened=partial(_touch, upload),
    )
    return File(io.BufferedReader(joined, File.DEFAULT_CHUNK_SIZE), name=upload.name)


def _touch(upload: SessionUpload) -> None:
    """Who puts it together lives. Raises ``DoesNotExist`` if that is somebody else by now."""
    if not _mine(upload).update(touched_at=DatabaseNow()):
        raise SessionUpload.DoesNotExist


def give_up(upload: SessionUpload) -> None:
    """Delete an upload, and what has come of it."""
    _rows(upload).delete()


def give_up_stale(*, dry_run: bool = False) -> int:
    """Give up the uploads of which nothing has come for ``UPLOAD_AGE``; how many those are."""
    stale = SessionUpload.objects.using(settings.DATABASE).stale()
    return stale.count() if dry_run else sum(bool(_rows(one).stale().delete()[0]) for one in stale)


def _rows(upload: SessionUpload) -> SessionUploadQuerySet:
    return SessionUpload.objects.using(settings.DATABASE).filter(pk=upload.pk)


def _mine(upload: SessionUpload) -> SessionUploadQuerySet:
    """The row as long as nobody else has taken it over."""
    return _rows(upload).filter(joiner=upload.joiner)
