"""Content without a row: what a crash, or a storage that failed, has left. Found and deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.files.storage import Storage
from django.utils import timezone

from chatsessions.conf import settings
from chatsessions.models import SessionFile

from .storage import ROOT, SessionStorage, is_file_name, is_session_folder

logger = logging.getLogger("chatsessions.files")

#: Younger content may still get its row.
MIN_AGE = timedelta(days=1)
#: Sessions whose rows are looked up at a time.
BATCH = 200


@dataclass(slots=True)
class Swept:
    """What a sweep has found."""

    #: Orphans, deleted unless it was a dry run.
    found: int = 0
    #: Orphans that the storage did not delete.
    failed: int = 0
    #: Whether the storage could list its content, and tell its age.
    possible: bool = True


def sweep(*, dry_run: bool = False, now: datetime | None = None) -> Swept:
    """
    Delete the content of ``ROOT`` that no row knows and that is older than ``MIN_AGE``.

    Leaves alone what does not look like a session's file. Raises what the database raises.
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
        # Listed before the rows are read: what is stored meanwhile is not taken for an orphan.
        there = [key for folder in batch for key in _files(storage, folder)]
        known = _known(batch)
        yield from (key for key in there if key not in known)


def _files(storage: Storage, folder: str) -> Iterator[str]:
    for name in _listed(storage, f"{ROOT}/{folder}")[1]:
        if is_file_name(name):
            yield f"{ROOT}/{folder}/{name}"


def _known(folders: Sequence[str]) -> set[str]:
    sessions = [UUID(folder) for folder in folders]
    files = SessionFile.objects.using(settings.DATABASE).filter(session__in=sessions)
    return set(files.values_list("content", flat=True))


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
    """Those that are left behind on this machine; other storages have no folders."""
    for folder in _listed(storage, ROOT)[0]:
        path = f"{ROOT}/{folder}"
        try:
            storage.path(path)
            if is_session_folder(folder) and storage.get_modified_time(path) < oldest:
                storage.delete(path)
        except (OSError, NotImplementedError):
            continue  # not empty, or not on this machine
