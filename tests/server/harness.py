"""Starts, kills and restarts a real server, and reads its database from beside it."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

from tests.support.process import DjangoServer

#: "uvicorn" is what ``pip install uvicorn`` gives, "uvicorn-standard" is ``uvicorn[standard]``.
Kind = Literal["daphne", "uvicorn", "uvicorn-standard", "hypercorn", "granian"]
#: What uvicorn runs on: it takes what is installed, if it is not told.
UVICORN = {
    "uvicorn": ("--loop", "asyncio", "--http", "h11"),
    "uvicorn-standard": ("--loop", "uvloop", "--http", "httptools"),
}

S = TypeVar("S", bound="Server")

#: Servers that a test may have talked to; their logs go into the report of one that fails.
started: list[Server] = []


@functools.cache
def migrated_database() -> Path:
    """A database with all migrations applied, made once per test run."""
    folder = Path(tempfile.mkdtemp(prefix="chatsessions-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Server(folder).manage("migrate", "--verbosity=0")
    with closing(sqlite3.connect(folder / "demo.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "demo.sqlite3"


class Server(DjangoServer):
    """
    A server with a SQLite database in its folder.

    ``chatsessions`` overrides keys of ``CHATSESSIONS``, ``settings`` whole Django settings, ``env``
    adds environment variables, ``arguments`` go to the server's command. ``restart()`` keeps data
    and port. A server of several tests is told by ``begin()`` that another one begins.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kind: Kind = "daphne",
        chatsessions: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        application: str = "tests.server.app:application",
        arguments: Sequence[str] = (),
    ) -> None:
        own = {"CHATSESSIONS": dict(chatsessions or {})}
        super().__init__(folder, settings={**(settings or {}), **own}, env=env)
        self.kind = kind
        self.application = application
        self.arguments = arguments
        self.database = Database(folder / "demo.sqlite3")

    def __repr__(self) -> str:
        return f"<Server {self.kind} on {self.port}, pid {self.process and self.process.pid}>"

    # Where it is

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, bot: str = "counter") -> str:
        return f"ws://127.0.0.1:{self.port}/ws/{bot}/"

    # Life

    def begin(self) -> Self:
        """A test begins: start, if another one has ended it, and forget what the log says."""
        self.forget_log()
        return self if self.is_running else self.start()

    def start(self) -> Self:
        if not self.database.path.exists():
            shutil.copyfile(migrated_database(), self.database.path)
        if self not in started:
            started.append(self)
        return super().start()

    def restart(self) -> Self:
        """Kill it, if it runs, and start it again on the same data and port."""
        self.kill()
        return self.start()

    def discard(self) -> None:
        super().discard()
        if self in started:
            started.remove(self)

    def command(self) -> list[str]:
        if self.kind == "hypercorn":
            return [
                *(sys.executable, "-m", "hypercorn", "--workers", "0"),
                *("--bind", f"127.0.0.1:{self.port}", self.application),
            ]
        if self.kind == "granian":
            return [
                *(sys.executable, "-m", "granian", "--interface", "asginl"),
                *("--host", "127.0.0.1", "--port", str(self.port), self.application),
            ]
        if self.kind in UVICORN:
            return [
                *(sys.executable, "-m", "uvicorn", self.application, *UVICORN[self.kind]),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--log-level", "info"),
                *self.arguments,
            ]
        return [
            *(sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port)),
            *self.arguments,
            self.application,
        ]

    # Logged-in users

    def login(self, name: str = "alice") -> str:
        """The Cookie header of a logged-in user, who is made if there is none."""
        user = User(username=name, password=f"!{name}")
        user.pk = self.database.user_id(name) or self.database.add_user(user)
        session = {
            "_auth_user_id": str(user.pk),
            "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
            "_auth_user_hash": user.get_session_auth_hash(),
        }
        key = uuid4().hex
        self.database.execute(
            "INSERT INTO django_session (session_key, session_data, expire_date) VALUES (?, ?, ?)",
            key,
            SessionStore().encode(session),
            (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S"),
        )
        return f"sessionid={key}"


def running(cls: type[S] = Server, **options: Any) -> AbstractContextManager[S]:  # type: ignore[assignment]
    """A started server in a temporary folder, killed and removed afterwards."""
    return cls(Path(tempfile.mkdtemp(prefix="chatsessions-server-")), **options).started()


@contextmanager
def shared(cls: type[S]) -> Iterator[Callable[..., S]]:
    """
    Servers that tests share: each is started for the first one that wants such a server.

    ``servers(kind=…, chatsessions={…})`` is one, running, for the test that begins.
    """
    found: dict[str, S] = {}
    with ExitStack() as stack:

        def server(**options: Any) -> S:
            key = repr(sorted(options.items()))
            if key not in found:
                found[key] = stack.enter_context(running(cls, **options))
            return found[key].begin()

        yield server


# The database, as somebody beside the server sees it


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a stored log."""

    seq: int
    n: int | None
    turn: int | None
    name: str
    data: Any
    status: str | None = None


class Database:
    """Reads a server's SQLite file without Django."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, parameters)]

    def execute(self, sql: str, *parameters: Any) -> int | None:
        """Change something behind the server's back; the id of an inserted row."""
        with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            return connection.execute(sql, parameters).lastrowid

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else can write during the block."""
        with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def sessions(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM chatsessions_chatsession ORDER BY created_at")

    def session(self, session_id: str) -> dict[str, Any]:
        """The row of a session."""
        found = self.query("SELECT * FROM chatsessions_chatsession WHERE id = ?", _hex(session_id))
        assert found, f"no session {session_id} in the database"
        return found[0]

    def update_session(self, session_id: str, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        self.execute(
            f"UPDATE chatsessions_chatsession SET {names} WHERE id = ?",  # noqa: S608
            *columns.values(),
            _hex(session_id),
        )

    def state(self, session_id: str) -> dict[str, Any]:
        """The stored user_session, as its JSON reads."""
        found: dict[str, Any] = json.loads(self.session(session_id)["state"] or "{}")
        return found

    def log(self, session_id: str) -> list[Row]:
        """The stored log, in order."""
        rows = self.query(
            "SELECT seq, n, turn, name, data, status FROM chatsessions_sessionevent "
            "WHERE session_id = ? ORDER BY seq",
            _hex(session_id),
        )
        return [Row(**row | {"data": json.loads(row["data"])}) for row in rows]

    def user_id(self, name: str) -> int | None:
        found = self.query("SELECT id FROM auth_user WHERE username = ?", name)
        return found[0]["id"] if found else None

    def add_user(self, user: User) -> int | None:
        return self.execute(
            "INSERT INTO auth_user (username, password, email, first_name, last_name, "
            "is_active, is_staff, is_superuser, date_joined) "
            "VALUES (?, ?, '', '', '', 1, 0, 0, '2020-01-01 00:00:00')",
            user.username,
            user.password,
        )


def _hex(session_id: str) -> str:
    return UUID(session_id).hex
