"""A PostgreSQL of the tests' own: a temporary folder, a private port, an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from tests import services
from tests.support.process import START_TIMEOUT, Process

#: Who may see everything, and whose connections are never refused for their number.
ADMIN = "chatsessions_admin"
#: Who the workers are.
ROLE = "chatsessions"

#: Those that the tests change for their speed; the benchmark has PostgreSQL's own.
FAST = {
    "max_connections": "300",
    # Processes are killed here, never the machine: what the kernel has is as safe as on a disk.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_min_messages": "error",
}


class Postgres(Process):
    """Started once per test run; each cluster gets a database made from a template."""

    END_TIMEOUT = START_TIMEOUT

    def __init__(self, settings: Mapping[str, str] = FAST) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="chatsessions-postgres-")))
        local = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        self._settings = local | dict(settings)

    # Life

    def start(self) -> Self:
        data = self.folder / "data"
        if not data.exists():
            self._make(data)
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        self.run(
            [_command("postgres"), "-D", data, f"-p{self.port}", *options],
            cwd=self.folder,
            start_new_session=True,  # a Ctrl-C is for the tests, which end it themselves
            **_unprivileged(),
        )
        self.wait_until_ready()
        return self

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.connect("postgres").close()
            return True
        return False

    def crash(self) -> None:
        """Stop as it does when it is told to at once: nobody is waited for, nothing is tidied."""
        self.send_signal(signal.SIGQUIT)
        self.wait()

    def discard(self) -> None:
        if self.is_running:
            self.crash()
        super().discard()

    def _make(self, data: Path) -> None:
        options = _unprivileged()
        if "user" in options:
            shutil.chown(self.folder, options["user"])
        subprocess.run(
            [
                *(_command("initdb"), "-D", data, "-U", ADMIN, "-A", "trust"),
                *("-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self.folder,
            check=True,
            capture_output=True,
            **options,
        )

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
