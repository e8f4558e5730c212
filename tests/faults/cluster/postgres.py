"""A PostgreSQL of the tests' own: a temporary folder, a private port, an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from tests import services
from tests.support.ports import free_port

#: Who may see everything, and whose connections are never refused for their number.
ADMIN = "chatsessions_admin"
#: Who the workers are.
ROLE = "chatsessions"
START_TIMEOUT = 120.0

SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    # Processes are killed here, never the machine: what the kernel has is as safe as on a disk.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_min_messages": "error",
}


class Postgres:
    """Started once per test run; each cluster gets a database made from a template."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="chatsessions-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def start(self) -> None:
        """Start, and wait until queries are answered."""
        if not (self._folder / "data").exists():
            self._make()
        options = [f"-c{name}={value}" for name, value in SERVER_SETTINGS.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_command("postgres"), "-D", self._folder / "data", f"-p{self.port}", *options],
                cwd=self._folder,
                stdout=log,
                start_new_session=True,  # a Ctrl-C is for the tests, which end it themselves
                stderr=subprocess.STDOUT,
                **_unprivileged(),
            )
        self._wait_until_ready()

    def crash(self) -> None:
        """Stop as it does when it is told to at once: nobody is waited for, nothing is tidied."""
        self._stop(signal.SIGQUIT)

    def discard(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self) -> None:
        options = _unprivileged()
        if "user" in options:
            shutil.chown(self._folder, options["user"])
        subprocess.run(
            [
                *(_command("initdb"), "-D", self._folder / "data", "-U", ADMIN, "-A", "trust"),
                *("-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **options,
        )

    def _stop(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_TIMEOUT)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "log").read_text(errors="replace")
                    raise AssertionError(f"PostgreSQL does not start:\n{log[-5000:]}") from None
                time.sleep(0.02)
            else:
                return

    # Databases

    def connect(self, database: str, **options: Any) -> psycopg.Connection[dict[str, Any]]:
        """A connection of somebody beside the workers; what it does is committed at once."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=ADMIN,
            dbname=database,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=5,
            **options,
        )

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """A new database that belongs to the workers' role."""
        with self.connect("postgres") as connection:
            if not connection.execute(
                "SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]
            ).fetchone():
                connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(ROLE)))
            connection.execute(
                SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    Identifier(name), Identifier(ROLE), Identifier(template)
                )
            )

    def drop_database(self, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    @contextmanager
    def crowded(self, database: str) -> Iterator[None]:
        """The workers lose their connections to ``database``, and get no others in the block."""
        with self.connect("postgres") as connection:
            name = Identifier(database)
            connection.execute(SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(name))
            try:
                self.disconnect_workers(database)
                yield
            finally:
                connection.execute(SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))

    def disconnect_workers(self, database: str) -> int:
        """End the workers' connections; how many."""
        with self.connect("postgres") as connection:
            return len(
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = %s AND usename = %s",
                    [database, ROLE],
                ).fetchall()
            )


def _command(name: str) -> Path:
    # initdb is beside the server.
    found = services.find("postgres")
    assert found is not None
    return found.resolve().parent / name


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
