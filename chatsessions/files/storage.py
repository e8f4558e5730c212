"""``SessionStorage``: the storage that ``STORAGE`` names, and the paths that files have in it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from uuid import UUID

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
