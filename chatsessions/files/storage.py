"""
Where the files of sessions lie, and ``ChatFile``, one of them as handlers have it.

The storage is the one that ``STORAGE`` names. Paths in it are made of ids alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, cast
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.files.base import File
from django.core.files.storage import Storage, storages

from chatsessions.conf import settings

#: The folder of all sessions' files.
ROOT = "chatsessions"

_ID = re.compile(r"[0-9a-f]{32}\Z")
#: Where a path was taken, a storage adds a few characters of its own.
_FILE = re.compile(r"[0-9a-f]{32}(_[0-9A-Za-z]+)?\Z")


class SessionStorage(Storage):
    """
    The storage of the settings, looked up at use.

    A model's field would look it up when the model is imported: a wrong alias would then keep
    ``manage.py check`` from saying so, and ``override_settings`` would change nothing.
    """

    @property
    def backend(self) -> Storage:
        """Raises ``InvalidStorageError`` for an alias that ``STORAGES`` does not have."""
        return storages[settings.STORAGE]

    def open(self, name: str, mode: str = "rb") -> File[Any]:
        return self.backend.open(name, mode)

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        return self.backend.save(name, content, max_length)

    def generate_filename(self, filename: Any) -> str:
        return self.backend.generate_filename(filename)

    def delete(self, name: str) -> None:
        self.backend.delete(name)

    def exists(self, name: str) -> bool:
        return self.backend.exists(name)

    def listdir(self, path: Any) -> tuple[list[str], list[str]]:
        return self.backend.listdir(path)

    def path(self, name: str) -> str:
        return self.backend.path(name)

    def size(self, name: str) -> int:
        return self.backend.size(name)

    def url(self, name: str | None) -> str:
        return self.backend.url(name)

    def get_accessed_time(self, name: str) -> datetime:
        return self.backend.get_accessed_time(name)

    def get_created_time(self, name: str) -> datetime:
        return self.backend.get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        return self.backend.get_modified_time(name)


def session_storage() -> Storage:
    """For a model's field."""
    return SessionStorage()


def path_of(session_id: UUID, file_id: UUID) -> str:
    """Where a file lies: made of ids alone."""
    return f"{folder_of(session_id)}/{file_id.hex}"


def folder_of(session_id: UUID) -> str:
    """Where a session's files lie."""
    return f"{ROOT}/{session_id.hex}"


def is_session_folder(name: str) -> bool:
    """Whether a folder below ``ROOT`` is one of ours."""
    return _ID.match(name) is not None


def is_file_name(name: str) -> bool:
    """Whether a file in a session's folder is one of ours."""
    return _FILE.match(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFile:
    """
    One file of a session: the user's, or one that the application has saved for it.

    ``name`` is for showing, and never where the file lies. ``mime`` is its type, as the user or
    the application says; ``size`` is in bytes. Can be kept in ``user_session``.
    """

    id: str
    name: str
    mime: str
    size: int
    session_id: UUID
    created_at: datetime
    #: What the storage calls it.
    key: str = field(repr=False)

    @property
    def type(self) -> str:
        """``mime``, as Chainlit calls it."""
        return self.mime

    @property
    def path(self) -> str:
        """
        The path of the file on this machine. To be read only.

        Raises ``NotImplementedError`` for a storage that is elsewhere, such as S3.
        """
        try:
            return SessionStorage().path(self.key)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"{self.name!r} lies in a storage without local paths. Read it with "
                "'await file.read()', or with 'with file.open() as content:' in a def."
            ) from error

    def open(self) -> BinaryIO:
        """
        The content, to be read in binary and closed: ``with file.open() as content:``.

        It blocks, and so belongs into a ``def``. Raises ``FileNotFoundError`` for a file that is
        deleted, and what the storage raises.
        """
        return cast("BinaryIO", SessionStorage().open(self.key, "rb"))

    async def read(self) -> bytes:
        """The whole content. Raises what :meth:`open` raises."""
        return await sync_to_async(self._read, thread_sensitive=False)()

    def _read(self) -> bytes:
        with self.open() as content:
            return content.read()

    def as_event(self) -> dict[str, Any]:
        """The file as the wire knows it."""
        return {"id": self.id, "name": self.name, "mime": self.mime, "size": self.size}
