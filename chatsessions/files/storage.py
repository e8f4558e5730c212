"""
The storage and the paths of sessions' files, and ``ChatFile``, the object that handlers get.

The setting ``STORAGE`` names the storage. Paths are made of ids only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, cast
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.files.storage import Storage, storages

from chatsessions.conf import settings

#: The folder of all sessions' files.
ROOT = "chatsessions"

_ID = re.compile(r"[0-9a-f]{32}\Z")
#: A storage adds a few characters to a path that exists.
_FILE = re.compile(r"[0-9a-f]{32}(_[0-9A-Za-z]+)?\Z")


class SessionStorage(Storage):
    """
    The storage of the settings, looked up whenever an attribute of it is used.

    The model's field would otherwise look it up when models are imported: a wrong alias would then
    keep ``manage.py check`` from reporting it, and ``override_settings`` would have no effect.
    """

    def __getattribute__(self, name: str) -> Any:
        """Raise ``InvalidStorageError`` for an alias that ``STORAGES`` does not have."""
        return getattr(storages[settings.STORAGE], name)


def session_storage() -> Storage:
    """Return the storage for the model's field."""
    return SessionStorage()


def path_of(session_id: UUID, file_id: UUID) -> str:
    """Return the path of a file in the storage."""
    return f"{folder_of(session_id)}/{file_id.hex}"


def folder_of(session_id: UUID) -> str:
    """Return the folder of a session's files."""
    return f"{ROOT}/{session_id.hex}"


def is_session_folder(name: str) -> bool:
    """Return True if a folder below ``ROOT`` is that of a session."""
    return _ID.match(name) is not None


def is_file_name(name: str) -> bool:
    """Return True if ``name`` is a name that :func:`path_of` gives and a storage may extend."""
    return _FILE.match(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFile:
    """
    A file of a session, uploaded by the user or saved by the application.

    ``name`` is for showing, and never part of a path. ``mime`` is its type, as the user or the
    application says; ``size`` is in bytes. A ``ChatFile`` can be kept in ``user_session``.
    """

    id: str
    name: str
    mime: str
    size: int
    session_id: UUID
    created_at: datetime
    #: Its path in the storage.
    key: str = field(repr=False)

    @property
    def type(self) -> str:
        """``mime``, by Chainlit's name."""
        return self.mime

    @property
    def path(self) -> str:
        """
        The path of the file on this machine. Only read it.

        Raises ``NotImplementedError`` for a storage without local files, such as S3.
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
        Open the content for reading in binary: ``with file.open() as content:``.

        This blocks, so use it in a ``def``. Raises ``FileNotFoundError`` for a deleted file, and
        what the storage raises.
        """
        return cast("BinaryIO", SessionStorage().open(self.key, "rb"))

    async def read(self) -> bytes:
        """Return the whole content. Raises what :meth:`open` raises."""
        return await sync_to_async(self._read, thread_sensitive=False)()

    def _read(self) -> bytes:
        with self.open() as content:
            return content.read()

    def as_event(self) -> dict[str, Any]:
        """Return the file as it is sent to a client."""
        return {"id": self.id, "name": self.name, "mime": self.mime, "size": self.size}
