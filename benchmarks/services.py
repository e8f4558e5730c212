"""PostgreSQL and Redis for the benchmark alone, started as for the tests, but not tuned."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING

import psutil

from tests import services

from .process import Cores, Setup, folder
from .wire import HOST, BenchmarkError

if TYPE_CHECKING:
    from tests.faults.cluster.postgres import Postgres
    from tests.faults.cluster.redis_server import RedisServer

TEMPLATE = "benchmark_template"

Variables = dict[str, str]


def missing() -> list[str]:
    """Return the programs and packages that modes with services need and that are missing."""
    needs = {
        "PostgreSQL (initdb, postgres)": services.find("postgres") is not None,
        "Redis (redis-server)": services.find("redis-server") is not None,
        "psycopg": find_spec("psycopg") is not None,
        "channels_redis": find_spec("channels_redis") is not None,
        "dj_database_url": find_spec("dj_database_url") is not None,
    }
    return [name for name, there in needs.items() if not there]


class Services:
    """PostgreSQL and Redis, started at their first use and stopped at the end of the context."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._stack = ExitStack()
        self._numbers = count(1)
        self._running: tuple[Postgres, RedisServer] | None = None

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def database(self) -> Iterator[Variables]:
        """
        Make a migrated database for the block; yield the environment variables to use it.

        They also name a Redis, with a prefix of its own.
        """
        postgres, redis = self._running = self._running or self._start()
        name = f"benchmark_{next(self._numbers)}"
        postgres.create_database(name, template=TEMPLATE)
        try:
            yield _variables(postgres, redis, name)
        finally:
            postgres.drop_database(name)

    def cpu(self) -> float:
        """Return the CPU seconds that PostgreSQL and Redis have used so far."""
        total = 0.0
        for service in self._running or ():
            process = psutil.Process(service.pid)
            for part in (process, *process.children(recursive=True)):
                try:
                    times = part.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                total += times.user + times.system
        return total

    def _start(self) -> tuple[Postgres, RedisServer]:
        if lacking := missing():
            raise BenchmarkError(f"not installed: {', '.join(lacking)}")
        # Their drivers need not be installed for other modes.
        from tests.faults.cluster.postgres import Postgres
        from tests.faults.cluster.redis_server import RedisServer

        postgres, redis = Postgres(settings={}), RedisServer()
        with self._on_their_core():
            for service in (postgres, redis):
                try:
                    self._stack.enter_context(service.started())
                except (AssertionError, subprocess.CalledProcessError) as error:
                    raise BenchmarkError(str(error)) from error
        postgres.create_database(TEMPLATE)
        with folder() as data:
            setup = Setup(folder=data, variables=_variables(postgres, redis, TEMPLATE))
            setup.run("django", "migrate", "--verbosity=0")
        return postgres, redis

    @contextmanager
    def _on_their_core(self) -> Iterator[None]:
        """What is started in the block runs on the core of the services."""
        if self._cores.services is None:
            yield
            return
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._cores.services})
        try:
            yield
        finally:
            os.sched_setaffinity(0, own)


def _variables(postgres: Postgres, redis: RedisServer, database: str) -> Variables:
    """Return the demo's environment variables for a database and the Redis."""
    from tests.faults.cluster.postgres import ROLE

    return {
        "DATABASE_URL": f"postgresql://{ROLE}@{HOST}:{postgres.port}/{database}",
        "REDIS_URL": f"redis://{HOST}:{redis.port}/0",
        "REDIS_PREFIX": database,
    }
