"""``Cluster``: two workers on a database of their own, and what can be done to them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from .books import Books
from .process import Kind, WorkerProcess
from .services import TEMPLATE, Services
from .tab import PATIENCE, Door
from .wires import Wire

#: ``CHATSESSIONS`` of workers of which none is taken for dead because the machine is busy. By the
#: default of these tests, two seconds, a worker is missed that has no processor for so long, or
#: whose six messages and their answers are all lost where a fifth is.
STEADY = {"WORKER_STALE": 30}

#: Never in a worker's log, whatever happened.
FORBIDDEN = (
    "was never retrieved",
    "never awaited",
    "was destroyed but it is pending",
    "Fatal Python error",
    "The shutdown failed",
    "failed to go on after a commit",
    "A commit failed for a reason of the program's own",
    "cannot be stored; it is dropped",
)


@dataclass(eq=False)
class Cluster:
    """
    Workers ``a`` (daphne) and ``b`` (uvicorn), or as many as ``kinds`` says.

    ``cluster`` goes into the settings of all, ``own`` by name into those of one; with ``wired``
    each of them has wires of its own to PostgreSQL and to Redis.
    """

    services: Services
    kinds: tuple[Kind, ...] = ("daphne", "uvicorn")
    layer: str = "pubsub"
    wired: bool = False
    cluster: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    chatsessions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = f"chatsessions_{uuid4().hex[:12]}"
        self.folder = Path(tempfile.mkdtemp(prefix="chatsessions-cluster-"))
        self.workers: list[WorkerProcess] = []
        self.to_postgres: dict[str, Wire] = {}
        self.to_redis: dict[str, Wire] = {}
        self.books = Books(self.services.postgres, self.database)
        self._seen: dict[str, int] = {}

    # Life

    def start(self) -> None:
        self.services.postgres.create_database(self.database, template=TEMPLATE)
        for name, kind in zip("abcd", self.kinds, strict=False):
            self.workers.append(self._worker(name, kind))
        self.refresh()

    def _worker(self, name: str, kind: Kind) -> WorkerProcess:
        services = self.services
        settings = services.settings(self.database) | {"layer": self.layer}
        if self.wired:
            self.to_postgres[name] = services.wires.to(services.postgres.port)
            self.to_redis[name] = services.wires.to(services.redis.port)
            settings["postgres"] = self.to_postgres[name].port
            settings["redis"] = self.to_redis[name].port
        settings |= dict(self.cluster) | dict(self.own.get(name, {}))
        return WorkerProcess(name, kind, self.folder / name, settings, self.chatsessions)

    def refresh(self) -> None:
        """All workers run, and nothing is armed against them."""
        stopped = [worker for worker in self.workers if not worker.is_running]
        for worker in stopped:
            worker.launch()
        for worker in self.workers:
            worker.proceed()
            worker.wait_until_ready()
            for path in worker.folder.glob("point-*"):
                path.unlink()
            self._seen[worker.name] = len(worker.log())

    def discard(self) -> None:
        for worker in self.workers:
            worker.discard()
        self.books.close()
        self.services.postgres.drop_database(self.database)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Who is who

    @property
    def doors(self) -> list[Door]:
        return [self.door(worker) for worker in self.workers]

    def door(self, worker: WorkerProcess) -> Door:
        return Door(worker.name, worker.port)

    def worker(self, name: str) -> WorkerProcess:
        return next(worker for worker in self.workers if worker.name == name)

    def other(self, worker: WorkerProcess) -> WorkerProcess:
        """One that it is not."""
        return next(one for one in self.workers if one is not worker)

    def owns(self, session: str) -> str | None:
        """The name of the worker that owns the session, by its row."""
        pid = self.books.owner_pid(session)
        return next((worker.name for worker in self.workers if worker.pid == pid), None)

    # What they say

    def log(self, worker: WorkerProcess) -> str:
        """Since the test began."""
        return worker.log()[self._seen.get(worker.name, 0) :]

    def assert_calm(self) -> None:
        """No word in any log that is never to be there."""
        for worker in self.workers:
            log = self.log(worker)
            for words in FORBIDDEN:
                assert words not in log, f"{worker!r}:\n{log[-5000:]}"


#: Those that run; their logs go into the report of a test that fails.
clusters: list[Cluster] = []


@contextmanager
def started(services: Services, **options: Any) -> Iterator[Cluster]:
    """Start a cluster, and discard it at the end."""
    cluster = Cluster(services, **options)
    clusters.append(cluster)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.discard()
        clusters.remove(cluster)


async def until(fact: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> None:
    """Wait for something that only looking can tell."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(fact):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or fact}"
        await asyncio.sleep(0.02)
