"""PostgreSQL and Redis for the benchmark alone, on ports of 127.0.0.1, in temporary folders."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil

from .process import Cores, Setup, folder
from .wire import HOST, BenchmarkError

#: Seconds until a service must answer.
PATIENCE = 30.0
#: Where Debian keeps the commands of PostgreSQL that are not in PATH, by version.
POSTGRES_FOLDERS = "/usr/lib/postgresql"
#: Users that can run PostgreSQL if this process is root's, because PostgreSQL refuses root.
USERS = ("postgres", "nobody")
TEMPLATE = "benchmark_template"

Variables = dict[str, str]


def missing() -> list[str]:
    """Return the programs and packages that modes with services need and that are missing."""
    needs = {
        "PostgreSQL (initdb, postgres)": _postgres_bin() is not None,
        "Redis (redis-server)": shutil.which("redis-server") is not None,
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
        self.processes: list[psutil.Process] = []
        self._postgres_port = self._redis_port = 0

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
        if not self.processes:
            self._start()
        name = f"benchmark_{next(self._numbers)}"
        self._postgres("createdb", f"--template={TEMPLATE}", name)
        try:
            yield self._variables(name)
        finally:
            self._postgres("dropdb", "--force", name)

    def cpu(self) -> float:
        """Return the CPU seconds that PostgreSQL and Redis have used so far."""
        total = 0.0
        for process in self.processes:
            for part in (process, *process.children(recursive=True)):
                try:
                    times = part.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                total += times.user + times.system
        return total

    def _start(self) -> None:
        if lacking := missing():
            raise BenchmarkError(f"not installed: {', '.join(lacking)}")
        data = self._stack.enter_context(folder())
        data.chmod(0o711)  # for the user that PostgreSQL runs as
        self._start_redis(data / "redis")
        self._start_postgres(data / "postgres")
        self._postgres("createdb", TEMPLATE)
        process = Setup(folder=data / "django", variables=self._variables(TEMPLATE))
        process.run("django", "migrate", "--verbosity=0")

    def _variables(self, database: str) -> Variables:
        """Return the demo's environment variables for a database and the Redis."""
        return {
            "DATABASE_URL": f"postgresql://postgres@{HOST}:{self._postgres_port}/{database}",
            "REDIS_URL": f"redis://{HOST}:{self._redis_port}/0",
            "REDIS_PREFIX": database,
        }

    # Processes

    def _start_redis(self, data: Path) -> None:
        data.mkdir()
        self._redis_port = port = free_port()
        command = ["redis-server", "--bind", HOST, "--port", str(port), "--dir", str(data)]
        self._run([*command, "--save", "", "--appendonly", "no"], data)
        _wait(lambda: _ping_redis(port), "Redis", data / "log")

    def _start_postgres(self, data: Path) -> None:
        data.mkdir()
        if user := _other_user():
            shutil.chown(data, user, pwd.getpwnam(user).pw_gid)
        self._postgres_port = free_port()
        cluster = str(data / "cluster")
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"]
        self._postgres("initdb", *options, "--no-sync", "-D", cluster, user=user)
        command = [str(_binary("postgres")), "-D", cluster, "-p", str(self._postgres_port)]
        command += ["-c", f"listen_addresses={HOST}", "-k", str(data)]
        self._run(command, data, user=user)
        ready = [str(_binary("pg_isready")), "-q", "-h", HOST, "-p", str(self._postgres_port)]
        _wait(lambda: subprocess.run(ready).returncode == 0, "PostgreSQL", data / "log")

    def _postgres(self, name: str, *arguments: str, user: str | None = None) -> None:
        """Run a command of PostgreSQL. Raises ``BenchmarkError`` if the command fails."""
        where = {"PGHOST": HOST, "PGPORT": str(self._postgres_port), "PGUSER": "postgres"}
        finished = subprocess.run(
            [str(_binary(name)), *arguments],
            env=os.environ | where,
            user=user,
            capture_output=True,
            text=True,
        )
        if finished.returncode:
            raise BenchmarkError(f"PostgreSQL's {name} failed: {finished.stderr.strip()}")

    def _run(self, command: list[str], data: Path, user: str | None = None) -> None:
        with (data / "log").open("w") as log:
            group = pwd.getpwnam(user).pw_gid if user else None
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=data,
                user=user,
                group=group,
                start_new_session=True,
            )
        self._stack.callback(_stop, process)
        if self._cores.services is not None:
            os.sched_setaffinity(process.pid, {self._cores.services})
        self.processes.append(psutil.Process(process.pid))


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _postgres_bin() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    there = [path.parent for path in Path(POSTGRES_FOLDERS).glob("*/bin/initdb")]
    return max(there, key=lambda path: float(path.parent.name), default=None)


def _binary(name: str) -> Path:
    there = _postgres_bin()
    assert there is not None
    return there / name


def _other_user() -> str | None:
    """Return the user that PostgreSQL has to run as; None for the user of this process."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for user in USERS:
        if user in known:
            return user
    raise BenchmarkError("PostgreSQL does not run as root, and there is no user 'postgres'")


def _ping_redis(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _wait(ready: Callable[[], bool], name: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{name} does not answer: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # at SIGTERM, PostgreSQL would wait for its clients
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
