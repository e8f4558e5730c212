"""Other connections to the database, records of statements, and faults."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.db.models import Model

from chatsessions.models import ChatSession, SessionEvent, Worker


class OtherConnection:
    """A connection outside of Django, which commits each statement."""

    def __init__(self) -> None:
        config = connections["default"].settings_dict
        self.is_sqlite = connections["default"].vendor == "sqlite"
        self._raw: Any
        if self.is_sqlite:
            self._raw = sqlite3.connect(config["NAME"], isolation_level=None)
        else:
            self._raw = psycopg.connect(
                host=config["HOST"],
                port=config["PORT"],
                user=config["USER"],
                dbname=config["NAME"],
                autocommit=True,
            )

    def execute(self, sql: str, *parameters: Any) -> None:
        self._raw.execute(*self._adapted(sql, parameters))

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query; ``?`` stands for a parameter on every database."""
        found: list[tuple[Any, ...]] = self._raw.execute(*self._adapted(sql, parameters)).fetchall()
        return found

    def close(self) -> None:
        self._raw.close()

    def _adapted(self, sql: str, parameters: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self.is_sqlite:
            return sql.replace("?", "%s"), parameters or None
        return sql, [one.hex if isinstance(one, UUID) else one for one in parameters]


@contextmanager
def another_connection() -> Iterator[OtherConnection]:
    other = OtherConnection()
    try:
        yield other
    finally:
        other.close()


@contextmanager
def before_statements(look: Callable[[str], str | None]) -> Iterator[None]:
    """
    Call ``look`` before each statement of the block, of all threads and connections.

    It returns what is to be executed instead, or None, and may raise.
    """
    execute = CursorWrapper.execute

    def looking(cursor: CursorWrapper, sql: str, params: Any = None) -> Any:
        return execute(cursor, look(sql) or sql, params)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CursorWrapper, "execute", looking)
        yield


@contextmanager
def every_statement() -> Iterator[list[str]]:
    """Yield a list that gets the statements of the block, of all threads and connections."""
    statements: list[str] = []
    with before_statements(statements.append):
        yield statements


@contextmanager
def noted_statements() -> Iterator[list[str]]:
    """Yield a list that gets the statements of connections made in the block, as by a worker."""
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    def wrap(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(note)

    connection_created.connect(wrap)
    try:
        yield statements
    finally:
        connection_created.disconnect(wrap)


@contextmanager
def locked() -> Iterator[None]:
    """Hold a lock on another connection, so that the others can read but not write."""
    with another_connection() as other:
        if other.is_sqlite:
            other.execute("BEGIN IMMEDIATE")
        else:
            tables = (model._meta.db_table for model in (Worker, ChatSession, SessionEvent))
            other.execute("BEGIN")
            other.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextmanager
def overtaken(event: str, model: type[Model], by: ChatSession) -> Iterator[None]:
    """
    Change the row ``by`` on another connection before each ``event`` in a model's table.

    ``event`` is INSERT or UPDATE. The row is not changed while SQLite is locked. Transactions of
    SQLite begin without a lock, as they do with Django's defaults.
    """
    into = "INTO " if event == "INSERT" else ""
    begin = f'{event} {into}"{model._meta.db_table}"'
    change = "UPDATE chatsessions_chatsession SET head = head + 1 WHERE id = ? RETURNING id"

    def overtake(sql: str) -> str | None:
        if sql.startswith("BEGIN"):
            return "BEGIN"
        if sql.startswith(begin):
            with another_connection() as other, suppress(sqlite3.OperationalError):
                if other.is_sqlite:
                    other.execute("PRAGMA busy_timeout = 0")
                other.rows(change, by.pk)
        return None

    with before_statements(overtake):
        yield


@contextmanager
def unreadable(model: type[Model]) -> Iterator[None]:
    """Make each query of the table of ``model`` fail during the block."""

    def refuse(sql: str) -> None:
        if sql.startswith("SELECT") and f'FROM "{model._meta.db_table}"' in sql:
            raise OperationalError("the database is away")

    with before_statements(refuse):
        yield


#: For SQLite a statement, for PostgreSQL an error code, that fails with an OperationalError: an
#: integer overflow, and a serialization failure. Such an error may pass.
PASSING = ("SELECT abs(-9223372036854775807 - 1)", "40001")
#: The same for an IntegrityError, which does not pass.
STAYING = ("SELECT RAISE(ABORT, 'poisoned')", "23514")


@contextmanager
def faulty(
    event: str, model: type[Model], fault: tuple[str, str], *, only: UUID | None = None
) -> Iterator[None]:
    """
    Make each ``event`` (INSERT or UPDATE) in the table of ``model`` fail during the block.

    With ``only``, it fails for the row with that id.
    """
    table = model._meta.db_table
    with another_connection() as other:
        name = f"tests_{abs(hash((event, model, fault, only)))}"
        key = "" if only is None else only.hex if other.is_sqlite else str(only)
        when = "" if only is None else f"WHEN (NEW.id = '{key}')"
        if other.is_sqlite:
            other.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} {when} BEGIN {fault[0]}; END"
            )
        else:
            other.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"RAISE EXCEPTION 'poisoned' USING ERRCODE = '{fault[1]}'; END $$"
            )
            other.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {when} "
                f"EXECUTE FUNCTION {name}()"
            )
        try:
            yield
        finally:
            if other.is_sqlite:
                other.execute("PRAGMA busy_timeout = 10000")
                other.execute(f"DROP TRIGGER IF EXISTS {name}")
            else:
                other.execute(f"DROP FUNCTION {name} CASCADE")


def failing(session_id: UUID | None = None) -> AbstractContextManager[None]:
    """Make updates of sessions, or of one, fail with an error that may pass."""
    return faulty("UPDATE", ChatSession, PASSING, only=session_id)


def poisoned(session_id: UUID) -> AbstractContextManager[None]:
    """Make updates of one session fail with an error that does not pass."""
    return faulty("UPDATE", ChatSession, STAYING, only=session_id)
