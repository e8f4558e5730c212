"""
The files of sessions: how they are stored, found and deleted, rows and content together.

Content is stored before its row, so that a row always has its content. A crash between the two, or
a commit that fails, leaves content without a row, which :func:`sweep` deletes. The functions here
are synchronous; :class:`SessionFiles` runs them in threads for a live session.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Count, F, Sum
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from chatsessions.conf import settings
from chatsessions.exceptions import FileRefused, FrameError, SessionNotFound, SessionOver
from chatsessions.files.storage import (
    ROOT,
    ChatFile,
    SessionStorage,
    is_file_name,
    is_session_folder,
    path_of,
)
from chatsessions.files.types import (
    HEAD,
    UNKNOWN,
    accepts,
    clean_name,
    normal_type,
    suffix_of,
    type_of,
    type_of_name,
)
from chatsessions.models import ChatSession, SessionFile
from chatsessions.protocol.frames import parse_uuid

from .database import Executors
from .storable import serializable

logger = logging.getLogger("chatsessions.files")

#: Content must be older than this to be deleted: younger content may still get its row.
MIN_AGE = timedelta(days=1)
#: How many sessions' rows are looked up at a time.
BATCH = 200
#: Seconds after which a client may repeat an event for which the database could not be read.
RETRY_AFTER = 1.0


@dataclass(slots=True)
class Swept:
    """The result of a sweep."""

    #: Files without a row; they were deleted unless it was a dry run.
    found: int = 0
    #: Files that the storage failed to delete.
    failed: int = 0
    #: Whether the storage can list its content and tell its age.
    possible: bool = True


def sweep(*, dry_run: bool = False, now: datetime | None = None) -> Swept:
    """
    Delete the content under ``ROOT`` that has no row and is older than ``MIN_AGE``.

    Content that does not look like a session's file stays. Raises database errors.
    """
    swept = Swept()
    storage = SessionStorage()
    oldest = (now or timezone.now()) - MIN_AGE
    try:
        for key in _orphans(storage):
            if storage.get_modified_time(key) < oldest:
                swept.found += 1
                swept.failed += not (dry_run or _deleted(storage, key))
        if not dry_run:
            _remove_empty_folders(storage, oldest)
    except NotImplementedError:
        swept.possible = False
    return swept


def _orphans(storage: Storage) -> Iterator[str]:
    folders = [name for name in _listed(storage, ROOT)[0] if is_session_folder(name)]
    for start in range(0, len(folders), BATCH):
        batch = folders[start : start + BATCH]
        # The content is listed before the rows: a file that is stored in between is no orphan.
        there = [key for folder in batch for key in _files(storage, folder)]
        sessions = [UUID(folder) for folder in batch]
        rows = SessionFile.objects.using(settings.DATABASE).filter(session__in=sessions)
        known = set(rows.values_list("content", flat=True))
        yield from (key for key in there if key not in known)


def _files(storage: Storage, folder: str) -> Iterator[str]:
    for name in _listed(storage, f"{ROOT}/{folder}")[1]:
        if is_file_name(name):
            yield f"{ROOT}/{folder}/{name}"


def _listed(storage: Storage, path: str) -> tuple[list[str], list[str]]:
    try:
        return storage.listdir(path)
    except FileNotFoundError:
        return [], []


def _deleted(storage: Storage, key: str) -> bool:
    try:
        storage.delete(key)
    except Exception:
        logger.exception("The orphaned content %s was not deleted; the next sweep tries again", key)
        return False
    return True


def _remove_empty_folders(storage: Storage, oldest: datetime) -> None:
    """Remove the old empty folders of a local storage; other storages have no folders."""
    for folder in _listed(storage, ROOT)[0]:
        path = f"{ROOT}/{folder}"
        try:
            storage.path(path)
            if is_session_folder(folder) and storage.get_modified_time(path) < oldest:
                storage.delete(path)
        except (OSError, NotImplementedError):
            continue  # not empty, or not on this machine


serializable(name="chatsessions.ChatFile")(ChatFile)


def check_size(size: int) -> None:
    """Raise ``FileRefused`` for a file of more than ``MAX_FILE_BYTES``."""
    if size > settings.MAX_FILE_BYTES:
        limit = filesizeformat(settings.MAX_FILE_BYTES)
        raise FileRefused(
            "too_large", gettext("A file may have at most %(size)s.") % {"size": limit}
        )


def check_room(session_id: UUID, *, adding: int = 0, files: int = 1) -> None:
    """Raise ``FileRefused`` if the session has no room for ``files`` more, of ``adding`` bytes."""
    stored = SessionFile.objects.using(settings.DATABASE).filter(session=session_id)
    taken = stored.aggregate(count=Count("pk"), size=Sum("size"))
    if taken["count"] + files > settings.MAX_FILES_PER_SESSION:
        limit = settings.MAX_FILES_PER_SESSION
        detail = ngettext(
            "A conversation may have at most %(count)d file.",
            "A conversation may have at most %(count)d files.",
            limit,
        )
        raise FileRefused("too_many_files", detail % {"count": limit})
    if (taken["size"] or 0) + adding > settings.MAX_FILES_BYTES_PER_SESSION:
        shown = filesizeformat(settings.MAX_FILES_BYTES_PER_SESSION)
        detail = gettext("All files of a conversation may have %(size)s.") % {"size": shown}
        raise FileRefused("too_many_files", detail)


def check_type(mime: str) -> None:
    """Raise ``FileRefused`` for a type that ``FILE_TYPES`` does not allow."""
    if not accepts(settings.FILE_TYPES, mime):
        detail = gettext("Files of the type %(type)s are not accepted here.") % {"type": mime}
        raise FileRefused("type_not_accepted", detail)


def store_upload(session_id: UUID, content: File[Any], *, name: str, declared: str) -> ChatFile:
    """
    Store a file that a client has uploaded completely.

    Raises ``FileRefused``, ``SessionOver``, ``SessionNotFound``, and the errors of the storage and
    the database. After an error nothing is stored, unless the answer to a commit was lost.
    """
    if not content.size:
        raise FileRefused("empty_file", gettext("The file is empty."))
    content.seek(0)
    shown = clean_name(name)
    mime = type_of(shown, content.read(HEAD), declared=declared)
    check_type(mime)
    content.seek(0)
    return store(session_id, content, name=shown, mime=mime, by_client=True)


def store(
    session_id: UUID, content: File[Any], *, name: str, mime: str, by_client: bool = False
) -> ChatFile:
    """
    Store a file for a session. ``name`` is a clean name, ``mime`` a type.

    Raises ``FileRefused`` for a file that is too large or one too many, ``SessionOver`` (for a
    client as soon as the end has begun), ``SessionNotFound``, and the errors of the storage and the
    database. After an error nothing is stored, unless the answer to a commit was lost.
    """
    check_size(content.size)
    row = SessionFile(id=uuid4(), session_id=session_id, name=name, mime=mime)
    path = SessionStorage().generate_filename(path_of(session_id, row.id))
    is_in_doubt = False
    try:
        row.content.name = _save(path, content)
        row.size = _stored_size(row.content.name, content)
        check_size(row.size)
        with transaction.atomic(using=settings.DATABASE):
            check_open(_locked(session_id), by_client=by_client)
            row.save(using=settings.DATABASE, force_insert=True)
            check_room(session_id, files=0)
            is_in_doubt = True
    except BaseException:
        # After a failed commit the row may be stored. If it is not, a sweep deletes the content.
        if not is_in_doubt:
            delete_content(row.content.name or path)
        raise
    return row.as_chat_file()


def _save(path: str, content: File[Any]) -> str:
    try:
        return SessionStorage().save(path, content)
    except FileNotFoundError:
        # A concurrent deletion has removed the session's folder, which was still empty.
        content.seek(0)
        return SessionStorage().save(path, content)


def _stored_size(path: str, content: File[Any]) -> int:
    """
    Return how many bytes were stored of ``content``.

    ``content.size`` may be wrong, if the file is compressed or not completely written to the disk.
    The storage's size may be wrong too, if the storage compresses or encrypts. If the two differ,
    the stored content is read and its bytes are counted.
    """
    storage = SessionStorage()
    try:
        size = storage.size(path)
    except NotImplementedError:  # the storage cannot tell
        return content.size
    if size == content.size:
        return size
    with storage.open(path) as stored:
        return sum(map(len, stored.chunks()))


def _locked(session_id: UUID) -> ChatSession:
    """
    Lock the session until the end of the transaction. Raises ``SessionNotFound``.

    The files of a session are stored one after another, so that two files do not take the same
    room. No file is stored while the session is deleted.
    """
    sessions = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id)
    # An update that changes nothing, as SQLite has no SELECT FOR UPDATE. There a transaction that
    # begins with a read cannot write any more after another connection has committed.
    if not sessions.update(status=F("status")):
        raise SessionNotFound(session_id)
    return sessions.timed().only("status", "end_reason", "disconnected_at").get()


def check_open(session: ChatSession, *, by_client: bool) -> None:
    """Raise ``SessionOver`` if the session no longer takes files."""
    over = session.status == ChatSession.Status.ENDED
    if by_client:
        # Handlers may still save files, in on_chat_end.
        over = over or bool(session.end_reason) or session.is_expired()
    if over:
        reason = session.end_reason or ChatSession.EndReason.EXPIRED
        raise SessionOver(session.pk, str(reason))


def files_of(session_id: UUID) -> list[ChatFile]:
    """Return all files of a session, oldest first."""
    rows = SessionFile.objects.using(settings.DATABASE).filter(session=session_id)
    return [row.as_chat_file() for row in rows.order_by("created_at", "pk")]


def find_files(session_id: UUID, ids: Sequence[str]) -> list[ChatFile]:
    """
    Return the files with these ids, in their order, each once.

    Raises ``FileRefused`` with the code ``unknown_file`` if one is not a file of this session.
    """
    wanted = dict.fromkeys(map(parse_uuid, ids))
    known: dict[UUID, SessionFile] = {}
    if None not in wanted and len(wanted) <= settings.MAX_FILES_PER_SESSION:
        rows = SessionFile.objects.using(settings.DATABASE).filter(session=session_id)
        known = {row.pk: row for row in rows.filter(pk__in=list(wanted))}
    if len(known) < len(wanted):
        raise FileRefused("unknown_file", gettext("There is no such file in this session."))
    return [known[pk].as_chat_file() for pk in wanted if pk is not None]


def delete_content(key: str) -> None:
    """Delete the content of a file. A failure is logged, and the sweep tries again."""
    storage = SessionStorage()
    try:
        storage.delete(key)
    except Exception:
        logger.exception("The content of file %s was not deleted; it is swept later", key)
        return
    # Local storages have folders, and delete only empty ones. Other storages have none.
    with suppress(Exception):
        storage.path(key)
        storage.delete(key.rpartition("/")[0])


def content_goes_with_row(instance: SessionFile, using: str, **kwargs: Any) -> None:
    """Delete a file's content when the deletion of its row is committed (``post_delete``)."""
    if instance.content.name:
        transaction.on_commit(partial(delete_content, instance.content.name), using=using)


class SessionFiles:
    """The files of one session, for its handlers and its client, in any event loop."""

    def __init__(
        self, session_id: UUID, threads: Executors, *, may_save: Callable[[], Awaitable[None]]
    ) -> None:
        self._session_id = session_id
        self._threads = threads
        #: Waits until the session's row is stored. Raises if the turn may no longer change it.
        self._may_save = may_save

    async def all(self) -> list[ChatFile]:
        """Return all files, oldest first."""
        return await self._threads.do_files(partial(files_of, self._session_id))

    async def save(
        self,
        name: str,
        content: bytes | str | BinaryIO | None,
        path: str | os.PathLike[str] | None,
        mime: str | None,
    ) -> ChatFile:
        """Store a file: see :meth:`Session.save_file`."""
        if (content is None) == (path is None):
            raise TypeError("save_file() takes either content or path.")
        if mime is not None and not normal_type(mime):
            raise ValueError(f"{mime!r} is no type; write one such as 'image/png'.")
        await self._may_save()
        step = partial(_keep, self._session_id, clean_name(name), content, path, mime)
        return await self._threads.do_files(step)

    async def named(self, ids: Sequence[str]) -> list[ChatFile]:
        """Return the files with these ids. Raises ``FileRefused`` for one of another session."""
        return await self._threads.do_files(partial(find_files, self._session_id, ids))

    async def check(self, n: int, ids: Sequence[str]) -> list[ChatFile]:
        """
        Return the files that event ``n`` of the client names.

        Raises ``FrameError`` unless all are this session's.
        """
        try:
            return await self.named(ids)
        except FileRefused as error:
            raise FrameError("forbidden", error.detail, n=n) from error
        except DatabaseError as error:
            detail = gettext("The files could not be looked up; try again.")
            raise FrameError("storage_unavailable", detail, n=n, retry_after=RETRY_AFTER) from error

    async def check_answer(self, n: int, data: Any, asked: dict[str, Any]) -> None:
        """
        Raise ``FrameError`` unless answer ``n`` names files of this session that ``asked`` allows.

        Data of another shape is not checked here; :meth:`.Asks.check` refuses it.
        """
        ids = data.get("files") if isinstance(data, dict) else None
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            return
        for file in await self.check(n, ids):
            if not _is_accepted(file, asked.get("accept", ["*/*"])):
                detail = gettext("Files of the type %(type)s are not asked for.") % {
                    "type": file.mime
                }
                raise FrameError("bad_frame", detail, n=n)
            if file.size > asked.get("max_size_mb", inf) * 1024 * 1024:
                raise FrameError("bad_frame", gettext("The file is too large."), n=n)


def _is_accepted(file: ChatFile, accept: Sequence[str] | dict[str, Sequence[str]]) -> bool:
    """Return True if a question accepts a file, by its type or by its ending."""
    named = [accept] if not isinstance(accept, dict) else accept.values()
    endings = {one.lower() for names in named for one in names if one.startswith(".")}
    return suffix_of(file.name) in endings or accepts(accept, file.mime)


def _keep(
    session_id: UUID,
    name: str,
    content: bytes | str | BinaryIO | None,
    path: str | os.PathLike[str] | None,
    mime: str | None,
) -> ChatFile:
    """Store a file of an application, given by its content or its path."""
    if path is not None:
        with Path(path).open("rb") as found:
            return _keep(session_id, name, found, None, mime)
    if isinstance(content, str):
        content = content.encode()
    file: File[Any]
    if isinstance(content, bytes | bytearray | memoryview):
        file = ContentFile(bytes(content))
    else:
        file = File(content)
    known = normal_type(mime or "") or type_of_name(name) or UNKNOWN
    return store(session_id, file, name=name, mime=known)
