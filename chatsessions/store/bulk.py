"""
All rows of a statement in one argument, as PostgreSQL can take them.

In an ``executemany`` of psycopg's each row is a statement of its own, for the client and for the
server, and costs several times what it costs as one element of a JSON array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

#: Bytes of the rows in one argument, unless a single row has more. It is copied several times on
#: its way, quoted in a text that is quoted itself, and PostgreSQL takes less than a gigabyte.
MAX_BYTES = 4 * 1024 * 1024
#: Before the name of a column: the value that the row has to have, to be updated.
EXPECTED = "expected_"

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Bulk:
    """Writes rows of one model on one PostgreSQL connection, all that are given in one go."""

    def __init__(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> None:
        self._connection = connection
        self._model = model
        self._table = self._quote(model._meta.db_table)
        self._statements: dict[tuple[str, ...], str] = {}

    def insert(self, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
        """Insert ``rows`` of values for ``columns``."""
        names = ", ".join(map(self._quote, columns))
        self._run(
            f"INSERT INTO {self._table} ({names}) SELECT {names} FROM ",  # noqa: S608  # only names
            columns,
            rows,
            "",
        )

    def update(
        self, columns: tuple[str, ...], rows: Iterable[Sequence[Any]], *, compared: tuple[str, ...]
    ) -> int:
        """
        Update rows by ``id`` that are as expected; how many there were.

        ``rows`` have values for ``columns``, the id among them, then those expected of
        ``compared``.
        """
        assigned = ", ".join(
            f"{self._quote(name)} = given.{self._quote(name)}" for name in columns if name != "id"
        )
        expected = "".join(
            f" AND stored.{self._quote(name)} = given.{EXPECTED}{name}" for name in compared
        )
        return self._run(
            f"UPDATE {self._table} AS stored SET {assigned} FROM ",  # noqa: S608  # only names
            (*columns, *(EXPECTED + name for name in compared)),
            rows,
            f" WHERE stored.id = given.id{expected}",
        )

    def _run(
        self, before: str, columns: tuple[str, ...], rows: Iterable[Sequence[Any]], after: str
    ) -> int:
        if columns not in self._statements:
            self._statements[columns] = self._recordset(columns)
        count = 0
        with self._connection.cursor() as cursor:
            for values in arrays(columns, rows):
                cursor.execute(before + self._statements[columns] + after, [values.decode()])
                count += cursor.rowcount
        return count

    def _recordset(self, columns: tuple[str, ...]) -> str:
        """The argument as rows named ``given``, its values of the types that the columns have."""
        types = ", ".join(f"{self._quote(name)} {self._type(name)}" for name in columns)
        return f"json_to_recordset(%s::json) AS given({types})"

    def _type(self, name: str) -> str:
        field: Any = self._model._meta.get_field(name.removeprefix(EXPECTED))
        found: str = field.rel_db_type(self._connection)
        return found

    def _quote(self, name: str) -> str:
        return self._connection.ops.quote_name(name)


def arrays(columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """``rows`` as JSON, with no more of them at a time than one argument may have."""
    given: list[bytes] = []
    size = 0
    for row in rows:
        raw = _encode(dict(zip(columns, row, strict=True)))
        if given and size + len(raw) > MAX_BYTES:
            yield b"[%b]" % b",".join(given)
            given, size = [], 0
        given.append(raw)
        size += len(raw)
    yield b"[%b]" % b",".join(given)
