"""
Where a server of these tests can be made to die, to stall or to fail.

A point is armed from outside by a file in the server's data folder, and disarms itself before it
strikes: the next process at the same point lives on. ``before-accept`` is the moment before the
commit that accepts an event, ``between-accept`` the one between its rows and the cache,
``stored-accept`` the one before the client is told. :data:`LABELS` says which commits there are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.utils import OperationalError

from chatsessions.storage.journal import Batch, Change
from chatsessions.storage.store import Store
from chatsessions.storage.worker_rows import WorkerRows

#: What a commit is about; one may be about several things.
LABELS: dict[str, Callable[[Change], Any]] = {
    "any": lambda change: True,
    "new": lambda change: change.insert,
    "claim": lambda change: change.claims is not None,
    "accept": lambda change: any(entry.n for entry in change.entries),
    "emit": lambda change: any(entry.turn for entry in change.entries),
    "outcome": lambda change: (
        0 < change.position.accepted == change.position.handled and not change.fields
    ),
    "ending": lambda change: "end_reason" in change.fields,
    "ended": lambda change: change.fields.get("status") == "ended",
}


def arm(folder: Path, point: str, content: str = "") -> None:
    """
    Called by a test: strike at ``point``. ``content`` are the seconds of a ``delay-…``.

    A ``hold-…`` does not disarm itself: see :func:`hold`.
    """
    (folder / f"point-{point}").write_text(content)


def _disarm(point: str) -> str | None:
    """What ``point`` was armed with, None if it was not."""
    path = Path(settings.DATA_DIR) / f"point-{point}"
    try:
        content = path.read_text()
        path.unlink()
    except FileNotFoundError:
        return None
    return content


def strike(point: str) -> None:
    """Kill this process, if ``point`` is armed."""
    if _disarm(point) is not None:
        os.kill(os.getpid(), signal.SIGKILL)


def delay(point: str) -> None:
    """Sleep, if ``delay-point`` is armed."""
    seconds = _disarm(f"delay-{point}")
    if seconds is not None:
        time.sleep(float(seconds))


async def hold(point: str) -> None:
    """Wait, if ``hold-point`` is armed, until a test calls :func:`release`."""
    path = Path(settings.DATA_DIR) / f"point-hold-{point}"
    while path.exists():  # noqa: ASYNC110  # a file has no event
        await asyncio.sleep(0.01)


def release(folder: Path, point: str) -> None:
    """Called by a test: disarm a ``hold-…``, so that who waits there goes on."""
    (folder / f"point-{point}").unlink()


def _countdown(point: str) -> bool:
    """Whether this is the time that ``point`` was armed for: 0 is the next one."""
    left = _disarm(point)
    if left is None:
        return False
    if int(left) > 0:
        arm(Path(settings.DATA_DIR), point, str(int(left) - 1))
        return False
    return True


def _points(place: str, changes: Iterable[Change]) -> Iterator[str]:
    for label, fits in LABELS.items():
        if any(fits(change) for change in changes):
            yield f"{place}-{label}"


def install() -> None:
    """Put the points into this process's store."""
    commit, write, cache_states = Store.commit, Store.write, Store.cache_states
    write_rows, load, count_connected = Store._write_rows, Store.load, WorkerRows.count_connected
    #: What of the commit under way is stored: only the writer's thread is in here.
    halves: list[str] = []

    def commit_and_die(self: Store, batch: Batch) -> None:
        halves.clear()
        for point in _points("before", batch.changes):
            delay(point)
            strike(point)
        commit(self, batch)
        for point in _points("stored", batch.changes):
            strike(point)

    def half(changes: Sequence[Change], which: str) -> None:
        halves.append(which)
        if len(halves) == 1:
            for point in _points("between", changes):
                strike(point)

    def write_and_die(self: Store, batch: Batch) -> None:
        write(self, batch)
        half(batch.changes, "rows")

    def cache_and_die(self: Store, changes: Iterable[Change]) -> None:
        cached = list(changes)
        cache_states(self, cached)
        half(cached, "cache")

    def write_rows_or_fail(self: Store, statements: Any, changes: Sequence[Change]) -> None:
        if len(changes) == 1 and _countdown("locked-alone"):
            raise OperationalError("database is locked (by a test)")
        write_rows(self, statements, changes)
        delay("in-transaction")

    def count_slowly(self: WorkerRows, *args: Any) -> int:
        delay("count")
        return count_connected(self, *args)

    def load_slowly(self: Store, session_id: UUID) -> Any:
        delay("load")
        return load(self, session_id)

    patches: list[tuple[type, str, Any]] = [
        (Store, "commit", commit_and_die),
        (Store, "write", write_and_die),
        (Store, "cache_states", cache_and_die),
        (Store, "_write_rows", write_rows_or_fail),
        (Store, "load", load_slowly),
        (WorkerRows, "count_connected", count_slowly),
    ]
    for cls, name, function in patches:
        setattr(cls, name, function)
