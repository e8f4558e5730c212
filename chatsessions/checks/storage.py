"""The storage that holds sessions' files: that it is there, and that nobody else serves it."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings as django_settings
from django.core.checks import Error, Tags, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages
from django.urls import NoReverseMatch, reverse

from chatsessions.conf import settings

from .registry import Found, check, message_id

_ADVICE = (
    "Write STORAGES = {..., 'chats': {'BACKEND': 'django.core.files.storage.FileSystemStorage', "
    "'OPTIONS': {'location': BASE_DIR / 'chat-files'}}} and CHATSESSIONS = {'STORAGE': 'chats'}"
)


@check(Tags.files)
def check_storage_alias() -> Found:
    if settings.STORAGE not in django_settings.STORAGES:
        yield Error(
            f"CHATSESSIONS['STORAGE'] is {settings.STORAGE!r}, which is no alias in STORAGES.",
            hint=f"Write one of {', '.join(map(repr, django_settings.STORAGES))}, or add "
            f"{settings.STORAGE!r} to STORAGES.",
            id=message_id("E010"),
        )


@check(Tags.files)
def check_storage_has_a_place() -> Found:
    storage = _local_storage()
    # Without a location of its own it is MEDIA_ROOT, and that is nowhere unless it is set.
    if storage is not None and not storage.base_location and _takes_files():
        yield Warning(
            f"MEDIA_ROOT is empty, and is where STORAGES[{settings.STORAGE!r}] writes: sessions' "
            "files would lie in the working directory of the server.",
            hint=f"{_ADVICE}, or set MEDIA_ROOT.",
            id=message_id("W016"),
        )


@check(Tags.security, deploy=True)
def check_storage_is_private() -> Found:
    storage = _local_storage()
    if storage is None or not storage.base_location or not _takes_files():
        return
    served = django_settings.MEDIA_URL not in ("", "/")
    if served and storage.base_location == django_settings.MEDIA_ROOT:
        yield Warning(
            f"STORAGES[{settings.STORAGE!r}] writes into MEDIA_ROOT, and MEDIA_URL is "
            f"{django_settings.MEDIA_URL!r}: if the web server serves that, everybody who learns "
            "a file's address has it, and a browser runs the pages and scripts among them.",
            hint=f"{_ADVICE}, outside of what is served.",
            id=message_id("W017"),
        )


def _local_storage() -> FileSystemStorage | None:
    """The storage in use, if it writes to this machine's disk."""
    try:
        storage = storages[settings.STORAGE]
    except (InvalidStorageError, ImproperlyConfigured):
        return None  # E010, or Django's own to tell
    return storage if isinstance(storage, FileSystemStorage) else None


def _takes_files() -> bool:
    """Whether the project routes to the upload; who does not may leave the storage as it is."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return False
    try:
        reverse("chatsessions:files", args=[UUID(int=0)])
    except (NoReverseMatch, ImportError, ImproperlyConfigured):
        return False  # what cannot be imported Django tells
    return True
