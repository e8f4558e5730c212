"""``Cluster``: workers on a database of their own; and ``Services``, which all clusters share."""

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

from tests.faults import support

from .books import SCHEMA, Books
from .postgres import ROLE, Postgres
from .process import Kind, WorkerProcess
from .redis_server import RedisServer
from .tab import PATIENCE
from .wires import Wire, Wires

#: ``CHATSESSIONS`` of workers of which none is taken for dead because the machine is busy. By the
#: default of these tests, two seconds, a worker is missed that has no processor for so long, or
#: whose six messages and their answers are all lost where a fifth is.
STEADY = {"WORKER_STALE": 30}

#: Never in a worker's log, whatever happened.
FORBIDDEN = (
    *support.FORBIDDEN,
    "A commit failed for a reason of the program's own",
    "cannot be stored; it is dropped",
)

#: A database with all migrations applied, of which each cluster gets a copy.
TEMPLATE = "chatsessions_template"


@dataclass
class Services:
    """What all clusters share; both services run already."""

    postgres: Postgres
    redis: RedisServer
    wires: Wires = field(default_factory=Wires)

    def start(self) -> None:
        self.wires.start()
        self.postgres.create_database(TEMPLATE)
        folder = Path(tempfile.mkdtemp(prefix="chatsessions-migrate-"))
        worker = WorkerProcess("migrate", "daphne", folder, self.settings(TEMPLATE))
        worker.manage("migrate", "--verbosity=0")
        worker.discard()
        with self.postgres.connect(TEMPLATE) as connection:
            connection.execute(f"SET ROLE {ROLE}")  # type: ignore[arg-type]
            connection.execute(SCHEMA)  # type: ignore[arg-type]

    def stop(self) -> None:
        self.wires.stop()

    def settings(self, database: str) -> dict[str, Any]:
        """Where a worker finds them."""
        return {
            "postgres": self.postgres.port,
            "redis": self.redis.port,
            "database": database,
            "role": ROLE,
            "layer": "pubsub",
        }


@dataclass(eq=False)
class Cluster:
    """
    Workers ``a`` (daphne) and ``b`` (uvicorn), or as many as ``kinds`` says.

    ``cluster`` goes into the settings of all, ``own`` by name into those of one; with ``wired``
    each of them has a wire of its own to PostgreSQL.
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
        self.books = Books(self.services.postgres, self.database)

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
            settings["postgres"] = self.to_postgres[name].port
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
            worker.forget_log()

    def discard(self) -> None:
        for worker in self.workers:
            worker.discard()
        self.books.close()
        self.services.postgres.drop_database(self.database)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Who is who

    def worker(self, name: str) -> WorkerProcess:
        return next(worker for worker in self.workers if worker.name == name)

    def other(self, worker: WorkerProcess) -> WorkerProcess:
        """One that it is not."""
        return next(one for one in self.workers if one is not worker)

    def owns(self, session: str) -> str | None:
        """The name of the worker that owns the session, by its row."""
        pid = self.books.owner_pid(session)
        return next((worker.name for worker in self.workers if worker.pid == pid), None)

    def assert_calm(self) -> None:
        """No word in any log that is never to be there."""
        for worker in self.workers:
            log = worker.log()
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
